// What happens to messages when the runtime, its disk or the git server fails.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, statSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment, labelsOf, type PreparedSession } from "../support/environment.ts";
import { GatedAgent } from "../support/gated-agent.ts";
import { always, type Misbehaviour, whileFetching } from "../support/git-misbehaviour.ts";

/** Covers the retries that these tests provoke: one, two and five seconds apart. */
const RETRIED_MS = 45_000;

describe("with the built-in agent", () => {
  let environment: Environment;

  before(async () => {
    environment = await Environment.start({
      // Slowness must show within a test, not within minutes.
      runtime: {
        RUNTIME_TEST_DEADLINES: JSON.stringify({
          inactivityMs: 3000,
          hardMs: 10_000,
          lowSpeedMs: 30_000,
        }),
      },
    });
  });

  afterEach(async () => {
    if (environment.stack.runtime.pid === undefined) await environment.stack.runtime.start();
  });

  after(async () => {
    await environment?.close();
  });

  async function started(): Promise<PreparedSession> {
    const prepared = await environment.newSession();
    const { messageId: first } = await prepared.session.initiate();
    await prepared.session.completed(first);
    return prepared;
  }

  /** A repository whose pack is large enough to be interrupted. */
  async function largeSession(misbehaviour: Misbehaviour): Promise<PreparedSession> {
    const files = { "README.md": "large\n", "random.bin": randomBytes(2 * 1024 * 1024) };
    const prepared = await environment.newSession({}, undefined, { files });
    prepared.repository.misbehaviour = misbehaviour;
    return prepared;
  }

  async function fetching(prepared: PreparedSession): Promise<void> {
    await waitFor("the clone's request for a pack", () =>
      environment.server.log.some(
        (record) =>
          record.path === `/${prepared.repository.name}.git/git-upload-pack` &&
          record.method === "POST",
      ),
    );
  }

  /** Nothing of a workspace lies about that is not a whole one. */
  function assertNoHalfWorkspace({ session }: PreparedSession): void {
    const folder = join(environment.stack.workspaces, session.id);
    const entries = existsSync(folder) ? readdirSync(folder) : [];
    const temporary = entries.filter((name) => /tmp|temp|partial/i.test(name));
    assert.deepEqual(temporary, []);
    if (entries.includes("repo")) {
      assert.ok(existsSync(join(folder, "repo", "README.md")), "the workspace is whole");
    }
  }

  test("a runtime that is down: the message waits and is delivered when it is back", async () => {
    const prepared = await environment.newSession();
    await environment.stack.runtime.stop();
    const { messageId: first } = await prepared.session.initiate();
    const { messageId: second } = await prepared.session.send();
    await waitFor("a refused delivery in the log", () =>
      environment.stack.worker.log.lines.some(
        (line) => line.includes(prepared.session.id) && line.includes("sandbox_connect_failed"),
      ),
    );
    assert.equal((await prepared.session.result(first)).status, "queued");
    await environment.stack.runtime.start();
    await prepared.session.completed(first, RETRIED_MS);
    await prepared.session.completed(second, RETRIED_MS);
  });

  test("a restarted runtime finds the workspace warm", async () => {
    const { session } = await started();
    const repositoryFolder = join(environment.stack.workspace(session.id), ".git");
    const before = statSync(repositoryFolder);
    await environment.stack.runtime.kill();
    await environment.stack.runtime.start();
    const { messageId: next } = await session.send();
    await session.completed(next, RETRIED_MS);
    const after = statSync(repositoryFolder);
    assert.deepEqual([after.ino, after.birthtimeMs], [before.ino, before.birthtimeMs]);
  });

  test("a runtime on a new disk clones again, with the newest token", async () => {
    const prepared = await started();
    const { label, token } = environment.newToken();
    await environment.stack.runtime.stop();
    await rm(environment.stack.workspaces, { recursive: true, force: true });
    await environment.stack.runtime.start();
    const requests = await environment.requestsTo(prepared.repository, async () => {
      const { messageId: next } = await prepared.session.send({ gitToken: token });
      await prepared.session.completed(next, RETRIED_MS);
    });
    assert.deepEqual(labelsOf(requests), [label]);
    assert.ok(existsSync(join(environment.stack.workspace(prepared.session.id), "README.md")));
  });

  test("a runtime that is killed in mid-clone: no half workspace, and the message goes on", async () => {
    const prepared = await largeSession(whileFetching({ kind: "pause", afterBytes: 100_000 }));
    const { messageId: first } = await prepared.session.initiate();
    await fetching(prepared);
    await environment.stack.runtime.kill();
    prepared.repository.misbehaviour = undefined;
    await environment.stack.runtime.start();
    await prepared.session.completed(first, RETRIED_MS);
    const { messageId: second } = await prepared.session.send();
    await prepared.session.completed(second, RETRIED_MS);
    assertNoHalfWorkspace(prepared);
  });

  test("a connection that breaks in mid-pack is tried again", async () => {
    let breaks = 1;
    const prepared = await largeSession((request) => {
      if (request.service !== "git-upload-pack" || request.method !== "POST") return undefined;
      breaks -= 1;
      return breaks >= -1 ? { kind: "drop", afterBytes: 100_000 } : undefined;
    });
    const { messageId: first } = await prepared.session.initiate();
    await prepared.session.completed(first, RETRIED_MS);
    assert.ok(breaks < 0, "the connection was broken at least once");
    assertNoHalfWorkspace(prepared);
  });

  test("a git server that stalls ends at a deadline and leaves nothing behind", async () => {
    const prepared = await largeSession(whileFetching({ kind: "stall" }));
    const { messageId: first } = await prepared.session.initiate();
    await fetching(prepared);
    await waitFor("the deadline in the log", () =>
      environment.stack.logLines.some(
        (line) => line.includes(prepared.session.id) && line.includes("git_clone_timeout"),
      ),
    );
    assertNoHalfWorkspace(prepared);
    const { status } = await prepared.session.result(first);
    assert.equal(status, "queued", "the table gives a timed-out clone another try");
  });

  test("a slow git server is waited for", async () => {
    const prepared = await environment.newSession();
    prepared.repository.misbehaviour = always({ kind: "delay", ms: 700 });
    const { messageId: first } = await prepared.session.initiate();
    await prepared.session.completed(first);
  });

  test("a git server that fails for a moment is asked again", async () => {
    const prepared = await environment.newSession();
    let failures = 1;
    prepared.repository.misbehaviour = () => {
      failures -= 1;
      return failures < 0 ? undefined : { kind: "status", status: 503 };
    };
    const { messageId: first } = await prepared.session.initiate();
    await prepared.session.completed(first, RETRIED_MS);
  });

  test("a runtime that does not answer for a while holds up nobody but its own messages", async () => {
    const { session } = await started();
    const { pid } = environment.stack.runtime;
    assert.ok(pid);
    process.kill(pid, "SIGSTOP");
    try {
      const { messageId: next } = await session.send();
      const before = performance.now();
      await session.send();
      await session.view();
      assert.ok(performance.now() - before < 2000, "the object answers meanwhile");
      await waitFor("a delivery that was given up", () =>
        environment.stack.worker.log.lines.some(
          (line) => line.includes(next) && line.includes("sandbox_connect_failed"),
        ),
      );
      process.kill(pid, "SIGCONT");
      await session.completed(next, RETRIED_MS);
    } finally {
      process.kill(pid, "SIGCONT");
    }
  });

  test("a branch that is not there fails its message at once", async () => {
    const prepared = await environment.newSession({ upstreamBranch: "no-such-branch" });
    const { messageId: first } = await prepared.session.initiate();
    const result = await prepared.session.ended(first);
    assert.equal(result.failure?.subtype, "git_branch_missing");
    assertNoHalfWorkspace(prepared);
  });

  test("a setup command that fails is told by its kind, and leaves no workspace", async () => {
    const prepared = await environment.newSession({ setupCommands: ["exit 3"] });
    const { messageId: first } = await prepared.session.initiate();
    const result = await prepared.session.ended(first);
    assert.equal(result.failure?.subtype, "setup_command_failed");
    assert.ok(!existsSync(environment.stack.workspace(prepared.session.id)));
  });

  test("a redirect is not followed", async () => {
    const attacker = await environment.newRepository();
    const prepared = await environment.newSession();
    prepared.repository.misbehaviour = always({ kind: "redirect", location: `${attacker.url}/` });
    const mark = environment.server.log.length;
    const { messageId: first } = await prepared.session.initiate();
    await waitFor("a redirect in the log of the git server", () =>
      environment.server.log.slice(mark).some((record) => record.status === 302),
    );
    prepared.repository.misbehaviour = undefined;
    await prepared.session.ended(first, RETRIED_MS);
    const followed = environment.server.log
      .slice(mark)
      .filter((record) => record.path.startsWith(`/${attacker.name}.git`));
    assert.deepEqual(followed, []);
  });
});

describe("with an agent that is at work", () => {
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

  test("a runtime that dies fails the turn once, and the queue goes on", async () => {
    agent.shut();
    const { session } = await environment.newSession();
    const { messageId: first } = await session.initiate();
    await agent.started(first);
    const { messageId: second } = await session.send();
    await environment.stack.runtime.kill();
    agent.open();
    await environment.stack.runtime.start();
    const result = await session.ended(first, RETRIED_MS);
    assert.equal(result.status, "failed");
    assert.ok(
      ["wrapper_disconnected", "container_shutdown"].includes(result.failure?.code ?? ""),
      `a typed reason, not ${JSON.stringify(result.failure)}`,
    );
    await session.completed(second, RETRIED_MS);
    assert.equal(agent.starts(first), 1);
    assert.equal(agent.starts(second), 1);
  });

  test("ten messages behind a dead runtime are delivered in order when it is back, each once", async () => {
    agent.open();
    const { runtime } = environment.stack;
    const { session } = await environment.newSession();
    const { messageId: first } = await session.initiate();
    await session.completed(first);
    await runtime.kill();
    const ids: string[] = [];
    while (ids.length < 10) ids.push((await session.send()).messageId);
    await assert.rejects(session.send(), /queue is full/);
    await waitFor("a delivery that found no runtime", () =>
      environment.stack.worker.log.lines.some(
        (line) => line.includes(ids[0] ?? "") && line.includes("sandbox_connect_failed"),
      ),
    );
    await runtime.start();
    for (const id of ids) await session.completed(id, RETRIED_MS);
    assert.deepEqual(agent.order(ids), ids);
  });

  test("a message that comes while another runs waits for its end", async () => {
    agent.shut();
    const { session } = await environment.newSession();
    const { messageId: first } = await session.initiate();
    await agent.started(first);
    const { messageId: second } = await session.send();
    assert.equal((await session.result(first)).status, "running");
    assert.equal((await session.result(second)).status, "queued");
    assert.equal(agent.starts(second), 0);
    agent.open();
    await session.completed(first);
    await session.completed(second);
  });
});
