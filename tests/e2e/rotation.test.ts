// Which token git really used, read from the git server's log, in both ways to hand it to git.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { CredentialOutput } from "../../client/index.d.ts";
import { messageId, refusal } from "../../scripts/support/client.ts";
import { Session } from "../../scripts/support/session.ts";
import type { OriginCredentials } from "../../scripts/support/stack.ts";
import { Environment, labelsOf, type PreparedSession } from "../support/environment.ts";
import { git } from "../support/git-command.ts";

/** Long enough to admit several messages before the first is delivered. */
const DRAIN_DELAY_MS = "250";

for (const originCredentials of ["helper", "url"] satisfies OriginCredentials[]) {
  describe(`rotation, origin credentials: ${originCredentials}`, () => {
    let environment: Environment;

    before(async () => {
      environment = await Environment.start({ originCredentials, worker: { DRAIN_DELAY_MS } });
    });

    after(async () => {
      await environment?.close();
    });

    async function credentialOf(session: Session): Promise<CredentialOutput> {
      const { credential } = await session.view();
      assert.ok(credential, "the session has a credential");
      return credential;
    }

    async function assertOrigin({ session, repository }: PreparedSession, token: string) {
      const folder = environment.stack.workspace(session.id);
      const origin = (await git(folder, ["remote", "get-url", "origin"])).trim();
      if (originCredentials === "helper") {
        assert.equal(origin, repository.url);
        return;
      }
      const url = new URL(origin);
      assert.equal(url.username, "x-access-token");
      assert.ok(decodeURIComponent(url.password) === token, "origin holds the newest token");
      url.username = "";
      url.password = "";
      assert.equal(url.href, repository.url);
    }

    test("the first turn clones with the first token", async () => {
      const prepared = await environment.newSession();
      const requests = await environment.requestsTo(prepared.repository, async () => {
        const { messageId: first } = await prepared.session.initiate();
        await prepared.session.completed(first);
      });
      assert.deepEqual(labelsOf(requests), [prepared.label]);
      assert.ok(requests.every((record) => record.status === 200));
      await assertOrigin(prepared, prepared.token);
    });

    test("after a follow-up with a newer token the older one is never seen again", async () => {
      const prepared = await environment.startedSession();
      const { session, repository } = prepared;
      const { label, token } = environment.newToken();
      // The first token stays alive, so that only the session's own choice keeps it out of the log.
      const requests = await environment.requestsTo(repository, async () => {
        const id = await session.turn({ gitToken: token, autoCommit: true });
        const { generation, messageId: setBy } = await credentialOf(session);
        assert.equal(generation, 2);
        assert.equal(setBy, id);
        await session.turn({ autoCommit: true });
        await session.turn();
      });
      assert.deepEqual(labelsOf(requests), [label]);
      assert.ok(requests.some((record) => record.service === "git-receive-pack"));
      await assertOrigin(prepared, token);
    });

    test("a follow-up works when the older token is dead", async () => {
      const { session, repository, label: oldLabel } = await environment.startedSession();
      environment.server.tokens.revoke(oldLabel);
      const { label, token } = environment.newToken();
      const requests = await environment.requestsTo(repository, () =>
        session.turn({ gitToken: token, autoCommit: true }),
      );
      assert.deepEqual(labelsOf(requests), [label]);
      const [commit] = await repository.commits(`session/${session.id}`);
      assert.ok(commit, "the work was pushed");
    });

    test("a late retry of a delivered message brings nothing back", async () => {
      const prepared = await environment.startedSession();
      const { session, repository } = prepared;
      const [older, newer] = [environment.newToken(), environment.newToken()];
      const followUp = { messageId: messageId(), gitToken: older.token };
      await session.turn(followUp);
      await session.turn({ gitToken: newer.token });
      const before = await credentialOf(session);
      const requests = await environment.requestsTo(repository, async () => {
        const refused = await refusal(session.send(followUp));
        assert.equal(refused.code, "BAD_REQUEST");
        assert.match(refused.message, /already terminal/);
        assert.deepEqual(await credentialOf(session), before);
        await session.turn({ autoCommit: true });
      });
      assert.deepEqual(labelsOf(requests), [newer.label]);
      await assertOrigin(prepared, newer.token);
    });

    test("a retry of a queued message with its older token brings nothing back", async () => {
      const { session, repository } = await environment.startedSession();
      const [older, newer] = [environment.newToken(), environment.newToken()];
      const first = { messageId: messageId(), gitToken: older.token };
      const second = { messageId: messageId(), gitToken: newer.token };
      const requests = await environment.requestsTo(repository, async () => {
        const acknowledged = await session.send(first);
        await session.send(second);
        const retried = await session.send(first);
        assert.deepEqual(retried, acknowledged);
        const { generation, messageId: setBy } = await credentialOf(session);
        assert.equal(generation, 3);
        assert.equal(setBy, second.messageId);
        await session.completed(first.messageId);
        await session.completed(second.messageId);
      });
      assert.deepEqual(labelsOf(requests), [newer.label]);
    });

    test("an empty gitToken and a githubToken change nothing", async () => {
      const { session, repository, label } = await environment.startedSession();
      const other = environment.newToken();
      const before = await credentialOf(session);
      const requests = await environment.requestsTo(repository, async () => {
        await session.turn({ gitToken: "", autoCommit: true });
        await session.turn({ githubToken: other.token, autoCommit: true });
      });
      assert.deepEqual(await credentialOf(session), before);
      assert.deepEqual(labelsOf(requests), [label]);
    });

    test("an equal token moves the owner and not the generation", async () => {
      const { session, token } = await environment.startedSession();
      const before = await credentialOf(session);
      const id = await session.turn({ gitToken: token });
      const after = await credentialOf(session);
      assert.equal(after.generation, before.generation);
      assert.equal(after.fingerprint, before.fingerprint);
      assert.equal(after.messageId, id);
    });

    test("updateSession rotates without a message", async () => {
      const prepared = await environment.startedSession();
      const { session, repository } = prepared;
      const { label, token } = environment.newToken();
      const updated = await session.client.mutation("updateSession", {
        cloudAgentSessionId: session.id,
        gitToken: token,
      });
      assert.deepEqual(updated, { success: true });
      const { generation, messageId: setBy } = await credentialOf(session);
      assert.equal(generation, 2);
      assert.equal(setBy, undefined);
      const requests = await environment.requestsTo(repository, () => session.turn());
      assert.deepEqual(labelsOf(requests), [label]);
      await assertOrigin(prepared, token);
    });

    test("tokens with every printable character reach git, cold and warm", async () => {
      const [cold, warm, long] = environment.newAwkwardTokens();
      const { session, repository } = await environment.newSession({ gitToken: cold.token });
      const requests = await environment.requestsTo(repository, async () => {
        const { messageId: first } = await session.initiate();
        await session.completed(first);
        await session.turn({ gitToken: warm.token, autoCommit: true });
        await session.turn({ gitToken: long.token });
      });
      assert.deepEqual(labelsOf(requests), labelsOf(requests.filter((r) => r.status === 200)));
      assert.deepEqual(labelsOf(requests), [cold.label, warm.label, long.label].sort());
    });

    test("a session without a token clones anonymously and can be given one later", async () => {
      const client = environment.stack.client(environment.newUser());
      const repository = await environment.newRepository({ anonymousRead: true });
      const session = await Session.prepare(client, { gitUrl: repository.url });
      const { messageId: first } = await session.initiate();
      await session.completed(first);
      assert.equal((await session.view()).credential, undefined);
      const { label, token } = environment.newToken();
      const requests = await environment.requestsTo(repository, () =>
        session.turn({ gitToken: token, autoCommit: true }),
      );
      assert.deepEqual(labelsOf(requests), [label]);
      assert.ok((await repository.branches()).includes(`session/${session.id}`));
    });
  });
}
