// Every acknowledged message ended exactly once, and for a reason.

import type { Findings } from "../findings.ts";
import type { History, SentMessage } from "../history.ts";
import type { LogIndex } from "../log-index.ts";
import type { EventRow, MessageRow, StoredSession, StoredSessions } from "../objects.ts";

const TERMINAL_EVENTS: Record<string, string> = {
  completed: "cloud.message.completed",
  failed: "cloud.message.failed",
  interrupted: "cloud.message.failed",
};

/** What a message whose agent was hit by a kill of the runtime may fail with. */
const LOST_WITH_RUNTIME = ["container_shutdown", "wrapper_disconnected"];
/** A kill is noted just before it is made. */
const KILL_MS = 250;
/** From the agent's last word until its end is on disk, with a commit and a push in between, on a busy machine. */
const PUBLISH_MS = 30_000;

/** What the checks go by. */
export interface MessageEvidence {
  history: History;
  stored: StoredSessions;
  /** When the agent was started for each message. */
  starts: Map<string, number[]>;
  /** When the agent was done with each message. */
  ends: Map<string, number[]>;
  log: LogIndex;
}

/** Checks all messages of all sessions. */
export function checkMessages(evidence: MessageEvidence, findings: Findings): void {
  for (const session of evidence.history.sessions) {
    const stored = evidence.stored.get(session.id);
    findings.check(stored !== undefined, `session ${session.id} has no object with rows in it`);
    if (stored === undefined) continue;
    const rows = new Map(stored.messages.map((row) => [row.message_id, row]));
    for (const message of session.messages) {
      checkAcknowledged(message, rows, findings);
    }
    for (const row of stored.messages) {
      checkRow(row, stored, evidence, findings);
      if (row.phase === "interrupted") checkInterrupt(row, session.id, evidence.history, findings);
    }
  }
}

function checkAcknowledged(
  { messageId, acknowledgedAt, firstTryAt }: SentMessage,
  rows: ReadonlyMap<string, MessageRow>,
  findings: Findings,
): void {
  const wasSent = firstTryAt !== undefined;
  findings.check(
    !wasSent || acknowledgedAt !== undefined,
    "the message was never acknowledged",
    messageId,
  );
  const isStored = rows.has(messageId);
  findings.check(!wasSent || isStored, "the message is not stored", messageId);
}

function checkRow(
  row: MessageRow,
  stored: StoredSession,
  evidence: MessageEvidence,
  findings: Findings,
): void {
  const id = row.message_id;
  const terminal = TERMINAL_EVENTS[row.phase];
  findings.check(terminal !== undefined, `the message has not ended, it is ${row.phase}`, id);
  const events = stored.events.filter(({ payload }) => payload.includes(id));
  const queued = events.filter(({ kind }) => kind === "cloud.message.queued");
  const ended = events.filter(({ kind }) => Object.values(TERMINAL_EVENTS).includes(kind));
  findings.check(queued.length === 1, `the message has ${queued.length} queued events`, id);
  findings.check(ended.length === 1, `the message has ${ended.length} terminal events`, id);
  findings.check(
    terminal === undefined || ended.every(({ kind }) => kind === terminal),
    `the message is ${row.phase}, but its event is ${ended.map(({ kind }) => kind).join(", ")}`,
    id,
  );
  checkOrder(queued, ended, id, findings);
  checkStarts(row, evidence, findings);
  if (row.phase === "failed") checkReason(row, evidence, findings);
}

function checkOrder(
  [queued]: EventRow[],
  [ended]: EventRow[],
  id: string,
  findings: Findings,
): void {
  if (queued === undefined || ended === undefined) return;
  findings.check(queued.id < ended.id, "the message ended before it was queued", id);
}

function checkStarts(row: MessageRow, evidence: MessageEvidence, findings: Findings): void {
  const id = row.message_id;
  const starts = evidence.starts.get(id)?.length ?? 0;
  const retries = evidence.log.count(id, "delivery_retried");
  findings.check(
    starts <= 1 + retries,
    `the agent was started ${starts} times, and the delivery was repeated ${retries} times`,
    id,
  );
  findings.check(
    row.phase !== "completed" || starts >= 1,
    "the message completed and its agent was never started",
    id,
  );
}

/** A message may be interrupted only while its user asked for it. */
function checkInterrupt(
  row: MessageRow,
  sessionId: string,
  { interrupts }: History,
  findings: Findings,
): void {
  const { terminalAt = 0 } = JSON.parse(row.state) as { terminalAt?: number };
  findings.check(
    interrupts.some(
      (asked) =>
        asked.sessionId === sessionId && asked.from <= terminalAt && terminalAt <= asked.until,
    ),
    "the message was interrupted, and nobody asked for that",
    row.message_id,
  );
}

/** A message may fail when the runtime was killed while its agent ran, or again and again before that. */
function checkReason(row: MessageRow, evidence: MessageEvidence, findings: Findings): void {
  const state = JSON.parse(row.state) as {
    acceptedAt?: number;
    failure?: { code: string; subtype?: string; stage?: string };
  };
  const id = row.message_id;
  const { code = "none", subtype, stage } = state.failure ?? {};
  const reason = subtype === undefined ? code : `${code} / ${subtype}`;
  const hits = hitsOf(row, evidence);
  // A runtime that was killed just as it started the agent cannot tell afterwards whether it did, and says it did.
  const wasStarted = state.acceptedAt !== undefined || stage === "interruption";
  findings.check(
    LOST_WITH_RUNTIME.includes(code) && hits >= (wasStarted ? 1 : 2),
    `the message ${row.phase} with ${reason}; the runtime was killed ${hits} times ` +
      `while ${wasStarted ? "its agent ran" : "it was delivered"}`,
    id,
  );
}

/**
 * How often the runtime was killed while it had a message. The agent's own notes say when that was: the Worker may
 * learn of it much later.
 */
function hitsOf(row: MessageRow, { history, starts, ends, log }: MessageEvidence): number {
  const id = row.message_id;
  const from = starts.get(id)?.[0] ?? log.first(id, "message_claimed") ?? 0;
  const { terminalAt = 0 } = JSON.parse(row.state) as { terminalAt?: number };
  const until = Math.min(terminalAt, (ends.get(id)?.at(-1) ?? terminalAt) + PUBLISH_MS);
  return history.runtimeKills.filter((at) => at >= from - KILL_MS && at <= until).length;
}
