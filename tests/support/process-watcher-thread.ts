// The thread behind process-watcher.ts.

import { readdirSync, readFileSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { type Find, findInText, type Needle } from "./canary.ts";
import type { Watch } from "./process-watcher.ts";

const INTERVAL_MS = 10;
/** A process's environment changes only when it becomes another program; all are read again this often. */
const ENVIRONMENT_ROUNDS = 10;

const needles = workerData as Needle[];
const finds = new Map<string, Find>();
/** Arguments by process id, as last seen. */
const seen = new Map<string, string>();
let rounds = 0;
let processes = 0;
let gapMs = 0;
let last = performance.now();

function look(): void {
  const now = performance.now();
  gapMs = Math.max(gapMs, now - last);
  last = now;
  for (const pid of readdirSync("/proc")) {
    if (/^\d/.test(pid)) lookAt(pid);
  }
  rounds += 1;
}

function lookAt(pid: string): void {
  const argv = read(pid, "cmdline");
  const before = seen.get(pid);
  if (argv === undefined) {
    seen.delete(pid);
    return;
  }
  if (before === undefined) processes += 1;
  seen.set(pid, argv);
  if (argv !== before) note(`arguments of ${nameOf(argv)}`, argv);
  if (argv !== before || (rounds + Number(pid)) % ENVIRONMENT_ROUNDS === 0) {
    note(`environment of ${nameOf(argv)}`, read(pid, "environ") ?? "");
  }
}

/** Undefined when the process ended meanwhile or belongs to somebody else. */
function read(pid: string, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "latin1");
  } catch {
    return undefined;
  }
}

function nameOf(argv: string): string {
  const [program = "", command = ""] = argv.split("\0");
  // Only words that cannot hold a secret are repeated.
  return [program, command].filter((word) => /^[A-Za-z0-9._/-]{1,60}$/.test(word)).join(" ");
}

function note(place: string, text: string): void {
  for (const find of findInText(place, text, needles)) {
    finds.set(`${find.place} ${find.needle}`, find);
  }
}

look();
parentPort?.postMessage("watching");
const timer = setInterval(look, INTERVAL_MS);
parentPort?.once("message", () => {
  clearInterval(timer);
  const watch: Watch = { finds: [...finds.values()], rounds, processes, gapMs };
  parentPort?.postMessage(watch);
});
