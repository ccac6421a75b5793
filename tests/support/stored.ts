// What the objects have stored, read from their SQLite files.

import { createHash } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** How long to wait for a writer of the same file. */
const BUSY_MS = 5_000;

/** The SQLite files of all objects that have stored something. workerd makes an empty one for every name asked for. */
export function objectFiles(storage: string): string[] {
  if (!existsSync(storage)) return [];
  return readdirSync(storage, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".sqlite") && !path.endsWith("metadata.sqlite"))
    .map((path) => join(storage, path))
    .filter((file) => Object.keys(rowsOf(file)).length > 0)
    .sort();
}

/** All rows of all tables of an object, the platform's own (its alarm among them) aside. */
export function rowsOf(file: string): Record<string, unknown[]> {
  const database = new DatabaseSync(file, { readOnly: true, timeout: BUSY_MS });
  try {
    const tables = database
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
      .all() as { name: string }[];
    const rows: Record<string, unknown[]> = {};
    for (const { name } of tables) {
      if (name.startsWith("_cf_") || name.startsWith("sqlite_")) continue;
      rows[name] = database.prepare(`SELECT * FROM "${name}"`).all();
    }
    return rows;
  } finally {
    database.close();
  }
}

/** Everything of an object as one text; what is stored as bytes stands there as such. */
export function textOf(file: string): string {
  return JSON.stringify(rowsOf(file), (_key, cell: unknown) =>
    cell instanceof Uint8Array ? Buffer.from(cell).toString("latin1") : cell,
  );
}

/** Changes what an object has stored. Nobody else may have it open. Returns how many rows the last statement changed. */
export function changeRows(file: string, statements: readonly string[]): number {
  const database = new DatabaseSync(file);
  try {
    for (const statement of statements) database.exec(statement);
    return Number(database.prepare("SELECT changes() AS count").get()?.count);
  } finally {
    database.close();
  }
}

/** The file of the session's object. */
export function fileOf(storage: string, sessionId: string): string {
  const files = objectFiles(storage);
  const file = files.find((name) => JSON.stringify(rowsOf(name).session).includes(sessionId));
  if (file === undefined) throw new Error(`${sessionId} has stored nothing`);
  return file;
}

/** Whether no object has anything of the session. Not so while one that has is being cleared, and cannot be read. */
export function isForgotten(storage: string, sessionId: string): boolean {
  try {
    return objectFiles(storage).every((file) => !JSON.stringify(rowsOf(file)).includes(sessionId));
  } catch {
    return false;
  }
}

/** A digest of everything that is stored by every object: equal digests mean that nothing changed. */
export function digestOf(storage: string): string {
  const hash = createHash("sha256");
  for (const file of objectFiles(storage)) {
    hash.update(JSON.stringify([file, rowsOf(file)], bytesAsHex));
  }
  return hash.digest("hex");
}

function bytesAsHex(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value;
}
