// Shows what the tests of the protocol catch.
//
//     npm run mutants [-- guards | sources]
//
// `guards` takes the guards of the protocol out one by one; `sources` changes the sources of src/session/ in every way
// that cargo-mutants knows (.cargo/mutants.toml says what it leaves out). Without a word it does both. Ends with 0 only
// when everything was caught, or is named in docs/verification.md with its reason.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { mutateSources } from "./mutants/mutate-sources.ts";
import { tryGuards, type Verdict } from "./mutants/try-guards.ts";
import { projectRoot } from "./setup/paths.mjs";

const [choice, ...rest] = process.argv.slice(2);
if (rest.length > 0 || (choice !== undefined && !["guards", "sources"].includes(choice))) {
  console.error("mutants: expected guards or sources");
  process.exit(2);
}

const started = performance.now();
let isCaught = true;
if (choice !== "sources") {
  const verdicts = await tryGuards(show);
  const missed = verdicts.filter((verdict) => !caught(verdict));
  console.log(`${verdicts.length} guards, ${missed.length} missed, after ${seconds()} s`);
  isCaught = missed.length === 0;
}
if (choice !== "guards") {
  const page = readFileSync(join(projectRoot, "docs", "verification.md"), "utf8");
  // Lines move; a change is known by its file and its words.
  const isKnown = (name: string) => page.includes(withoutPlace(name));
  const { tried, missed, unviable } = await mutateSources((name) =>
    console.log(`${isKnown(name) ? "known" : "MISSED"}: ${name}`),
  );
  const unknown = missed.filter((name) => !isKnown(name));
  console.log(
    `${tried} changes, ${tried - missed.length} caught, ${missed.length - unknown.length} known, ` +
      `${unknown.length} missed; ${unviable.length} do not compile; after ${seconds()} s`,
  );
  isCaught &&= unknown.length === 0;
}
process.exitCode = isCaught ? 0 : 1;

function seconds(): number {
  return Math.round((performance.now() - started) / 1000);
}

function withoutPlace(name: string): string {
  return name.replace(/:\d+:\d+: /, ": ");
}

function caught({ decisions, simulation }: Verdict): boolean {
  return decisions.length + simulation.length > 0;
}

/** One row of the table in docs/verification.md. */
function show(verdict: Verdict): void {
  const { guard, decisions, simulation } = verdict;
  const [first] = decisions;
  const more = decisions.length > 1 ? ` and ${decisions.length - 1} more` : "";
  const named = first === undefined ? "" : `\`${first}\`${more}`;
  const swept = simulation.map((name) => `\`${name}\``).join(", ");
  const missed = caught(verdict) ? "" : "MISSED";
  console.log(`| ${guard.name} | ${named}${missed} | ${swept} |`);
}
