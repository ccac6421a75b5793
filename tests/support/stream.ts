// Clients of a session's stream: Node's own WebSocket, and a bare socket that a test can stop reading from.

import { request } from "node:http";
import type { Socket } from "node:net";
import { bearer } from "../../scripts/support/secrets.ts";
import type { Stack } from "../../scripts/support/stack.ts";
import { waitFor } from "../../scripts/support/wait.ts";

/** A frame of the stream. */
export interface Frame {
  eventId: number;
  executionId?: string;
  sessionId: string;
  streamEventType: string;
  timestamp: string;
  data: Record<string, unknown>;
}

/** Where a client begins and what it leaves out. */
export type StreamQuery = Record<string, string | number | boolean>;

/** A ticket and when it expires, in seconds since 1970. */
export interface IssuedTicket {
  ticket: string;
  expiresAt: number;
}

/** Asks for a ticket, and gives the reply as it comes. */
export async function requestTicket(
  stack: Stack,
  userId: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  const reply = await fetch(`${stack.worker.url}/stream-ticket`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${bearer(stack.secrets.AUTH_JWT_SECRET, userId)}`,
      "content-type": "application/json",
      ...headers,
    },
    body: JSON.stringify(body),
  });
  stack.replies.push(JSON.stringify([...reply.headers]), await reply.clone().text());
  return reply;
}

/** A ticket for a session of the user. */
export async function ticketFor(
  stack: Stack,
  userId: string,
  sessionId: string,
): Promise<IssuedTicket> {
  const reply = await requestTicket(stack, userId, { cloudAgentSessionId: sessionId });
  if (reply.status !== 200) throw new Error(`no ticket: ${reply.status} ${await reply.text()}`);
  return (await reply.json()) as IssuedTicket;
}

/** The path and query of the stream. */
export function streamPath(query: StreamQuery): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) parameters.set(name, String(value));
  return `/stream?${parameters}`;
}

/** The outcome of a bare upgrade. */
export interface Upgrade {
  status: number;
  body: string;
  /** The connection, when it was upgraded. Nothing reads from it yet. */
  socket?: Socket;
}

/** Asks for an upgrade without a WebSocket client, which would hide the status of a refusal. */
export async function upgrade(
  stack: Stack,
  query: StreamQuery,
  headers: Record<string, string> = {},
): Promise<Upgrade> {
  const outcome = await new Promise<Upgrade>((resolve, reject) => {
    const asked = request(`${stack.worker.url}${streamPath(query)}`, {
      headers: {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        ...headers,
      },
    });
    asked.on("upgrade", (reply, socket) => {
      socket.pause();
      socket.on("error", () => undefined);
      resolve({ status: reply.statusCode ?? 0, body: "", socket });
    });
    asked.on("response", (reply) => {
      let body = "";
      reply.setEncoding("utf8");
      reply.on("data", (chunk: string) => {
        body += chunk;
      });
      reply.on("end", () => resolve({ status: reply.statusCode ?? 0, body }));
    });
    asked.on("error", reject);
    asked.end();
  });
  stack.replies.push(outcome.body);
  return outcome;
}

/** A client of Node's own WebSocket. */
export class StreamClient {
  readonly frames: Frame[] = [];
  /** Error frames. */
  readonly errors: { type: "error"; code: string; message: string }[] = [];
  /** How the connection ended, once it has. */
  ending: { code: number; reason: string } | undefined;
  readonly #socket: WebSocket;
  readonly #stack: Stack;

  private constructor(socket: WebSocket, stack: Stack) {
    this.#socket = socket;
    this.#stack = stack;
    socket.addEventListener("message", ({ data }) => this.#take(String(data)));
    socket.addEventListener("close", ({ code, reason }) => {
      this.ending = { code, reason };
    });
  }

  /** Connects with a fresh ticket, to the Worker itself or to where `url` leads. */
  static async open(
    stack: Stack,
    userId: string,
    sessionId: string,
    query: StreamQuery = {},
    options: { url?: string; headers?: Record<string, string> } = {},
  ): Promise<StreamClient> {
    const { ticket } = await ticketFor(stack, userId, sessionId);
    const path = streamPath({ cloudAgentSessionId: sessionId, ticket, ...query });
    const url = `${(options.url ?? stack.worker.url).replace(/^http/, "ws")}${path}`;
    const { headers = {} } = options;
    // Node takes headers in the place of protocols, which its types do not say.
    const socket = new WebSocket(url, { headers } as unknown as string[]);
    const client = new StreamClient(socket, stack);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("open", () => resolve());
      socket.addEventListener("error", () => reject(new Error("the stream was not opened")));
    });
    return client;
  }

  #take(text: string): void {
    this.#stack.replies.push(text);
    const frame = JSON.parse(text) as Frame | { type: "error"; code: string; message: string };
    if ("type" in frame) this.errors.push(frame);
    else this.frames.push(frame);
  }

  /** The events that are stored, in the order in which they came. */
  get stored(): Frame[] {
    return this.frames.filter((frame) => frame.eventId > 0);
  }

  /** The id to go on after. */
  get lastId(): number {
    return this.stored.at(-1)?.eventId ?? 0;
  }

  /** Types of the frames, in order. */
  get types(): string[] {
    return this.frames.map((frame) => frame.streamEventType);
  }

  /** Waits for a frame. */
  async frame(what: string, matches: (frame: Frame) => boolean): Promise<Frame> {
    return await waitFor(what, () => this.frames.find(matches), 60_000);
  }

  /** Waits for a frame of a type. */
  async type(type: string): Promise<Frame> {
    return await this.frame(`a frame ${type}`, (frame) => frame.streamEventType === type);
  }

  /** Waits for the end of a message. */
  async ended(messageId: string): Promise<Frame> {
    return await this.frame(
      `the end of ${messageId}`,
      ({ streamEventType, data }) =>
        data.messageId === messageId &&
        /^cloud\.message\.(completed|failed)$/.test(streamEventType),
    );
  }

  /** Sends something, which the service does not look at. */
  send(text: string): void {
    this.#socket.send(text);
  }

  /** Closes the connection and waits for its end. */
  async close(): Promise<void> {
    this.#socket.close();
    await this.closed();
  }

  /** Waits until the connection has ended. */
  async closed(): Promise<{ code: number; reason: string }> {
    return await waitFor("the end of the connection", () => this.ending, 60_000);
  }
}
