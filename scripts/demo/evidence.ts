// What the demo can see of reality: the git server's log, the workspace, the files and the processes.

import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type FileFind, findInFiles, findInText, type Needle } from "../../tests/support/canary.ts";
import { git } from "../../tests/support/git-command.ts";
import type { GitServer, RequestRecord } from "../../tests/support/git-server.ts";
import type { Stack } from "../support/stack.ts";

/** Status that the git server answers a fetch with `token` with; no git process holds the token for that. */
export async function statusWith(token: string, repositoryUrl: string): Promise<number> {
  const authorization = `Basic ${Buffer.from(`x-access-token:${token}`).toString("base64")}`;
  const reply = await fetch(`${repositoryUrl}/info/refs?service=git-upload-pack`, {
    headers: { authorization },
  });
  await reply.body?.cancel();
  return reply.status;
}

/** `5 requests, all with token 1`, or what else was there. */
export function describeRequests(records: readonly RequestRecord[]): string {
  const labels = [...new Set(records.map((record) => record.label))].sort();
  const who = labels.length === 1 ? `all with ${labels[0]}` : labels.join(" and ");
  return `${records.length} requests, ${who}`;
}

/** Whether there were requests, and all of them carried this token and were served. */
export function onlyWith(label: string, records: readonly RequestRecord[]): boolean {
  return (
    records.length > 0 && records.every((record) => record.label === label && record.status === 200)
  );
}

/** A session's git workspace, as somebody looking at the disk sees it. */
export class Workspace {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  exists(): boolean {
    return existsSync(this.folder);
  }

  /** Changes when the folder is made anew. */
  identity(): string {
    const { ino, birthtimeMs } = statSync(join(this.folder, ".git"));
    return `${ino} ${birthtimeMs}`;
  }

  read(file: string): string {
    return readFileSync(join(this.folder, file), "utf8");
  }

  /** Runs git in it, as the agent would. */
  async git(...args: string[]): Promise<string> {
    const text = await git(this.folder, ["-c", `safe.directory=${this.folder}`, ...args]);
    return text.trim();
  }

  async origin(): Promise<string> {
    return await this.git("remote", "get-url", "origin");
  }
}

/** Where a token was found although it must not be there. */
export interface Leaks {
  /** Files with a token that must not hold it. */
  files: FileFind[];
  /** Files that hold the newest token rightly. */
  rightful: FileFind[];
  /** Log lines. */
  logs: string[];
  /** Replies of the API. */
  replies: string[];
}

/** Looks through everything that a story left behind. `newest` names the token that may be in use. */
export function findLeaks(stack: Stack, needles: readonly Needle[], newest: string): Leaks {
  const files = findInFiles(stack.folder, needles);
  const rightful = files.filter(
    (find) =>
      find.needle.startsWith(`${newest} (`) && (isPrivate(find) || isGitConfiguration(find, stack)),
  );
  const namesIn = (texts: readonly string[]) =>
    texts.flatMap((text) => findInText("", text, needles).map((find) => find.needle));
  return {
    files: files.filter((find) => !rightful.includes(find)),
    rightful,
    logs: namesIn(stack.logLines),
    replies: namesIn(stack.replies),
  };
}

/** A file of the runtime that only its owner reads, outside of every repository. */
function isPrivate(find: FileFind): boolean {
  return find.mode === 0o600 && !find.place.split("/").includes("repo");
}

/** The one file of a repository that may hold the token, where `origin` is the authenticated URL. */
function isGitConfiguration(find: FileFind, stack: Stack): boolean {
  return stack.originCredentials === "url" && find.place.endsWith("/repo/.git/config");
}

/** The git requests that a piece of work makes, those without a credential aside. */
export async function requestsDuring(
  server: GitServer,
  work: () => Promise<unknown>,
): Promise<RequestRecord[]> {
  const mark = server.log.length;
  await work();
  return server.authenticatedSince(mark);
}
