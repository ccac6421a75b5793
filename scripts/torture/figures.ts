// The table of figures of a run.

import type { LogIndex } from "./log-index.ts";
import type { StoredSessions } from "./objects.ts";
import { spread } from "./report.ts";
import type { Run } from "./run.ts";

/** Rows of names and values. */
export function figuresOf(
  run: Run,
  stored: StoredSessions,
  log: LogIndex,
  unambiguous: number,
): [string, string | number][] {
  const { history, agent } = run;
  const rows = [...stored.values()].flatMap(({ messages }) => messages);
  const phase = (name: string) => rows.filter((row) => row.phase === name).length;
  const starts = [...agent.starts().values()];
  const sent = history.sessions.flatMap(({ messages }) => messages);
  const waits = sent.flatMap(({ firstTryAt, acknowledgedAt }) =>
    firstTryAt === undefined || acknowledgedAt === undefined ? [] : [acknowledgedAt - firstTryAt],
  );
  const retried = rows.map((row) => log.count(row.message_id, "delivery_retried"));
  return [
    ["messages acknowledged", history.acknowledged],
    ["milliseconds until acknowledged (middle / largest)", spread(waits)],
    ...history.tally.rows,
    ["kills of workerd", history.workerKills.length],
    ["kills of the runtime", history.runtimeKills.length],
    ["messages completed, with each session's first", phase("completed")],
    ["messages failed", phase("failed")],
    ["messages interrupted", phase("interrupted")],
    ["interrupts", history.interrupts.length],
    ["sessions deleted at work", history.deleted.length],
    ["starts of the agent", starts.reduce((sum, { length }) => sum + length, 0)],
    [
      "messages whose agent was started more than once",
      starts.filter((at) => at.length > 1).length,
    ],
    ["deliveries that were repeated", retried.reduce((sum, count) => sum + count, 0)],
    ["sessions", history.sessions.length],
    ["sessions with one possible newest token", unambiguous],
    ["checks", run.findings.checks],
  ];
}
