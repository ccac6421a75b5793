// Prints the demo as a timeline: steps, what was done, what was checked.

import { styleText } from "node:util";

/** A check that failed ends the demo. */
export class CheckFailed extends Error {}

/** The terminal's view of a story. Text only; colours where a person is watching. */
export class Timeline {
  /** How many checks held. */
  checks = 0;
  #started = performance.now();
  #step = 0;

  /** Seconds since the clock was started. */
  get seconds(): number {
    return (performance.now() - this.#started) / 1000;
  }

  /** Starts the clock again: what was before is no part of the story. */
  startClock(): void {
    this.#started = performance.now();
  }

  /** A title with an explanation below it; numbering of steps begins again. */
  title(text: string, ...explanation: string[]): void {
    this.#step = 0;
    console.log(`\n${paint("bold", text)}`);
    for (const line of explanation) console.log(`  ${line}`);
  }

  /** A step of the story. */
  step(text: string): void {
    this.#step += 1;
    const seconds = this.seconds.toFixed(1).padStart(5);
    console.log(`\n  ${paint("dim", `${seconds} s`)}  ${paint("bold", `${this.#step}. ${text}`)}`);
  }

  /** Something that is done now. */
  action(text: string): void {
    console.log(`           > ${text}`);
  }

  /** Prints `text` when `holds`, and ends the demo otherwise; `seen` says what was there instead. */
  check(text: string, holds: boolean, seen?: unknown): void {
    if (!holds) {
      const instead = seen === undefined ? "" : `\n             seen: ${JSON.stringify(seen)}`;
      throw new CheckFailed(`${text}${instead}`);
    }
    this.checks += 1;
    console.log(`           ${paint("green", "ok")} ${text}`);
  }

  /** The line that ends a failed story. */
  failed(text: string): void {
    console.log(`           ${paint("red", "FAILED")} ${text}`);
  }
}

function paint(style: "bold" | "dim" | "green" | "red", text: string): string {
  return styleText(style, text, { stream: process.stdout });
}
