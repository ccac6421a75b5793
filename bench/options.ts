// What the command line asks for.

import { parseArgs } from "node:util";

/** How the bench runs. */
export interface Options {
  /** Rounds of each case. */
  rounds: number;
  /** A smoke run: few rounds, small histories, results that mean nothing. */
  quick: boolean;
  /** Groups of cases to run; all when it is empty. */
  only: readonly string[];
}

const ROUNDS = 30;
const QUICK_ROUNDS = 2;

export const USAGE = `usage: npm run bench -- [--quick] [--rounds N] [--only GROUP]...`;

/** Reads the command line. */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      only: { type: "string", multiple: true, default: [] },
    },
  });
  const rounds = Number(values.rounds ?? (values.quick ? QUICK_ROUNDS : ROUNDS));
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds must be a whole number`);
  return { rounds, quick: values.quick, only: values.only };
}
