// What users do beside sending messages: they stop sessions and delete them, and ask again until it is done.

import { setTimeout as sleep } from "node:timers/promises";
import { type Client, clientOf, messageId } from "../support/client.ts";
import type { Stack } from "../support/stack.ts";
import type { Findings } from "./findings.ts";
import type { DeletedSession, History, Interrupt } from "./history.ts";
import type { Random } from "./random.ts";
import { outcomeOf, recording } from "./sender.ts";

const TRIES_MAX = 200;
const REPLY_MS = 10_000;
const LONGEST_PAUSE_MS = 500;
/** A session is deleted at any stage of its first turns. */
const LONGEST_LIFE_MS = 1500;

/** What a user does it with. */
export interface UserParts {
  stack: Stack;
  user: string;
  history: History;
  findings: Findings;
  random: Random;
  /** Ends all asking. */
  signal: AbortSignal;
}

/** Stops everything that a session does. */
export async function interruptSession(parts: UserParts, sessionId: string): Promise<void> {
  const asked: Interrupt = { sessionId, from: Date.now(), until: Number.POSITIVE_INFINITY };
  parts.history.interrupts.push(asked);
  const isDone = await insist(parts, (client, signal) =>
    client.mutation("interruptSession", { sessionId }, { signal }),
  );
  if (isDone) asked.until = Date.now();
}

/** Makes a session, gives it a message with each token but the first, and deletes it while it works. */
export async function deleteAtWork(
  parts: UserParts,
  gitUrl: string,
  [first, ...others]: string[],
): Promise<void> {
  let id: string | undefined;
  await insist(parts, async (client, signal) => {
    const input = { prompt: "Begin.", mode: "code", model: "test/model", gitUrl, gitToken: first };
    const prepared = await client.mutation("prepareSession", input, { signal });
    id = (prepared as { cloudAgentSessionId: string }).cloudAgentSessionId;
  });
  if (id === undefined) return;
  const sessionId = id;
  for (const gitToken of others) {
    const message = {
      cloudAgentSessionId: sessionId,
      prompt: "Work.",
      mode: "code",
      model: "test/model",
      messageId: messageId(),
      gitToken,
    };
    await insist(parts, (client, signal) => client.mutation("sendMessageV2", message, { signal }));
  }
  await sleep(parts.random.between(0, LONGEST_LIFE_MS));
  const isDone = await insist(parts, (client, signal) =>
    client.mutation("deleteSession", { sessionId }, { signal }),
  );
  const tokens = [first, ...others].filter((token) => token !== undefined);
  const deleted: DeletedSession = { id: sessionId, tokens };
  if (isDone) parts.history.deleted.push(deleted);
}

/** Makes a call again and again until it is answered; tells whether it was. Only ends of messages may be refused. */
async function insist(
  { stack, user, history, findings, random, signal }: UserParts,
  call: (client: Client, signal: AbortSignal) => Promise<unknown>,
): Promise<boolean> {
  const client = clientOf(user, stack.worker.url, stack.secrets, { fetch: recording(history) });
  for (let tries = 0; tries < TRIES_MAX && !signal.aborted; tries += 1) {
    const outcome = await outcomeOf(call(client, AbortSignal.timeout(REPLY_MS)));
    if (outcome.kind === "answered") return true;
    if (outcome.kind === "refused" && !outcome.retryable) {
      // A try before this one arrived, and its message has ended.
      const isEnded = tries > 0 && outcome.text.includes("already terminal");
      findings.check(isEnded, `a user was refused: ${outcome.text}`);
      return isEnded;
    }
    await sleep(random.between(0, LONGEST_PAUSE_MS));
  }
  return false;
}
