// A receiver of callbacks that records what comes and answers as a test says.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { CallbackPayload } from "../../client/index.d.ts";
import { end, listen, portOf } from "./loopback.ts";

/** A callback as it came. */
export interface ReceivedCallback {
  method: string;
  path: string;
  headers: Record<string, string | string[] | undefined>;
  body: string;
  /** Milliseconds since 1970. */
  at: number;
}

/** How to answer: with a status, with a redirect, with a body without end, or not at all. */
export type Reply = number | { redirect: string } | "endless" | "never";

/** A receiver; see {@link startCallbackReceiver}. */
export class CallbackReceiver {
  readonly received: ReceivedCallback[] = [];
  /** Connections of answers without end that the caller has closed. */
  closed = 0;
  readonly #server: Server;
  readonly #replies = new Map<string, Reply[]>();

  constructor(server: Server) {
    this.#server = server;
    server.on("request", (request, response) => void this.#answer(request, response));
  }

  /** `host:port`. */
  get host(): string {
    return `127.0.0.1:${portOf(this.#server)}`;
  }

  /** The URL of a path. */
  url(path: string): string {
    return `http://${this.host}${path}`;
  }

  /** Answers the next callbacks to a path like this, one after the other; later ones are answered with 200. */
  reply(path: string, ...replies: Reply[]): void {
    this.#replies.set(path, replies);
  }

  /** What came to a path. */
  at(path: string): ReceivedCallback[] {
    return this.received.filter((callback) => callback.path.split("?")[0] === path);
  }

  async close(): Promise<void> {
    await end(this.#server);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const path = request.url ?? "";
    const reply = this.#replies.get(path.split("?")[0] ?? "")?.shift() ?? 200;
    this.received.push({
      method: request.method ?? "",
      path,
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
      at: Date.now(),
    });
    if (reply === "never") return;
    if (reply === "endless") {
      response.on("close", () => {
        this.closed += 1;
      });
      response.writeHead(200);
      const more = () => response.destroyed || response.write("x".repeat(65_536), more);
      more();
      return;
    }
    if (typeof reply === "number") response.writeHead(reply).end();
    else response.writeHead(302, { location: reply.redirect }).end();
  }
}

/** Starts a receiver on a free port. */
export async function startCallbackReceiver(): Promise<CallbackReceiver> {
  const server = createServer();
  const receiver = new CallbackReceiver(server);
  await listen(server);
  return receiver;
}

/** The body as it was meant. */
export function bodyOf(callback: ReceivedCallback): CallbackPayload {
  return JSON.parse(callback.body) as CallbackPayload;
}

/** Whether a callback was signed with that secret. */
export function isSigned(callback: ReceivedCallback, secret: string): boolean {
  const expected = `sha256=${createHmac("sha256", secret).update(callback.body).digest("hex")}`;
  const given = String(callback.headers["x-signature"] ?? "");
  return (
    given.length === expected.length && timingSafeEqual(Buffer.from(given), Buffer.from(expected))
  );
}
