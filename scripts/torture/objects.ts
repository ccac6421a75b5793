// What the objects have stored, session by session.

import { objectFiles, rowsOf } from "../../tests/support/stored.ts";
import type { Stack } from "../support/stack.ts";
import type { DeletedSession } from "./history.ts";

/** A row of the table of messages. */
export interface MessageRow {
  position: number;
  message_id: string;
  phase: string;
  /** JSON; see the object's message states. */
  state: string;
}

/** A row of the table of events. */
export interface EventRow {
  id: number;
  kind: string;
  payload: string;
}

/** The row of the credential. */
export interface CredentialRow {
  generation: number;
  fingerprint: string;
  pointer_message_id: string | null;
}

/** The tables of one session's object. */
export interface StoredSession {
  messages: MessageRow[];
  events: EventRow[];
  markers: unknown[];
  credential: CredentialRow | undefined;
}

/** What is stored of a session; undefined when nothing is. */
export type StoredSessions = Map<string, StoredSession>;

/** Reads the files of all objects. */
export function readObjects(stack: Stack, sessionIds: readonly string[]): StoredSessions {
  const stored: StoredSessions = new Map();
  for (const file of objectFiles(stack.worker.storage)) {
    const rows = rowsOf(file);
    const record = JSON.stringify(rows.session ?? []);
    const id = sessionIds.find((known) => record.includes(known));
    if (id === undefined) continue;
    stored.set(id, {
      messages: (rows.message ?? []) as MessageRow[],
      events: (rows.event ?? []) as EventRow[],
      markers: rows.marker ?? [],
      credential: (rows.credential as CredentialRow[] | undefined)?.[0],
    });
  }
  return stored;
}

/** Deleted sessions of which rows are left. */
export function remainsOfDeleted(stack: Stack, deleted: readonly DeletedSession[]): string[] {
  let stored: string[];
  try {
    stored = objectFiles(stack.worker.storage).map((file) => JSON.stringify(rowsOf(file)));
  } catch {
    // A database cannot be read while its owner clears it: its session is there for a moment yet.
    return deleted.map(({ id }) => id);
  }
  return deleted.map(({ id }) => id).filter((id) => stored.some((rows) => rows.includes(id)));
}

const OPEN = new Set(["queued", "claimed", "accepted"]);

/** Messages that have not ended. */
export function openMessages(stored: StoredSessions): MessageRow[] {
  return [...stored.values()].flatMap(({ messages }) =>
    messages.filter(({ phase }) => OPEN.has(phase)),
  );
}
