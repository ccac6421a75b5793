// The groups of cases, in the order in which they run, and the limits of their ratios.

import type { Variables } from "../scripts/support/configuration.ts";
import { wasmSize } from "../scripts/test/size.ts";
import { Arena } from "./arena.ts";
import { type AdmissionOptions, measureAdmission, type Samples } from "./cases/admission.ts";
import { measureDrain } from "./cases/drain.ts";
import { measureEviction } from "./cases/eviction.ts";
import { measureHistory, measureStorage } from "./cases/history.ts";
import { measureReplay } from "./cases/replay.ts";
import { measureStart } from "./cases/start.ts";
import { measureMemory, measureWorkspaces } from "./cases/workspace.ts";
import type { Options } from "./options.ts";
import { exactly, type Results } from "./report/results.ts";
import { difference, estimate, ratio } from "./statistics.ts";
import { InstantRuntime } from "./support/instant-runtime.ts";

/** What a group works with. */
export interface Context {
  /** A folder in memory. */
  memory: string;
  /** A folder on disk. */
  disk: string;
  options: Options;
  results: Results;
}

/** A group of cases. */
export interface Group {
  name: string;
  measure(context: Context): Promise<void>;
}

const FLOOR_LIMIT = 1.3;
const PEER_LIMIT = 0.8;
const OWN_ADMISSION_LIMIT = 1;
const HISTORY_LIMIT = 1.1;
const START_LIMIT = 1.5;
/** Bytes of the compressed module that are aimed at. */
const WASM_GZIP_LIMIT = 300 * 1024;

/** Of the speed of a plain object. */
const REPLAY_LIMIT = 0.5;
const EVENTS = 100_000;
const QUICK_EVENTS = 1_000;
const COLD_LIMIT = 1.1;
/** What a warm rotation may take beyond one `git ls-remote`. */
const WARM_LIMIT_MS = 20;

/** Files of a repository, and which part of the rounds is enough for it: large ones take seconds. */
const REPOSITORIES = [
  { files: 100, part: 1 },
  { files: 10_000, part: 1 / 3 },
];
const QUICK_REPOSITORIES = [{ files: 100, part: 1 }];
const MEMORY_SESSIONS = 100;
const QUICK_MEMORY_SESSIONS = 3;
/** Sessions that are drained side by side. */
const DRAINED = [1, 16];

const IN_FLIGHT = [1, 16, 64];
const HISTORY = [10, 100, 1_000, 10_000];
const QUICK_HISTORY = [10, 100];

export const GROUPS: readonly Group[] = [
  { name: "size", measure: size },
  { name: "admission", measure: ({ memory, ...rest }) => admission(memory, "memory", rest) },
  { name: "fsync", measure: ({ disk, ...rest }) => admission(disk, "disk", rest) },
  { name: "history", measure: history },
  { name: "eviction", measure: eviction },
  { name: "start", measure: start },
  { name: "replay", measure: replay },
  { name: "drain", measure: drain },
  { name: "workspace", measure: workspace },
];

async function size({ results }: Context): Promise<void> {
  const { raw, gzip } = wasmSize();
  const group = "size";
  results.figures.push({
    group,
    name: "WebAssembly module",
    value: exactly(raw),
    unit: "bytes",
  });
  results.claims.push({
    group,
    name: "WebAssembly module, compressed with gzip -9",
    value: exactly(gzip),
    limit: WASM_GZIP_LIMIT,
    unit: "bytes",
  });
}

async function admission(
  parent: string,
  where: "memory" | "disk",
  { options, results }: Pick<Context, "options" | "results">,
): Promise<void> {
  const steps: AdmissionOptions["steps"] =
    where === "memory" ? ["rotation", "plain", "replay", "rejection"] : ["rotation"];
  for (const inFlight of IN_FLIGHT) {
    // Each with files of its own, since thousands of sessions take room.
    const measure = (arena: Arena) =>
      measureAdmission(arena, { inFlight, rounds: options.rounds, steps });
    const samples = await inArena(parent, measure);
    const group = `admission, files ${where === "memory" ? "in memory" : "on disk"}`;
    const named = (name: string) => `${name}, ${inFlight} in flight`;
    const compare = (above: string, below: string, limit: number) =>
      results.claims.push({
        group,
        name: named(`${above} against ${below}`),
        value: ratio(of(samples, above), of(samples, below)),
        limit,
      });
    compare("ours rotation", "floor rotation", FLOOR_LIMIT);
    compare("ours rotation", "peer rotation", PEER_LIMIT);
    if (steps.includes("replay")) compare("ours replay", "ours plain", OWN_ADMISSION_LIMIT);
    if (steps.includes("rejection")) {
      compare("ours rejection", "ours rotation", OWN_ADMISSION_LIMIT);
    }
    for (const [name, values] of samples) {
      results.figures.push({ group, name: named(name), value: estimate(values), unit: "ms" });
    }
  }
}

async function history({ memory, options, results }: Context): Promise<void> {
  const lengths = options.quick ? QUICK_HISTORY : HISTORY;
  await inArena(memory, async (arena) => {
    const samples = await measureHistory(arena, lengths, options.rounds);
    const costs = await measureStorage(arena, lengths);
    const group = "history";
    const [shortest = 0, longest = 0] = [lengths[0], lengths.at(-1)];
    results.claims.push({
      group,
      name: `message ${longest} against message ${shortest}`,
      value: ratio(of(samples, String(longest)), of(samples, String(shortest))),
      limit: HISTORY_LIMIT,
    });
    for (const counted of ["rowsWritten", "rowsRead", "bytesBound"] as const) {
      const [few, many] = [costs.get(shortest)?.[counted] ?? 0, costs.get(longest)?.[counted] ?? 0];
      results.claims.push({
        group,
        name: `${counted} of message ${longest} against message ${shortest}`,
        value: exactly(many / few),
        limit: HISTORY_LIMIT,
      });
    }
    for (const messages of lengths) {
      const latencyMs = estimate(of(samples, String(messages)));
      const cost = costs.get(messages);
      if (cost === undefined) continue;
      const { rowsWritten, rowsRead, bytesBound } = cost;
      results.history.push({ messages, latencyMs, rowsWritten, rowsRead, bytesBound });
      const name = (what: string) => `message ${messages}: ${what}`;
      results.figures.push({ group, name: name("latency"), value: latencyMs, unit: "ms" });
      for (const [what, value] of Object.entries(cost)) {
        if (what === "databaseBytes") continue;
        results.figures.push({ group, name: name(what), value: exactly(value), unit: "" });
      }
    }
  });
}

async function eviction({ memory, options, results }: Context): Promise<void> {
  await inArena(memory, async (arena) => {
    const samples = await measureEviction(arena, options.rounds);
    addComparisonWithFloor(results, "eviction", "first request after eviction", samples);
  });
}

async function start({ memory, options, results }: Context): Promise<void> {
  const samples = await measureStart(memory, options.rounds);
  addComparisonWithFloor(results, "start", "process start to first reply", samples);
}

async function replay({ memory, options, results }: Context): Promise<void> {
  const events = options.quick ? QUICK_EVENTS : EVENTS;
  const group = "replay";
  await inArena(memory, async (arena) => {
    const samples = await measureReplay(arena, events, Math.ceil(options.rounds / 6));
    results.claims.push({
      group,
      name: `speed of replaying ${events} events against a plain object`,
      value: ratio(of(samples, "replayer"), of(samples, "ours")),
      limit: REPLAY_LIMIT,
      atLeast: true,
    });
    for (const [contender, values] of samples) {
      const value = estimate(values);
      results.figures.push({ group, name: `${events} events, ${contender}`, value, unit: "ms" });
    }
  });
}

async function drain({ memory, options, results }: Context): Promise<void> {
  const runtime = await InstantRuntime.start();
  try {
    const variables = { RUNTIME_URL: runtime.url, DRAIN_DELAY_MS: "0" };
    await inArena(
      memory,
      async (arena) => {
        for (const sessions of DRAINED) {
          const rounds = Math.ceil(options.rounds / 3);
          results.figures.push({
            group: "drain",
            name: `a message over an instant runtime, ${sessions} sessions side by side`,
            value: estimate(await measureDrain(arena, sessions, rounds)),
            unit: "ms",
          });
        }
      },
      variables,
    );
  } finally {
    await runtime.close();
  }
}

async function workspace({ disk, options, results }: Context): Promise<void> {
  const group = "workspace";
  for (const { files, part } of options.quick ? QUICK_REPOSITORIES : REPOSITORIES) {
    const samples = await measureWorkspaces(disk, files, Math.ceil(options.rounds * part));
    const named = (name: string) => `${name}, ${files} files`;
    results.claims.push(
      {
        group,
        name: named("cold preparation against the same git commands by hand"),
        value: ratio(of(samples, "cold"), of(samples, "commands")),
        limit: COLD_LIMIT,
      },
      {
        group,
        name: named("warm rotation beyond one git ls-remote"),
        value: difference(of(samples, "warm"), of(samples, "ls-remote")),
        limit: WARM_LIMIT_MS,
        unit: "ms",
      },
    );
    for (const [name, values] of samples) {
      results.figures.push({ group, name: named(name), value: estimate(values), unit: "ms" });
    }
  }
  const sessions = options.quick ? QUICK_MEMORY_SESSIONS : MEMORY_SESSIONS;
  results.figures.push({
    group,
    name: `memory of the runtime with ${sessions} sessions`,
    value: exactly(await measureMemory(disk, sessions)),
    unit: "MB",
  });
}

function addComparisonWithFloor(
  results: Results,
  group: string,
  name: string,
  samples: Samples,
): void {
  results.claims.push({
    group,
    name: `${name}, ours against floor`,
    value: ratio(of(samples, "ours"), of(samples, "floor")),
    limit: START_LIMIT,
  });
  for (const [contender, values] of samples) {
    const value = estimate(values);
    results.figures.push({ group, name: `${name}, ${contender}`, value, unit: "ms" });
  }
}

async function inArena<T>(
  parent: string,
  use: (arena: Arena) => Promise<T>,
  variables: Variables = {},
): Promise<T> {
  const arena = await Arena.start({ parent, variables });
  try {
    return await use(arena);
  } finally {
    await arena.close();
  }
}

function of(samples: Samples, name: string): number[] {
  const values = samples.get(name);
  if (values === undefined) throw new Error(`nothing was measured for ${name}`);
  return values;
}
