// What happens inside the object that no client can bring about, in a Worker that is built to have it on request: a panic,
// a failing write, a connection that has lasted its time.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, beforeEach, describe, test } from "node:test";
import { messageId, refusal } from "../../scripts/support/client.ts";
import type { Session } from "../../scripts/support/session.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment, labelsOf } from "../support/environment.ts";
import type { GitRepository } from "../support/git-repository.ts";
import { printingAgentCommand } from "../support/printing-agent.ts";
import { fileOf, rowsOf } from "../support/stored.ts";
import { StreamClient } from "../support/stream.ts";

/** A failing request must not hang; the Worker's own retries are within this. */
const FAST_MS = 5000;

let environment: Environment;
let session: Session;
let repository: GitRepository;
let user: string;

before(async () => {
  environment = await Environment.start({
    build: "faults",
    runtime: { AGENT_COMMAND: printingAgentCommand },
  });
});

beforeEach(async () => {
  user = environment.newUser();
  const prepared = await environment.newSession({}, environment.stack.client(user));
  session = prepared.session;
  repository = prepared.repository;
  const { messageId: first } = await session.initiate();
  await session.completed(first);
});

after(async () => {
  await environment?.close();
});

/** The session through a client that asks for a fault with every request. */
function withFault(fault: string): Session {
  return session.through(environment.stack.client(user, { headers: { "x-test-fault": fault } }));
}

/** The rows of this test's session. */
function rows(): Record<string, unknown[]> {
  return rowsOf(fileOf(environment.stack.worker.storage, session.id));
}

async function failsFast(call: Promise<unknown>): Promise<void> {
  const late = AbortSignal.timeout(FAST_MS);
  const hang = once(late, "abort").then(() => assert.fail(`no answer within ${FAST_MS} ms`));
  const refused = await Promise.race([refusal(call), hang]);
  assert.equal(refused.code, "INTERNAL_SERVER_ERROR");
  assert.equal(refused.httpStatus, 500);
  assert.equal(refused.error, "INTERNAL");
  assert.equal(refused.retryable, true);
}

for (const fault of ["panic-before-persist", "fail-persist"]) {
  describe(fault, () => {
    test("leaves the last whole step: the token is durable, the message is not there", async () => {
      const { token } = environment.newToken();
      const id = messageId();
      const before = rows();
      await failsFast(withFault(fault).send({ messageId: id, gitToken: token }));

      const after = rows();
      assert.deepEqual(after.message, before.message, "no message");
      assert.deepEqual(after.event, before.event, "no event");
      assert.equal(after.marker?.length, 1, "a marker for the unfinished admission");
      assert.equal((await session.view()).credential?.generation, 2);
      assert.equal((await refusal(session.result(id))).code, "NOT_FOUND");
    });

    test("the client's retry finishes the admission", async () => {
      const { label, token } = environment.newToken();
      const id = messageId();
      await failsFast(withFault(fault).send({ messageId: id, gitToken: token }));
      const requests = await environment.requestsTo(repository, async () => {
        await session.send({ messageId: id, gitToken: token });
        await session.completed(id);
      });
      assert.deepEqual(labelsOf(requests), [label]);
      const { credential } = await session.view();
      assert.equal(credential?.generation, 2);
      assert.equal(credential?.messageId, id);
      assert.deepEqual(rows().marker, []);
    });

    test("a retry after a newer message brings its old token not back", async () => {
      const [older, newer] = [environment.newToken(), environment.newToken()];
      const unfinished = { messageId: messageId(), gitToken: older.token };
      await failsFast(withFault(fault).send(unfinished));
      const requests = await environment.requestsTo(repository, async () => {
        const { messageId: second } = await session.send({ gitToken: newer.token });
        await session.completed(second);
        const retried = await session.send(unfinished);
        assert.equal(retried.messageId, unfinished.messageId);
        await session.completed(unfinished.messageId);
        assert.equal((await session.view()).credential?.messageId, second);
      });
      assert.deepEqual(labelsOf(requests), [newer.label]);
      assert.deepEqual(rows().marker, []);
    });

    test("a retry may carry a newer token", async () => {
      const [older, newer] = [environment.newToken(), environment.newToken()];
      const id = messageId();
      await failsFast(withFault(fault).send({ messageId: id, gitToken: older.token }));
      const requests = await environment.requestsTo(repository, async () => {
        await session.send({ messageId: id, gitToken: newer.token });
        await session.completed(id);
      });
      assert.deepEqual(labelsOf(requests), [newer.label]);
      assert.equal((await session.view()).credential?.generation, 3);
    });
  });
}

test("a panic is logged with its place and without the request", async () => {
  const { token } = environment.newToken();
  const mark = environment.stack.worker.log.lines.length;
  await failsFast(withFault("panic-before-persist").send({ gitToken: token }));
  const lines = () => environment.stack.worker.log.lines.slice(mark).join("\n");
  await waitFor("the place of the panic", () => /panicked at src\/\S+\.rs:\d+/.test(lines()));
  assert.ok(!lines().includes(token));
});

test("other sessions go on after a panic", async () => {
  const other = await environment.newSession();
  const { messageId: first } = await other.session.initiate();
  await failsFast(withFault("panic-before-persist").send());
  await other.session.completed(first);
});

test("a replay goes on by itself after a panic has ended the task that sent it", async () => {
  const { messageId: id } = await session.send({ prompt: "json=100 bytes=60000" });
  await session.completed(id, 60_000);
  const mark = environment.stack.worker.log.lines.length;
  const headers = { "x-test-fault": "panic-in-replay" };
  const client = await StreamClient.open(environment.stack, user, session.id, {}, { headers });
  const lines = () => environment.stack.worker.log.lines.slice(mark).join("\n");
  await waitFor("the panic", () => /panicked at/.test(lines()));
  assert.ok(!client.types.includes("connected"), "it was cut");
  // Nobody asks for anything: only the alarm brings the object back.
  await client.type("connected");
  const events = rows().event as { id: number }[];
  assert.deepEqual(
    client.stored.map(({ eventId }) => eventId),
    events.map((event) => event.id),
  );
  await client.close();
  await waitFor("nothing to be owed any more", () =>
    (rows().deadline as { kind: string }[]).every(({ kind }) => kind !== "replay"),
  );
});

test("a connection that has lasted its time is asked to come again, and nothing is missed", async () => {
  const headers = { "x-test-fault": "old-connection" };
  const client = await StreamClient.open(environment.stack, user, session.id, {}, { headers });
  const { data } = await client.type("connected");
  assert.equal(client.lastId, data.latestEventId);
  // One that nothing is sent costs nothing, and stays.
  await new Promise((later) => setTimeout(later, 2_500));
  assert.equal(client.ending, undefined);
  const { messageId: id } = await session.send({ prompt: "json=3" });
  const error = await waitFor("the word to connect again", () => client.errors[0]);
  assert.equal(error.code, "WS_RECONNECT");
  const query = { fromId: client.lastId };
  const again = await StreamClient.open(environment.stack, user, session.id, query);
  await again.ended(id);
  const events = rows().event as { id: number }[];
  assert.deepEqual(
    [...client.stored, ...again.stored].map(({ eventId }) => eventId),
    events.map((event) => event.id),
  );
  await again.close();
});
