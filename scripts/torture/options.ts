// What a run does: how much, for how long, and from which seed.

import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import type { OriginCredentials } from "../support/stack.ts";

/** A run. */
export interface Options {
  /** Repeats what is sent and when something is killed, as far as the machine's timing allows. */
  seed: number;
  sessions: number;
  messages: number;
  workerKills: number;
  runtimeKills: number;
  /** How often users stop a session. */
  interrupts: number;
  /** How many more sessions are made and deleted while they work. */
  deletions: number;
  originCredentials: OriginCredentials;
  /** How long clients may take to have everything acknowledged. */
  sendingMs: number;
  /** How long everything may take to come to rest afterwards. */
  restMs: number;
  /** Whether the state folder stays, with the logs in it. */
  keep: boolean;
  /** Whether what changed is built first. */
  build: boolean;
}

const SHORT = {
  sessions: 4,
  messages: 160,
  workerKills: 16,
  runtimeKills: 10,
  interrupts: 8,
  deletions: 4,
  seconds: 600,
};
const FULL = {
  sessions: 8,
  messages: 2000,
  workerKills: 200,
  runtimeKills: 100,
  interrupts: 60,
  deletions: 30,
  seconds: 7200,
};
/** Longer than the retries of a message that found the runtime down a few times. */
const REST_MS = 600_000;

const NUMBERS = [
  "seed",
  "sessions",
  "messages",
  "worker-kills",
  "runtime-kills",
  "interrupts",
  "deletions",
  "seconds",
];
const ORIGIN_CREDENTIALS = "origin-credentials";

/** A mistake of the person at the terminal. */
export class UsageError extends Error {}

/** Reads the command line. Throws {@link UsageError}. */
export function readOptions(args: string[]): Options {
  const values = parse(args);
  const size = values.full === true ? FULL : SHORT;
  const number = (name: string, otherwise: number) => {
    const text = values[name];
    if (typeof text !== "string") return otherwise;
    if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--${name} must be a whole number`);
    return Number(text);
  };
  const sessions = number("sessions", size.sessions);
  const messages = number("messages", size.messages);
  if (sessions < 1) throw new UsageError("--sessions must be at least 1");
  if (messages < sessions) throw new UsageError("--messages must be at least one a session");
  return {
    seed: number("seed", randomInt(1, 1_000_000)),
    sessions,
    messages,
    workerKills: number("worker-kills", size.workerKills),
    runtimeKills: number("runtime-kills", size.runtimeKills),
    interrupts: number("interrupts", size.interrupts),
    deletions: number("deletions", size.deletions),
    originCredentials: originCredentials(values[ORIGIN_CREDENTIALS]),
    sendingMs: number("seconds", size.seconds) * 1000,
    restMs: REST_MS,
    keep: values.keep === true,
    build: values["no-build"] !== true,
  };
}

function originCredentials(value: string | boolean | undefined): OriginCredentials {
  if (value === undefined || value === "helper") return "helper";
  if (value === "url") return "url";
  throw new UsageError(`--${ORIGIN_CREDENTIALS} must be helper or url`);
}

function parse(args: string[]): Record<string, string | boolean | undefined> {
  const strings = [...NUMBERS, ORIGIN_CREDENTIALS].map((name) => [
    name,
    { type: "string" as const },
  ]);
  const flags = ["full", "keep", "no-build"].map((name) => [name, { type: "boolean" as const }]);
  try {
    return parseArgs({ args, options: Object.fromEntries([...strings, ...flags]) })
      .values as Record<string, string | boolean | undefined>;
  } catch (error) {
    const reason = error instanceof Error ? error.message.split(". ")[0] : String(error);
    const known = NUMBERS.map((name) => `--${name} N`).join(", ");
    throw new UsageError(
      `${reason}; known are ${known}, --${ORIGIN_CREDENTIALS}, --full, --keep and --no-build`,
    );
  }
}
