// The peer's object: the same admission protocol over key-value storage and WebCrypto.
//
// WebCrypto answers through promises, which let other requests of the object come in between. So everything that it has
// to do is done first; from the moment the state is read only storage is awaited, and storage holds other requests back.

import type { Envelope, ObjectState, ObjectStorage, SessionEnvironment } from "../platform.ts";
import type { PrepareSession, SendMessage } from "./input.ts";
import { type Sealed, Sealing } from "./sealing.ts";

const QUEUE_MESSAGES_MAX = 10;
/** How much older than the pointer's the stamp of a first try may be. */
const CLOCK_SKEW_MS = 2_000;
const TOKEN = /^[\x21-\x7e]{1,4096}$/;
const BUILTIN_MODES = ["plan", "code", "build", "orchestrator", "architect", "ask", "custom"];

interface Metadata {
  userId: string;
  sessionId: string;
  gitUrl: string;
  agent: { mode: string; model: string };
  createdAt: number;
}

interface Credential {
  sealed: Sealed;
  fingerprint: string;
  generation: number;
  updatedAt: number;
  /** Which message last set it, and when that was stamped. */
  pointer: { messageId?: string; stamp: number };
  skips: number;
}

interface Marker {
  generation: number;
  expiresAt: number;
}

interface Intent {
  messageId: string;
  turn: SendMessage["turn"];
  agent: unknown;
  finalization: { autoCommit?: boolean | undefined; condenseOnComplete?: boolean | undefined };
}

interface Message {
  intent: Intent;
  state: "queued" | "completed" | "failed" | "interrupted";
  createdAt: number;
}

type Deadlines = Record<string, number>;

export class Session {
  readonly #storage: ObjectStorage;
  readonly #sealing: Sealing;
  readonly #drainDelayMs: number;
  readonly #markerTtlMs: number;

  constructor(state: ObjectState, env: SessionEnvironment) {
    this.#storage = state.storage;
    this.#sealing = new Sealing(env.CREDENTIAL_SEALING_KEYS);
    this.#drainDelayMs = Number(env.DRAIN_DELAY_MS);
    this.#markerTtlMs = Number(env.MARKER_TTL_MS);
  }

  async fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const envelope = (await request.json()) as Envelope<never>;
    if (pathname === "/prepareSession") return await this.#prepare(envelope);
    if (pathname === "/sendMessageV2") return await this.#send(envelope);
    return refuse(404, "Unknown command");
  }

  async alarm(): Promise<void> {}

  async #prepare({
    input,
    userId,
    receivedAt,
  }: Envelope<PrepareSession & { cloudAgentSessionId: string }>): Promise<Response> {
    const { cloudAgentSessionId: sessionId, gitUrl, gitToken, mode, model } = input;
    const metadata: Metadata = {
      userId,
      sessionId,
      gitUrl,
      agent: { mode, model },
      createdAt: receivedAt,
    };
    const entries: Record<string, unknown> = { metadata, queue: [], deadlines: {}, lastEventId: 0 };
    if (gitToken !== undefined && gitToken !== "") {
      const fresh = await this.#sealed(gitToken, metadata);
      entries.credential = credentialOf(fresh, undefined, { stamp: receivedAt }, receivedAt);
    }
    await this.#storage.put(entries);
    return Response.json({ cloudAgentSessionId: sessionId });
  }

  async #send({
    input,
    receivedAt,
    try: attempt,
  }: Envelope<SendMessage & { messageId: string }>): Promise<Response> {
    const now = Date.now();
    const stamp = Math.min(receivedAt, now);
    const { messageId, gitToken } = input;
    const metadata = await this.#storage.get<Metadata>("metadata");
    if (metadata === undefined) return refuse(404, "Session not found");
    if (gitToken !== undefined && gitToken !== "" && !TOKEN.test(gitToken)) {
      return refuse(400, "gitToken must be 1 to 4096 printable ASCII characters without spaces");
    }
    const fresh =
      gitToken === undefined || gitToken === ""
        ? undefined
        : await this.#sealed(gitToken, metadata);

    const keys = ["credential", "queue", "deadlines", "lastEventId"];
    const messageKey = `message:${messageId}`;
    const markerKey = `marker:${messageId}`;
    const stored = await this.#storage.get<unknown>([...keys, messageKey, markerKey]);
    const credential = stored.get("credential") as Credential | undefined;
    const queue = stored.get("queue") as string[];
    const deadlines = stored.get("deadlines") as Deadlines;
    const eventId = (stored.get("lastEventId") as number) + 1;
    let marker = stored.get(markerKey) as Marker | undefined;

    const intent = intentOf(input, metadata);
    if (!BUILTIN_MODES.includes((intent.agent as { mode: string }).mode)) {
      return refuse(400, "mode must be a built-in mode");
    }
    const known = stored.get(messageKey) as Message | undefined;
    if (known !== undefined) return replay(known, intent, metadata.sessionId);
    if (queue.length >= QUEUE_MESSAGES_MAX) {
      return refuse(429, `Pending message queue is full (${QUEUE_MESSAGES_MAX})`);
    }

    if (fresh !== undefined) {
      if (isApplied(messageId, stamp, attempt, marker, credential?.pointer)) {
        const pointer = { messageId, stamp };
        const rotated = credentialOf(fresh, credential, pointer, now);
        marker = { generation: rotated.generation, expiresAt: now + this.#markerTtlMs };
        deadlines.markerExpiry = Math.min(deadlines.markerExpiry ?? Infinity, marker.expiresAt);
        // The first step: the credential is durable before the message can be seen.
        await this.#storage.put({ credential: rotated, [markerKey]: marker, deadlines });
        log("credential_rotated", metadata.sessionId, messageId, {
          generation: rotated.generation,
          fingerprint: rotated.fingerprint.slice(0, 8),
        });
      } else if (credential !== undefined) {
        await this.#storage.put({ credential: { ...credential, skips: credential.skips + 1 } });
        log("credential_skipped", metadata.sessionId, messageId, { skips: credential.skips + 1 });
      }
    }

    deadlines.drain = Math.min(deadlines.drain ?? Infinity, now + this.#drainDelayMs);
    const message: Message = { intent, state: "queued", createdAt: now };
    const event = {
      type: "cloud.message.queued",
      data: { messageId, content: rendered(intent), delivery: "queued" },
      at: now,
    };
    // The second step.
    const writes: Promise<unknown>[] = [
      this.#storage.put({
        [messageKey]: message,
        [`event:${String(eventId).padStart(12, "0")}`]: event,
        lastEventId: eventId,
        queue: [...queue, messageId],
        deadlines,
      }),
    ];
    if (marker !== undefined) writes.push(this.#storage.delete(markerKey));
    await Promise.all(writes);
    await this.#storage.setAlarm(Math.min(...Object.values(deadlines)));
    log("message_admitted", metadata.sessionId, messageId, { queued: queue.length + 1 });
    return acknowledge(metadata.sessionId, messageId, "queued");
  }

  async #sealed(token: string, { userId, sessionId, gitUrl }: Metadata) {
    const [sealed, fingerprint] = await Promise.all([
      this.#sealing.seal(token, ["git_token", userId, sessionId, gitUrl]),
      this.#sealing.fingerprint(token),
    ]);
    return { sealed, fingerprint };
  }
}

/** Whether the token of a message that is not admitted yet is applied. */
function isApplied(
  messageId: string,
  stamp: number,
  attempt: number,
  marker: Marker | undefined,
  pointer: Credential["pointer"] | undefined,
): boolean {
  if (pointer === undefined) return true;
  if (marker !== undefined) return pointer.messageId === messageId && stamp >= pointer.stamp;
  return pointer.stamp - stamp <= (attempt > 1 ? 0 : CLOCK_SKEW_MS);
}

/** The credential after a token was applied; the same token again moves the pointer only. */
function credentialOf(
  fresh: { sealed: Sealed; fingerprint: string },
  stored: Credential | undefined,
  pointer: Credential["pointer"],
  now: number,
): Credential {
  if (stored?.fingerprint === fresh.fingerprint) return { ...stored, pointer };
  return {
    ...fresh,
    generation: (stored?.generation ?? 0) + 1,
    updatedAt: now,
    pointer,
    skips: stored?.skips ?? 0,
  };
}

function intentOf(input: SendMessage & { messageId: string }, { agent }: Metadata): Intent {
  const { messageId, turn, autoCommit, condenseOnComplete } = input;
  const finalization = { autoCommit, condenseOnComplete };
  return { messageId, turn, agent: input.agent ?? agent, finalization };
}

function rendered({ turn }: Intent): string {
  return turn.type === "prompt" ? turn.prompt : `/${turn.command} ${turn.arguments}`.trimEnd();
}

function replay(known: Message, intent: Intent, sessionId: string): Response {
  if (known.state !== "queued") {
    return refuse(400, "Message ID is already terminal; submit a new message ID");
  }
  if (JSON.stringify(known.intent) !== JSON.stringify(intent)) {
    return refuse(400, "Message intent does not match admitted message");
  }
  log("message_replayed", sessionId, intent.messageId, {});
  return acknowledge(sessionId, intent.messageId, "queued");
}

function acknowledge(sessionId: string, messageId: string, delivery: string): Response {
  return Response.json({
    cloudAgentSessionId: sessionId,
    status: "started",
    streamUrl: `/stream?cloudAgentSessionId=${sessionId}`,
    messageId,
    delivery,
    executionId: messageId,
  });
}

function refuse(status: number, message: string): Response {
  return Response.json({ message }, { status });
}

function log(event: string, sessionId: string, messageId: string, fields: object): void {
  console.log(
    JSON.stringify({ at: Date.now(), level: "info", sessionId, event, messageId, ...fields }),
  );
}
