// Fresh sessions of a contender.

import type { Arena, Contender } from "./arena.ts";
import { prepareSession, times } from "./calls.ts";

/** Prepared at once, so that making many does not overload the machine. */
const SIDE_BY_SIDE_MAX = 16;

/** Prepares sessions and returns their ids. */
export async function prepareSessions(
  arena: Arena,
  contender: Contender,
  count: number,
): Promise<string[]> {
  const lanes = times(Math.min(count, SIDE_BY_SIDE_MAX), (lane) =>
    times(Math.ceil((count - lane) / Math.min(count, SIDE_BY_SIDE_MAX)), prepareSession),
  );
  const replies = (await arena.ask(contender, lanes)).flat() as {
    result: { data: { cloudAgentSessionId: string } };
  }[];
  return replies.map((reply) => reply.result.data.cloudAgentSessionId);
}
