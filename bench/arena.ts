// The driver and the contenders, side by side in one workerd.

import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { Miniflare, type WorkerOptions } from "miniflare";
import {
  readWorkerConfiguration,
  type Variables,
  workerBuildFolder,
} from "../scripts/support/configuration.ts";
import { bearer, freshSecrets } from "../scripts/support/secrets.ts";
import { bundle } from "./bundle.ts";
import type { Call, Job, Outcome } from "./workers/driver.ts";

/** Who takes part. `counted` is ours with counters around its storage; its times mean nothing. */
export type Contender = "ours" | "floor" | "peer" | "counted" | "replayer";

const CLASS_NAMES: Record<Contender, string> = {
  ours: "CloudAgentSession",
  floor: "Session",
  peer: "Session",
  counted: "CloudAgentSession",
  replayer: "Session",
};

/** How to start an arena. */
export interface ArenaOptions {
  /** Where the objects' files go: below this folder, in one of the arena's own. */
  parent: string;
  /** More variables for all contenders. */
  variables?: Variables;
}

const USER = "bench";
/** So long that no message is delivered while its admission is measured. */
const HELD_BACK_MS = String(60 * 60 * 1000);
const LAST_WORDS_CHARS = 2_000;

/** A running arena. */
export class Arena {
  /** Folder with the objects' files. */
  readonly folder: string;
  /** The user whose sessions they are. */
  readonly user = USER;
  readonly #options: () => WorkerOptions[];
  readonly #headers: Record<string, string>;
  #miniflare: Miniflare | undefined;
  #url = "";
  /** The end of what workerd has printed about errors. */
  #lastWords = "";

  private constructor(
    folder: string,
    options: () => WorkerOptions[],
    headers: Record<string, string>,
  ) {
    this.folder = folder;
    this.#options = options;
    this.#headers = headers;
  }

  static async start({ parent, variables = {} }: ArenaOptions): Promise<Arena> {
    const folder = await mkdtemp(join(parent, "cloud-agent-bench-"));
    const { compatibilityDate, vars } = readWorkerConfiguration();
    const secrets = freshSecrets();
    const bindings = {
      ...vars,
      ENVIRONMENT: "development",
      RUNTIME_URL: "http://127.0.0.1:9",
      DRAIN_DELAY_MS: HELD_BACK_MS,
      ...secrets,
      ...variables,
    };
    const [driver, floor, peer, counted, replayer] = await Promise.all(
      ["driver.ts", "floor.ts", "peer/index.ts", "counted.ts", "replayer.ts"].map(bundle),
    );
    const build = workerBuildFolder();
    const compiled = [
      { type: "ESModule", path: "worker-under-test.js", contents: text(build, "index.js") },
      { type: "CompiledWasm", path: "index_bg.wasm", contents: bytes(build, "index_bg.wasm") },
    ] as const;
    const contender = (name: Contender, modules: WorkerOptions["modules"]) =>
      ({
        name,
        compatibilityDate,
        modulesRoot: "/",
        modules,
        bindings,
        durableObjects: { SESSIONS: { className: CLASS_NAMES[name], useSQLite: true } },
      }) as WorkerOptions;
    const script = (contents = "") => [{ type: "ESModule" as const, path: "index.js", contents }];
    const contenders = Object.keys(CLASS_NAMES);
    const options = (): WorkerOptions[] => [
      {
        name: "driver",
        compatibilityDate,
        modulesRoot: "/",
        modules: script(driver),
        serviceBindings: Object.fromEntries(contenders.map((name) => [name, name])),
      } as WorkerOptions,
      contender("ours", [{ ...compiled[0], path: "index.js" }, { ...compiled[1] }]),
      contender("floor", script(floor)),
      contender("peer", script(peer)),
      contender("replayer", script(replayer)),
      contender("counted", [...script(counted), ...compiled]),
    ];
    const arena = new Arena(folder, options, {
      authorization: `Bearer ${bearer(secrets.AUTH_JWT_SECRET, USER)}`,
      "x-internal-api-key": secrets.INTERNAL_API_SECRET,
      "content-type": "application/json",
    });
    await arena.resume();
    return arena;
  }

  /** Starts workerd again after {@link pause}, on the same files. */
  async resume(): Promise<void> {
    this.#miniflare = new Miniflare({
      host: "127.0.0.1",
      port: 0,
      cf: false,
      logRequests: false,
      durableObjectsPersist: this.folder,
      handleRuntimeStdio: (stdout: Readable, stderr: Readable) => {
        stdout.resume();
        stderr.on("data", (chunk) => {
          this.#lastWords = `${this.#lastWords}${chunk}`.slice(-LAST_WORDS_CHARS);
        });
      },
      workers: this.#options(),
    });
    this.#url = (await this.#miniflare.ready).origin;
  }

  /** Ends workerd and keeps the files. */
  async pause(): Promise<void> {
    await this.#miniflare?.dispose();
    this.#miniflare = undefined;
  }

  /** Ends workerd and removes the files. */
  async close(): Promise<void> {
    await this.pause();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Sends calls and returns the milliseconds until the last one was answered. */
  async time(contender: Contender, lanes: Call[][]): Promise<number> {
    return (await this.#run({ contender, lanes, wantsReplies: false })).ms;
  }

  /** Sends calls and returns what they were answered with. */
  async ask(contender: Contender, lanes: Call[][]): Promise<unknown[][]> {
    const { replies } = await this.#run({ contender, lanes, wantsReplies: true });
    return replies.map((lane) => lane.map((text) => JSON.parse(text)));
  }

  /** Where a client connects a socket to a contender. */
  socketUrl(contender: Contender, query: Record<string, string>): string {
    const url = new URL("/stream", this.#url);
    url.protocol = "ws:";
    url.search = new URLSearchParams({ contender, ...query }).toString();
    return url.href;
  }

  /** Puts a session's object out of memory. */
  async evict(contender: Contender, sessionId: string): Promise<void> {
    const name = `${USER}:${sessionId}`;
    await this.#miniflare?.unsafeEvictDurableObject(contender, CLASS_NAMES[contender], { name });
  }

  /** The folder with the SQLite files of a contender's objects. */
  objectFolder(contender: Contender): string {
    return join(this.folder, `${contender}-${CLASS_NAMES[contender]}`);
  }

  async #run(job: Omit<Job, "headers">): Promise<Outcome> {
    try {
      const body = JSON.stringify({ ...job, headers: this.#headers });
      // A connection that was idle may be closed by the time it is used again.
      const headers = { connection: "close" };
      const reply = await fetch(this.#url, { method: "POST", headers, body });
      if (!reply.ok) throw new Error(`status ${reply.status}: ${await reply.text()}`);
      return (await reply.json()) as Outcome;
    } catch (error) {
      throw new Error(`the driver failed: ${error}; workerd's last words:\n${this.#lastWords}`);
    }
  }
}

function text(folder: string, name: string): string {
  return readFileSync(join(folder, name), "utf8");
}

function bytes(folder: string, name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(join(folder, name)));
}
