// Newer tokens that come while a message is being delivered, in both ways to hand tokens to git.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { OriginCredentials } from "../../scripts/support/stack.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { findInFiles, needlesOf } from "../support/canary.ts";
import { Environment, labelsOf, type PreparedSession } from "../support/environment.ts";
import { GatedAgent } from "../support/gated-agent.ts";
import { whileFetching } from "../support/git-misbehaviour.ts";

for (const originCredentials of ["helper", "url"] satisfies OriginCredentials[]) {
  describe(`live rotation, origin credentials: ${originCredentials}`, () => {
    let environment: Environment;
    let agent: GatedAgent;

    before(async () => {
      agent = await GatedAgent.create();
      environment = await Environment.start({
        originCredentials,
        runtime: { AGENT_COMMAND: agent.command },
      });
    });

    after(async () => {
      await environment?.close();
      await agent?.remove();
    });

    async function update({ session }: PreparedSession, gitToken: string): Promise<void> {
      await session.client.mutation("updateSession", { cloudAgentSessionId: session.id, gitToken });
    }

    /** A session whose agent works, on a turn that is to be published. */
    async function running(): Promise<PreparedSession & { messageId: string }> {
      agent.open();
      const prepared = await environment.newSession();
      const { messageId: first } = await prepared.session.initiate();
      await prepared.session.completed(first);
      agent.shut();
      const { messageId } = await prepared.session.send({ autoCommit: true });
      await agent.started(messageId);
      return { ...prepared, messageId };
    }

    /** Ends the turn; its commit was pushed with the token of that label, and the agent was started once. */
    async function assertPublishedWith(
      { session, repository, messageId }: PreparedSession & { messageId: string },
      label: string,
    ): Promise<void> {
      const requests = await environment.requestsTo(repository, async () => {
        agent.open();
        await session.completed(messageId);
      });
      const pushes = requests.filter(
        ({ service, status }) => service === "git-receive-pack" && status === 200,
      );
      assert.deepEqual(labelsOf(pushes), [label]);
      assert.equal(agent.starts(messageId), 1);
    }

    function assertNowhere({ session }: PreparedSession, token: string): void {
      const files = findInFiles(environment.stack.workspaces, needlesOf("an older token", token));
      const own = files.filter(({ place }) => place.includes(session.id));
      assert.deepEqual(
        own.map(({ place }) => place),
        [],
      );
    }

    async function tried(label: string): Promise<void> {
      await waitFor("the newer token to be tried", () =>
        environment.server.log.some((record) => record.label === label && record.status === 200),
      );
    }

    test("a newer token that is admitted while a delivery with the older is under way", async () => {
      const prepared = await environment.newSession();
      const { session, repository } = prepared;
      repository.misbehaviour = whileFetching({ kind: "delay", ms: 1500 });
      agent.shut();
      const { messageId } = await session.initiate();
      await waitFor("the clone with the older token", () =>
        environment.server.log.some(
          ({ path, method }) =>
            method === "POST" && path === `/${repository.name}.git/git-upload-pack`,
        ),
      );
      const newer = environment.newToken();
      const { messageId: second } = await session.send({
        gitToken: newer.token,
        autoCommit: true,
      });
      environment.server.tokens.revoke(prepared.label);
      repository.misbehaviour = undefined;
      await agent.started(messageId);
      agent.open();
      await session.completed(messageId);
      await assertPublishedWith({ ...prepared, messageId: second }, newer.label);
      assertNowhere(prepared, prepared.token);
    });

    test("a push to the runtime that is lost is made again", async () => {
      const prepared = await running();
      const newer = environment.newToken();
      const { pid } = environment.stack.runtime;
      assert.ok(pid);
      process.kill(pid, "SIGSTOP");
      try {
        await update(prepared, newer.token);
        await waitFor("a push that was not answered", () =>
          environment.stack.worker.log.lines.some(
            (line) => line.includes(prepared.session.id) && line.includes("put_credential"),
          ),
        );
      } finally {
        process.kill(pid, "SIGCONT");
      }
      await tried(newer.label);
      environment.server.tokens.revoke(prepared.label);
      await assertPublishedWith(prepared, newer.label);
      assertNowhere(prepared, prepared.token);
    });

    test("the same token again is pushed to nobody", async () => {
      const prepared = await running();
      const before = (await prepared.session.view()).credential;
      const requests = await environment.requestsTo(prepared.repository, async () => {
        await update(prepared, prepared.token);
        const { messageId } = await prepared.session.send({ gitToken: prepared.token });
        const after = (await prepared.session.view()).credential;
        assert.equal(after?.generation, before?.generation);
        assert.equal(after?.fingerprint, before?.fingerprint);
        assert.equal(after?.messageId, messageId);
      });
      assert.deepEqual(requests, []);
      await assertPublishedWith(prepared, prepared.label);
    });

    test("a token that is refused when it is pushed replaces nothing, and the next one does", async () => {
      const prepared = await running();
      await update(prepared, "a-token-that-no-server-knows");
      await prepared.session.waitsForCredential();
      await assertPublishedWith(prepared, prepared.label);
      const newer = environment.newToken();
      const { messageId } = await prepared.session.send({ gitToken: newer.token });
      environment.server.tokens.revoke(prepared.label);
      await prepared.session.completed(messageId);
      assertNowhere(prepared, prepared.token);
    });
  });
}
