// Builds the Worker (build/index.js, build/index_bg.wasm) and the workspace runtime.
//
//     node scripts/build.mjs [--worker] [--runtime] [--features NAME]
//
// Without --worker or --runtime it builds both. With --features the Worker goes to build-test/,
// so that a test build never takes the place of the one that is deployed.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { delimiter, join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { cargoTools } from "./setup/cargo-tools.mjs";
import { withLock } from "./setup/lock.mjs";
import { projectRoot } from "./setup/paths.mjs";
import { findWasmRust } from "./setup/wasm-rust.mjs";

const BIN = join(projectRoot, "node_modules", ".bin");
const TARGET_FOLDER = resolve(projectRoot, process.env.CARGO_TARGET_DIR ?? "target");
/** Names the inputs of the Worker that lies beside it. */
const KEY_FILE = ".built-from";
/** Everything that ends up in the Worker or decides how it is built. */
const WORKER_INPUTS = [
  "Cargo.lock",
  "Cargo.toml",
  "package-lock.json",
  "scripts/build.mjs",
  "src/**/*",
  "wire/**/*",
];
/**
 * The WebAssembly features that the compiler and the bindings generator use. Named one by one: with all that wasm-opt
 * knows it would write encodings that workerd refuses.
 */
const WASM_FEATURES = [
  "bulk-memory",
  "exception-handling",
  "multivalue",
  "mutable-globals",
  "nontrapping-float-to-int",
  "reference-types",
  "sign-ext",
];

/**
 * The environment for compiling to wasm32. It has a target folder of its own, since two compilers
 * that share one would throw away each other's work.
 */
export function wasmEnvironment() {
  const wasmRust = findWasmRust();
  if (!wasmRust) throw new Error("No Rust for wasm32 is installed: run node scripts/setup.mjs.");
  const env = { ...process.env, ...wasmRust.env };
  return {
    key: wasmRust.key,
    env: {
      ...env,
      PATH: [BIN, env.PATH].join(delimiter),
      CARGO_TARGET_DIR: join(TARGET_FOLDER, "wasm-build"),
    },
  };
}

/**
 * Builds the Worker if its inputs changed, and returns the folder that holds it.
 *
 * @param {{ features?: string[] }} [options] cargo features of a test build
 */
export async function buildWorker({ features = [] } = {}) {
  const folder = join(projectRoot, features.length > 0 ? "build-test" : "build");
  await withLock(join(TARGET_FOLDER, "worker-build.lock"), waitNotice, async () => {
    const { env, key } = wasmEnvironment();
    const inputs = workerInputs(key, features);
    if (isBuilt(folder, inputs)) return;
    const { workerBuild, wasmBindgen } = cargoTools();
    const compiled = join(TARGET_FOLDER, "worker", relative(projectRoot, folder));
    await run(
      workerBuild.program,
      ["--release", "--out-dir", relative(projectRoot, compiled), ...workerOptions(features)],
      {
        ...env,
        WASM_BINDGEN_BIN: wasmBindgen.program,
        ESBUILD_BIN: join(BIN, "esbuild"),
      },
    );
    await assemble(compiled, folder, inputs);
  });
  return folder;
}

/**
 * Puts the guard around the compiled module, shrinks the module, and puts the result into `folder` in one move: a
 * Worker that starts meanwhile gets either the old one or the new one.
 */
async function assemble(compiled, folder, inputs) {
  const { build } = await import("esbuild");
  const fresh = `${compiled}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  await build({
    entryPoints: [join(projectRoot, "src", "shell", "guard.js")],
    alias: { "worker-module": join(compiled, "index.js") },
    outfile: join(fresh, "index.js"),
    bundle: true,
    format: "esm",
    target: "es2022",
    external: ["cloudflare:workers", "*.wasm"],
    logLevel: "warning",
  });
  await run(
    join(BIN, "wasm-opt"),
    [
      ...WASM_FEATURES.map((feature) => `--enable-${feature}`),
      "-Oz",
      join(compiled, "index_bg.wasm"),
      ...["-o", join(fresh, "index_bg.wasm")],
    ],
    process.env,
  );
  writeFileSync(join(fresh, KEY_FILE), inputs);
  rmSync(folder, { recursive: true, force: true });
  renameSync(fresh, folder);
}

/** Builds the workspace runtime and returns the path of its program. */
export async function buildRuntime() {
  await run("cargo", ["build", "--locked", "--release", "-p", "workspace-runtime"], process.env);
  return join(TARGET_FOLDER, "release", "workspace-runtime");
}

function workerOptions(features) {
  return features.length > 0 ? ["--locked", "--features", features.join(",")] : ["--locked"];
}

function isBuilt(folder, inputs) {
  return (
    ["index.js", "index_bg.wasm"].every((name) => existsSync(join(folder, name))) &&
    existsSync(join(folder, KEY_FILE)) &&
    readFileSync(join(folder, KEY_FILE), "utf8") === inputs
  );
}

function workerInputs(compiler, features) {
  const hash = createHash("sha256");
  const { workerBuild, wasmBindgen } = cargoTools();
  hash.update(JSON.stringify([compiler, features, workerBuild.version, wasmBindgen.version]));
  const files = globSync(WORKER_INPUTS, { cwd: projectRoot, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  for (const file of files) {
    const content = readFileSync(file);
    hash.update(`${relative(projectRoot, file)}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex");
}

function waitNotice() {
  console.log("build: waiting for another build of this checkout");
}

/** Runs a build command with its output on the terminal. */
function run(program, args, env) {
  return new Promise((done, fail) => {
    const child = spawn(program, args, { cwd: projectRoot, env, stdio: ["ignore", 2, 2] });
    child.once("error", fail);
    child.once("close", (status, signal) => {
      if (status === 0) done();
      else fail(new Error(`${program} ${args.join(" ")} ended with ${signal ?? status}`));
    });
  });
}

async function main() {
  const { values } = parseArgs({
    options: {
      worker: { type: "boolean", default: false },
      runtime: { type: "boolean", default: false },
      features: { type: "string", multiple: true, default: [] },
    },
  });
  const both = !values.worker && !values.runtime;
  if (values.worker || both) {
    const folder = await buildWorker({ features: values.features });
    console.log(`build: the Worker is in ${relative(projectRoot, folder)}/`);
  }
  if (values.runtime || both) {
    console.log(`build: the runtime is ${relative(projectRoot, await buildRuntime())}`);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    await main();
  } catch (error) {
    console.error(`build: ${error.message}`);
    process.exitCode = 1;
  }
}
