// A runtime that has done every turn the moment it gets it: what is left is what delivery itself costs.

import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { end, listen, portOf } from "../../tests/support/loopback.ts";

/** The version of the contract that it speaks. */
const VERSION = 1;
const PATH = /^\/v1\/sessions\/([^/?]+)\/(workspace|turns|events)(?:\/([^/?]+))?/;

/** One session: its events, and who waits for more. */
interface Journal {
  events: string[];
  waiting: Set<() => void>;
}

/** The server. */
export class InstantRuntime {
  readonly #server: Server;
  readonly #journals = new Map<string, Journal>();
  readonly #storeId = randomUUID();

  private constructor(server: Server) {
    this.#server = server;
    server.on("request", (request, response) => void this.#answer(request, response));
  }

  static async start(): Promise<InstantRuntime> {
    const server = createServer();
    const runtime = new InstantRuntime(server);
    await listen(server);
    return runtime;
  }

  get url(): string {
    return `http://127.0.0.1:${portOf(this.#server)}`;
  }

  async close(): Promise<void> {
    await end(this.#server);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    if (url.pathname === "/healthz") {
      const health = { version: VERSION, storeId: this.#storeId, bootId: this.#storeId, git: "-" };
      reply(response, 200, health);
      return;
    }
    const [, session = "", kind, messageId = ""] = PATH.exec(url.pathname) ?? [];
    const journal = this.#journal(session);
    if (kind === "events") {
      await this.#stream(journal, url.searchParams, response);
      return;
    }
    const body = JSON.parse(await textOf(request)) as { generation: number; submission: number };
    const { generation, submission } = body;
    if (kind === "workspace") {
      reply(response, 202, { generation });
      return;
    }
    append(journal, { type: "ready", messageId, submission, generation, cold: false });
    append(journal, { type: "complete", messageId, submission });
    reply(response, 202, { submission, state: "running" });
  }

  #journal(session: string): Journal {
    let journal = this.#journals.get(session);
    if (journal === undefined) {
      journal = { events: [], waiting: new Set() };
      this.#journals.set(session, journal);
    }
    return journal;
  }

  /** Writes what is there after a position and then what comes, until the time is over or the reader has gone. */
  async #stream(journal: Journal, query: URLSearchParams, response: ServerResponse): Promise<void> {
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    response.flushHeaders();
    let next = Number(query.get("after"));
    const end = performance.now() + Number(query.get("waitMs"));
    let isOpen = true;
    response.once("close", () => {
      isOpen = false;
    });
    while (isOpen && performance.now() < end) {
      for (const line of journal.events.slice(next)) response.write(line);
      next = journal.events.length;
      await new Promise<void>((resolve) => {
        const wake = () => {
          journal.waiting.delete(wake);
          clearTimeout(timer);
          response.off("close", wake);
          resolve();
        };
        const timer = setTimeout(wake, end - performance.now());
        journal.waiting.add(wake);
        response.once("close", wake);
      });
    }
    response.end();
  }
}

function append(journal: Journal, event: object): void {
  const line = { seq: journal.events.length + 1, at: Date.now(), event };
  journal.events.push(`${JSON.stringify(line)}\n`);
  for (const wake of journal.waiting) wake();
}

function reply(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) text += chunk;
  return text;
}
