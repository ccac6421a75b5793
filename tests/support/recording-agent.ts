// An agent that writes down what it is given: its line of input and its environment.

import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** `$0` is the folder of its files. Nothing of what it is given is printed. */
const SCRIPT = `
cat > "$0/line"
env -0 > "$0/environment"
echo '{"type":"working"}'
`;

/** The agent of one test file. */
export class RecordingAgent {
  /** Where it writes; outside of the stack's folder. */
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<RecordingAgent> {
    return new RecordingAgent(await mkdtemp(join(tmpdir(), "recording-agent-")));
  }

  /** Value of `AGENT_COMMAND`. */
  get command(): string {
    return JSON.stringify(["/bin/sh", "-c", SCRIPT, this.folder]);
  }

  /** The input of the last turn, which must be one line of JSON. */
  line(): Record<string, unknown> {
    const text = readFileSync(join(this.folder, "line"), "utf8");
    const [line = "", ...rest] = text.split("\n");
    if (rest.join("") !== "") throw new Error("the agent got more than one line");
    return JSON.parse(line) as Record<string, unknown>;
  }

  /** The environment of the last turn. */
  environment(): Record<string, string> {
    const text = readFileSync(join(this.folder, "environment"), "utf8");
    const pairs = text.split("\0").filter((pair) => pair !== "");
    return Object.fromEntries(
      pairs.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]),
    );
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}
