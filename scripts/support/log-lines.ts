// What a process prints, as lines: kept, passed on, and waited for.

import { once } from "node:events";
import type { Readable } from "node:stream";

/** Where a line came from. */
export type Channel = "stdout" | "stderr";

/** The lines of one process. Keeps the newest; the bound only matters for a process that runs for days. */
export class LogLines {
  /** All kept lines, the oldest first. */
  readonly lines: string[] = [];
  readonly #listeners = new Set<(line: string, channel: Channel) => void>();
  readonly #linesMax: number;

  constructor(linesMax = 200_000) {
    this.#linesMax = linesMax;
  }

  /** Calls `listener` for every line from now on; returns a function that ends that. */
  onLine(listener: (line: string, channel: Channel) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Takes the lines of a stream until it ends. */
  attach(stream: Readable, channel: Channel): void {
    let rest = "";
    stream.setEncoding("utf8");
    stream.on("data", (chunk: string) => {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop() ?? "";
      for (const line of parts) this.append(line, channel);
    });
    once(stream, "close").then(
      () => {
        if (rest !== "") this.append(rest, channel);
      },
      () => undefined,
    );
  }

  /** Adds one line. */
  append(line: string, channel: Channel): void {
    this.lines.push(line);
    if (this.lines.length > this.#linesMax) this.lines.shift();
    for (const listener of this.#listeners) listener(line, channel);
  }

  /** The last lines as one text, for error messages. */
  tail(count = 20): string {
    return this.lines.slice(-count).join("\n");
  }
}
