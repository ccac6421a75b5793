// Set-up from nothing: makes this checkout ready to build and test on a fresh machine.
//
//     node scripts/setup.mjs
//
// It runs on any Node from 18 on with nothing installed, does only what is missing, and ends with
// one sentence and status 1 when something cannot be had. Every npm script starts with it.

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { hasCargoTools, installCargoTools } from "./setup/cargo-tools.mjs";
import { hasGit, installGit } from "./setup/git.mjs";
import { withLock } from "./setup/lock.mjs";
import { requireNativeRust } from "./setup/native-rust.mjs";
import { hasNodeModules, installNodeModules } from "./setup/node-modules.mjs";
import { cacheFolder } from "./setup/paths.mjs";
import { SetupError, say } from "./setup/report.mjs";
import { findWasmRust, installWasmRust } from "./setup/wasm-rust.mjs";

/** In this order: the quick ones first, so that a machine that lacks the basics hears it soon. */
const STEPS = [
  { isDone: hasGit, install: installGit },
  { isDone: hasNodeModules, install: installNodeModules },
  { isDone: () => findWasmRust() !== undefined, install: installWasmRust },
  { isDone: hasCargoTools, install: installCargoTools },
];

/** Installs what is missing. Set-ups started at the same time, also in other clones, take turns. */
export async function setUp() {
  requireNativeRust();
  if (STEPS.every(({ isDone }) => isDone())) return;
  const started = Date.now();
  await withLock(
    join(cacheFolder, "setup.lock"),
    () => say("waiting for another set-up on this machine"),
    async () => {
      for (const { isDone, install } of STEPS) {
        if (!isDone()) await install();
      }
    },
  );
  say(`ready after ${Math.round((Date.now() - started) / 1000)} s`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    await setUp();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`setup: ${error.message}`);
    process.exitCode = 1;
  }
}
