// Calls to a container that takes long to boot, and bodies in both directions.

import assert from "node:assert/strict";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { fileOf, rowsOf } from "../support/stored.ts";
import { inside } from "./support/engine.ts";
import { Sandboxes, type SandboxSession } from "./support/sandboxes.ts";

const BUCKET = "ATTACHMENTS";
const MEBIBYTE = 1024 * 1024;

describe("calls to a container that takes long to boot", () => {
  let sandboxes: Sandboxes;
  let prepared: SandboxSession;

  before(async () => {
    sandboxes = await Sandboxes.start({ image: "slow", buckets: [BUCKET] });
    prepared = await sandboxes.newSession();
  });

  after(async () => {
    await sandboxes?.close();
  });

  test("are told to come again, which costs the message nothing", async () => {
    await sandboxes.firstTurn(prepared.session);
    assert.ok(sandboxes.logged("runtime_call_failed", "NotReady").length > 0);
    assert.deepEqual(sandboxes.logged("delivery_retried"), []);
    assert.equal(sandboxes.logged("message_claimed").length, 1);
    assert.equal(sandboxes.logged("container_changed", '"started"').length, 1);
  });

  test("carry files in and events out as streams", async () => {
    const { session } = prepared;
    const { userId } = await session.view();
    const contents = [randomBytes(5 * MEBIBYTE), randomBytes(3), Buffer.alloc(0)];
    const path = randomUUID();
    const files: string[] = [];
    for (const content of contents) {
      const name = `${randomUUID()}.png`;
      const key = `${userId}/cloud-agent/${path}/${name}`;
      await sandboxes.worker.putObject(BUCKET, key, Uint8Array.from(content));
      files.push(name);
    }
    const attached: Record<string, unknown> = { attachments: { path, files } };
    await sandboxes.turn(session, { prompt: "Look at the files.", ...attached });
    const digests = inside(sandboxes.container, "cat", `/workspace/${session.id}/home/digests`);
    const expected = contents.map((content) => createHash("sha256").update(content).digest("hex"));
    assert.deepEqual(digests.trim().split("\n"), expected.sort());
    const { event = [] } = rowsOf(fileOf(sandboxes.worker.storage, session.id));
    const lines = event.filter((row) => JSON.stringify(row).includes('number\\":'));
    assert.equal(lines.length, 2000);
  });
});
