// What test runners say about themselves: how many tests really ran.

import { stripVTControlCharacters } from "node:util";

/** Tests that ended well, ended badly, and were left out. */
export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

export const NO_COUNTS: Counts = { passed: 0, failed: 0, skipped: 0 };

export function add(left: Counts, right: Counts): Counts {
  return {
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  };
}

/** Adds up the `test result:` lines that cargo prints, one for each test program. */
export function cargoCounts(output: string): Counts {
  const line = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;/gm;
  let counts = NO_COUNTS;
  for (const [, passed, failed, skipped] of plain(output).matchAll(line)) {
    counts = add(counts, {
      passed: Number(passed),
      failed: Number(failed),
      skipped: Number(skipped),
    });
  }
  return counts;
}

/** Reads the closing lines of node's spec reporter. Tests that were cancelled count as failed. */
export function nodeCounts(output: string): Counts {
  const text = plain(output);
  const last = (name: string): number => {
    const found = [...text.matchAll(new RegExp(`^ℹ ${name} (\\d+)$`, "gm"))].at(-1);
    return Number(found?.[1] ?? 0);
  };
  return {
    passed: last("pass"),
    failed: last("fail") + last("cancelled"),
    skipped: last("skipped") + last("todo"),
  };
}

function plain(output: string): string {
  return stripVTControlCharacters(output);
}
