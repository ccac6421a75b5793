// The test programs of a copy whose library holds many changes, each behind a number: one build serves them all.

import { spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { type Copy, TEST_PROGRAM } from "./copy.ts";

/** A test that waits for an end may never come to it with a change. */
const DECISIONS_LIMIT_MS = 30_000;
/** All sweeps on a busy machine. */
const SIMULATION_LIMIT_MS = 1_200_000;
const BUILD_LIMIT_MS = 3_600_000;
/** Random histories of one run; the sweeps are whole. */
const RANDOM_HISTORIES = "400";
const SIMULATION = ["every_history", "every_delivery", "every_report", "random_histories"];

/** Stands in the library of the copy. */
const SWITCH = `
/// The number of the change that is made in this run.
pub fn change() -> u32 {
    static CHANGE: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {
        std::env::var("CHANGE").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    });
    *CHANGE
}
`;

/** The tests that failed, and how many passed. */
export interface Outcome {
  failed: string[];
  passed: number;
}

/** An error of the compiler, at a line of a file of the copy. */
export interface CompileError {
  text: string;
  places: { file: string; line: number }[];
}

/** Adds the switch to a copy; once, before it is compiled. */
export function addSwitch(copy: Copy): void {
  copy.append("src/lib.rs", SWITCH);
}

/** Checks that the library compiles; the errors say what does not. */
export function checkLibrary(copy: Copy): CompileError[] {
  const messages = cargo(copy, ["check", "--lib"]);
  return messages.flatMap(({ message }) =>
    message?.level === "error"
      ? [
          {
            text: message.rendered ?? message.message,
            places: (message.spans ?? []).map((span) => ({
              file: span.file_name,
              line: span.line_start,
            })),
          },
        ]
      : [],
  );
}

/** Compiles the test programs. */
export class Programs {
  readonly #paths: string[];

  constructor(copy: Copy) {
    const messages = cargo(copy, ["test", "--no-run", "--lib", "--test", TEST_PROGRAM]);
    this.#paths = messages.flatMap(({ executable, profile }) =>
      profile?.test && executable ? [executable] : [],
    );
    if (this.#paths.length < 2) {
      const errors = messages.flatMap(({ message }) =>
        message?.level === "error" ? [message.rendered ?? message.message] : [],
      );
      throw new Error(`the copy does not compile:\n${errors.join("\n")}`);
    }
  }

  /** Throws unless all tests pass without a change. */
  async checkSound(): Promise<void> {
    for (const run of [this.decisions(0), this.simulation(0)]) {
      const { failed, passed } = await run;
      if (failed.length > 0 || passed === 0) {
        throw new Error(`without a change ${passed} tests pass and ${failed.join(", ")} fail`);
      }
    }
  }

  /** Runs the tests of single decisions with a change. */
  decisions(change: number): Promise<Outcome> {
    const args = SIMULATION.flatMap((name) => ["--skip", name]);
    return this.#run(change, args, { limitMs: DECISIONS_LIMIT_MS, stopsAtFailure: false });
  }

  /** Runs the sweeps and the random histories with a change, until one of them fails. */
  simulation(change: number): Promise<Outcome> {
    return this.#run(change, SIMULATION, { limitMs: SIMULATION_LIMIT_MS, stopsAtFailure: true });
  }

  async #run(
    change: number,
    args: readonly string[],
    how: { limitMs: number; stopsAtFailure: boolean },
  ): Promise<Outcome> {
    const outcome: Outcome = { failed: [], passed: 0 };
    for (const path of this.#paths) {
      await runProgram(path, args, { change, outcome, ...how });
      if (how.stopsAtFailure && outcome.failed.length > 0) break;
    }
    return outcome;
  }
}

async function runProgram(
  path: string,
  args: readonly string[],
  how: { change: number; outcome: Outcome; limitMs: number; stopsAtFailure: boolean },
): Promise<void> {
  const { outcome } = how;
  const child = spawn(path, args, {
    env: {
      ...process.env,
      CHANGE: String(how.change),
      SIMULATION_RUNS: RANDOM_HISTORIES,
      // A change is caught by what it breaks, not by how many states it leads to.
      SIMULATION_FIGURES: "any",
      SIMULATION_SWEEP: "small",
    },
    stdio: ["ignore", "pipe", "ignore"],
  });
  const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
  const timer = setTimeout(() => child.kill("SIGKILL"), how.limitMs);
  let hasFailed = false;
  for await (const line of createInterface({ input: child.stdout })) {
    const [, name = "", verdict] = /^test (\S+) \.\.\. (ok|FAILED)$/.exec(line) ?? [];
    if (verdict === "ok") outcome.passed += 1;
    if (verdict !== "FAILED") continue;
    outcome.failed.push(name);
    hasFailed = true;
    if (how.stopsAtFailure) child.kill("SIGKILL");
  }
  const status = await closed;
  clearTimeout(timer);
  if (!hasFailed && status !== 0) outcome.failed.push("a test did not end");
}

interface CargoMessage {
  executable?: string;
  profile?: { test?: boolean };
  message?: {
    level: string;
    message: string;
    rendered?: string;
    spans?: { file_name: string; line_start: number }[];
  };
}

function cargo(copy: Copy, [command = "", ...args]: string[]): CargoMessage[] {
  const { stdout } = spawnSync(
    "cargo",
    [command, "--locked", "--message-format=json", "-p", "cloud-agent-session", ...args],
    {
      cwd: copy.root,
      env: { ...process.env, CARGO_TARGET_DIR: copy.target },
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
      timeout: BUILD_LIMIT_MS,
      maxBuffer: 2 ** 30,
    },
  );
  return stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as CargoMessage);
}
