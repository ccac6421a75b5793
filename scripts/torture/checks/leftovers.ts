// Nothing is left behind: no process, no half workspace, no turn that is still open, no work that was not published.

import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { findInFiles, needlesOf } from "../../../tests/support/canary.ts";
import { git } from "../../../tests/support/git-command.ts";
import type { GitRepository } from "../../../tests/support/git-repository.ts";
import type { Stack } from "../../support/stack.ts";
import type { Findings } from "../findings.ts";
import type { DeletedSession, SessionHistory } from "../history.ts";
import { remainsOfDeleted, type StoredSession } from "../objects.ts";

const TEMPORARY = /tmp|temp|partial/i;

/** Checks the folder of a session in the runtime's store. */
export async function checkWorkspace(
  stack: Stack,
  session: SessionHistory,
  findings: Findings,
): Promise<void> {
  const folder = join(stack.workspaces, session.id);
  for (const part of ["", "runtime", "credential", "runtime/open-turns"]) {
    const names = entries(join(folder, part)).filter((name) => TEMPORARY.test(name));
    findings.check(names.length === 0, `${session.id}/${part} keeps temporary ${names.join(", ")}`);
  }
  const open = entries(join(folder, "runtime", "open-turns"));
  findings.check(open.length === 0, `${session.id} keeps open turns: ${open.join(", ")}`);
  const workspace = stack.workspace(session.id);
  findings.check(existsSync(join(workspace, "README.md")), `${session.id} has a half workspace`);
  const problem = await problemOf(workspace);
  findings.check(problem === undefined, `git finds ${session.id} damaged: ${problem}`);
}

/** Of a deleted session nothing is left, neither with the object nor with the runtime. */
export function checkDeleted(
  stack: Stack,
  deleted: readonly DeletedSession[],
  findings: Findings,
): void {
  const stored = remainsOfDeleted(stack, deleted);
  for (const { id } of deleted) {
    findings.check(!stored.includes(id), `${id} was deleted and rows of it are stored`);
    const names = entries(join(stack.workspaces, id)).join(", ");
    findings.check(names === "", `${id} was deleted and its workspace keeps ${names}`);
  }
  // One search for all of them: the folder is large.
  const needles = deleted.flatMap(({ id, tokens }) =>
    tokens.flatMap((token) => needlesOf(`the token of ${id}`, token)),
  );
  const [found] = findInFiles(stack.folder, needles);
  findings.check(
    found === undefined,
    `${found?.needle} was deleted with its session and is in ${found?.place}`,
  );
}

function entries(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

async function problemOf(workspace: string): Promise<string | undefined> {
  try {
    await git(workspace, ["fsck", "--no-progress", "--connectivity-only", "--no-dangling"]);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Every message that completed and was to be committed is on the git server. */
export async function checkPublished(
  repository: GitRepository,
  session: SessionHistory,
  stored: StoredSession,
  findings: Findings,
): Promise<void> {
  const phases = new Map(stored.messages.map((row) => [row.message_id, row.phase]));
  const committed = session.messages.filter(
    ({ messageId, autoCommit }) => autoCommit && phases.get(messageId) === "completed",
  );
  if (committed.length === 0) return;
  const notes: string[] = [];
  for (const branch of await repository.branches()) {
    notes.push(await git(repository.folder, ["show", `${branch}:NOTES.md`]).catch(() => ""));
  }
  const published = notes.join("\n");
  for (const { messageId } of committed) {
    findings.check(
      published.includes(messageId),
      "the message completed and its commit was never pushed",
      messageId,
    );
  }
}

/** Checks that of all processes that belong to a run, only those of `expected` are there. */
export function checkProcesses(
  folders: readonly string[],
  expected: readonly (number | undefined)[],
  findings: Findings,
): void {
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    if (expected.includes(Number(name))) continue;
    const what = nameOf(name, folders);
    findings.check(what === undefined, `process ${name} is left behind: ${what}`);
  }
}

/** The command of a process of the run; undefined when it is none, or has ended. */
function nameOf(pid: string, folders: readonly string[]): string | undefined {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
    const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
    const directory = readlinkSync(`/proc/${pid}/cwd`);
    const belongs = folders.some((folder) =>
      [command, environment, directory].some((text) => text.includes(folder)),
    );
    return belongs ? command.slice(0, 200) : undefined;
  } catch {
    return undefined;
  }
}
