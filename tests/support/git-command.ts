// Runs git for tests without anything of the machine's own configuration.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Environment of a git process that reads no configuration of the machine and asks nobody for anything. */
export function gitEnvironment(extra: Record<string, string> = {}): Record<string, string> {
  return {
    PATH: process.env.PATH ?? "/usr/bin:/bin",
    HOME: "/nonexistent",
    LC_ALL: "C",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "/bin/false",
    GIT_AUTHOR_NAME: "Test Author",
    GIT_AUTHOR_EMAIL: "author@example.com",
    GIT_COMMITTER_NAME: "Test Author",
    GIT_COMMITTER_EMAIL: "author@example.com",
    ...extra,
  };
}

/** Runs git in `folder` and returns what it prints; throws with its standard error when it fails. */
export async function git(
  folder: string,
  args: readonly string[],
  environment: Record<string, string> = {},
): Promise<string> {
  // A folder is removed right after git has ended, so nothing may go on in the background.
  const { stdout } = await run("git", ["-c", "maintenance.auto=false", ...args], {
    cwd: folder,
    env: gitEnvironment(environment),
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout;
}
