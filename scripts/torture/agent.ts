// An agent that writes down for which message it was started, and when it was done.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * `$0` is the folder of its notes. How long it works depends on the last character of the message id, so that kills
 * find it in every stage. A runtime that is killed at once never tells it what to work on.
 */
const SCRIPT = `
read -r intent || exit 1
id=\${intent#*\\"messageId\\":\\"}
id=\${id%%\\"*}
printf '%s %s\\n' "$id" "$(date +%s%3N)" >> "$0/starts"
echo '{"type":"working"}'
case $id in
  *[a-m]) sleep 0.05 ;;
  *[n-z]) sleep 0.2 ;;
  *[0-9]) sleep 0.6 ;;
esac
printf '%s\\n' "$id" >> NOTES.md
printf '%s %s\\n' "$id" "$(date +%s%3N)" >> "$0/ends"
`;

/** The agent of a run. */
export class NotedAgent {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Value of `AGENT_COMMAND`. */
  get command(): string {
    return JSON.stringify(["/bin/sh", "-c", SCRIPT, this.#folder]);
  }

  /** When it was started for each message, milliseconds since the Unix epoch. */
  starts(): Map<string, number[]> {
    return this.#moments("starts");
  }

  /** When it was done with each message. */
  ends(): Map<string, number[]> {
    return this.#moments("ends");
  }

  #moments(name: string): Map<string, number[]> {
    const file = join(this.#folder, name);
    const moments = new Map<string, number[]>();
    if (!existsSync(file)) return moments;
    for (const line of readFileSync(file, "utf8").split("\n")) {
      const [id, at] = line.split(" ");
      if (id === undefined || at === undefined) continue;
      moments.set(id, [...(moments.get(id) ?? []), Number(at)]);
    }
    return moments;
  }
}
