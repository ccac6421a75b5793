// Kills a process again and again while messages go through, and starts it on the same files and port.

import { setTimeout as sleep } from "node:timers/promises";
import type { LogLines } from "../support/log-lines.ts";
import { waitFor } from "../support/wait.ts";
import type { Random } from "./random.ts";

const LONGEST_DELAY_MS = 800;
const LONGEST_DOWN_MS = 400;

/** What can be killed. */
interface Killable {
  readonly log: LogLines;
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** How to kill it. */
export interface KillPlan {
  /** At how many acknowledged messages each kill is due, rising. */
  due: readonly number[];
  /** How many messages are acknowledged now. */
  progress: () => number;
  random: Random;
  /** Is told when a kill happens. */
  onKill: () => void;
  /** Ends the killing, between two kills. */
  signal: AbortSignal;
}

/** Makes all kills of a plan. */
export async function killRepeatedly(process: Killable, plan: KillPlan): Promise<void> {
  for (const due of plan.due) {
    await waitFor(
      `${due} acknowledged messages`,
      () => plan.signal.aborted || plan.progress() >= due,
      Number.POSITIVE_INFINITY,
    );
    if (plan.signal.aborted) return;
    await sleep(plan.random.between(0, LONGEST_DELAY_MS));
    plan.onKill();
    process.log.append(`torture: SIGKILL at ${Date.now()}`, "stderr");
    await process.kill();
    await sleep(plan.random.between(0, LONGEST_DOWN_MS));
    await process.start();
    process.log.append(`torture: started again at ${Date.now()}`, "stderr");
  }
}
