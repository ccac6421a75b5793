// Tries every change of the protocol's sources that cargo-mutants knows.
//
// cargo-mutants compiles each change by itself, which takes hours. Here it makes the list, and every changed body of a
// function becomes a branch behind a number, so that one build serves them all.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cargoMutants, installTool } from "../setup/cargo-tools.mjs";
import { Copy } from "./copy.ts";
import { addSwitch, type CompileError, checkLibrary, Programs } from "./programs.ts";

interface Position {
  line: number;
  column: number;
}

interface Span {
  start: Position;
  end: Position;
}

/** A change, as cargo-mutants lists it. */
interface Mutant {
  name: string;
  file: string;
  genre: string;
  replacement: string;
  span: Span;
  function: { function_name: string; span: Span } | null;
}

/** What became of the changes. */
export interface Verdicts {
  tried: number;
  /** Not caught by any test. */
  missed: string[];
  /** They do not compile. */
  unviable: string[];
}

/** As many rounds as it takes to leave out what does not compile. */
const ROUNDS_MAX = 12;

/** Tries all changes; `report` is told of each that was missed. */
export async function mutateSources(report: (name: string) => void): Promise<Verdicts> {
  await installTool(cargoMutants);
  const copy = Copy.make();
  try {
    const mutants = list(copy);
    const { viable, unviable } = plant(copy, mutants);
    const programs = new Programs(copy);
    await programs.checkSound();
    const missed: string[] = [];
    for (const [index, { name }] of viable) {
      if ((await programs.decisions(index)).failed.length > 0) continue;
      if ((await programs.simulation(index)).failed.length > 0) continue;
      missed.push(name);
      report(name);
    }
    return { tried: viable.length, missed, unviable: unviable.map(({ name }) => name) };
  } finally {
    copy.close();
  }
}

function list(copy: Copy): Mutant[] {
  const output = execFileSync(
    cargoMutants.program,
    ["mutants", "--list", "--json", "--package", "cloud-agent-session"],
    { cwd: copy.root, encoding: "utf8", maxBuffer: 2 ** 28 },
  );
  return JSON.parse(output) as Mutant[];
}

type Numbered = [number, Mutant];

/** Puts all changes into the copy, and leaves out those that do not compile. */
function plant(copy: Copy, mutants: readonly Mutant[]): { viable: Numbered[]; unviable: Mutant[] } {
  const originals = new Map(
    [...new Set(mutants.map(({ file }) => file))].map((file) => [
      file,
      readFileSync(join(copy.root, file), "utf8"),
    ]),
  );
  // A change outside of a function has no body to branch in.
  const unviable = mutants.filter((mutant) => mutant.function === null);
  let viable = mutants
    .map((mutant, index): Numbered => [index + 1, mutant])
    .filter(([, mutant]) => mutant.function !== null);
  addSwitch(copy);
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const places = new Map<string, Map<number, number>>();
    for (const [file, text] of originals) {
      const planted = branched(
        text,
        viable.filter(([, mutant]) => mutant.file === file),
      );
      copy.write(file, planted.text);
      places.set(file, planted.numbers);
    }
    const errors = checkLibrary(copy);
    if (errors.length === 0) return { viable, unviable };
    const out = culprits(errors, places, viable);
    if (out.size === 0) throw new Error(`the copy does not compile:\n${errors[0]?.text}`);
    unviable.push(...viable.filter(([number]) => out.has(number)).map(([, mutant]) => mutant));
    viable = viable.filter(([number]) => !out.has(number));
  }
  throw new Error(`the copy still does not compile after ${ROUNDS_MAX} rounds`);
}

/** The changes in whose branches the errors are, or whose function must stay constant. */
function culprits(
  errors: readonly CompileError[],
  places: ReadonlyMap<string, ReadonlyMap<number, number>>,
  viable: readonly Numbered[],
): Set<number> {
  const out = new Set<number>();
  for (const { text, places: spans } of errors) {
    for (const { file, line } of spans) {
      const number = places.get(file)?.get(line);
      if (number !== undefined) out.add(number);
    }
    const name = /cannot call non-const \S+ `(?:\S*::)?(\w+)` in/.exec(text)?.[1];
    if (name === undefined) continue;
    for (const [number, { function: of }] of viable) {
      if (of?.function_name.endsWith(name)) out.add(number);
    }
  }
  return out;
}

/** A file whose functions have a branch for each of their changes, and which line belongs to which change. */
function branched(
  text: string,
  mutants: readonly Numbered[],
): { text: string; numbers: Map<number, number> } {
  const offsets = lineOffsets(text);
  const at = ({ line, column }: Position) => (offsets[line - 1] ?? 0) + column - 1;
  const functions = new Map<string, Numbered[]>();
  for (const numbered of mutants) {
    const key = JSON.stringify(numbered[1].function?.span);
    functions.set(key, [...(functions.get(key) ?? []), numbered]);
  }
  const numbers = new Map<number, number>();
  let result = "";
  let done = 0;
  const ordered = [...functions].map(([key, group]) => ({ span: JSON.parse(key) as Span, group }));
  for (const { span, group } of ordered.sort((a, b) => at(a.span.start) - at(b.span.start))) {
    const start = at(span.start);
    const end = at(span.end);
    const open = bodyStart(text, start);
    const body = text.slice(open + 1, end - 1);
    // A branch reads the environment, which no constant function can.
    const head = text.slice(start, open + 1).replace(/\bconst fn /, "fn ");
    result += text.slice(done, start) + head;
    result += " match crate::change() {\n";
    for (const [number, mutant] of group) {
      const from = at(mutant.span.start) - open - 1;
      const to = at(mutant.span.end) - open - 1;
      const changed = body.slice(0, from) + mutant.replacement + body.slice(to);
      const first = result.split("\n").length;
      result += `${number} => {\n${changed}\n}\n`;
      const last = result.split("\n").length - 1;
      for (let line = first; line <= last; line += 1) numbers.set(line, number);
    }
    result += `_ => {\n${body}\n}\n}\n}`;
    done = end;
  }
  return { text: result + text.slice(done), numbers };
}

function lineOffsets(text: string): number[] {
  const offsets = [0];
  for (const { index } of text.matchAll(/\n/g)) offsets.push(index + 1);
  return offsets;
}

/** The brace that opens the body of the function whose attributes begin at `start`. */
function bodyStart(text: string, start: number): number {
  const name = /^[ \t]*(?:pub(?:\([^)]*\))? )?(?:const )?fn \w+/m.exec(text.slice(start));
  let depth = 0;
  for (let index = start + (name?.index ?? 0); index < text.length; index += 1) {
    const character = text[index];
    if (character === "(" || character === "[") depth += 1;
    if (character === ")" || character === "]") depth -= 1;
    if (character === "{" && depth === 0) return index;
  }
  throw new Error("a function has no body");
}
