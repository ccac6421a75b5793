// SIGKILL of workerd at many points of a session's life, and a start on the same files.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { messageId, refusal } from "../../scripts/support/client.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment, labelsOf } from "../support/environment.ts";
import { GatedAgent } from "../support/gated-agent.ts";
import { whileFetching } from "../support/git-misbehaviour.ts";

describe("restart of workerd", () => {
  let environment: Environment;
  let agent: GatedAgent;

  before(async () => {
    agent = await GatedAgent.create();
    environment = await Environment.start({
      worker: { DRAIN_DELAY_MS: "200" },
      runtime: { AGENT_COMMAND: agent.command },
    });
  });

  after(async () => {
    await environment?.close();
    await agent?.remove();
  });

  async function restart(): Promise<void> {
    await environment.stack.worker.kill();
    await environment.stack.worker.start();
  }

  test("after prepare: the session is there", async () => {
    agent.open();
    const { session } = await environment.newSession();
    const before = await session.view();
    await restart();
    assert.deepEqual(await session.view(), before);
    const { messageId: first } = await session.initiate();
    await session.completed(first);
  });

  test("after an acknowledgement and before the delivery: it is delivered, with its token", async () => {
    agent.open();
    const { session, repository } = await environment.newSession();
    const { messageId: first } = await session.initiate();
    await session.completed(first);
    const { label, token } = environment.newToken();
    const id = messageId();
    const requests = await environment.requestsTo(repository, async () => {
      await session.send({ messageId: id, gitToken: token, autoCommit: true });
      await restart();
      await session.completed(id);
    });
    assert.deepEqual(labelsOf(requests), [label]);
    assert.equal(agent.starts(id), 1);
    assert.equal((await session.view()).credential?.generation, 2);
  });

  test("while the repository is being cloned: the clone is not lost", async () => {
    agent.open();
    const prepared = await environment.newSession({}, undefined, {
      files: { "README.md": "large\n", "random.bin": randomBytes(2 * 1024 * 1024) },
    });
    prepared.repository.misbehaviour = whileFetching({ kind: "pause", afterBytes: 100_000 });
    const { messageId: first } = await prepared.session.initiate();
    await waitFor("the clone's request for a pack", () =>
      environment.server.log.some(
        (record) => record.path === `/${prepared.repository.name}.git/git-upload-pack`,
      ),
    );
    await environment.stack.worker.kill();
    prepared.repository.misbehaviour = undefined;
    // The half-sent pack ends as a broken connection; the runtime tells, and the table gives another try.
    environment.server.breakConnections();
    await environment.stack.worker.start();
    await prepared.session.completed(first, 45_000);
    assert.equal(agent.starts(first), 1);
  });

  test("while the agent works: its end is heard, and it is started only once", async () => {
    agent.shut();
    const { session } = await environment.newSession();
    const { messageId: first } = await session.initiate();
    await agent.started(first);
    await restart();
    assert.equal((await session.result(first)).status, "running");
    const { messageId: second } = await session.send();
    await restart();
    agent.open();
    await session.completed(first);
    await session.completed(second);
    assert.equal(agent.starts(first), 1);
    assert.equal(agent.starts(second), 1);
  });

  test("the agent ends while the Worker is down: the result is there afterwards", async () => {
    agent.shut();
    const { session } = await environment.newSession();
    const { messageId: first } = await session.initiate();
    await agent.started(first);
    await environment.stack.worker.kill();
    agent.open();
    await environment.stack.worker.start();
    await session.completed(first);
    assert.equal(agent.starts(first), 1);
  });

  test("after the end: results and burnt ids stay", async () => {
    agent.open();
    const { session } = await environment.newSession();
    const { messageId: first } = await session.initiate();
    await session.completed(first);
    const before = await session.result(first);
    await restart();
    assert.deepEqual(await session.result(first), before);
    const refused = await refusal(
      session.send({ messageId: first, gitToken: environment.newToken().token }),
    );
    assert.equal(refused.code, "BAD_REQUEST");
    assert.equal((await session.view()).credential?.generation, 1);
  });

  test("killed again and again under load: nothing acknowledged is lost", async () => {
    agent.open();
    const { session } = await environment.newSession();
    const acknowledged = new Set<string>();
    const { messageId: first } = await session.initiate();
    acknowledged.add(first);
    for (let round = 0; round < 4; round += 1) {
      const sending = Array.from({ length: 2 }, async () => {
        const id = messageId();
        // A request that is cut off may or may not have been admitted; only answers count.
        await session
          .send({ messageId: id, gitToken: environment.newToken().token })
          .then(() => acknowledged.add(id))
          .catch(() => undefined);
      });
      if (round % 2 === 0) await Promise.race(sending);
      await environment.stack.worker.kill();
      await Promise.all(sending);
      await environment.stack.worker.start();
    }
    assert.ok(acknowledged.size > 1);
    for (const id of acknowledged) {
      await session.completed(id, 45_000);
      assert.equal(agent.starts(id), 1);
    }
  });
});
