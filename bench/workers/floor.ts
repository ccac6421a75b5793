// The floor: the least that a Worker and an object can do for a message that is to be durable.
//
// It checks the bearer token, parses the JSON, and has the object write three keys and set its alarm. It validates
// nothing, seals nothing and decides nothing.

import { authenticate } from "./bearer.ts";
import type { Envelope, ObjectState, ObjectStorage, SessionEnvironment } from "./platform.ts";

interface Input {
  cloudAgentSessionId: string;
  messageId: string;
  gitToken?: string;
}

export default {
  async fetch(request: Request, env: SessionEnvironment): Promise<Response> {
    const receivedAt = Date.now();
    const procedure = request.url.slice(request.url.lastIndexOf("/") + 1);
    const userId = await authenticate(request, env.AUTH_JWT_SECRET);
    if (userId === undefined) return new Response(null, { status: 401 });
    const input = (await request.json()) as Input;
    if (procedure === "prepareSession") input.cloudAgentSessionId = `agent_${crypto.randomUUID()}`;
    const envelope: Envelope<Input> = { v: 1, input, userId, receivedAt, try: 1 };
    const object = env.SESSIONS.getByName(`${userId}:${input.cloudAgentSessionId}`);
    const reply = await object.fetch(`https://session/${procedure}`, {
      method: "POST",
      body: JSON.stringify(envelope),
    });
    const data = await reply.json();
    return Response.json({ result: { data } });
  },
};

/** The object. */
export class Session {
  readonly #storage: ObjectStorage;
  readonly #drainDelayMs: number;

  constructor(state: ObjectState, env: SessionEnvironment) {
    this.#storage = state.storage;
    this.#drainDelayMs = Number(env.DRAIN_DELAY_MS);
  }

  async fetch(request: Request): Promise<Response> {
    const { input, receivedAt } = (await request.json()) as Envelope<Input>;
    const { cloudAgentSessionId, messageId, gitToken } = input;
    await this.#storage.put({
      credential: { gitToken, receivedAt },
      [`message:${messageId}`]: input,
      event: { type: "cloud.message.queued", messageId },
    });
    await this.#storage.setAlarm(receivedAt + this.#drainDelayMs);
    return Response.json({ cloudAgentSessionId, messageId, status: "started", delivery: "queued" });
  }

  async alarm(): Promise<void> {}
}
