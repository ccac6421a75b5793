// The parts of the test run, in the order in which they run: the quick ones first.

import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { buildRuntime, buildWorker, wasmEnvironment } from "../build.mjs";
import { setUpContainers } from "../setup/containers.mjs";
import { projectNode } from "../setup/node-modules.mjs";
import { projectRoot } from "../setup/paths.mjs";
import { SetupError } from "../setup/report.mjs";
import { WASM_TARGET } from "../setup/wasm-rust.mjs";
import { type Command, runCommand } from "./command.ts";
import { type Counts, cargoCounts, NO_COUNTS, nodeCounts } from "./counts.ts";
import { WASM_GZIP_BYTES_MAX, wasmSize } from "./size.ts";

export type Group = "lint" | "scripts" | "unit" | "e2e" | "container" | "deploy";

export interface Part {
  name: string;
  group: Group;
  /** Whether the part executes tests; such a part fails when none ran. */
  hasTests: boolean;
  /** `filters` are the arguments of the person who runs this group alone. */
  run(filters: readonly string[]): Promise<{ succeeded: boolean; counts: Counts }>;
}

const MINUTE_MS = 60_000;
/** Compiling everything from nothing on two cores stays well below this. */
const COMPILE_LIMIT_MS = 30 * MINUTE_MS;
const CHECK_LIMIT_MS = 5 * MINUTE_MS;
const NATIVE_LIMIT_MS = 10 * MINUTE_MS;
const E2E_LIMIT_MS = 20 * MINUTE_MS;
/** No single test may hang longer than this; file-limit.ts bounds whole files. */
const TEST_LIMIT_MS = 2 * MINUTE_MS;

/** The cargo feature that builds fault injection into the Worker. */
const FAULTS = "test-faults";

/** Well below a minute on two cores. */
const SHORT_KILL_TEST = [
  ...["--no-build", "--sessions=2", "--messages=40", "--worker-kills=4", "--runtime-kills=3"],
  ...["--interrupts=2", "--deletions=1", "--seconds=200"],
];

const FILE_LIMIT = "./scripts/test/file-limit.ts";

const bin = (name: string): string => join(projectRoot, "node_modules", ".bin", name);

function check(name: string, command: () => Command, group: Group = "lint"): Part {
  return {
    name,
    group,
    hasTests: false,
    run: async () => ({ succeeded: (await runCommand(command())).succeeded, counts: NO_COUNTS }),
  };
}

function nodeTests(name: string, group: Group, pattern: string, limitMs: number): Part {
  return {
    name,
    group,
    hasTests: true,
    run: async (filters) => {
      const namesFiles = filters.some((filter) => !filter.startsWith("-"));
      const { succeeded, output } = await runCommand({
        program: projectNode,
        args: [
          `--import=${FILE_LIMIT}`,
          "--disable-warning=ExperimentalWarning",
          "--test",
          "--test-reporter=spec",
          "--test-concurrency=2",
          `--test-timeout=${TEST_LIMIT_MS}`,
          ...filters,
          ...(namesFiles ? [] : globSync(pattern, { cwd: projectRoot }).sort()),
        ],
        env: { CI: "true", WRANGLER_SEND_METRICS: "false" },
        limitMs,
      });
      return { succeeded, counts: nodeCounts(output) };
    },
  };
}

const buildPart: Part = {
  name: "Build of Worker and runtime",
  group: "e2e",
  hasTests: false,
  run: async () => {
    try {
      await buildWorker();
      if (declaresFaults()) await buildWorker({ features: [FAULTS] });
      await buildRuntime();
      return { succeeded: true, counts: NO_COUNTS };
    } catch (error) {
      console.error(error instanceof Error ? error.message : error);
      return { succeeded: false, counts: NO_COUNTS };
    }
  },
};

const sizePart: Part = {
  name: "Size of the Worker",
  group: "e2e",
  hasTests: false,
  run: async () => {
    const { raw, gzip } = wasmSize();
    console.log(`${raw} bytes, compressed ${gzip} of at most ${WASM_GZIP_BYTES_MAX}`);
    return { succeeded: gzip <= WASM_GZIP_BYTES_MAX, counts: NO_COUNTS };
  },
};

/** What these tests need is set up for them alone. Where a machine cannot have it, they fail and say why. */
const containerPart: Part = {
  name: "Tests in real containers",
  group: "container",
  hasTests: true,
  run: async (filters) => {
    try {
      await setUpContainers();
      await buildWorker();
      await buildRuntime();
    } catch (error) {
      if (!(error instanceof SetupError)) throw error;
      console.error(`setup: ${error.message}`);
      return { succeeded: false, counts: NO_COUNTS };
    }
    return await containerTests.run(filters);
  },
};

const containerTests = nodeTests(
  containerPart.name,
  containerPart.group,
  "tests/container/**/*.test.ts",
  E2E_LIMIT_MS,
);

function declaresFaults(): boolean {
  const manifest = readFileSync(join(projectRoot, "Cargo.toml"), "utf8");
  return new RegExp(`^${FAULTS} *=`, "m").test(manifest);
}

export const PARTS: readonly Part[] = [
  check("Format of Rust", () => ({
    program: "cargo",
    args: ["fmt", "--all", "--check"],
    limitMs: CHECK_LIMIT_MS,
  })),
  check("Format and lint of TypeScript", () => ({
    program: bin("biome"),
    args: ["check", "--error-on-warnings", "--colors=off"],
    limitMs: CHECK_LIMIT_MS,
  })),
  check("Types of TypeScript", () => ({
    program: bin("tsc"),
    args: ["--noEmit"],
    limitMs: CHECK_LIMIT_MS,
  })),
  check("Lint of Rust, native", () => ({
    program: "cargo",
    args: ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
    limitMs: COMPILE_LIMIT_MS,
  })),
  check("Lint of Rust, wasm32", () => ({
    program: "cargo",
    args: [
      ...["clippy", "--locked", "-p", "cloud-agent-session", "--all-features"],
      ...["--target", WASM_TARGET, "--", "-D", "warnings"],
    ],
    env: wasmEnvironment().env,
    limitMs: COMPILE_LIMIT_MS,
  })),
  nodeTests("Tests of the scripts", "scripts", "tests/scripts/**/*.test.ts", CHECK_LIMIT_MS),
  {
    name: "Native tests",
    group: "unit",
    hasTests: true,
    run: async (filters) => {
      const choosesPackages = filters.some((filter) => /^(-p|--package)/.test(filter));
      const packages = choosesPackages ? [] : ["--workspace"];
      const test = (args: readonly string[], limitMs: number) =>
        runCommand({
          program: "cargo",
          args: ["test", "--locked", "--no-fail-fast", ...packages, ...args],
          limitMs,
        });
      // Compiling has a limit of its own, so that a test that hangs is stopped soon.
      const compiled = await test(["--no-run", ...filters], COMPILE_LIMIT_MS);
      if (!compiled.succeeded) return { succeeded: false, counts: NO_COUNTS };
      const { succeeded, output } = await test(filters, NATIVE_LIMIT_MS);
      return { succeeded, counts: cargoCounts(output) };
    },
  },
  buildPart,
  sizePart,
  nodeTests("End-to-end tests", "e2e", "tests/e2e/**/*.test.ts", E2E_LIMIT_MS),
  containerPart,
  // The kill test proper, smaller; `npm run torture` has all of it.
  check(
    "Kill test, short",
    () => ({
      program: projectNode,
      args: ["--disable-warning=ExperimentalWarning", "scripts/torture.ts", ...SHORT_KILL_TEST],
      env: { CI: "true", WRANGLER_SEND_METRICS: "false" },
      limitMs: CHECK_LIMIT_MS,
    }),
    "e2e",
  ),
  check(
    "Deployment, dry run",
    () => ({
      program: bin("wrangler"),
      args: ["deploy", "--dry-run", "--containers-rollout=none"],
      env: { CI: "true", WRANGLER_SEND_METRICS: "false" },
      limitMs: COMPILE_LIMIT_MS,
    }),
    "deploy",
  ),
];
