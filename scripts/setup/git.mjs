// git with its HTTP backend, at a version without the known holes through which a hostile
// repository runs code at clone time (the newest of them: CVE-2025-48384).

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { answerOf } from "./command.mjs";
import { hasApt, installPackages } from "./debian-packages.mjs";
import { SetupError } from "./report.mjs";

/** First safe patch level of each maintained line; newer lines are safe from their start. */
const SAFE_PATCH = { 43: 7, 44: 4, 45: 4, 46: 4, 47: 3, 48: 2, 49: 1, 50: 1 };
const NEWEST_LISTED = 50;
const NEWEST_HOLE = "CVE-2025-48384";
const DEBIAN_CHANGELOG = "/usr/share/doc/git/changelog.Debian.gz";

/** What is wrong with the git in PATH as a sentence, or `undefined` when it will do. */
function complaint() {
  const version = answerOf("git", ["--version"])
    ?.match(/(\d+)\.(\d+)\.(\d+)/)
    ?.slice(1)
    .map(Number);
  if (!version) return "git is missing.";
  const programs = answerOf("git", ["--exec-path"]) ?? "";
  if (!existsSync(join(programs, "git-http-backend"))) {
    return `git's HTTP server program is missing (git-http-backend in ${programs}).`;
  }
  if (!isSafe(version) && !distributionFixed(programs)) {
    return `git ${version.join(".")} is open to ${NEWEST_HOLE}; install 2.47.3, 2.50.1 or newer.`;
  }
  return undefined;
}

/**
 * Whether git's own release of that version is without the known holes.
 *
 * @param {number[]} version major, minor and patch
 */
export function isSafe([major, minor, patch]) {
  if (major !== 2) return major > 2;
  if (minor > NEWEST_LISTED) return true;
  return patch >= (SAFE_PATCH[minor] ?? Number.POSITIVE_INFINITY);
}

/** Distributions mend old versions without renaming them; their changelog names the hole. */
function distributionFixed(programs) {
  if (!programs.startsWith("/usr/lib/")) return false;
  try {
    return gunzipSync(readFileSync(DEBIAN_CHANGELOG)).toString("utf8").includes(NEWEST_HOLE);
  } catch {
    return false;
  }
}

/** Whether git will do. */
export function hasGit() {
  return complaint() === undefined;
}

/** Installs or renews Debian's git; elsewhere, or when that does not help, says what is wrong. */
export async function installGit() {
  if (hasApt()) await installPackages(["git"]);
  const problem = complaint();
  if (problem) throw new SetupError(`${problem} Set-up found no way to install a fitting git.`);
}
