// Reports of what became of messages, to a receiver that fails, hangs, redirects and recovers.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { refusal } from "../../scripts/support/client.ts";
import type { Session } from "../../scripts/support/session.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import {
  bodyOf,
  type CallbackReceiver,
  isSigned,
  startCallbackReceiver,
} from "../support/callback-receiver.ts";
import { findInFiles, findInText, needlesOf } from "../support/canary.ts";
import { Environment } from "../support/environment.ts";
import { GatedAgent } from "../support/gated-agent.ts";
import { fileOf, rowsOf } from "../support/stored.ts";

const SIGNING_SECRET = randomBytes(32).toString("hex");
/** A try is given up by the object after ten seconds. */
const ANSWER_MS = 40_000;

interface CallbackRow {
  message_id: string;
  state: string;
  at: number | null;
}

describe("callbacks", () => {
  let environment: Environment;
  let agent: GatedAgent;
  let receiver: CallbackReceiver;
  const needles = needlesOf("header", `canary${randomBytes(16).toString("hex")}`);
  const secret = needles[0]?.text ?? "";
  let names = 0;

  before(async () => {
    agent = await GatedAgent.create();
    agent.says([
      '{"event":"message.updated","properties":{"info":{"id":"msg_a","role":"assistant"}}}',
      '{"event":"message.part.updated","properties":{"part":{"id":"prt_1","messageID":"msg_a","type":"text","text":"It"}}}',
      '{"event":"message.part.updated","properties":{"part":{"id":"prt_1","messageID":"msg_a","type":"text","text":"It is done."}}}',
      '{"type":"gate","gateResult":"pass"}',
    ]);
    agent.open();
    receiver = await startCallbackReceiver();
    environment = await Environment.start({
      allowedHosts: [receiver.host],
      worker: { CALLBACK_SIGNING_SECRET: SIGNING_SECRET },
      runtime: { AGENT_COMMAND: agent.command },
    });
  });

  after(async () => {
    await environment?.close();
    await receiver?.close();
    await agent?.remove();
  });

  function target(path: string): Record<string, unknown> {
    return {
      url: receiver.url(`${path}?key=${secret}`),
      headers: { authorization: `Bearer ${secret}` },
    };
  }

  /** A session that reports to a path of its own. */
  async function reporting(): Promise<{ session: Session; path: string }> {
    names += 1;
    const path = `/hooks/${names}`;
    const { session } = await environment.newSession({ callbackTarget: target(path) });
    return { session, path };
  }

  async function received(path: string, count: number, timeoutMs?: number) {
    return await waitFor(
      `callback ${count} at ${path}`,
      () => receiver.at(path).length >= count && receiver.at(path),
      timeoutMs,
    );
  }

  const stored = (session: Session): string => fileOf(environment.stack.worker.storage, session.id);

  function owed(session: Session): CallbackRow[] {
    return (rowsOf(stored(session)).callback ?? []) as CallbackRow[];
  }

  /** Waits until a failed try is noted, and returns its row. */
  async function failed(session: Session, failures: number): Promise<CallbackRow> {
    return await waitFor(
      `failure ${failures} to be noted`,
      () =>
        owed(session).find((row) => {
          const state = JSON.parse(row.state) as { phase: string; failures: number };
          return state.phase === "due" && state.failures === failures;
        }),
      ANSWER_MS,
    );
  }

  /** Waits until the object has heard that a message's agent was started. */
  async function running(session: Session, id: string): Promise<void> {
    await waitFor("the turn to run", async () => (await session.result(id)).status === "running");
  }

  async function settled(session: Session): Promise<void> {
    await waitFor("the callback to be settled", () => owed(session).length === 0, ANSWER_MS);
  }

  /** Lets the time until the next try pass: what is stored is changed while nothing runs. */
  async function passTime(session: Session): Promise<void> {
    const now = Date.now();
    const set = `UPDATE callback SET at = ${now}, state = json_set(state, '$.at', ${now})`;
    await environment.changeStored(session, [
      `${set} WHERE at IS NOT NULL`,
      `UPDATE deadline SET at = ${now} WHERE kind = 'callback'`,
    ]);
    await session.view();
  }

  test("a batch is reported once, signed, with the answer and the gate", async () => {
    const { session, path } = await reporting();
    const { messageId: first } = await session.initiate();
    const [callback] = await received(path, 1);
    assert.ok(callback);
    assert.equal(callback.method, "POST");
    assert.equal(callback.headers.authorization, `Bearer ${secret}`);
    assert.equal(callback.headers["content-type"], "application/json");
    assert.ok(isSigned(callback, SIGNING_SECRET));
    const body = bodyOf(callback);
    assert.equal(body.cloudAgentSessionId, session.id);
    assert.equal(body.sessionId, session.id);
    assert.equal(body.messageId, first);
    assert.equal(body.executionId, first);
    assert.equal(body.idempotencyKey, first);
    assert.equal(body.status, "completed");
    assert.equal(body.gateResult, "pass");
    assert.equal(body.lastAssistantMessageText, "It is done.");
    assert.equal(body.kiloSessionId, (await session.view()).kiloSessionId);
    const result = await session.result(first);
    assert.equal(result.completionSource, "assistant_message_event");
    assert.deepEqual(result.assistant, { messageId: "msg_a", text: "It is done." });
    assert.equal(result.gateResult, "pass");
    const events = (rowsOf(stored(session)).event ?? []) as { entity: string | null }[];
    assert.equal(events.filter(({ entity }) => entity === "part/msg_a/prt_1").length, 1);
    await settled(session);
    const { messageId: second } = await session.send();
    await received(path, 2);
    await settled(session);
    assert.deepEqual(
      receiver.at(path).map((each) => bodyOf(each).messageId),
      [first, second],
    );
  });

  test("messages that follow each other without rest are one batch", async () => {
    const { session, path } = await reporting();
    agent.shut();
    await session.initiate();
    await session.send();
    const { messageId: last } = await session.send();
    agent.open();
    const [callback] = await received(path, 1);
    await settled(session);
    assert.ok(callback);
    assert.equal(bodyOf(callback).messageId, last);
    assert.equal(receiver.at(path).length, 1);
  });

  test("a receiver that fails is asked again by the table, until it recovers", async () => {
    const { session, path } = await reporting();
    receiver.reply(path, 500, 429, 503, 500);
    const { messageId: id } = await session.initiate();
    for (const [failures, delayMs] of [
      [1, 60_000],
      [2, 120_000],
      [3, 240_000],
      [4, 480_000],
    ] as const) {
      const calls = await received(path, failures);
      const { at } = await failed(session, failures);
      const waits = Number(at) - Number(calls.at(-1)?.at);
      assert.ok(waits >= delayMs, `the next try comes after ${waits} ms`);
      assert.ok(waits <= delayMs + 20_000, `the next try comes after ${waits} ms`);
      await passTime(session);
    }
    const calls = await received(path, 5);
    await settled(session);
    assert.equal(receiver.at(path).length, 5);
    assert.ok(calls.every((call) => isSigned(call, SIGNING_SECRET)));
    assert.ok(calls.every((call) => bodyOf(call).idempotencyKey === id));
    assert.equal(new Set(calls.map((call) => call.body)).size, 1);
  });

  test("a redirect is not followed", async () => {
    const elsewhere = await startCallbackReceiver();
    const { session, path } = await reporting();
    receiver.reply(path, { redirect: elsewhere.url("/stolen") });
    await session.initiate();
    await received(path, 1);
    await settled(session);
    assert.deepEqual(elsewhere.received, []);
    assert.equal(receiver.at(path).length, 1);
    await elsewhere.close();
  });

  test("a receiver that hangs keeps nobody else waiting", async () => {
    const { session, path } = await reporting();
    receiver.reply(path, "never");
    await session.initiate();
    await received(path, 1);
    const { messageId: next } = await session.send();
    await session.completed(next);
    // The report of the next message does not wait for the first one's.
    await received(path, 2);
    const { at } = await failed(session, 1);
    const first = receiver.at(path)[0];
    // Ten seconds of waiting and sixty until the next try; the receiver saw the call a moment after it was made.
    assert.ok(Number(at) - Number(first?.at) > 69_000);
  });

  test("a body without end is not read", async () => {
    const { session, path } = await reporting();
    receiver.reply(path, "endless");
    const closed = receiver.closed;
    await session.initiate();
    await received(path, 1);
    await settled(session);
    await waitFor("the connection's end", () => receiver.closed > closed);
  });

  test("a try whose object dies is made again", async () => {
    const { session, path } = await reporting();
    receiver.reply(path, "never");
    const { messageId: id } = await session.initiate();
    await received(path, 1);
    await environment.stack.worker.kill();
    await environment.stack.worker.start();
    await session.view();
    const calls = await received(path, 2);
    await settled(session);
    assert.deepEqual(
      calls.map((call) => bodyOf(call).idempotencyKey),
      [id, id],
    );
    assert.equal(receiver.at(path).length, 2);
  });

  test("a message is reported to the target of its admission", async () => {
    const { session, path } = await reporting();
    const update = (callbackTarget: unknown) =>
      session.client.mutation("updateSession", { cloudAgentSessionId: session.id, callbackTarget });
    agent.shut();
    const { messageId: first } = await session.initiate();
    await agent.started(first);
    await update(target(`${path}/other`));
    agent.open();
    await received(path, 1);
    const { messageId: second } = await session.send();
    await received(`${path}/other`, 1);
    await settled(session);
    const version = (await session.view()).version;
    await update(null);
    assert.ok(Number((await session.view()).version) > Number(version));
    await session.completed((await session.send()).messageId);
    await settled(session);
    assert.deepEqual(
      [...receiver.at(path), ...receiver.at(`${path}/other`)].map((each) => bodyOf(each).messageId),
      [first, second],
    );
  });

  test("an interrupt is reported", async () => {
    const { session, path } = await reporting();
    agent.shut();
    const { messageId: id } = await session.initiate();
    await running(session, id);
    await session.client.mutation("interruptSession", { sessionId: session.id });
    const [callback] = await received(path, 1);
    agent.open();
    assert.ok(callback);
    const { messageId, status, errorMessage } = bodyOf(callback);
    assert.deepEqual(
      { messageId, status, errorMessage },
      { messageId: id, status: "interrupted", errorMessage: "Message interrupted by user" },
    );
  });

  test("an address that is not public is refused", async () => {
    const call = environment.newSession({ callbackTarget: { url: "http://127.0.0.1:9/" } });
    const { code, message } = await refusal(call);
    assert.equal(code, "BAD_REQUEST");
    assert.match(message, /callbackTarget/);
  });

  test("an address that is not allowed any more is not called", async () => {
    const { session, path } = await reporting();
    const { worker } = environment.stack;
    agent.shut();
    const { messageId: id } = await session.initiate();
    await agent.started(id);
    await worker.stop();
    await worker.start({ DEV_ALLOWED_HOSTS: environment.server.host });
    agent.open();
    await session.completed(id);
    await settled(session);
    assert.deepEqual(receiver.at(path), []);
    const words = ["callback_given_up", id, "address not allowed"];
    await waitFor("the log line", () =>
      worker.log.lines.some((line) => words.every((word) => line.includes(word))),
    );
    await worker.stop();
    await worker.start({ DEV_ALLOWED_HOSTS: `${environment.server.host},${receiver.host}` });
  });

  test("a runtime that is lost shows as stale", async () => {
    const { session } = await reporting();
    agent.shut();
    const { messageId: id } = await session.initiate();
    await running(session, id);
    assert.equal((await session.view()).execution?.health, "healthy");
    await environment.stack.runtime.kill();
    await waitFor("the turn to be stale", async () => {
      const { execution } = await session.view();
      return execution?.health === "stale";
    });
    agent.open();
    await environment.stack.runtime.start();
    await session.ended(id);
  });

  test("headers and queries are in no file, log line or body", () => {
    assert.ok(receiver.received.length > 10);
    assert.deepEqual(findInFiles(environment.stack.folder, needles), []);
    for (const line of environment.stack.logLines) {
      assert.deepEqual(findInText("log", line, needles), []);
    }
    assert.ok(environment.stack.logLines.some((line) => line.includes("callback_delivered")));
    for (const { body } of receiver.received) {
      assert.deepEqual(findInText("body", body, needles), []);
    }
  });
});
