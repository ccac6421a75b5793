// Retention on real storage: old events go by alarm, a bounded number at a time; a session out of use goes whole.
//
// Nobody waits ninety days: while nothing runs, what is stored is made older than that.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { refusal } from "../../scripts/support/client.ts";
import type { Session } from "../../scripts/support/session.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment } from "../support/environment.ts";
import { printingAgentCommand } from "../support/printing-agent.ts";
import { fileOf, isForgotten, rowsOf } from "../support/stored.ts";
import { StreamClient } from "../support/stream.ts";

const DAY_MS = 24 * 60 * 60 * 1_000;
const RETENTION_MS = 90 * DAY_MS;
/** Most events that one alarm removes. */
const SWEPT_MAX = 500;

describe("retention", () => {
  let environment: Environment;

  before(async () => {
    environment = await Environment.start({ runtime: { AGENT_COMMAND: printingAgentCommand } });
  });

  after(async () => {
    await environment?.close();
  });

  const stored = (session: Session): string => fileOf(environment.stack.worker.storage, session.id);

  function events(session: Session): { id: number; message_id: string }[] {
    return rowsOf(stored(session)).event as { id: number; message_id: string }[];
  }

  /** Changes what a session has stored while nothing runs, and lets retention look at it now. */
  async function change(session: Session, ...statements: string[]): Promise<void> {
    const now = `UPDATE deadline SET at = ${Date.now()} WHERE kind = 'retention'`;
    await environment.changeStored(session, [...statements, now]);
  }

  test("old events are swept in bounded pieces, and followers get what is left", async () => {
    const user = environment.newUser();
    const client = environment.stack.client(user);
    const { session } = await environment.newSession({ prompt: "json=1200" }, client);
    const { messageId: old } = await session.initiate();
    await session.completed(old, 60_000);
    const { messageId: recent } = await session.send({ prompt: "json=2" });
    await session.completed(recent);
    const all = events(session);
    const kept = all.filter((event) => event.message_id === recent).map(({ id }) => id);

    await change(session, `UPDATE event SET at = at - ${RETENTION_MS} WHERE message_id = '${old}'`);
    await session.view();
    const counts = [all.length];
    await waitFor("the old events to be gone", () => {
      const count = events(session).length;
      if (count !== counts.at(-1)) counts.push(count);
      return count === kept.length;
    });
    // Each piece is a commit of its own, after which the alarm rings again.
    const pieces = [0, SWEPT_MAX, 2 * SWEPT_MAX].map((swept) => all.length - swept);
    assert.deepEqual(counts, [...pieces, kept.length]);

    // One that was away since the beginning gets what there is, and goes on from there.
    const follower = await StreamClient.open(environment.stack, user, session.id, { fromId: 1 });
    await follower.type("connected");
    const { messageId: next } = await session.send({ prompt: "json=1" });
    await follower.ended(next);
    const received = follower.stored.map(({ eventId }) => eventId);
    assert.deepEqual(
      received,
      events(session).map(({ id }) => id),
    );
    assert.deepEqual(received.slice(0, kept.length), kept);
    await follower.close();
    // Messages stay as long as their session: their ids are not given twice.
    assert.equal((await session.result(old)).status, "completed");
    const { message } = await refusal(session.send({ messageId: old, prompt: "json=1200" }));
    assert.equal(message, "Message ID is already terminal; submit a new message ID");
  });

  test("a session out of use is removed from storage, the runtime and the disk", async () => {
    const { stack } = environment;
    const { session } = await environment.newSession({ prompt: "json=1" });
    await session.completed((await session.initiate()).messageId);
    assert.ok(existsSync(stack.workspace(session.id)));
    const age = RETENTION_MS + DAY_MS;
    await change(
      session,
      `UPDATE event SET at = at - ${age}`,
      `UPDATE credential SET updated_at = updated_at - ${age}`,
      `UPDATE session SET record = json_set(record, '$.createdAt', record ->> '$.createdAt' - ${age})`,
    );
    await waitFor("the session to be gone", async () => {
      const seen = await session.view().catch((error: Error) => error.message);
      return seen === "Session not found";
    });
    await waitFor("the workspace to be gone", () => !existsSync(stack.workspace(session.id)));
    await waitFor("the storage to be empty", () => isForgotten(stack.worker.storage, session.id));
    assert.ok(stack.logLines.some((line) => line.includes("session_expired")));
  });
});
