// Runs one command of the tests: its output goes to the terminal and is kept for counting, and
// nothing that it started outlives it.

import { type ChildProcess, spawn } from "node:child_process";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { projectRoot } from "../setup/paths.mjs";

export interface Command {
  program: string;
  args: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** Milliseconds after which the command and its children are killed. */
  limitMs: number;
}

export interface Outcome {
  /** Whether it ended by itself with status 0. */
  succeeded: boolean;
  /** Everything that it printed. */
  output: string;
}

/** How long output is still read after the command itself has ended. */
const PIPE_LIMIT_MS = 2_000;

/** The project's own Node and tools come first, also for programs that look for `node`. */
const SEARCH_PATH = [join(projectRoot, "node_modules", ".bin"), process.env.PATH]
  .filter(Boolean)
  .join(delimiter);

const groups = new Set<number>();

// Children run in process groups of their own, which the terminal does not interrupt.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    for (const group of groups) killGroup(group);
    process.exit(1);
  });
}

export async function runCommand({ program, args, env, limitMs }: Command): Promise<Outcome> {
  console.log(`$ ${[program, ...args].join(" ")}`);
  const child = spawn(program, args, {
    cwd: projectRoot,
    env: { ...process.env, PATH: SEARCH_PATH, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const group = child.pid;
  if (group !== undefined) groups.add(group);
  const closed = new Promise((resolve) => child.once("close", resolve));
  let output = "";
  for (const [stream, terminal] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ] as const) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      terminal.write(text);
    });
  }
  const timer = setTimeout(() => {
    console.error(`${program} did not end within ${limitMs / 1000} s and is killed.`);
    if (group !== undefined) killGroup(group);
  }, limitMs);
  const status = await endOf(child);
  if (group !== undefined) killGroup(group);
  // A process that left the group may still hold the pipes: their end is not waited for for long.
  await Promise.race([closed, sleep(PIPE_LIMIT_MS, undefined, { ref: false })]);
  clearTimeout(timer);
  if (group !== undefined) groups.delete(group);
  return { succeeded: status === 0, output };
}

/** The exit status; `undefined` for a program that could not be started or was killed. */
function endOf(child: ChildProcess): Promise<number | undefined> {
  return new Promise((resolve) => {
    child.once("error", (error) => {
      console.error(error.message);
      resolve(undefined);
    });
    child.once("exit", (status) => resolve(status ?? undefined));
  });
}

function killGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch {
    // Nobody of the group is left.
  }
}
