// Runtime and Worker side by side in one folder, for the demo and the end-to-end tests.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client, ClientOptions } from "./client.ts";
import { clientOf } from "./client.ts";
import { type Variables, workerBuildFolder } from "./configuration.ts";
import { RuntimeProcess } from "./runtime-process.ts";
import { freshSecrets, type Secrets } from "./secrets.ts";
import { type Service, WorkerProcess } from "./worker-process.ts";

/** How `git remote get-url origin` looks in a workspace; see `ORIGIN_CREDENTIALS`. */
export type OriginCredentials = "helper" | "url";

/** How to start a stack. */
export interface StackOptions {
  /** `host:port` of the git servers that may be plain http on a private address. */
  allowedHosts?: readonly string[];
  originCredentials?: OriginCredentials;
  /** Which build of the Worker to run. */
  build?: "deployed" | "faults";
  /** More variables of the Worker; an empty one takes a variable away. */
  worker?: Variables;
  /** Workers that it is bound to. `runtimeUrl` is where the runtime is. */
  services?: (runtimeUrl: string) => Readonly<Record<string, Service>>;
  /** More variables of the runtime. */
  runtime?: Variables;
  /** State folder; a temporary one, removed by `close()`, when absent. */
  folder?: string;
  /** Names of bindings that are R2 buckets. */
  buckets?: readonly string[];
  /** Whether the program closes the stack on signals; see `WorkerOptions`. */
  handlesSignals?: boolean;
}

/** A running stack; see {@link startStack}. */
export class Stack {
  /** Everything that is stored lies below it. */
  readonly folder: string;
  readonly secrets: Secrets;
  readonly runtime: RuntimeProcess;
  readonly worker: WorkerProcess;
  readonly originCredentials: OriginCredentials;
  /** Heads and bodies of all replies to clients of this stack, for tests that look for what must not be there. */
  readonly replies: string[] = [];
  readonly #removeFolder: boolean;

  constructor(parts: {
    folder: string;
    secrets: Secrets;
    runtime: RuntimeProcess;
    worker: WorkerProcess;
    originCredentials: OriginCredentials;
    removeFolder: boolean;
  }) {
    this.folder = parts.folder;
    this.secrets = parts.secrets;
    this.runtime = parts.runtime;
    this.worker = parts.worker;
    this.originCredentials = parts.originCredentials;
    this.#removeFolder = parts.removeFolder;
  }

  /** A stock client of `userId`. */
  client(userId: string, more: Partial<ClientOptions> = {}): Client {
    const recording: typeof fetch = async (input, init) => {
      const reply = await fetch(input, init);
      const body = await reply.clone().text();
      this.replies.push(JSON.stringify([...reply.headers]), body);
      return reply;
    };
    return clientOf(userId, this.worker.url, this.secrets, { fetch: recording, ...more });
  }

  /** The folder that holds all workspaces. */
  get workspaces(): string {
    return join(this.folder, "workspaces");
  }

  /** The folder of a session's git workspace. */
  workspace(sessionId: string): string {
    return join(this.workspaces, sessionId, "repo");
  }

  /** All log lines of both processes. */
  get logLines(): string[] {
    return [...this.worker.log.lines, ...this.runtime.log.lines];
  }

  /** Stops both processes and removes a temporary folder. */
  async close(): Promise<void> {
    await Promise.all([this.worker.stop(), this.runtime.stop()]);
    if (this.#removeFolder) await rm(this.folder, { recursive: true, force: true });
  }
}

/** Starts a runtime and a Worker that is bound to it by its URL. */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "cloud-agent-session-")));
  const secrets = freshSecrets();
  const allowed: Variables =
    options.allowedHosts === undefined ? {} : { DEV_ALLOWED_HOSTS: options.allowedHosts.join(",") };
  const originCredentials = options.originCredentials ?? "helper";
  const runtime = await RuntimeProcess.start({
    variables: {
      ...allowed,
      RUNTIME_TOKEN: secrets.RUNTIME_TOKEN,
      ORIGIN_CREDENTIALS: originCredentials,
      ...options.runtime,
      WORKSPACE_ROOT: join(folder, "workspaces"),
    },
  });
  try {
    const worker = await WorkerProcess.start({
      build: workerBuildFolder(options.build),
      storage: join(folder, "worker"),
      handlesSignals: options.handlesSignals ?? false,
      services: options.services?.(runtime.url) ?? {},
      buckets: options.buckets ?? [],
      variables: {
        ...allowed,
        ...secrets,
        ENVIRONMENT: "development",
        DRAIN_DELAY_MS: "20",
        RUNTIME_URL: runtime.url,
        ...options.worker,
      },
    });
    const removeFolder = options.folder === undefined;
    return new Stack({ folder, secrets, runtime, worker, originCredentials, removeFolder });
  } catch (error) {
    await runtime.stop();
    throw error;
  }
}
