// A runtime, called as the session's object calls it.

import { randomBytes, randomUUID } from "node:crypto";
import { messageId } from "../../scripts/support/client.ts";
import type { Variables } from "../../scripts/support/configuration.ts";
import { RuntimeProcess } from "../../scripts/support/runtime-process.ts";

const EVENT_WAIT_MS = 30_000;

/** What a workspace is made of. */
export interface WorkspaceOptions {
  url: string;
  generation: number;
  token: string;
}

interface JournalEvent {
  seq: number;
  event: { type: string; messageId?: string };
}

/** A runtime of the bench's own. */
export class RuntimeClient {
  readonly process: RuntimeProcess;
  readonly #token: string;
  #storeId = "";

  private constructor(process: RuntimeProcess, token: string) {
    this.process = process;
    this.#token = token;
  }

  static async start(variables: Variables & { WORKSPACE_ROOT: string }): Promise<RuntimeClient> {
    const token = randomBytes(32).toString("hex");
    const process = await RuntimeProcess.start({
      variables: { ...variables, RUNTIME_TOKEN: token },
    });
    const client = new RuntimeClient(process, token);
    const health = await client.#call("GET", "/healthz");
    client.#storeId = ((await health.json()) as { storeId: string }).storeId;
    return client;
  }

  /** A session that the runtime does not know yet. */
  newSession(): RuntimeSession {
    return new RuntimeSession(
      (method, path, body) => this.#call(method, path, body),
      `agent_${randomUUID()}`,
    );
  }

  async stop(): Promise<void> {
    await this.process.stop();
  }

  async #call(method: string, path: string, body?: unknown): Promise<Response> {
    const reply = await fetch(`${this.process.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#token}`,
        "x-store-id": this.#storeId,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!reply.ok) throw new Error(`${method} ${path}: ${reply.status} ${await reply.text()}`);
    return reply;
  }
}

type Call = (method: string, path: string, body?: unknown) => Promise<Response>;

/** One session of a runtime. */
export class RuntimeSession {
  readonly #call: Call;
  readonly #path: string;
  readonly #branch: string;
  #seen = 0;
  #submission = 0;

  constructor(call: Call, id: string) {
    this.#call = call;
    this.#path = `/v1/sessions/${id}`;
    this.#branch = `session/${id}`;
  }

  /**
   * Has a workspace prepared and a turn run in it. Returns the milliseconds until the workspace was ready; resolves when
   * the turn has ended.
   */
  async prepare({ url, generation, token }: WorkspaceOptions): Promise<number> {
    const id = messageId();
    const start = performance.now();
    await this.#call("PUT", `${this.#path}/workspace`, {
      repository: { url },
      branch: { name: this.#branch, strict: false },
      generation,
      credential: { username: "x-access-token", token },
    });
    this.#submission += 1;
    await this.#call("PUT", `${this.#path}/turns/${id}`, {
      submission: this.#submission,
      generation,
      intent: {
        turn: { type: "prompt", messageId: id, prompt: "Go on." },
        agent: { mode: "code", model: "bench/model" },
        finalization: {},
      },
    });
    let readyMs: number | undefined;
    for await (const { seq, event } of this.#events()) {
      this.#seen = seq;
      if (event.messageId !== id) continue;
      if (event.type === "ready") readyMs = performance.now() - start;
      if (event.type === "error") throw new Error(`a turn failed: ${JSON.stringify(event)}`);
      if (event.type === "complete" && readyMs !== undefined) return readyMs;
    }
    throw new Error("a workspace was not ready in time");
  }

  async *#events(): AsyncGenerator<JournalEvent> {
    const query = `after=${this.#seen}&waitMs=${EVENT_WAIT_MS}`;
    const reply = await this.#call("GET", `${this.#path}/events?${query}`);
    let rest = "";
    for await (const chunk of reply.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      const lines = `${rest}${chunk}`.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line !== "") yield JSON.parse(line) as JournalEvent;
    }
  }
}
