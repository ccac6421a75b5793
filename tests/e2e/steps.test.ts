// Steps in the real storage: each is whole or nothing, and tables of an earlier version get what they lack.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { refusal } from "../../scripts/support/client.ts";
import { Environment } from "../support/environment.ts";
import { fileOf, rowsOf } from "../support/stored.ts";

describe("steps of an admission", () => {
  let environment: Environment;

  before(async () => {
    environment = await Environment.start();
  });

  after(async () => {
    await environment?.close();
  });

  for (const [table, isRotated] of [
    ["credential", false],
    ["marker", false],
    ["event", true],
    ["message", true],
  ] as const) {
    test(`a row of ${table} that cannot be written takes its whole step with it`, async () => {
      const { session } = await environment.startedSession();
      const refuse = (name: string) =>
        `CREATE TRIGGER refuse BEFORE INSERT ON ${name} BEGIN SELECT RAISE(ABORT, 'refused'); END`;
      await environment.changeStored(session, [refuse(table)]);
      const { storage } = environment.stack.worker;
      const before = rowsOf(fileOf(storage, session.id));
      const { token } = environment.newToken();
      const { error, retryable } = await refusal(session.send({ gitToken: token }));
      assert.deepEqual({ error, retryable }, { error: "INTERNAL", retryable: true });
      const stored = rowsOf(fileOf(storage, session.id));
      for (const unchanged of ["message", "event"]) {
        assert.deepEqual(stored[unchanged], before[unchanged], unchanged);
      }
      assert.equal(stored.marker?.length, isRotated ? 1 : 0);
      const generations = [before, stored].map((rows) => generationOf(rows.credential));
      assert.deepEqual(generations, [1, isRotated ? 2 : 1]);

      await environment.changeStored(session, ["DROP TRIGGER refuse"]);
      await session.turn({ gitToken: environment.newToken().token });
      assert.deepEqual(rowsOf(fileOf(storage, session.id)).marker?.length, isRotated ? 1 : 0);
    });
  }

  test("tables that the first version made get the views, once", async () => {
    const { session } = await environment.startedSession();
    await environment.changeStored(session, [
      "DROP VIEW rotation",
      "DROP VIEW admission",
      "DELETE FROM migration WHERE version > 1",
    ]);
    await session.turn({ gitToken: environment.newToken().token });
    const stored = rowsOf(fileOf(environment.stack.worker.storage, session.id));
    assert.equal(generationOf(stored.credential), 2);
    const versions = (stored.migration as { version: number }[]).map(({ version }) => version);
    assert.deepEqual(versions, [1, 2]);
  });
});

function generationOf(rows: unknown[] = []): number {
  const [row] = rows as { generation: number }[];
  return row?.generation ?? 0;
}
