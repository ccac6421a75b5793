// Sessions with a long past: what a message costs in them, and what it writes.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { messageId } from "../../scripts/support/client.ts";
import type { Arena, Contender } from "../arena.ts";
import { interruptSession, sendMessage, times } from "../calls.ts";
import { prepareSessions } from "../sessions.ts";
import { median } from "../statistics.ts";
import type { Counters } from "../workers/counted.ts";
import { record, rotated, type Samples } from "./admission.ts";

/** Messages of a sample. */
const MESSAGES = 8;
/** Sessions of each length that a sample goes through. */
const SESSIONS = 6;

/** What one admission asks of storage, by the length of the session's past. */
export type StorageCosts = Map<number, Counters>;

/** Milliseconds a message with rotation, by the length of the session's past as text. */
export async function measureHistory(
  arena: Arena,
  lengths: readonly number[],
  rounds: number,
): Promise<Samples> {
  const samples: Samples = new Map();
  const sessions = await sessionsWithHistory(arena, "ours", lengths, SESSIONS);
  for (let round = 0; round <= rounds; round += 1) {
    for (const length of rotated(lengths, round)) {
      const ids = sessions.get(length) ?? [];
      const calls = ids.flatMap((id) => times(MESSAGES, () => sendMessage(id, { rotates: true })));
      const ms = await arena.time("ours", [calls]);
      await arena.ask("ours", [ids.map(interruptSession)]);
      if (round > 0) record(samples, String(length), ms / calls.length);
    }
  }
  return samples;
}

/** What storage is asked for one message with rotation. */
export async function measureStorage(
  arena: Arena,
  lengths: readonly number[],
): Promise<StorageCosts> {
  const costs: StorageCosts = new Map();
  const sessions = await sessionsWithHistory(arena, "counted", lengths, 1);
  for (const [length, [id = ""]] of sessions) {
    const objectName = `${arena.user}:${id}`;
    const body = JSON.stringify({ objectName });
    const counters = { procedure: "counters", body, status: 200 };
    const readings: Counters[] = [];
    for (let message = 0; message <= MESSAGES; message += 1) {
      const lane = [sendMessage(id, { rotates: true }), counters];
      const [[, reading] = []] = await arena.ask("counted", [lane]);
      // The first one also opens the object.
      if (message > 0) readings.push(reading as Counters);
    }
    costs.set(length, mediansOf(readings));
  }
  return costs;
}

function mediansOf(readings: readonly Counters[]): Counters {
  const names = Object.keys(readings[0] ?? {}) as (keyof Counters)[];
  const medians = names.map((name) => [name, median(readings.map((reading) => reading[name]))]);
  return Object.fromEntries(medians) as Counters;
}

/**
 * Sessions that have had so many messages. Delivering ten thousand messages takes longer than anything that is measured
 * here, so one message is sent and ended by the session itself, and its rows are copied while nobody has them open.
 */
export async function sessionsWithHistory(
  arena: Arena,
  contender: Contender,
  lengths: readonly number[],
  each: number,
): Promise<Map<number, string[]>> {
  const sessions = new Map<number, string[]>();
  for (const length of lengths) {
    const ids = await prepareSessions(arena, contender, each);
    await arena.ask(
      contender,
      ids.map((id) => [sendMessage(id, { rotates: true }), interruptSession(id)]),
    );
    sessions.set(length, ids);
  }
  await arena.pause();
  for (const database of databasesOf(arena, contender)) {
    const record = database.prepare("SELECT record FROM session").get()?.record as string;
    for (const [length, ids] of sessions) {
      if (ids.some((id) => record.includes(id))) copyMessage(database, length - 1);
    }
    database.close();
  }
  await arena.resume();
  return sessions;
}

function* databasesOf(arena: Arena, contender: Contender): Generator<DatabaseSync> {
  const folder = arena.objectFolder(contender);
  for (const name of readdirSync(folder)) {
    if (!name.endsWith(".sqlite") || name === "metadata.sqlite") continue;
    const database = new DatabaseSync(join(folder, name));
    const query = "SELECT 1 FROM sqlite_master WHERE name = 'session'";
    if (database.prepare(query).get() === undefined) database.close();
    else yield database;
  }
}

type Row = Record<string, SQLInputValue>;

/** Copies the one message of a session, with its events, under other ids. */
function copyMessage(database: DatabaseSync, copies: number): void {
  const template = database.prepare("SELECT message_id FROM message").get() as Row;
  const original = String(template.message_id);
  database.exec("BEGIN");
  for (const [table, key] of [
    ["message", "position"],
    ["event", "id"],
  ] as const) {
    const rows = database.prepare(`SELECT * FROM ${table}`).all() as Row[];
    const columns = Object.keys(rows[0] ?? {}).filter((column) => column !== key);
    const marks = columns.map(() => "?").join(", ");
    const insert = database.prepare(
      `INSERT INTO ${table} (${columns.join(", ")}) VALUES (${marks})`,
    );
    for (let copy = 0; copy < copies; copy += 1) {
      const id = messageId();
      for (const row of rows) {
        const value = (column: string): SQLInputValue => {
          const stored = row[column] ?? null;
          return typeof stored === "string" ? stored.replaceAll(original, id) : stored;
        };
        insert.run(...columns.map(value));
      }
    }
  }
  database.exec("COMMIT");
}
