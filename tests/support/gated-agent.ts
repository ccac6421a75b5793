// An agent that works until a test lets it end.

import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "../../scripts/support/wait.ts";

/** Writes down that it started, says so and what else it is to say, and waits for the gate. `$0` is the folder of its files. */
const SCRIPT = `
read -r intent
printf '%s\\n' "$intent" >> "$0/starts"
echo '{"type":"working"}'
if [ -f "$0/lines" ]; then cat "$0/lines"; fi
while [ ! -e "$0/gate" ]; do sleep 0.05; done
printf 'worked\\n' >> NOTES.md
`;

/** The agent of one test file. */
export class GatedAgent {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async create(): Promise<GatedAgent> {
    return new GatedAgent(await mkdtemp(join(tmpdir(), "gated-agent-")));
  }

  /** Value of `AGENT_COMMAND`. */
  get command(): string {
    return JSON.stringify(["/bin/sh", "-c", SCRIPT, this.#folder]);
  }

  /** Lets agents print these lines at their start. */
  says(lines: readonly string[]): void {
    writeFileSync(join(this.#folder, "lines"), lines.map((line) => `${line}\n`).join(""));
  }

  /** Lets agents end, running ones and later ones. */
  open(): void {
    writeFileSync(join(this.#folder, "gate"), "");
  }

  /** Lets agents that start from now on wait. */
  shut(): void {
    rmSync(join(this.#folder, "gate"), { force: true });
  }

  /** How often it was started for a message. */
  starts(messageId: string): number {
    return this.order([messageId]).length;
  }

  /** Those of the messages for which it was started, in that order and as often. */
  order(messageIds: readonly string[]): string[] {
    const file = join(this.#folder, "starts");
    if (!existsSync(file)) return [];
    return readFileSync(file, "utf8")
      .split("\n")
      .flatMap((line) => messageIds.filter((id) => line.includes(id)));
  }

  /** Waits until it was started for a message. */
  async started(messageId: string): Promise<void> {
    await waitFor(`the agent's start for ${messageId}`, () => this.starts(messageId) > 0);
  }

  async remove(): Promise<void> {
    this.open();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
