// Folders of set-up: the checkout, and a per-user cache that all clones share.

import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The root of this checkout. */
export const projectRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** The per-user cache: build tools, logs and the set-up lock. Safe to delete at any time. */
export const cacheFolder = join(
  process.env.XDG_CACHE_HOME || join(homedir(), ".cache"),
  "cloud-agent-session",
);

/** The log file of one set-up step. */
export function logFile(step) {
  return join(cacheFolder, "logs", `${step}.log`);
}
