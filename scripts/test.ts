// Runs the tests: everything that continuous integration runs, or one group of it.
//
//     node scripts/test.ts [lint | scripts | unit | e2e | container | deploy] [arguments for the test runner]
//
// All parts run even when one fails. The last line counts the tests that were executed.

import { add, type Counts, NO_COUNTS } from "./test/counts.ts";
import { PARTS, type Part } from "./test/parts.ts";

interface Result {
  part: Part;
  seconds: number;
  counts: Counts;
  /** Why the part failed; undefined when it succeeded. */
  problem: string | undefined;
}

const [group, ...filters] = process.argv.slice(2);
const chosen = PARTS.filter((part) => group === undefined || part.group === group);
if (chosen.length === 0) {
  const groups = [...new Set(PARTS.map((part) => part.group))].join(", ");
  console.error(`test: "${group}" is none of ${groups}`);
  process.exit(2);
}

const results: Result[] = [];
for (const part of chosen) results.push(await runPart(part));
summarize(results);

async function runPart(part: Part): Promise<Result> {
  console.log(`\n=== ${part.name}`);
  const started = performance.now();
  const { succeeded, counts } = await part.run(filters);
  const seconds = (performance.now() - started) / 1000;
  return { part, seconds, counts, problem: problemOf(part, succeeded, counts) };
}

function problemOf(part: Part, succeeded: boolean, counts: Counts): string | undefined {
  if (!succeeded || counts.failed > 0) return "FAILED";
  if (part.hasTests && counts.passed === 0) return "FAILED: ran no test";
  return undefined;
}

function summarize(all: readonly Result[]): void {
  console.log("\n=== Summary");
  for (const { part, seconds, counts, problem } of all) {
    const tests = part.hasTests ? `, ${describe(counts)}` : "";
    console.log(`${problem ?? "ok"}: ${part.name} (${seconds.toFixed(1)} s${tests})`);
  }
  if (all.some(({ problem }) => problem !== undefined)) process.exitCode = 1;
  if (!all.some(({ part }) => part.hasTests)) return;
  console.log(describe(all.map(({ counts }) => counts).reduce(add, NO_COUNTS)));
}

function describe({ passed, failed, skipped }: Counts): string {
  const rest = skipped > 0 ? `, ${skipped} skipped` : "";
  return `${passed} passed, ${failed} failed${rest}`;
}
