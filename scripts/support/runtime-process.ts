// The workspace runtime as a child process.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync } from "node:fs";
import type { Variables } from "./configuration.ts";
import { runtimeProgram } from "./configuration.ts";
import { LogLines } from "./log-lines.ts";

/** How to start a runtime. */
export interface RuntimeOptions {
  /** Its variables; `WORKSPACE_ROOT` and `RUNTIME_TOKEN` at least. */
  variables: Variables & { WORKSPACE_ROOT: string };
  /** Its port; a free one when it is 0. Kept over restarts. */
  port?: number;
}

const LISTENING = /^workspace-runtime listening on http:\/\/[^ ]+:(\d+)/;
const START_MS = 15_000;
/** Longer than the runtime itself waits for what it runs. */
const STOP_MS = 20_000;

/** A runtime that can be stopped, killed and started again on the same store and port. */
export class RuntimeProcess {
  readonly log = new LogLines();
  readonly #options: RuntimeOptions;
  #port: number;
  #child: ChildProcess | undefined;
  #onExit: ((reason: string) => void) | undefined;

  private constructor(options: RuntimeOptions) {
    this.#options = options;
    this.#port = options.port ?? 0;
  }

  /** Starts a runtime and resolves when it listens. `prepare` may attach to its log before anything is printed. */
  static async start(
    options: RuntimeOptions,
    prepare: (runtime: RuntimeProcess) => void = () => undefined,
  ): Promise<RuntimeProcess> {
    const runtime = new RuntimeProcess(options);
    prepare(runtime);
    await runtime.start();
    return runtime;
  }

  /** Base URL, without a slash at the end. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Process id; undefined while it is down. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Calls `listener` when the process ends without having been asked to. */
  onExit(listener: (reason: string) => void): void {
    this.#onExit = listener;
  }

  /** Starts it after {@link stop} or {@link kill}. */
  async start(): Promise<void> {
    const program = runtimeProgram();
    if (!existsSync(program)) throw new Error(`${program} is missing: run npm run build`);
    mkdirSync(this.#options.variables.WORKSPACE_ROOT, { recursive: true });
    const child = spawn(program, [], {
      env: {
        PATH: process.env.PATH ?? "/usr/bin:/bin",
        ...this.#options.variables,
        PORT: String(this.#port),
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    // It must not outlive this program, however that ends.
    const kill = () => child.kill("SIGKILL");
    process.once("exit", kill);
    this.log.attach(child.stdout, "stdout");
    this.log.attach(child.stderr, "stderr");
    child.once("exit", (code, signal) => {
      process.off("exit", kill);
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#onExit?.(signal ?? `exit code ${code}`);
    });
    await this.#listening(child);
  }

  #listening(child: ChildProcess): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error?: Error) => {
        stopListening();
        clearTimeout(timer);
        child.off("exit", ended);
        child.off("error", settle);
        if (error === undefined) resolve();
        else reject(error);
      };
      const stopListening = this.log.onLine((line) => {
        const port = LISTENING.exec(line)?.[1];
        if (port === undefined) return;
        this.#port = Number(port);
        settle();
      });
      const ended = () =>
        // Its last words may still be on the way.
        setTimeout(() => settle(new Error(`the runtime ended at once:\n${this.log.tail()}`)), 100);
      const timer = setTimeout(() => {
        child.kill("SIGKILL");
        settle(new Error(`the runtime did not listen within ${START_MS / 1000} s`));
      }, START_MS);
      child.once("exit", ended);
      child.once("error", settle);
    });
  }

  /** Ends it in an orderly way, and by force when that takes too long. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** Ends it as a crash does. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    const force = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await exited;
    clearTimeout(force);
  }
}
