// Runs the fuzz targets on stable Rust: libFuzzer with the compiler's own coverage counters.
//
//     npm run fuzz -- [--seconds N] [TARGET…]
//
// A target runs for N seconds (60) from the seeds in fuzz/corpus. What it finds on the way stays under target/, and
// what makes it fail is named at its end. `cargo fuzz run TARGET` works as well where its toolchain is installed.

import { mkdirSync, readdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { projectRoot } from "./setup/paths.mjs";
import { runCommand } from "./test/command.ts";

const FOLDER = join(projectRoot, "fuzz");
const TARGET_FOLDER = join(resolve(projectRoot, process.env.CARGO_TARGET_DIR ?? "target"), "fuzz");
const COMPILE_LIMIT_MS = 30 * 60_000;
/** Beyond the time that a target is given, for its start and end. */
const RUN_EXTRA_MS = 60_000;
/** What the compiler adds so that libFuzzer sees where the program goes. */
const COVERAGE = [
  "-Cpasses=sancov-module",
  ...[
    "-sanitizer-coverage-level=4",
    "-sanitizer-coverage-inline-8bit-counters",
    "-sanitizer-coverage-pc-table",
    "-sanitizer-coverage-trace-compares",
    "-simplifycfg-branch-fold-threshold=0",
  ].map((option) => `-Cllvm-args=${option}`),
  "--cfg",
  "fuzzing",
].join(" ");

const { values, positionals } = parseArgs({
  options: { seconds: { type: "string", default: "60" } },
  allowPositionals: true,
});
const seconds = Number(values.seconds);
const all = readdirSync(join(FOLDER, "fuzz_targets")).map((file) => basename(file, ".rs"));
const targets = positionals.length > 0 ? positionals : all.sort();
if (!Number.isInteger(seconds) || seconds < 1 || targets.some((target) => !all.includes(target))) {
  console.error(`fuzz: --seconds takes a whole number, and the targets are ${all.join(", ")}`);
  process.exit(2);
}
process.exitCode = await main();

async function main(): Promise<number> {
  const triple = await hostTriple();
  const built = await runCommand({
    program: "cargo",
    args: [
      ...["build", "--release", "--manifest-path", join(FOLDER, "Cargo.toml")],
      // With a target named, build scripts and macros are compiled without the counters.
      ...["--target", triple, "--bins"],
    ],
    env: { CARGO_TARGET_DIR: TARGET_FOLDER, RUSTFLAGS: COVERAGE },
    limitMs: COMPILE_LIMIT_MS,
  });
  if (!built.succeeded) return 1;
  const rows: string[] = [];
  let failed = false;
  for (const target of targets) {
    const { succeeded, output } = await run(target, join(TARGET_FOLDER, triple, "release", target));
    const executions = /stat::number_of_executed_units: *(\d+)/.exec(output)?.[1] ?? "unknown";
    rows.push(`${target}: ${executions} executions, ${succeeded ? "no failure" : "FAILED"}`);
    failed ||= !succeeded;
  }
  console.log(`\n=== ${seconds} s for each target`);
  for (const row of rows) console.log(row);
  return failed ? 1 : 0;
}

async function hostTriple(): Promise<string> {
  const { output } = await runCommand({ program: "rustc", args: ["-vV"], limitMs: RUN_EXTRA_MS });
  const triple = /^host: (\S+)$/m.exec(output)?.[1];
  if (triple === undefined) throw new Error("rustc does not name its host");
  return triple;
}

async function run(target: string, program: string) {
  console.log(`\n=== ${target}`);
  const found = join(TARGET_FOLDER, "corpus", target);
  const failures = join(TARGET_FOLDER, "failures");
  mkdirSync(found, { recursive: true });
  mkdirSync(failures, { recursive: true });
  return await runCommand({
    program,
    args: [
      ...[`-max_total_time=${seconds}`, "-max_len=4096", "-timeout=10", "-rss_limit_mb=1024"],
      ...["-print_final_stats=1", `-artifact_prefix=${join(failures, `${target}-`)}`],
      ...[found, join(FOLDER, "corpus", target)],
    ],
    limitMs: seconds * 1000 + RUN_EXTRA_MS,
  });
}
