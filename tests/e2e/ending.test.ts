// Interrupting a session and deleting it.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment, type PreparedSession } from "../support/environment.ts";
import { GatedAgent } from "../support/gated-agent.ts";
import { isForgotten } from "../support/stored.ts";

/** Within this time an interrupt must show. */
const INTERRUPT_MS = 5_000;

describe("interrupt and delete", () => {
  let environment: Environment;
  let agent: GatedAgent;

  before(async () => {
    agent = await GatedAgent.create();
    environment = await Environment.start({ runtime: { AGENT_COMMAND: agent.command } });
  });

  after(async () => {
    await environment?.close();
    await agent?.remove();
  });

  async function running(): Promise<PreparedSession & { first: string }> {
    agent.shut();
    const prepared = await environment.newSession();
    const { messageId: first } = await prepared.session.initiate();
    await agent.started(first);
    return { ...prepared, first };
  }

  function interrupt({ session }: PreparedSession): Promise<unknown> {
    return session.client.mutation("interruptSession", { sessionId: session.id });
  }

  test("an interrupt ends the running turn and the queue, and the session goes on", async () => {
    const prepared = await running();
    const { messageId: waiting } = await prepared.session.send();
    assert.deepEqual(await interrupt(prepared), {
      success: true,
      message: "Queued session messages interrupted",
      processesFound: false,
    });
    for (const id of [prepared.first, waiting]) {
      const { status, completionSource } = await prepared.session.ended(id, INTERRUPT_MS);
      assert.equal(status, "interrupted");
      assert.equal(completionSource, "interrupt");
    }
    agent.open();
    const { messageId: next } = await prepared.session.send();
    await prepared.session.completed(next);
    assert.equal(agent.starts(waiting), 0);
    assert.deepEqual(await interrupt(prepared), {
      success: true,
      message: "Queued session messages interrupted",
      processesFound: false,
    });
  });

  test("an unknown session cannot be interrupted, and is deleted already", async () => {
    const client = environment.stack.client(environment.newUser());
    const sessionId = "agent_00000000-0000-4000-8000-000000000000";
    assert.deepEqual(await client.mutation("interruptSession", { sessionId }), {
      success: false,
      message: "Session not found",
      processesFound: false,
    });
    assert.deepEqual(await client.mutation("deleteSession", { sessionId }), {
      success: true,
      message: "Session was already deleted",
    });
  });

  test("a deleted session is gone for its user, the runtime and the disk", async () => {
    const { stack } = environment;
    const prepared = await running();
    const { session } = prepared;
    const isGone = () => isForgotten(stack.worker.storage, session.id);
    assert.equal(isGone(), false);
    const remove = () => session.client.mutation("deleteSession", { sessionId: session.id });
    assert.deepEqual(await remove(), { success: true });
    await assert.rejects(session.view(), /Session not found/);
    await assert.rejects(session.send(), /Session not found/);
    await assert.rejects(session.result(prepared.first), /not found/);
    await waitFor("the storage to be empty", isGone);
    await waitFor("the workspace to be gone", () => !existsSync(stack.workspace(session.id)));
    assert.equal(((await remove()) as { success: boolean }).success, true);
  });
});
