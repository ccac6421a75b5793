// Following a session: order, filters, resuming, and clients that do not read.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Session } from "../../scripts/support/session.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { Cable } from "../support/cable.ts";
import { Environment } from "../support/environment.ts";
import { printingAgentCommand } from "../support/printing-agent.ts";
import { fileOf, rowsOf } from "../support/stored.ts";
import {
  type Frame,
  StreamClient,
  type StreamQuery,
  ticketFor,
  upgrade,
} from "../support/stream.ts";

interface StoredRow {
  id: number;
  kind: string;
  payload: string;
}

describe("the stream", () => {
  let environment: Environment;

  before(async () => {
    environment = await Environment.start({ runtime: { AGENT_COMMAND: printingAgentCommand } });
  });

  after(async () => {
    await environment?.close();
  });

  async function newSession(prompt = "json=3"): Promise<{ user: string; session: Session }> {
    const user = environment.newUser();
    const prepared = await environment.newSession({ prompt }, environment.stack.client(user));
    return { user, session: prepared.session };
  }

  function follow(user: string, session: Session, query?: StreamQuery): Promise<StreamClient> {
    return StreamClient.open(environment.stack, user, session.id, query);
  }

  async function completed(session: Session, prompt: string): Promise<string> {
    const { messageId } = await session.send({ prompt });
    await session.completed(messageId, 120_000);
    return messageId;
  }

  /** Takes the session's object out of memory. Meanwhile connections that a client keeps for later may end. */
  async function evict(user: string, session: Session): Promise<void> {
    await environment.stack.worker.evict(`${user}:${session.id}`);
    await waitFor("an answer", () => session.view().catch(() => undefined));
  }

  /** What the session has stored, in order. */
  function storedBy(session: Session): StoredRow[] {
    return rowsOf(fileOf(environment.stack.worker.storage, session.id)).event as StoredRow[];
  }

  function assertIsStored(frames: readonly Frame[], session: Session): void {
    const shown = frames.map(({ eventId, streamEventType, data }) => ({
      id: eventId,
      kind: streamEventType,
      data,
    }));
    const stored = storedBy(session).map(({ id, kind, payload }) => ({
      id,
      kind,
      data: JSON.parse(payload),
    }));
    assert.deepEqual(shown, stored);
  }

  test("a client that is there from the start sees everything in order, and what goes on", async () => {
    const { user, session } = await newSession("json=3 text=2");
    const client = await follow(user, session);
    const connected = await client.type("connected");
    assert.equal(client.types[0], "connected");
    assert.deepEqual(connected.data, { latestEventId: 0 });
    client.send("this is not looked at");
    const { messageId } = await session.initiate();
    await client.ended(messageId);
    assertIsStored(client.stored, session);
    const types = client.types;
    assert.deepEqual(
      client.stored.map((frame) => frame.streamEventType),
      [
        "cloud.message.queued",
        "cloud.message.sent",
        "kilocode",
        "kilocode",
        "kilocode",
        "cloud.message.completed",
      ],
    );
    for (const type of ["preparing", "cloud.status", "output"])
      assert.ok(types.includes(type), type);
    const steps = client.frames
      .filter((frame) => frame.streamEventType === "preparing")
      .map((frame) => frame.data.step);
    assert.ok(steps.includes("cloning"), JSON.stringify(steps));
    assert.equal(steps.at(-1), "ready");
    const lines = client.frames.filter((frame) => frame.streamEventType === "output");
    assert.deepEqual(
      lines.map((frame) => frame.data.content),
      ["line 1", "line 2"],
    );
    for (const frame of client.frames) {
      assert.equal(frame.sessionId, session.id);
      assert.equal(new Date(frame.timestamp).toISOString(), frame.timestamp);
      const isVolatile = ["connected", "preparing", "cloud.status", "output"].includes(
        frame.streamEventType,
      );
      assert.equal(frame.eventId === 0, isVolatile, frame.streamEventType);
    }
    assert.equal((await session.view()).latestEventId, client.lastId);
    await client.close();
  });

  test("plain output is capped for each second, and what was left out is told", async () => {
    const { user, session } = await newSession();
    const client = await follow(user, session, { replay: false, eventTypes: "output" });
    await client.type("connected");
    const lines = 20_000;
    const started = Date.now();
    await completed(session, `text=${lines}`);
    await client.type("output");
    const seconds = Math.ceil((Date.now() - started) / 1_000) + 1;
    const output = client.frames.filter((frame) => frame.streamEventType === "output");
    const bytes = output.reduce((sum, { data }) => sum + JSON.stringify(data).length, 0);
    assert.ok(bytes <= seconds * 256 * 1024 + 1024, `${bytes} bytes in ${seconds} s`);
    // After each gap the next line tells how many are missing.
    let next = 1;
    for (const { data } of output) {
      next += Number(data.skippedLines ?? 0);
      assert.equal(data.content, `line ${next}`);
      next += 1;
    }
    assert.ok(output.length < lines, "some were left out");
    await client.close();
  });

  test("a client that comes later gets what is stored, then `connected`, then what goes on", async () => {
    const { user, session } = await newSession();
    const { messageId: first } = await session.initiate();
    await session.completed(first);
    const client = await follow(user, session);
    const { data } = await client.type("connected");
    assert.deepEqual(data, { cloudStatus: { type: "ready" }, latestEventId: client.lastId });
    assert.equal(client.types.indexOf("connected"), client.frames.length - 1);
    assertIsStored(client.stored, session);
    const second = await completed(session, "json=2");
    await client.ended(second);
    assertIsStored(client.stored, session);
    await client.close();
  });

  test("`fromId`, `replay=false` and the filters", async () => {
    const { user, session } = await newSession();
    const { messageId: first } = await session.initiate();
    await session.completed(first);
    const second = await completed(session, "json=2");
    const all = storedBy(session);
    const ids = async (query: StreamQuery): Promise<number[]> => {
      const client = await follow(user, session, query);
      await client.type("connected");
      await client.close();
      assert.deepEqual(client.errors, []);
      return client.stored.map((frame) => frame.eventId);
    };
    const expected = (matches: (row: StoredRow) => boolean) =>
      all.filter(matches).map((row) => row.id);
    const middle = all[4]?.id ?? 0;
    assert.deepEqual(
      await ids({ fromId: middle }),
      expected((row) => row.id > middle),
    );
    assert.deepEqual(await ids({ replay: false }), []);
    assert.deepEqual(await ids({ replay: false, fromId: middle }), []);
    assert.deepEqual(
      await ids({ eventTypes: "kilocode,cloud.message.sent" }),
      expected((row) => ["kilocode", "cloud.message.sent"].includes(row.kind)),
    );
    const ofSecond = await ids({ executionIds: second });
    assert.equal(ofSecond.length, 5);
    assert.ok(Math.min(...ofSecond) > (await ids({ executionIds: first })).length);
    assert.deepEqual(await ids({ startTime: Date.now() + 60_000 }), []);
    assert.deepEqual(await ids({ endTime: "2001-01-01T00:00:00Z" }), []);
    assert.deepEqual(
      await ids({ startTime: "2001-01-01T00:00:00Z", endTime: Date.now() }),
      expected(() => true),
    );
    const live = await follow(user, session, { replay: false, eventTypes: "kilocode" });
    await live.type("connected");
    const third = await completed(session, "json=2");
    const last = storedBy(session)
      .filter(({ kind }) => kind === "kilocode")
      .slice(-2);
    await waitFor("both lines", () => live.stored.length === 2);
    assert.deepEqual(
      live.stored.map((frame) => [frame.eventId, frame.executionId]),
      last.map(({ id }) => [id, third]),
    );
    await live.close();
  });

  test("a socket goes on after its object has hibernated", async () => {
    const { user, session } = await newSession();
    const client = await follow(user, session);
    const { messageId: first } = await session.initiate();
    await client.ended(first);
    await evict(user, session);
    const second = await completed(session, "json=2");
    await client.ended(second);
    await evict(user, session);
    const third = await completed(session, "json=2");
    await client.ended(third);
    assertIsStored(client.stored, session);
    assert.equal(client.types.filter((type) => type === "connected").length, 1);
    await client.close();
  });

  test("a client goes on with `fromId` after a restart of workerd", async () => {
    const { user, session } = await newSession("json=100 pause=20");
    const before = await follow(user, session);
    const { messageId } = await session.initiate();
    await waitFor("some events", () => before.stored.length > 10);
    await environment.stack.worker.kill();
    await before.closed();
    await environment.stack.worker.start();
    const after = await follow(user, session, { fromId: before.lastId });
    await after.ended(messageId);
    assertIsStored([...before.stored, ...after.stored], session);
    await after.close();
  });

  test("cut fifty times while 2,000 events flow, a client has exactly what is stored", async () => {
    const { user, session } = await newSession("json=2000 bytes=100 pause=20");
    const cable = await Cable.to(environment.stack.worker.url);
    const frames: Frame[] = [];
    const followOn = () =>
      StreamClient.open(
        environment.stack,
        user,
        session.id,
        { fromId: frames.at(-1)?.eventId ?? 0 },
        { url: cable.url },
      );
    const { messageId } = await session.initiate();
    for (let cut = 1; cut <= 50; cut += 1) {
      const client = await followOn();
      const wanted = Math.floor(Math.random() * 40);
      await waitFor(
        "some frames",
        () => client.stored.length >= wanted || storedBy(session).length > 2000,
        60_000,
      );
      cable.cut();
      assert.equal((await client.closed()).code, 1006);
      frames.push(...client.stored);
    }
    const last = await followOn();
    const ended = () =>
      [...frames, ...last.stored].some(
        ({ streamEventType, data }) =>
          streamEventType === "cloud.message.completed" && data.messageId === messageId,
      );
    await waitFor("the end", ended, 120_000);
    await last.close();
    await cable.close();
    frames.push(...last.stored);
    assert.equal(frames.filter((frame) => frame.streamEventType === "kilocode").length, 2000);
    assertIsStored(frames, session);
  });

  test("clients that do not read cost the others nothing, and are closed when their budget is spent", async () => {
    const { user, session } = await newSession("json=150 bytes=60000");
    const { messageId: first } = await session.initiate();
    await session.completed(first, 120_000);
    const reader = await follow(user, session, { replay: false });
    const { latestEventId } = (await reader.type("connected")).data;
    // Each is sent nine megabytes and takes none of them: together they may have 32 beyond two for each.
    const stuck = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const { ticket } = await ticketFor(environment.stack, user, session.id);
        return await upgrade(environment.stack, { cloudAgentSessionId: session.id, ticket });
      }),
    );
    assert.deepEqual(
      stuck.map(({ status }) => status),
      Array(6).fill(101),
    );
    const second = await completed(session, "json=2");
    await reader.ended(second);
    assert.deepEqual(
      reader.stored.map((frame) => frame.eventId),
      storedBy(session)
        .map(({ id }) => id)
        .filter((id) => id > Number(latestEventId)),
    );
    // A newcomer has its own two megabytes each time it connects, and so gets everything as well.
    const frames: Frame[] = [];
    let connections = 0;
    for (let isWhole = false; !isWhole; ) {
      const client = await follow(user, session, { fromId: frames.at(-1)?.eventId ?? 0 });
      connections += 1;
      await waitFor(
        "the end of a connection",
        () => client.errors.length > 0 || client.types.includes("connected"),
        60_000,
      );
      isWhole = client.types.includes("connected");
      if (isWhole) await client.close();
      else assert.equal(client.errors[0]?.code, "WS_RECONNECT");
      frames.push(...client.stored);
    }
    assert.ok(connections > 1, `${connections}`);
    assertIsStored(frames, session);
    for (const { socket } of stuck) socket?.destroy();
    await reader.close();
  });
});
