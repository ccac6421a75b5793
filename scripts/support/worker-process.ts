// The Worker and its objects on workerd, as a child process that miniflare configures.

import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import * as miniflare from "miniflare";
import { readWorkerConfiguration, type Variables } from "./configuration.ts";
import { LogLines } from "./log-lines.ts";
import { waitFor } from "./wait.ts";

/** How to start a Worker. */
export interface WorkerOptions {
  /** Folder with `index.js` and `index_bg.wasm`. */
  build: string;
  /** Folder for everything that the objects store. */
  storage: string;
  /** Secrets and variables. They reach workerd through a pipe, never as arguments or files. */
  variables: Variables;
  /** Workers that it is bound to, by the binding's name. */
  services?: Readonly<Record<string, Service>>;
  /** Its port; a free one when it is 0. Kept over restarts. */
  port?: number;
  /**
   * Whether the program that starts it stops it on signals. Otherwise a signal ends the program, and workerd with it,
   * at once.
   */
  handlesSignals?: boolean;
  /** Names of bindings that are R2 buckets; what they store lies beside {@link storage}. */
  buckets?: readonly string[];
  /** Where containers run; without it there are none. */
  containers?: Containers;
}

/** A platform with containers. */
export interface Containers {
  /** The miniflare whose workerd runs containers with this engine. */
  miniflare: typeof miniflare;
  /** The newest compatibility date that it knows. */
  compatibilityDate: string;
  /** The engine's address, such as `unix:///run/engine.sock`. */
  engine: string;
  /** The image of every container. */
  image: string;
}

/** What is used of an R2 bucket; miniflare's own type of it needs the types of Workers. */
interface Bucket {
  put(key: string, content: Uint8Array): Promise<unknown>;
  delete(key: string): Promise<void>;
}

/** Another Worker beside the one that is started. */
export interface Service {
  /** Its only module. */
  script: string;
  variables: Variables;
}

/** Marks the workerd process of one start, so that it can be found among others. */
const MARK = "WORKER_PROCESS_MARK";

/** A Worker that can be stopped, killed and started again on the same files and port. */
export class WorkerProcess {
  readonly log = new LogLines();
  readonly #options: WorkerOptions;
  #variables: Variables;
  #port: number;
  #miniflare: miniflare.Miniflare | undefined;
  #mark = "";
  #onExit: (() => void) | undefined;

  private constructor(options: WorkerOptions) {
    this.#options = options;
    this.#variables = options.variables;
    this.#port = options.port ?? 0;
  }

  /** Starts a Worker and resolves when it serves. `prepare` may attach to its log before anything is printed. */
  static async start(
    options: WorkerOptions,
    prepare: (worker: WorkerProcess) => void = () => undefined,
  ): Promise<WorkerProcess> {
    const worker = new WorkerProcess(options);
    prepare(worker);
    await worker.start();
    return worker;
  }

  /** Base URL, without a slash at the end. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Folder with one SQLite file for each object. */
  get storage(): string {
    return this.#options.storage;
  }

  /** Puts an object into a bucket. */
  async putObject(bucket: string, key: string, content: Uint8Array): Promise<void> {
    await (await this.#bucket(bucket)).put(key, content);
  }

  /** Removes an object from a bucket. */
  async deleteObject(bucket: string, key: string): Promise<void> {
    await (await this.#bucket(bucket)).delete(key);
  }

  async #bucket(name: string): Promise<Bucket> {
    if (this.#miniflare === undefined) throw new Error("workerd does not run");
    const bucket: unknown = await this.#miniflare.getR2Bucket(name, "cloud-agent-session");
    return bucket as Bucket;
  }

  /** Calls `listener` when workerd ends without having been asked to. */
  onExit(listener: () => void): void {
    this.#onExit = listener;
  }

  /** Process id of workerd; undefined while it is down. */
  get pid(): number | undefined {
    return this.#miniflare === undefined ? undefined : findProcess(`${MARK}=${this.#mark}`);
  }

  /** Starts it after {@link stop} or {@link kill}, from now on with these variables in the place of earlier ones. */
  async start(variables: Variables = {}): Promise<void> {
    const { build, storage, containers } = this.#options;
    this.#variables = { ...this.#variables, ...variables };
    if (!existsSync(join(build, "index.js"))) {
      throw new Error(`${build} holds no Worker: run npm run build`);
    }
    const configuration = readWorkerConfiguration();
    mkdirSync(storage, { recursive: true });
    this.#mark = randomUUID();
    const removeSignalHandlers = signalHandlersSince();
    const platform = containers?.miniflare ?? miniflare;
    const compatibilityDate = containers?.compatibilityDate ?? configuration.compatibilityDate;
    const services = Object.entries(this.#options.services ?? {});
    const worker = {
      name: "cloud-agent-session",
      compatibilityDate,
      modulesRoot: build,
      modules: [
        { type: "ESModule" as const, path: join(build, "index.js") },
        { type: "CompiledWasm" as const, path: join(build, "index_bg.wasm") },
      ],
      bindings: { ...configuration.vars, ...this.#variables },
      serviceBindings: Object.fromEntries(services.map(([name]) => [name, serviceName(name)])),
      durableObjects: {
        SESSIONS: { className: "CloudAgentSession", useSQLite: true },
        ...(containers && { WORKSPACE: containerOwner(containers.image) }),
      },
      r2Buckets: [...(this.#options.buckets ?? [])],
      ...(containers && { containerEngine: containers.engine }),
    };
    const started = new platform.Miniflare({
      workers: [
        worker,
        ...services.map(([name, { script, variables: bindings }]) => ({
          name: serviceName(name),
          compatibilityDate,
          modules: true,
          script,
          bindings,
        })),
      ],
      host: "127.0.0.1",
      port: this.#port,
      durableObjectsPersist: storage,
      r2Persist: `${storage}-buckets`,
      cf: false,
      logRequests: false,
      log: lineLog(platform, this.log),
      unsafeRuntimeEnv: { [MARK]: this.#mark },
      handleRuntimeStdio: (stdout: Readable, stderr: Readable) => {
        this.log.attach(stdout, "stdout");
        this.log.attach(stderr, "stderr");
        stdout.once("end", () => {
          if (this.#miniflare === started) this.#onExit?.();
        });
      },
    });
    if (this.#options.handlesSignals === true) removeSignalHandlers();
    try {
      this.#port = Number((await started.ready).port);
    } catch (error) {
      await started.dispose().catch(() => undefined);
      throw new Error(
        `the Worker did not start: ${error instanceof Error ? error.message : error}`,
      );
    }
    this.#miniflare = started;
  }

  /** Takes an object out of memory, as the platform does with one that is idle; its sockets hibernate. */
  async evict(objectName: string): Promise<void> {
    if (this.#miniflare === undefined) throw new Error("workerd does not run");
    await this.#miniflare.unsafeEvictDurableObject("cloud-agent-session", "CloudAgentSession", {
      name: objectName,
      webSockets: "hibernate",
    });
  }

  /** Ends it. */
  async stop(): Promise<void> {
    const stopping = this.#miniflare;
    this.#miniflare = undefined;
    await stopping?.dispose();
  }

  /** Ends workerd as a crash does: SIGKILL, whatever it is doing. */
  async kill(): Promise<void> {
    const pid = this.pid;
    if (pid === undefined) throw new Error("workerd does not run");
    const stopped = this.stop();
    process.kill(pid, "SIGKILL");
    await stopped.catch(() => undefined);
    await waitFor("the end of workerd", () => !existsSync(`/proc/${pid}`));
  }
}

/** The name of the Worker behind a binding. */
const serviceName = (binding: string): string => `service-${binding.toLowerCase()}`;

/** Returns what removes the signal handlers that were added meanwhile: miniflare's end the program at once. */
function signalHandlersSince(): () => void {
  const signals = ["SIGINT", "SIGTERM"] as const;
  const before = new Map(signals.map((signal) => [signal, process.listeners(signal)]));
  return () => {
    for (const signal of signals) {
      for (const listener of process.listeners(signal)) {
        if (!before.get(signal)?.includes(listener)) process.off(signal, listener);
      }
    }
  };
}

/** The objects that own containers. */
const containerOwner = (imageName: string) => ({
  className: "WorkspaceContainer",
  useSQLite: true,
  container: { imageName },
});

/** Miniflare's own warnings, as lines of the Worker's log. */
function lineLog(platform: typeof miniflare, lines: LogLines): miniflare.Log {
  class LineLog extends platform.Log {
    override log(message: string): void {
      lines.append(message, "stderr");
    }
  }
  return new LineLog(platform.LogLevel.WARN);
}

function findProcess(variable: string): number | undefined {
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      if (readFileSync(`/proc/${name}/environ`, "latin1").split("\0").includes(variable)) {
        return Number(name);
      }
    } catch {
      // The process ended meanwhile, or belongs to another user.
    }
  }
  return undefined;
}
