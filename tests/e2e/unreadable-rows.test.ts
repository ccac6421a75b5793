// Rows that cannot be read, as a defect or a rollback may leave them: they cost what they say, and nothing else.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { after, before, describe, test } from "node:test";
import { messageId } from "../../scripts/support/client.ts";
import type { Session } from "../../scripts/support/session.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment } from "../support/environment.ts";
import { objectFiles, rowsOf } from "../support/stored.ts";
import { StreamClient } from "../support/stream.ts";

describe("rows that cannot be read", () => {
  let environment: Environment;

  before(async () => {
    environment = await Environment.start();
  });

  after(async () => {
    await environment?.close();
  });

  /** The SQLite file of a session's object. */
  function fileOf(session: Session): string | undefined {
    return objectFiles(environment.stack.worker.storage).find((file) =>
      JSON.stringify(rowsOf(file).session ?? []).includes(session.id),
    );
  }

  /** A session that has done a turn, and whose stored rows are then changed while nobody has them open. */
  async function damaged(statement: string, userId = environment.newUser()): Promise<Session> {
    const { session } = await environment.newSession({}, environment.stack.client(userId));
    const { messageId: first } = await session.initiate();
    await session.completed(first);
    const file = fileOf(session) ?? assert.fail("the session has no file");
    await environment.stack.worker.stop();
    const database = new DatabaseSync(file);
    database.exec(statement);
    assert.ok(Number(database.prepare("SELECT changes() AS count").get()?.count) > 0);
    database.close();
    await environment.stack.worker.start();
    return session;
  }

  async function remove(session: Session): Promise<void> {
    const file = fileOf(session) ?? assert.fail("the session has no file");
    await session.client.mutation("deleteSession", { sessionId: session.id });
    await waitFor("the removal of what is stored", () => {
      try {
        return Object.keys(rowsOf(file)).length === 0;
      } catch {
        // It is being removed.
        return false;
      }
    });
  }

  const rows = [
    ["what the runtime is to be told to stop", "UPDATE runtime SET interrupts = 'damaged'"],
    ["how far a preparation is", "UPDATE runtime SET preparing = 'damaged'"],
    ["the runtime's store", "UPDATE runtime SET store_id = ''"],
    [
      "a batch to report",
      `INSERT INTO callback (id, message_id, terminal_at, target, state, at)
        SELECT 1, message_id, 1, 1, 'damaged', 1 FROM message;
      INSERT INTO deadline (kind, at) VALUES ('callback', 1)`,
    ],
    [
      "a batch that is open",
      `INSERT INTO callback (id, message_id, terminal_at, target, state)
        SELECT 1, message_id, 1, 1, 'damaged' FROM message`,
    ],
  ] as const;
  for (const [what, statement] of rows) {
    test(`${what}: the next message is delivered, and the session can be deleted`, async () => {
      const session = await damaged(statement);
      const { messageId: second } = await session.send({ messageId: messageId() });
      await session.completed(second);
      const callbacks = () => rowsOf(fileOf(session) ?? assert.fail()).callback ?? [];
      await waitFor("the end of a batch that nobody can report", () => callbacks().length === 0);
      await remove(session);
    });
  }

  test("an event: it is passed over, and those behind it are seen", async () => {
    const userId = environment.newUser();
    const session = await damaged("UPDATE event SET payload = x'00' WHERE id = 2", userId);
    const follower = await StreamClient.open(environment.stack, userId, session.id);
    await follower.type("connected");
    const ids = follower.stored.map(({ eventId }) => eventId);
    assert.equal(ids[0], 1);
    assert.ok(ids.length > 2 && !ids.includes(2), `${ids}`);
    assert.deepEqual(follower.errors, []);
    const { messageId: second } = await session.send({ messageId: messageId() });
    await follower.ended(second);
    await follower.close();
  });

  test("the credential: the session can still be deleted", async () => {
    const session = await damaged("UPDATE credential SET pointer_message_id = 'damaged'");
    await assert.rejects(session.send({ messageId: messageId() }));
    await remove(session);
  });
});
