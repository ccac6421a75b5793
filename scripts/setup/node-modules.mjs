// The npm packages of the lock file. They bring Node itself: the machine's own may be too old for
// the Workers runtime.

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { answerOf, findProgram, runStep } from "./command.mjs";
import { logFile, projectRoot } from "./paths.mjs";
import { SetupError, say } from "./report.mjs";

const MODULES = join(projectRoot, "node_modules");
/** Holds the key of the installation; npm removes it together with the folder. */
const KEY_FILE = join(MODULES, ".installed-from");

/** The Node that runs everything after set-up. */
export const projectNode = join(MODULES, ".bin", "node");

function expectedKey() {
  const lock = readFileSync(join(projectRoot, "package-lock.json"));
  const digest = createHash("sha256").update(lock).digest("hex");
  return `${digest} ${process.platform}-${process.arch}`;
}

/** Whether node_modules is what the lock file says and its Node runs. */
export function hasNodeModules() {
  try {
    return readFileSync(KEY_FILE, "utf8") === expectedKey() && nodeRuns();
  } catch {
    return false;
  }
}

function nodeRuns() {
  return answerOf(projectNode, ["--version"]) !== undefined;
}

/** Installs exactly what the lock file names. */
export async function installNodeModules() {
  if (!findProgram("npm")) throw new SetupError("npm is missing; install Node.js with npm.");
  say("installing the npm packages (about half a minute)");
  await runStep({
    program: "npm",
    args: ["ci", "--include=dev", "--include=optional", "--loglevel=error", "--no-progress"],
    cwd: projectRoot,
    log: logFile("npm"),
    failure: "The npm packages of package-lock.json cannot be installed.",
  });
  if (!nodeRuns()) {
    throw new SetupError(
      `The Node.js that npm installed does not run on this machine (${projectNode}).`,
    );
  }
  writeFileSync(KEY_FILE, expectedKey());
}
