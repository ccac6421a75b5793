// Child processes of set-up and build: read a short answer, or run a long step with its output
// in a log file that is shown only when the step fails.

import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, createWriteStream, mkdirSync, readFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { SetupError } from "./report.mjs";

/** Lines of a failed step's output that are repeated on the terminal. */
const SHOWN_LINES = 20;

/**
 * Runs a program that answers at once and returns its trimmed standard output, or `undefined`
 * when it is missing, fails, or takes longer than ten seconds.
 */
export function answerOf(program, args, options = {}) {
  const result = spawnSync(program, args, {
    encoding: "utf8",
    timeout: 10_000,
    stdio: ["ignore", "pipe", "ignore"],
    ...options,
  });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

/** The first executable of that name in `path` (default: PATH), or `undefined`. */
export function findProgram(name, path = process.env.PATH ?? "") {
  for (const folder of path.split(delimiter).filter(Boolean)) {
    const candidate = join(folder, name);
    try {
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {
      // Not in this folder; the next one is tried.
    }
  }
  return undefined;
}

/**
 * Runs one long step without standard input and resolves when it ends well. All output goes to
 * `log`. On failure the last lines are printed and a SetupError with `failure` is thrown.
 */
export async function runStep({ program, args, cwd, env = process.env, log, failure, limitMs }) {
  const status = await runLogged({ program, args, cwd, env, log, limitMs });
  if (status === 0) return;
  const tail = readFileSync(log, "utf8").trimEnd().split("\n").slice(-SHOWN_LINES);
  console.error(tail.map((line) => `  | ${line}`).join("\n"));
  throw new SetupError(`${failure} (the whole output is in ${log})`);
}

/** Like {@link runStep}, but resolves to the exit status; `undefined` stands for a killed or missing program. */
export function runLogged({ program, args, cwd, env = process.env, log, limitMs }) {
  mkdirSync(dirname(log), { recursive: true });
  const output = createWriteStream(log);
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    const timer = limitMs && setTimeout(() => child.kill("SIGKILL"), limitMs);
    child.stdout.pipe(output, { end: false });
    child.stderr.pipe(output, { end: false });
    const finish = (status) => {
      clearTimeout(timer);
      output.end(() => resolve(status));
    };
    child.once("error", (error) => {
      output.write(`${error.message}\n`);
      finish(undefined);
    });
    child.once("close", (status) => finish(status ?? undefined));
  });
}

/**
 * `env` without the settings of a surrounding cargo build: they would change what set-up compiles
 * and where it lands.
 */
export function withoutCargoSettings(env) {
  const foreign = /^(CARGO_(BUILD|TARGET|ENCODED|PROFILE|UNSTABLE)|RUST(C|DOC)?(FLAGS|_WRAPPER)?$)/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !foreign.test(name)));
}
