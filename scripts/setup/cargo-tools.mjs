// worker-build and wasm-bindgen at exact versions, in a folder of their own for each version:
// the user's own tools stay as they are, and all clones share one installation.

import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { runStep, withoutCargoSettings } from "./command.mjs";
import { cacheFolder, logFile, projectRoot } from "./paths.mjs";
import { SetupError, say } from "./report.mjs";

const WORKER_BUILD_VERSION = "0.8.7";
const CARGO_MUTANTS_VERSION = "27.1.0";

/** The tools that build the Worker: package, exact version, and the path of the program. */
export function cargoTools() {
  return {
    workerBuild: tool("worker-build", WORKER_BUILD_VERSION, "worker-build"),
    // The bindings generator must equal the library in the lock file to the last digit.
    wasmBindgen: tool("wasm-bindgen-cli", lockedVersion("wasm-bindgen"), "wasm-bindgen"),
  };
}

function tool(name, version, program) {
  const root = join(cacheFolder, "tools", `${name}-${version}`);
  return { name, version, root, program: join(root, "bin", program) };
}

/** Changes sources to see whether tests notice; installed when `npm run mutants` first wants it. */
export const cargoMutants = tool("cargo-mutants", CARGO_MUTANTS_VERSION, "cargo-mutants");

function lockedVersion(crate) {
  const lock = readFileSync(join(projectRoot, "Cargo.lock"), "utf8");
  const version = lock.match(new RegExp(`^name = "${crate}"\\nversion = "([^"]+)"`, "m"))?.[1];
  if (!version) throw new SetupError(`Cargo.lock names no version of ${crate}.`);
  return version;
}

/** Whether every tool is installed. */
export function hasCargoTools() {
  return Object.values(cargoTools()).every(({ program }) => existsSync(program));
}

/** The tools run for a second or two: time spent on optimising them would not come back. */
const QUICK_TO_COMPILE = {
  CARGO_PROFILE_RELEASE_OPT_LEVEL: "1",
  CARGO_PROFILE_RELEASE_LTO: "off",
  CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "16",
};

/** Compiles the missing tools from their locked sources. */
export async function installCargoTools() {
  for (const wanted of Object.values(cargoTools())) await installTool(wanted);
}

/** Compiles one tool, unless it is there. */
export async function installTool({ name, version, root, program }) {
  if (existsSync(program)) return;
  say(`installing ${name} ${version} (2 to 4 minutes)`);
  await runStep({
    program: "cargo",
    args: [
      ...["install", "--locked", "--root", root, "--version", `=${version}`],
      // Only the one program, and without the network code of wasm-bindgen's test runner.
      ...[name, "--bin", basename(program), "--no-default-features"],
    ],
    cwd: cacheFolder,
    env: { ...withoutCargoSettings(process.env), ...QUICK_TO_COMPILE },
    log: logFile(name),
    failure: `${name} ${version} cannot be installed with cargo.`,
  });
}
