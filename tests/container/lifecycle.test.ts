// Containers that are stopped, that are killed, and that are needed again.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Session } from "../../scripts/support/session.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { inside, podman, processesOf, stateOf } from "./support/engine.ts";
import { Sandboxes, TURN_MS } from "./support/sandboxes.ts";

/** The user that the image gives to agents. */
const AGENT_UID = 10001;

/** Longer than the stop of a container takes to be seen. */
const STOP_MS = 30_000;

describe("a container that nobody uses", () => {
  let sandboxes: Sandboxes;

  before(async () => {
    sandboxes = await Sandboxes.start({ variables: { SLEEP_AFTER_MS: "1500" } });
  });

  after(async () => {
    await sandboxes?.close();
  });

  test("is stopped by the alarm, not while a turn runs, and started by the next message", async () => {
    const { session } = await sandboxes.newSession();
    await sandboxes.firstTurn(session);
    const { container } = sandboxes;
    // Longer than a container may be idle.
    await sandboxes.turn(session, { prompt: "Take a while." });
    assert.equal(sandboxes.logged("container_changed", '"idle"').length, 0);
    await waitFor("the stop", () => stateOf(container) === "exited", STOP_MS);
    const ended = podman("inspect", "--format", "{{.State.ExitCode}}", container).trim();
    assert.equal(ended, "0", "the runtime ended in an orderly way");
    await waitFor(
      "the stop in the log",
      () => sandboxes.logged("container_changed", '"idle"').length === 1,
    );
    // The platform drops the disk of a container that has ended; the engine keeps it until it is told to.
    podman("rm", container);
    await sandboxes.turn(session);
    assert.equal(sandboxes.logged("container_changed", '"started"').length, 2);
    const accepted = sandboxes.logged("message_accepted");
    assert.deepEqual(
      accepted.map((line) => line.includes('"cold":true')),
      [true, false, true],
    );
    const retried = sandboxes.logged("delivery_retried");
    assert.ok(
      retried.every((line) => line.includes("container_shutdown")),
      "what the new disk costs is no retry of the table",
    );
  });

  test("that is still there when the next message comes is used as it is", async () => {
    const { session } = await sandboxes.newSession();
    await sandboxes.firstTurn(session);
    const started = sandboxes.logged("container_changed", '"started"').length;
    await sandboxes.turn(session);
    assert.equal(sandboxes.logged("container_changed", '"started"').length, started);
  });
});

describe("a container with a turn", () => {
  let sandboxes: Sandboxes;

  before(async () => {
    sandboxes = await Sandboxes.start();
  });

  after(async () => {
    await sandboxes?.close();
  });

  /** A session whose agent works for ever, and its container. */
  async function working(): Promise<{ session: Session; message: string; container: string }> {
    const others = new Set(sandboxes.engine.containers());
    const { session } = await sandboxes.newSession();
    await sandboxes.firstTurn(session);
    const { messageId: message } = await session.send({ prompt: "Work for ever." });
    const container = sandboxes.engine.containers().find((name) => !others.has(name));
    assert.ok(container);
    await waitFor("the agent", () =>
      processesOf(container).some(({ argv }) => argv.includes("/usr/local/bin/test-agent")),
    );
    await waitFor("the agent's acceptance", async () => {
      const { status } = await session.result(message);
      return status === "running";
    });
    return { session, message, container };
  }

  async function lost(session: Session, message: string): Promise<void> {
    const { status, failure } = await session.ended(message, TURN_MS);
    assert.equal(status, "failed");
    assert.equal(failure?.code, "container_shutdown");
  }

  test("runs agents as another user than the server", async () => {
    const { session, message, container } = await working();
    const processes = processesOf(container);
    assert.equal(processes.find(({ argv }) => argv[0]?.endsWith("workspace-runtime"))?.uid, 0);
    const agents = processes.filter(({ argv }) => argv.includes("/usr/local/bin/test-agent"));
    assert.ok(agents.length > 0);
    assert.ok(agents.every(({ uid }) => uid === AGENT_UID));
    assert.match(inside(container, "cat", "/etc/passwd"), /^agent:x:10001:/m);
    await session.client.mutation("interruptSession", { sessionId: session.id });
    const { status } = await session.ended(message);
    assert.equal(status, "interrupted");
    await waitFor("the agent's end", () =>
      processesOf(container).every(({ uid }) => uid !== AGENT_UID),
    );
  });

  test("outlives the object that owns it, which finds it and claims it again", async () => {
    const { session } = await sandboxes.newSession();
    await sandboxes.firstTurn(session);
    const starts = sandboxes.logged("container_changed", '"started"').length;
    const { messageId: message } = await session.send({ prompt: "Take a while." });
    await waitFor("the agent's start", async () => {
      const { status } = await session.result(message);
      return status === "running";
    });
    await sandboxes.worker.stop();
    await sandboxes.worker.start();
    await sandboxes.completed(session, message);
    await sandboxes.turn(session);
    assert.equal(sandboxes.logged("container_changed", '"started"').length, starts);
    const accepted = sandboxes.logged("message_accepted", session.id);
    assert.deepEqual(
      accepted.map((line) => line.includes('"cold":true')),
      [true, false, false],
    );
  });

  test("fails it when it dies, and the queue goes on in another container", async () => {
    const { session, message, container } = await working();
    const queued = [];
    for (let count = 0; count < 3; count += 1) queued.push((await session.send()).messageId);
    const starts = sandboxes.logged("container_changed", '"started"').length;
    // A kill without mercy; the disk goes with the container, as on the platform.
    podman("rm", "--force", "--time=0", container);
    await lost(session, message);
    for (const id of queued) await sandboxes.completed(session, id);
    assert.equal(sandboxes.logged("container_changed", '"started"').length, starts + 1);
    assert.equal(stateOf(container), "running");
    const accepted = sandboxes.logged("message_accepted", session.id);
    assert.deepEqual(
      accepted.map((line) => line.includes('"cold":true')),
      [true, false, true, false, false],
    );
  });
});
