// Takes the guards of the protocol out one by one and runs the tests without each.

import { Copy } from "./copy.ts";
import { GUARDS, type Guard } from "./guards.ts";
import { addSwitch, Programs } from "./programs.ts";

/** What caught the removal of a guard. */
export interface Verdict {
  guard: Guard;
  /** Tests of single decisions that failed. */
  decisions: string[];
  /** Sweeps and random histories that failed. */
  simulation: string[];
}

/** Tries every guard; `report` is told each verdict at once. */
export async function tryGuards(report: (verdict: Verdict) => void): Promise<Verdict[]> {
  const copy = Copy.make();
  try {
    for (const [index, { edits }] of GUARDS.entries()) {
      for (const { file, find, put } of edits) {
        copy.edit(file, find, put.replaceAll("GONE", `(crate::change() == ${index + 1})`));
      }
    }
    addSwitch(copy);
    const programs = new Programs(copy);
    await programs.checkSound();
    const verdicts: Verdict[] = [];
    for (const [index, guard] of GUARDS.entries()) {
      const { failed: decisions } = await programs.decisions(index + 1);
      const { failed: simulation } = await programs.simulation(index + 1);
      const verdict = { guard, decisions, simulation };
      report(verdict);
      verdicts.push(verdict);
    }
    return verdicts;
  } finally {
    copy.close();
  }
}
