// The Worker's structured log lines, found by message.

interface Line {
  event: string;
  at: number;
}

const MESSAGE_ID = /msg_[0-9a-f]{12}[0-9A-Za-z]{14}/g;

/** Log lines by the messages that they name. */
export class LogIndex {
  readonly #events = new Map<string, Line[]>();
  readonly #texts = new Map<string, string[]>();

  /** Reads the lines of the Worker and of the runtime. */
  constructor(worker: readonly string[], runtime: readonly string[]) {
    for (const text of worker) this.#add(text, "worker ");
    for (const text of runtime) this.#add(text, "runtime");
  }

  /** How often something happened to a message. */
  count(messageId: string, event: string): number {
    return this.#of(messageId, event).length;
  }

  /** When something first happened to a message; milliseconds since the Unix epoch. */
  first(messageId: string, event: string): number | undefined {
    return this.#of(messageId, event)[0]?.at;
  }

  /** All lines that name a message, the Worker's first. */
  texts(messageId: string): string[] {
    return this.#texts.get(messageId) ?? [];
  }

  #of(messageId: string, event: string): Line[] {
    return (this.#events.get(messageId) ?? []).filter((line) => line.event === event);
  }

  #add(text: string, source: string): void {
    for (const id of new Set(text.match(MESSAGE_ID))) {
      append(this.#texts, id, `${source} ${text}`);
      const line = parsed(text);
      if (line !== undefined) append(this.#events, id, line);
    }
  }
}

function parsed(text: string): Line | undefined {
  try {
    const line = JSON.parse(text) as Partial<Line> | null;
    if (typeof line?.event !== "string" || typeof line.at !== "number") return undefined;
    return { event: line.event, at: line.at };
  } catch {
    // Not a structured line.
    return undefined;
  }
}

function append<T>(map: Map<string, T[]>, key: string, value: T): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}
