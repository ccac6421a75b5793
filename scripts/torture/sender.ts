// Sends one message as real clients do: the same message id again and again, with growing pauses, until it is known
// to have arrived.

import { setTimeout as sleep } from "node:timers/promises";
import { TRPCClientError } from "@trpc/client";
import { type Client, clientOf } from "../support/client.ts";
import type { Stack } from "../support/stack.ts";
import type { Findings } from "./findings.ts";
import type { History, SentMessage } from "./history.ts";
import type { Random } from "./random.ts";

const TRIES_MAX = 200;
const REPLY_MS = 10_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1500;

/** What a try came to. */
export type Outcome =
  | { kind: "answered" }
  | { kind: "refused"; code: string; retryable: boolean; text: string }
  | { kind: "unknown" };

/** One client of one session. */
export class Sender {
  readonly #client: Client;
  readonly #sessionId: string;
  readonly #history: History;
  readonly #findings: Findings;
  readonly #random: Random;
  readonly #signal: AbortSignal;

  constructor(parts: {
    stack: Stack;
    user: string;
    sessionId: string;
    history: History;
    findings: Findings;
    random: Random;
    /** Ends all sending. */
    signal: AbortSignal;
  }) {
    const { stack, user, history } = parts;
    this.#client = clientOf(user, stack.worker.url, stack.secrets, { fetch: recording(history) });
    this.#sessionId = parts.sessionId;
    this.#history = history;
    this.#findings = parts.findings;
    this.#random = parts.random;
    this.#signal = parts.signal;
  }

  /** Sends until the message is acknowledged. */
  async deliver(message: SentMessage): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX && !this.#signal.aborted; tries += 1) {
      const outcome = await this.#try(message, REPLY_MS);
      if (await this.#isSettled(message, outcome)) return;
      await this.#pause(tries);
    }
  }

  /** Sends once and hangs up after `patienceMs`. */
  async sendAndHangUp(message: SentMessage, patienceMs: number): Promise<void> {
    this.#history.tally.add("tries that were hung up on");
    const outcome = await this.#try(message, patienceMs);
    if (outcome.kind === "answered") acknowledge(message);
  }

  /** Sends a message that was acknowledged once more: it may be answered again or refused as ended, nothing else. */
  async repeat(message: SentMessage): Promise<void> {
    this.#history.tally.add("late retries of acknowledged messages");
    for (let tries = 0; tries < TRIES_MAX && !this.#signal.aborted; tries += 1) {
      const outcome = await this.#try(message, REPLY_MS);
      if (outcome.kind === "answered") return;
      if (outcome.kind === "refused" && !outcome.retryable) {
        const isEnded = outcome.code === "BAD_REQUEST";
        this.#findings.check(isEnded, `a replay was refused: ${outcome.text}`, message.messageId);
        return;
      }
      await this.#pause(tries);
    }
  }

  async #isSettled(message: SentMessage, outcome: Outcome): Promise<boolean> {
    if (outcome.kind === "answered") {
      acknowledge(message);
      return true;
    }
    if (outcome.kind === "unknown" || outcome.retryable) return false;
    // An earlier try may have arrived, and the message may have ended meanwhile.
    const isKnown = await this.#isKnown(message.messageId);
    if (isKnown) {
      this.#history.tally.add("messages that had ended when their retry came");
      acknowledge(message);
    }
    this.#findings.check(isKnown, `a message was refused: ${outcome.text}`, message.messageId);
    return true;
  }

  async #isKnown(messageId: string): Promise<boolean> {
    const input = { cloudAgentSessionId: this.#sessionId, messageId };
    for (let tries = 0; tries < TRIES_MAX && !this.#signal.aborted; tries += 1) {
      const call = this.#client.query("getMessageResult", input, {
        signal: AbortSignal.timeout(REPLY_MS),
      });
      const outcome = await outcomeOf(call);
      if (outcome.kind === "answered") return true;
      if (outcome.kind === "refused" && outcome.code === "NOT_FOUND") return false;
      await this.#pause(tries);
    }
    return false;
  }

  async #try(message: SentMessage, patienceMs: number): Promise<Outcome> {
    const input = {
      cloudAgentSessionId: this.#sessionId,
      prompt: `Work on ${message.messageId}.`,
      mode: "code",
      model: "test/model",
      messageId: message.messageId,
      ...(message.autoCommit ? { autoCommit: true } : {}),
      ...(message.token === undefined ? {} : { gitToken: message.token }),
    };
    message.firstTryAt ??= Date.now();
    this.#history.tally.add("tries");
    const signal = AbortSignal.timeout(patienceMs);
    const outcome = await outcomeOf(this.#client.mutation("sendMessageV2", input, { signal }));
    if (outcome.kind === "unknown") this.#history.tally.add("tries without an answer");
    if (outcome.kind === "refused") this.#history.tally.add(`refusals: ${outcome.code}`);
    return outcome;
  }

  async #pause(tries: number): Promise<void> {
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** tries);
    await sleep(this.#random.between(pause / 2, pause));
  }
}

function acknowledge(message: SentMessage): void {
  message.acknowledgedAt ??= Date.now();
}

/** What a call came to, told by its answer. */
export async function outcomeOf(call: Promise<unknown>): Promise<Outcome> {
  try {
    await call;
    return { kind: "answered" };
  } catch (error) {
    // Without data it is not the service that speaks: the connection broke, or the answer did not come in time.
    if (!(error instanceof TRPCClientError) || !error.data) return { kind: "unknown" };
    const { code, httpStatus, error: admission, retryable } = error.data;
    const mayRetry = retryable ?? httpStatus >= 500;
    const text = `${admission ?? code} (${error.message})`;
    return { kind: "refused", code, retryable: mayRetry, text };
  }
}

/** A `fetch` that keeps every reply for the search for tokens. */
export function recording(history: History): typeof fetch {
  return async (input, init) => {
    const reply = await fetch(input, init);
    history.replies.push(JSON.stringify([...reply.headers]), await reply.clone().text());
    return reply;
  };
}
