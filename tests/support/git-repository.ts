// A bare repository of the git server, and what tests want to know about it.

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { git } from "./git-command.ts";
import type { Misbehaviour } from "./git-misbehaviour.ts";

/** One commit of a branch. */
export interface Commit {
  hash: string;
  author: string;
  email: string;
  subject: string;
}

/** How a repository begins. */
export interface RepositoryOptions {
  /** Files of the first commit by path; a README by default. */
  files?: Record<string, string | Buffer>;
  /** Name of the first branch, `main` by default. */
  branch?: string;
  /** Whether anybody may read without logging in. */
  anonymousRead?: boolean;
}

/** A bare repository on disk. */
export class GitRepository {
  readonly name: string;
  readonly folder: string;
  readonly url: string;
  readonly anonymousRead: boolean;
  /** What the server does wrong for this repository, asked once for every request. */
  misbehaviour: Misbehaviour | undefined;

  constructor(name: string, folder: string, url: string, anonymousRead: boolean) {
    this.name = name;
    this.folder = folder;
    this.url = url;
    this.anonymousRead = anonymousRead;
  }

  /** Names of all branches. */
  async branches(): Promise<string[]> {
    const text = await git(this.folder, [
      "for-each-ref",
      "--format=%(refname:short)",
      "refs/heads",
    ]);
    return text.split("\n").filter((line) => line !== "");
  }

  /** Commits of a branch, the newest first; none when the branch does not exist. */
  async commits(branch: string): Promise<Commit[]> {
    if (!(await this.branches()).includes(branch)) return [];
    const text = await git(this.folder, [
      "log",
      "--format=%H%x00%an%x00%ae%x00%s",
      `refs/heads/${branch}`,
    ]);
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const [hash = "", author = "", email = "", subject = ""] = line.split("\0");
        return { hash, author, email, subject };
      });
  }

  /** Paths of all files of a branch. */
  async files(branch: string): Promise<string[]> {
    const text = await git(this.folder, [
      "ls-tree",
      "-r",
      "-z",
      "--name-only",
      `refs/heads/${branch}`,
    ]);
    return text.split("\0").filter((path) => path !== "");
  }

  /** Content of one file of a branch. */
  readFile(branch: string, path: string): Promise<string> {
    return git(this.folder, ["show", `refs/heads/${branch}:${path}`]);
  }

  /** Adds a commit to a branch, as somebody else who works on the repository would; makes the branch if need be. */
  async commit(
    branch: string,
    files: Record<string, string | Buffer>,
    subject: string,
  ): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), "git-commit-"));
    try {
      await git(folder, ["clone", "--quiet", this.folder, "work"]);
      const work = join(folder, "work");
      const exists = (await this.branches()).includes(branch);
      await git(work, ["checkout", "--quiet", ...(exists ? [branch] : ["-b", branch])]);
      await writeFiles(work, files);
      await git(work, ["add", "--all"]);
      await git(work, ["commit", "--quiet", "-m", subject]);
      await git(work, ["push", "--quiet", "origin", branch]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

/** Makes a bare repository at `folder` with one commit. */
export async function initializeRepository(
  folder: string,
  options: RepositoryOptions,
): Promise<void> {
  const branch = options.branch ?? "main";
  const work = await mkdtemp(join(tmpdir(), "git-initial-"));
  try {
    await git(work, ["init", "--quiet", `--initial-branch=${branch}`]);
    await writeFiles(work, options.files ?? { "README.md": "# A repository\n" });
    await git(work, ["add", "--all"]);
    await git(work, ["commit", "--quiet", "-m", "Initial commit"]);
    await mkdir(dirname(folder), { recursive: true });
    await git(work, ["clone", "--quiet", "--bare", "--no-hardlinks", work, folder]);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function writeFiles(folder: string, files: Record<string, string | Buffer>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    const target = join(folder, path);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, content);
  }
}
