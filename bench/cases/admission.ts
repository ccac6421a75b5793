// Admission: with a fresh token and without, of a message that is known, and of one too many.

import type { Arena, Contender } from "../arena.ts";
import { sendMessage, times } from "../calls.ts";
import { prepareSessions } from "../sessions.ts";
import type { Call } from "../workers/driver.ts";

/** Milliseconds a request, one number for each round, by the name of the step. */
export type Samples = Map<string, number[]>;

/** What a step of a round sends to one session. */
type Step = "rotation" | "plain" | "replay" | "rejection";

/** The queue holds ten messages. */
const QUEUE_MESSAGES_MAX = 10;
/** Messages that a session gets in a step. */
const MESSAGES = 4;
/** Rounds before those that count: until then the engine still compiles what is called often. */
const WARM_UP_ROUNDS = 3;
/** With fewer a sample would be too short for a clock of whole milliseconds. */
const SESSIONS_MIN = 16;

/** The steps that a contender takes part in: replay and rejection are compared with its own admission. */
const STEPS: Record<string, readonly Step[]> = {
  ours: ["rotation", "plain", "replay", "rejection"],
  floor: ["rotation", "plain"],
  peer: ["rotation", "plain", "replay", "rejection"],
};

/** Which contenders come how often, and what is measured. */
export interface AdmissionOptions {
  inFlight: number;
  rounds: number;
  steps: readonly Step[];
}

/** Measures; the result's names are `<contender> <step>`. */
export async function measureAdmission(arena: Arena, options: AdmissionOptions): Promise<Samples> {
  const samples: Samples = new Map();
  const contenders: Contender[] = ["ours", "floor", "peer"];
  for (let round = 1 - WARM_UP_ROUNDS; round <= options.rounds; round += 1) {
    const sessions = new Map<Contender, SessionWork[]>();
    for (const contender of contenders) {
      const ids = await prepareSessions(arena, contender, Math.max(options.inFlight, SESSIONS_MIN));
      sessions.set(contender, ids.map(sessionWork));
    }
    for (const step of options.steps) {
      for (const contender of rotated(contenders, round + WARM_UP_ROUNDS)) {
        if (STEPS[contender]?.includes(step) !== true) continue;
        const work = sessions.get(contender) ?? [];
        if (step === "rejection") {
          await arena.ask(
            contender,
            work.map(({ filling }) => filling),
          );
        }
        const lanes = inLanes(
          work.map((session) => session[step]),
          options.inFlight,
        );
        const ms = await arena.time(contender, lanes);
        if (round > 0) record(samples, `${contender} ${step}`, ms / (work.length * MESSAGES));
      }
    }
  }
  return samples;
}

type SessionWork = Record<Step | "filling", Call[]>;

function sessionWork(id: string): SessionWork {
  const rotation = times(MESSAGES, () => sendMessage(id, { rotates: true }));
  return {
    rotation,
    plain: times(MESSAGES, () => sendMessage(id, { rotates: false })),
    replay: rotation,
    filling: times(QUEUE_MESSAGES_MAX - 2 * MESSAGES, () => sendMessage(id, { rotates: false })),
    rejection: times(MESSAGES, () => sendMessage(id, { rotates: true, status: 429 })),
  };
}

/** So many lanes, each with the calls of its sessions one after the other. */
function inLanes(calls: Call[][], lanes: number): Call[][] {
  return times(lanes, (lane) => calls.filter((_, index) => index % lanes === lane).flat());
}

/** The order of a round: everybody is first equally often. */
export function rotated<T>(values: readonly T[], round: number): T[] {
  const start = round % values.length;
  return [...values.slice(start), ...values.slice(0, start)];
}

/** Adds a sample. */
export function record(samples: Samples, name: string, value: number): void {
  const values = samples.get(name);
  if (values === undefined) samples.set(name, [value]);
  else values.push(value);
}
