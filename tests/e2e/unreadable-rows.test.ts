// Rows that cannot be read, as a defect or a rollback may leave them: they cost what they say, and nothing else.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Session } from "../../scripts/support/session.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment } from "../support/environment.ts";
import { fileOf, isForgotten, rowsOf } from "../support/stored.ts";
import { StreamClient } from "../support/stream.ts";

describe("rows that cannot be read", () => {
  let environment: Environment;

  before(async () => {
    environment = await Environment.start();
  });

  after(async () => {
    await environment?.close();
  });

  const stored = (session: Session): string => fileOf(environment.stack.worker.storage, session.id);

  /** A session that has done a turn, and whose stored rows are then changed while nobody has them open. */
  async function damaged(statement: string, userId = environment.newUser()): Promise<Session> {
    const client = environment.stack.client(userId);
    const { session } = await environment.startedSession({}, client);
    assert.ok((await environment.changeStored(session, [statement])) > 0);
    return session;
  }

  async function remove(session: Session): Promise<void> {
    const { storage } = environment.stack.worker;
    await session.client.mutation("deleteSession", { sessionId: session.id });
    await waitFor("the removal of what is stored", () => isForgotten(storage, session.id));
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
      await session.turn();
      const callbacks = () => rowsOf(stored(session)).callback ?? [];
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
    const { messageId: second } = await session.send();
    await follower.ended(second);
    await follower.close();
  });

  test("the credential: the session can still be deleted", async () => {
    const session = await damaged("UPDATE credential SET pointer_message_id = 'damaged'");
    await assert.rejects(session.send());
    await remove(session);
  });
});
