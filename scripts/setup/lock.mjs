// A lock between processes on one machine. The holder writes its pid and touches the file every
// few seconds, so that a lock is taken over when its holder is dead or has stopped touching it.

import {
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const HEARTBEAT_MS = 2_000;
const STALE_MS = 30_000;
const POLL_MS = 250;

/**
 * Runs `work` while holding the lock `file`. `onWait` is called once when another live process
 * holds it; there is no limit on the wait, since the holder is known to be alive.
 */
export async function withLock(file, onWait, work) {
  mkdirSync(dirname(file), { recursive: true });
  let told = false;
  while (!tryTake(file)) {
    const holder = readHolder(file);
    if (holder && isStale(holder)) {
      discard(file, holder);
      continue;
    }
    if (!told) onWait();
    told = true;
    await sleep(POLL_MS);
  }
  const heartbeat = setInterval(() => touch(file), HEARTBEAT_MS);
  const release = () => rmSync(file, { force: true });
  process.once("exit", release);
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    process.removeListener("exit", release);
    release();
  }
}

function tryTake(file) {
  try {
    writeFileSync(file, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
}

function readHolder(file) {
  try {
    return { pid: Number(readFileSync(file, "utf8")), touchedMs: statSync(file).mtimeMs };
  } catch {
    return undefined; // Released between the two looks.
  }
}

function isStale({ pid, touchedMs }) {
  if (Date.now() - touchedMs > STALE_MS) return true;
  // An empty file is one whose holder has not written its pid yet.
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error.code === "ESRCH";
  }
}

/**
 * Removes a stale lock by renaming it first: of several waiters only one rename of that file
 * succeeds. Should it have caught a fresh lock instead, that one is put back.
 */
function discard(file, stale) {
  const aside = `${file}.${process.pid}`;
  try {
    renameSync(file, aside);
    if (readFileSync(aside, "utf8") !== String(stale.pid)) renameSync(aside, file);
  } catch {
    // Another waiter was quicker.
  }
  rmSync(aside, { force: true });
}

function touch(file) {
  try {
    const now = new Date();
    utimesSync(file, now, now);
  } catch {
    // The cache folder was deleted while set-up ran; the work itself goes on.
  }
}
