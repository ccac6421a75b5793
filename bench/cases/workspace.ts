// Workspaces: the runtime against the same git commands by hand, over a real git server.

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { runtimeProgram } from "../../scripts/support/configuration.ts";
import { type GitServer, startGitServer } from "../../tests/support/git-server.ts";
import { times } from "../calls.ts";
import { RuntimeClient } from "../support/runtime-client.ts";
import { record, type Samples } from "./admission.ts";

const run = promisify(execFile);

/** Bytes of a file of the repositories. */
const FILE_BYTES = 1_000;
/** Files of a folder of the repositories. */
const FOLDER_FILES = 100;

/** Where the runtime and the commands work. */
interface Place {
  server: GitServer;
  runtime: RuntimeClient;
  folder: string;
}

/**
 * Milliseconds by what was done: `cold` and `commands` (the same git commands by hand), `clone` (a plain `git clone`),
 * `warm` and `ls-remote`.
 */
export async function measureWorkspaces(
  parent: string,
  files: number,
  rounds: number,
): Promise<Samples> {
  return await inPlace(parent, async (place) => {
    const samples: Samples = new Map();
    const content = times(files, (file) => [
      `folder-${Math.floor(file / FOLDER_FILES)}/file-${file}.txt`,
      `${file} `.repeat(FILE_BYTES).slice(0, FILE_BYTES),
    ]);
    const repository = await place.server.createRepository(`files-${files}`, {
      files: Object.fromEntries(content) as Record<string, string>,
    });
    const { url } = repository;
    const issue = (label: string) => place.server.tokens.issue(label);
    for (let round = 0; round <= rounds; round += 1) {
      const session = place.runtime.newSession();
      const token = issue(`round ${round}`);
      const hand = await HandCommands.create(place, url, token);
      const target = join(place.folder, `by-hand-${round}`);
      const steps: [string, () => Promise<number>][] = [
        ["cold", () => session.prepare({ url, generation: 1, token })],
        ["commands", () => hand.prepare(target, `session/round-${round}`)],
        ["clone", () => hand.clone(`${target}-plain`)],
        [
          "warm",
          () => session.prepare({ url, generation: 2, token: issue(`round ${round}, fresh`) }),
        ],
        ["ls-remote", () => hand.listRemote()],
      ];
      // Warm needs cold before it; otherwise who is first changes from round to round.
      const order = round % 2 === 0 ? [0, 1, 2, 3, 4] : [2, 1, 0, 4, 3];
      for (const index of order) {
        const [name, measure] = steps[index] ?? ["", async () => 0];
        const ms = await measure();
        if (round > 0) record(samples, name, ms);
      }
      // Nothing is removed between the rounds: ext4 passes over the inodes that were freed in the last minutes, one by one,
      // which makes a file that is created near them ten times as dear.
    }
    return samples;
  });
}

/** Megabytes of memory that the runtime holds with so many warm sessions. */
export async function measureMemory(parent: string, sessions: number): Promise<number> {
  return await inPlace(parent, async ({ server, runtime }) => {
    const { url } = await server.createRepository("small", {});
    const token = server.tokens.issue("memory");
    for (let session = 0; session < sessions; session += 1) {
      await runtime.newSession().prepare({ url, generation: 1, token });
    }
    const status = readFileSync(`/proc/${runtime.process.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024;
  });
}

async function inPlace<T>(parent: string, use: (place: Place) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(parent, "cloud-agent-bench-workspace-"));
  const server = await startGitServer();
  try {
    const runtime = await RuntimeClient.start({
      WORKSPACE_ROOT: join(folder, "workspaces"),
      DEV_ALLOWED_HOSTS: server.host,
      AGENT_COMMAND: JSON.stringify(["/bin/true"]),
    });
    try {
      return await use({ server, runtime, folder });
    } finally {
      await runtime.stop();
    }
  } finally {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** The git commands that the runtime runs, run one after the other by hand, with the same settings. */
class HandCommands {
  readonly #url: string;
  readonly #settings: string[];
  readonly #folder: string;

  private constructor(url: string, settings: string[], folder: string) {
    this.#url = url;
    this.#settings = settings;
    this.#folder = folder;
  }

  static async create({ folder }: Place, url: string, token: string): Promise<HandCommands> {
    const file = join(folder, "credential.json");
    await writeFile(file, JSON.stringify({ username: "x-access-token", token }), { mode: 0o600 });
    const { origin } = new URL(url);
    const helper = `${runtimeProgram()} git-credential --origin ${origin} --file ${file}`;
    const local = [
      "credential.helper=",
      "core.askPass=",
      "core.hooksPath=/dev/null",
      "core.fsmonitor=false",
      "submodule.recurse=false",
      "protocol.allow=never",
      "gc.auto=0",
      "maintenance.auto=false",
      "advice.detachedHead=false",
      "init.defaultBranch=main",
      "commit.gpgSign=false",
    ];
    const remote = [
      `credential.${origin}.helper=${helper}`,
      "http.followRedirects=false",
      "http.proxy=",
      "protocol.http.allow=always",
      "http.lowSpeedLimit=1000",
      "http.lowSpeedTime=30",
    ];
    const settings = [...local, ...remote].flatMap((setting) => ["-c", setting]);
    return new HandCommands(url, settings, folder);
  }

  /** What a cold workspace takes, on a branch that the remote has not. */
  async prepare(target: string, branch: string): Promise<number> {
    return await timed(async () => {
      await this.#git(this.#folder, [
        ...["clone", "--progress", "--no-checkout", "--no-recurse-submodules", "--template="],
        ...["--origin=origin", "--", this.#url, target],
      ]);
      const verify = ["rev-parse", "--verify", "--quiet", "--end-of-options"];
      await this.#git(target, [...verify, `refs/remotes/origin/${branch}^{commit}`], [0, 1]);
      await this.#git(target, [...verify, "HEAD^{commit}"]);
      await this.#git(target, ["checkout", "--progress", "--force", "-B", branch, "HEAD", "--"]);
      await this.#git(target, [...verify, "HEAD"]);
    });
  }

  /** One command that makes a working copy. */
  async clone(target: string): Promise<number> {
    return await timed(() => this.#git(this.#folder, ["clone", "--", this.#url, target]));
  }

  /** What proves a credential. */
  async listRemote(): Promise<number> {
    return await timed(() => this.#git(this.#folder, ["ls-remote", "--", this.#url]));
  }

  async #git(folder: string, words: string[], statuses: readonly number[] = [0]): Promise<void> {
    const env = {
      PATH: "/usr/bin:/bin",
      HOME: "/nonexistent",
      LC_ALL: "C",
      GIT_CONFIG_NOSYSTEM: "1",
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_TERMINAL_PROMPT: "0",
    };
    const ended = run("git", [...this.#settings, ...words], { cwd: folder, env });
    await ended.catch((error: { code?: number }) => {
      if (error.code === undefined || !statuses.includes(error.code)) throw error;
    });
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
