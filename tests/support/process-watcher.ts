// Watches arguments and environment of all processes of the machine for tokens, every 10 ms.

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { Find, Needle } from "./canary.ts";

/** What a watcher saw. */
export interface Watch {
  finds: Find[];
  /** How often all processes were looked at. */
  rounds: number;
  /** Processes that were seen. */
  processes: number;
  /** Longest time between two looks, milliseconds. */
  gapMs: number;
}

/** A thread of its own looks, so that the rest of the program does not disturb the rhythm. */
export class ProcessWatcher {
  readonly #thread: Worker;

  private constructor(thread: Worker) {
    this.#thread = thread;
  }

  /** Starts watching; resolves when every process was looked at once. */
  static async start(needles: readonly Needle[]): Promise<ProcessWatcher> {
    const thread = new Worker(new URL("./process-watcher-thread.ts", import.meta.url), {
      workerData: needles,
    });
    await once(thread, "message");
    // A program that fails before it asks for the result must be able to end.
    thread.unref();
    return new ProcessWatcher(thread);
  }

  /** Ends watching and tells what was seen. */
  async stop(): Promise<Watch> {
    this.#thread.ref();
    this.#thread.postMessage("stop");
    const [watch] = (await once(this.#thread, "message")) as [Watch];
    await this.#thread.terminate();
    return watch;
  }
}
