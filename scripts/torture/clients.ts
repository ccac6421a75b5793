// The clients of a session: what each of them sends, and in which order.

import { setTimeout as sleep } from "node:timers/promises";
import { messageId } from "../support/client.ts";
import type { SentMessage, SessionHistory, Tally } from "./history.ts";
import type { Random } from "./random.ts";
import type { Sender } from "./sender.ts";

const LONGEST_BREAK_MS = 1200;
/** Long enough for a request to arrive, and short enough for its answer to be missed now and then. */
const LONGEST_PATIENCE_MS = 25;

/** What a client does its work with. */
export interface ClientParts {
  sender: Sender;
  session: SessionHistory;
  /** How many messages it sends. */
  count: number;
  random: Random;
  newToken: () => string;
  tally: Tally;
  signal: AbortSignal;
}

/** Sends `count` messages one after the other, some of them twice or late. */
export async function playClient(parts: ClientParts): Promise<void> {
  const { sender, random, tally } = parts;
  let postponed: SentMessage | undefined;
  let previous: SentMessage | undefined;
  for (let index = 0; index < parts.count && !parts.signal.aborted; index += 1) {
    const message = newMessage(parts, previous);
    const isLast = index === parts.count - 1;
    if (postponed === undefined && !isLast && random.chance(0.12)) {
      await sender.sendAndHangUp(message, Math.ceil(random.between(0, LONGEST_PATIENCE_MS)));
      postponed = message;
      continue;
    }
    const both = random.chance(0.15) ? [message, message] : [message];
    if (both.length > 1) tally.add("duplicates sent at once");
    await Promise.all(both.map((one) => sender.deliver(one)));
    if (postponed !== undefined) {
      tally.add("first retries after a newer message");
      await sender.deliver(postponed);
      postponed = undefined;
    }
    if (previous !== undefined && random.chance(0.2)) await sender.repeat(previous);
    previous = message;
    await sleep(random.between(0, LONGEST_BREAK_MS));
  }
}

/** Makes a message and enters it into the session's history. */
export function newMessage(
  parts: Pick<ClientParts, "session" | "random" | "newToken">,
  previous: SentMessage | undefined,
): SentMessage {
  const choice = parts.random.unit();
  const token =
    choice < 0.65 ? parts.newToken() : choice < 0.8 ? (previous?.token ?? undefined) : undefined;
  const message: SentMessage = {
    messageId: messageId(),
    token,
    autoCommit: parts.random.chance(0.2),
    firstTryAt: undefined,
    acknowledgedAt: undefined,
  };
  parts.session.messages.push(message);
  return message;
}
