// Replay: how fast a client that connects gets the stored events of a session.

import type { Arena } from "../arena.ts";
import { record, rotated, type Samples } from "./admission.ts";
import { sessionsWithHistory } from "./history.ts";

/** Events that a message leaves behind in these sessions. */
const EVENTS_OF_MESSAGE = 2;
const TIMEOUT_MS = 60_000;

/** Milliseconds for all events of a session, by contender. */
export async function measureReplay(
  arena: Arena,
  events: number,
  rounds: number,
): Promise<Samples> {
  const samples: Samples = new Map();
  const messages = events / EVENTS_OF_MESSAGE;
  const sessions = await sessionsWithHistory(arena, "ours", [messages], 1);
  const [id = ""] = sessions.get(messages) ?? [];
  const ticket = { procedure: "/stream-ticket", body: ticketBody(id), status: 200 };
  const connect: Record<string, () => Promise<Frames>> = {
    ours: () =>
      receive(events, async (fromId) => {
        const [[issued] = []] = await arena.ask("ours", [[ticket]]);
        const { ticket: value } = issued as { ticket: string };
        const query = { cloudAgentSessionId: id, ticket: value, fromId: String(fromId) };
        return arena.socketUrl("ours", query);
      }),
    replayer: () => receive(events, async () => arena.socketUrl("replayer", {})),
  };
  // The plain object sends what ours sends, so it learns that from a first replay.
  const { example } = (await connect.ours?.()) ?? { example: "" };
  const payload = example.slice(example.indexOf(",") + 1);
  const filling = JSON.stringify({ count: events, payload });
  await arena.ask("replayer", [[{ procedure: "fill", body: filling, status: 200 }]]);
  for (let round = 0; round <= rounds; round += 1) {
    for (const contender of rotated(Object.keys(connect), round)) {
      const { ms = 0 } = (await connect[contender]?.()) ?? {};
      if (round > 0) record(samples, contender, ms);
    }
  }
  return samples;
}

function ticketBody(cloudAgentSessionId: string): string {
  return JSON.stringify({ cloudAgentSessionId });
}

interface Frames {
  /** Milliseconds from the first connection to the last stored event. */
  ms: number;
  /** One of the frames. */
  example: string;
}

/**
 * Takes frames until all stored events came. A client that does not keep up is told so and closed, and connects again from
 * where it was. It does when it is told: workerd keeps the connection of a hibernating socket open after the close frame,
 * and Node's client waits ten seconds for its end.
 */
async function receive(
  events: number,
  urlFrom: (fromId: number) => Promise<string>,
): Promise<Frames> {
  const start = performance.now();
  let [lastId, example] = [0, ""];
  while (lastId < events) {
    const before = lastId;
    const url = await urlFrom(lastId);
    await new Promise<void>((ended) => {
      const socket = new WebSocket(url);
      const timer = setTimeout(() => socket.close(), TIMEOUT_MS);
      socket.onmessage = ({ data }) => {
        // Ids above 0 are those of stored events, which come in rising order.
        const eventId = Number(/^\{"eventId":([1-9]\d*)/.exec(data)?.[1] ?? 0);
        if (data.startsWith('{"type":"error"')) ended();
        if (eventId === 0) return;
        [lastId, example] = [eventId, data];
        if (eventId >= events) socket.close();
      };
      socket.onclose = () => {
        clearTimeout(timer);
        ended();
      };
    });
    if (lastId === before) throw new Error(`no event came after ${lastId} of ${events}`);
  }
  return { ms: performance.now() - start, example };
}
