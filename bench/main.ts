// The benchmark: what the session costs, as ratios to what else runs beside it on the same machine at the same time.
//
//     npm run bench -- [--quick] [--rounds N] [--only GROUP]...
//
// Prints a table, and writes bench/results.json and bench/history.svg. A quick run shows only that everything works: it
// writes nothing.

import { existsSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { buildRuntime, buildWorker } from "../scripts/build.mjs";
import { projectRoot } from "../scripts/setup/paths.mjs";
import { GROUPS } from "./groups.ts";
import { readOptions, USAGE } from "./options.ts";
import { plot } from "./report/plot.ts";
import type { Results } from "./report/results.ts";
import { table } from "./report/table.ts";

/** Memory in place of a disk: where it is there, runs on it show what the processor has to do. */
const MEMORY = "/dev/shm";

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  const unknown = options.only.filter((name) => !GROUPS.some((group) => group.name === name));
  if (unknown.length > 0) {
    const names = GROUPS.map((group) => group.name).join(", ");
    throw new Error(`there is no group ${unknown.join(", ")}; there are ${names}`);
  }
  await buildWorker();
  await buildRuntime();
  const results: Results = {
    startedAt: new Date().toISOString(),
    machine: `${cpus().length} × ${cpus()[0]?.model ?? "unknown"}, Node ${process.version}`,
    rounds: options.rounds,
    claims: [],
    figures: [],
    history: [],
  };
  const disk = tmpdir();
  const context = { memory: existsSync(MEMORY) ? MEMORY : disk, disk, options, results };
  try {
    for (const group of GROUPS) {
      if (options.only.length > 0 && !options.only.includes(group.name)) continue;
      const start = performance.now();
      await group.measure(context);
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      console.log(`bench: ${group.name} took ${seconds} s`);
    }
  } finally {
    // What was measured before a group fails is not lost.
    console.log(`\n${table(results)}`);
  }
  if (options.quick || options.only.length > 0) return;
  writeFileSync(
    join(projectRoot, "bench", "results.json"),
    `${JSON.stringify(results, null, 2)}\n`,
  );
  writeFileSync(join(projectRoot, "bench", "history.svg"), plot(results.history));
  console.log("\nbench: the results are in bench/results.json and bench/history.svg");
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`);
  console.error(USAGE);
  process.exitCode = 1;
}
