// Delivery: how many messages a session gets through when its runtime takes no time.

import { waitFor } from "../../scripts/support/wait.ts";
import type { Arena } from "../arena.ts";
import { sendMessage, times } from "../calls.ts";
import { prepareSessions } from "../sessions.ts";

/** Messages of a session: as many as its queue holds. */
const MESSAGES = 10;
const TIMEOUT_MS = 60_000;

/** Milliseconds a message, from admission to its end, with so many sessions side by side; one number a round. */
export async function measureDrain(
  arena: Arena,
  sessions: number,
  rounds: number,
): Promise<number[]> {
  const samples: number[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const ids = await prepareSessions(arena, "ours", sessions);
    const messages = ids.map((id) => times(MESSAGES, () => sendMessage(id, { rotates: false })));
    const start = performance.now();
    await arena.ask("ours", messages);
    const last = messages.map((lane) => lane.at(-1)?.body ?? "{}");
    const queries = last.map((body) => [resultOf(body)]);
    await waitFor("the end of all messages", () => haveEnded(arena, queries), TIMEOUT_MS);
    if (round > 0) samples.push((performance.now() - start) / (sessions * MESSAGES));
  }
  return samples;
}

/** The query for what became of the message that was sent with this body. */
function resultOf(body: string) {
  const { cloudAgentSessionId, messageId } = JSON.parse(body) as Record<string, string>;
  const input = encodeURIComponent(JSON.stringify({ cloudAgentSessionId, messageId }));
  return { procedure: `getMessageResult?input=${input}`, body: null, status: 200 };
}

async function haveEnded(arena: Arena, queries: ReturnType<typeof resultOf>[][]): Promise<boolean> {
  const replies = (await arena.ask("ours", queries)).flat() as {
    result: { data: { status: string } };
  }[];
  return replies.every(({ result }) => result.data.status === "completed");
}
