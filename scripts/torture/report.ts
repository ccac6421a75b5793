// What a run prints.

import { styleText } from "node:util";
import type { Findings } from "./findings.ts";
import type { LogIndex } from "./log-index.ts";

const FINDINGS_SHOWN = 20;

/** Prints with the seconds since the start before each line. */
export class Report {
  readonly #started = performance.now();

  get seconds(): number {
    return (performance.now() - this.#started) / 1000;
  }

  title(text: string): void {
    console.log(`\n${styleText("bold", text, { stream: process.stdout })}`);
  }

  line(text: string): void {
    console.log(`  ${this.seconds.toFixed(1).padStart(6)} s  ${text}`);
  }

  table(rows: readonly [string, string | number][]): void {
    const width = Math.max(...rows.map(([name]) => name.length));
    for (const [name, value] of rows) {
      console.log(`  ${name.padEnd(width)}  ${String(value).padStart(9)}`);
    }
  }

  /** What was violated, each with the log lines of its message. */
  findings(findings: Findings, log: LogIndex): void {
    for (const { text, messageId } of findings.all.slice(0, FINDINGS_SHOWN)) {
      const failed = styleText("red", "VIOLATED", { stream: process.stdout });
      console.log(`\n  ${failed} ${text}${messageId === undefined ? "" : ` (${messageId})`}`);
      if (messageId === undefined) continue;
      for (const line of log.texts(messageId)) console.log(`      ${line}`);
    }
    const hidden = findings.all.length - FINDINGS_SHOWN;
    if (hidden > 0) console.log(`\n  and ${hidden} more`);
  }
}

/** `middle / largest` of some milliseconds, for a table. */
export function spread(values: readonly number[]): string {
  if (values.length === 0) return "none";
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted[Math.floor(sorted.length / 2)] ?? 0;
  return `${Math.round(middle)} / ${Math.round(sorted.at(-1) ?? 0)}`;
}
