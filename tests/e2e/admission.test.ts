// What admission alone decides, with every delivery held back: full queues, replays, sessions with other credentials.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { messageId, refusal } from "../../scripts/support/client.ts";
import { Session } from "../../scripts/support/session.ts";
import { Environment } from "../support/environment.ts";
import { digestOf } from "../support/stored.ts";

let environment: Environment;

before(async () => {
  // Nothing is delivered while this file runs.
  environment = await Environment.start({ worker: { DRAIN_DELAY_MS: "3600000" } });
});

after(async () => {
  await environment?.close();
});

test("the eleventh message is refused and its token is not taken", async () => {
  const { session } = await environment.newSession();
  const ids = Array.from({ length: 10 }, () => messageId());
  for (const id of ids) await session.send({ messageId: id });
  const before = await session.view();
  const stored = digestOf(environment.stack.worker.storage);

  const refused = await refusal(session.send({ gitToken: environment.newToken().token }));
  assert.equal(refused.code, "TOO_MANY_REQUESTS");
  assert.equal(refused.httpStatus, 429);
  assert.equal(refused.error, "PENDING_QUEUE_FULL");
  assert.equal(refused.retryable, true);
  assert.equal(refused.message, "Pending message queue is full (10)");
  assert.deepEqual(await session.view(), before);
  assert.equal(digestOf(environment.stack.worker.storage), stored);

  const replayed = await session.send({ messageId: ids[9] ?? "" });
  assert.equal(replayed.delivery, "queued");
  assert.equal(digestOf(environment.stack.worker.storage), stored);
});

test("updateSession rotates while the queue is full", async () => {
  const { session } = await environment.newSession();
  for (let count = 0; count < 10; count += 1) await session.send();
  const updated = await session.client.mutation("updateSession", {
    cloudAgentSessionId: session.id,
    gitToken: environment.newToken().token,
  });
  assert.deepEqual(updated, { success: true });
  assert.equal((await session.view()).credential?.generation, 2);
});

test("a replay with another content is refused and changes nothing", async () => {
  const { session } = await environment.newSession();
  const id = messageId();
  await session.send({ messageId: id, prompt: "One thing." });
  const stored = digestOf(environment.stack.worker.storage);
  const refused = await refusal(
    session.send({
      messageId: id,
      prompt: "Another thing.",
      gitToken: environment.newToken().token,
    }),
  );
  assert.equal(refused.code, "BAD_REQUEST");
  assert.equal(refused.message, "Message intent does not match admitted message");
  assert.equal(digestOf(environment.stack.worker.storage), stored);
});

for (const [kind, repository] of [
  ["github", { githubRepo: "example/repository" }],
  ["gitlab", { gitUrl: "https://gitlab.example.com/example/repository.git", platform: "gitlab" }],
] as [string, Record<string, string>][]) {
  test(`a gitToken on a ${kind} session is ignored, whatever it is`, async () => {
    const session = await Session.prepare(environment.stack.client(environment.newUser()), {
      ...repository,
      gitToken: environment.newToken().token,
    });
    for (const gitToken of [environment.newToken().token, "no token\n at all", ""]) {
      const { delivery } = await session.send({ gitToken });
      assert.equal(delivery, "queued");
    }
    assert.equal((await session.view()).credential, undefined);
  });
}
