// A token that died: the session waits for a newer one instead of losing messages, and a running turn gets it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment, labelsOf, type PreparedSession } from "../support/environment.ts";
import { GatedAgent } from "../support/gated-agent.ts";

/** Short enough to see a wait end, long enough not to meet its end by accident. */
const CREDENTIAL_WAIT_MS = 6_000;
const QUEUE_LENGTH = 10;

describe("a refused credential", () => {
  let environment: Environment;
  let agent: GatedAgent;

  before(async () => {
    agent = await GatedAgent.create();
    agent.open();
    environment = await Environment.start({
      worker: { CREDENTIAL_WAIT_MS: String(CREDENTIAL_WAIT_MS) },
      runtime: { AGENT_COMMAND: agent.command },
    });
  });

  after(async () => {
    await environment?.close();
    await agent?.remove();
  });

  /** A session on a new repository whose first token is dead before anything was cloned. */
  async function withDeadToken(): Promise<PreparedSession> {
    const prepared = await environment.newSession();
    environment.server.tokens.revoke(prepared.label);
    return prepared;
  }

  test("a follow-up with a newer token delivers what waited, in order", async () => {
    const prepared = await withDeadToken();
    const { messageId: first } = await prepared.session.initiate();
    await prepared.session.waitsForCredential();
    assert.equal((await prepared.session.result(first)).status, "queued");
    const { label, token } = environment.newToken();
    const requests = await environment.requestsTo(prepared.repository, async () => {
      const { messageId: second } = await prepared.session.send({ gitToken: token });
      const [one, two] = [
        await prepared.session.completed(first),
        await prepared.session.completed(second),
      ];
      assert.ok(one.status === "completed" && two.status === "completed");
    });
    assert.deepEqual(labelsOf(requests), [label]);
    assert.equal((await prepared.session.view()).credential?.waitingSince, undefined);
  });

  test("an update frees a full queue behind a dead token", async () => {
    const prepared = await withDeadToken();
    const { messageId: first } = await prepared.session.initiate();
    await prepared.session.waitsForCredential();
    const ids = [first];
    while (ids.length < QUEUE_LENGTH) ids.push((await prepared.session.send()).messageId);
    await assert.rejects(prepared.session.send(), /queue is full/);
    const { token } = environment.newToken();
    await prepared.session.client.mutation("updateSession", {
      cloudAgentSessionId: prepared.session.id,
      gitToken: token,
    });
    for (const id of ids) await prepared.session.completed(id);
    assert.deepEqual(
      ids.map((id) => agent.starts(id)),
      ids.map(() => 1),
    );
  });

  test("without a newer token the messages fail when the wait ends", async () => {
    const prepared = await withDeadToken();
    const { messageId: first } = await prepared.session.initiate();
    await prepared.session.waitsForCredential();
    const { messageId: second } = await prepared.session.send();
    for (const id of [first, second]) {
      const { status, failure } = await prepared.session.ended(id, CREDENTIAL_WAIT_MS + 20_000);
      assert.equal(status, "failed");
      assert.equal(failure?.code, "workspace_setup_failed");
      assert.equal(failure?.subtype, "git_authentication_failed");
    }
    const { token } = environment.newToken();
    const { messageId: third } = await prepared.session.send({ gitToken: token });
    await prepared.session.completed(third);
  });

  test("a running turn gets a newer token, and a refused one replaces nothing", async () => {
    const prepared = await environment.startedSession();
    agent.shut();
    const { messageId: running } = await prepared.session.send({ autoCommit: true });
    await agent.started(running);
    const newer = environment.newToken();
    await prepared.session.client.mutation("updateSession", {
      cloudAgentSessionId: prepared.session.id,
      gitToken: newer.token,
    });
    // Not only tried: the next one would be pushed in its place.
    await waitFor("the pushed token to be in force", () =>
      environment.stack.runtime.log.lines.some(
        (line) => line.includes("is in force") && line.includes(prepared.session.id),
      ),
    );
    assert.ok(environment.server.log.some(({ label }) => label === newer.label));
    environment.server.tokens.revoke(prepared.label);
    const mark = environment.server.log.length;
    await prepared.session.client.mutation("updateSession", {
      cloudAgentSessionId: prepared.session.id,
      gitToken: "a-token-that-no-server-knows",
    });
    await prepared.session.waitsForCredential();
    agent.open();
    await prepared.session.completed(running);
    const pushes = environment.server.log
      .slice(mark)
      .filter(({ service, status }) => service === "git-receive-pack" && status === 200);
    assert.deepEqual(labelsOf(pushes), [newer.label]);
    assert.equal(agent.starts(running), 1);
  });
});
