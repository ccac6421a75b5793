// The first request to a session whose object is not in memory.

import type { Arena, Contender } from "../arena.ts";
import { sendMessage } from "../calls.ts";
import { prepareSessions } from "../sessions.ts";
import { record, rotated, type Samples } from "./admission.ts";

/** Sessions of a sample. */
const SESSIONS = 16;

/** Milliseconds of a first request with rotation, by contender. */
export async function measureEviction(arena: Arena, rounds: number): Promise<Samples> {
  const samples: Samples = new Map();
  const contenders: Contender[] = ["ours", "floor", "peer"];
  for (let round = 0; round <= rounds; round += 1) {
    for (const contender of rotated(contenders, round)) {
      const ids = await prepareSessions(arena, contender, SESSIONS);
      for (const id of ids) await arena.evict(contender, id);
      const lane = ids.map((id) => sendMessage(id, { rotates: true }));
      const ms = await arena.time(contender, [lane]);
      if (round > 0) record(samples, contender, ms / lane.length);
    }
  }
  return samples;
}
