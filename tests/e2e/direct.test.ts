// Direct mode: the object prepares the workspace itself, in a sandbox that only runs commands.

import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { messageId, refusal } from "../../scripts/support/client.ts";
import { Session } from "../../scripts/support/session.ts";
import type { StackOptions } from "../../scripts/support/stack.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { findInFiles, needlesOf } from "../support/canary.ts";
import { Environment, labelsOf, type PreparedSession } from "../support/environment.ts";
import { GatedAgent } from "../support/gated-agent.ts";
import { git } from "../support/git-command.ts";
import { type Misbehaviour, whileFetching } from "../support/git-misbehaviour.ts";
import { SandboxPeer } from "../support/sandbox-peer.ts";

/** A sandbox, and a Worker that prepares workspaces in it. */
async function start(options: StackOptions = {}) {
  const sandbox = await SandboxPeer.start();
  const environment = await Environment.start({
    ...options,
    worker: {
      WORKSPACE_MODE: "direct",
      WORKSPACE_ROOT: sandbox.root,
      RUNTIME_URL: sandbox.url,
      ...options.worker,
    },
  });
  return { sandbox, environment };
}

async function assertOrigin(
  sandbox: SandboxPeer,
  { session, repository }: PreparedSession,
  token: string,
): Promise<void> {
  const origin = await git(sandbox.workspace(session.id), ["remote", "get-url", "origin"]);
  const url = new URL(origin.trim());
  assert.equal(url.username, "x-access-token");
  assert.ok(decodeURIComponent(url.password) === token, "origin holds the newest token");
  url.username = "";
  url.password = "";
  assert.equal(url.href, repository.url);
}

/** Nothing runs in the sandbox any more. */
async function assertQuiet(sandbox: SandboxPeer): Promise<void> {
  await waitFor("the end of everything that ran", () => sandbox.processes().length === 0);
}

describe("direct mode", () => {
  let environment: Environment;
  let sandbox: SandboxPeer;

  before(async () => {
    ({ environment, sandbox } = await start({
      buckets: ["ATTACHMENTS"],
      worker: { DRAIN_DELAY_MS: "250" },
    }));
  });

  after(async () => {
    await environment?.close();
    await sandbox?.close();
  });

  test("the first turn clones with the first token, and the agent works", async () => {
    const prepared = await environment.newSession({ prompt: 'it\'s "$(touch prompt)" `id`\n;x' });
    const requests = await environment.requestsTo(prepared.repository, async () => {
      const { messageId: first } = await prepared.session.initiate();
      await prepared.session.completed(first);
    });
    assert.deepEqual(labelsOf(requests), [prepared.label]);
    await assertOrigin(sandbox, prepared, prepared.token);
    const workspace = sandbox.workspace(prepared.session.id);
    const notes = readFileSync(join(workspace, "NOTES.md"), "utf8");
    assert.equal(notes, 'it\'s "$(touch prompt)" `id`\n;x\n');
    assert.equal(
      (await git(workspace, ["branch", "--show-current"])).trim(),
      `session/${prepared.session.id}`,
    );
    assert.deepEqual(sandbox.strangers(), []);
    assert.deepEqual(sandbox.errors, []);
    assert.equal(sandbox.brokenShells, 0);
    await assertQuiet(sandbox);
  });

  test("after a follow-up with a newer token the older one is never seen again", async () => {
    const prepared = await environment.startedSession();
    const { session, repository } = prepared;
    const { label, token } = environment.newToken();
    const requests = await environment.requestsTo(repository, async () => {
      await session.turn({ gitToken: token, autoCommit: true });
      await session.turn({ autoCommit: true });
      await session.turn();
    });
    assert.deepEqual(labelsOf(requests), [label]);
    assert.ok(requests.some((record) => record.service === "git-receive-pack"));
    await assertOrigin(sandbox, prepared, token);
    const [pushed] = await repository.commits(`session/${session.id}`);
    assert.ok(pushed, "the work was pushed");
    const files = findInFiles(sandbox.root, needlesOf("the older token", prepared.token));
    assert.deepEqual(files, []);
  });

  test("a follow-up works when the older token is dead, and a late retry brings nothing back", async () => {
    const prepared = await environment.startedSession();
    const { session, repository } = prepared;
    environment.server.tokens.revoke(prepared.label);
    const [older, newer] = [environment.newToken(), environment.newToken()];
    const followUp = { messageId: messageId(), gitToken: older.token };
    await session.turn(followUp);
    environment.server.tokens.revoke(older.label);
    const requests = await environment.requestsTo(repository, async () => {
      await session.turn({ gitToken: newer.token });
      const refused = await refusal(session.send(followUp));
      assert.match(refused.message, /already terminal/);
      await session.turn({ autoCommit: true });
    });
    assert.deepEqual(labelsOf(requests), [newer.label]);
    await assertOrigin(sandbox, prepared, newer.token);
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
    assert.deepEqual(sandbox.strangers(), []);
  });

  test("a session without a token clones anonymously and can be given one later", async () => {
    const client = environment.stack.client(environment.newUser());
    const repository = await environment.newRepository({ anonymousRead: true });
    const session = await Session.prepare(client, { gitUrl: repository.url });
    const { messageId: first } = await session.initiate();
    await session.completed(first);
    const { label, token } = environment.newToken();
    const requests = await environment.requestsTo(repository, () =>
      session.turn({ gitToken: token, autoCommit: true }),
    );
    assert.deepEqual(labelsOf(requests), [label]);
    assert.ok((await repository.branches()).includes(`session/${session.id}`));
  });

  test("setup commands and the agent's tools get the session's variables as they are", async () => {
    const value = "it's $(touch variable) `id`\n\"x\\ ";
    const { session } = await environment.startedSession({
      envVars: { SOME_NAME: value },
      setupCommands: ["printf '%s' \"$SOME_NAME\" > variable; pwd > ../where", "test -f variable"],
    });
    const workspace = sandbox.workspace(session.id);
    assert.equal(readFileSync(join(workspace, "variable"), "utf8"), value);
    assert.equal(readFileSync(join(workspace, "..", "where"), "utf8").trim(), workspace);
    assert.deepEqual(sandbox.strangers(), []);
  });

  test("a prompt of nothing but quotes arrives whole", async () => {
    const prompt = "'".repeat(100_000);
    const { session } = await environment.startedSession({ prompt });
    const notes = readFileSync(join(sandbox.workspace(session.id), "NOTES.md"), "utf8");
    assert.ok(notes === `${prompt}\n`);
  });

  test("attached files lie beside the workspace, byte for byte", async () => {
    const user = environment.newUser();
    const [path, file] = [randomUUID(), `${randomUUID()}.bin`];
    const content = randomBytes(200_000);
    const key = `${user}/cloud-agent/${path}/${file}`;
    await environment.stack.worker.putObject("ATTACHMENTS", key, content);
    const attachments = { path, files: [file] };
    const { session } = await environment.newSession(
      { attachments },
      environment.stack.client(user),
    );
    const { messageId: first } = await session.initiate();
    await session.completed(first);
    const stored = readFileSync(join(sandbox.root, session.id, "attachments", file));
    assert.ok(stored.equals(content));
  });

  test("a setup command that fails ends the message with its reason", async () => {
    const { session } = await environment.newSession({ setupCommands: ["exit 3"] });
    const { messageId: first } = await session.initiate();
    const { status, failure } = await session.ended(first);
    assert.equal(status, "failed");
    assert.equal(failure?.subtype, "setup_command_failed");
    assert.ok(!existsSync(sandbox.workspace(session.id)), "no half workspace is left");
  });

  test("a branch that must be there and is not ends the message", async () => {
    const { session } = await environment.newSession({ upstreamBranch: "missing" });
    const { messageId: first } = await session.initiate();
    const { failure } = await session.ended(first);
    assert.equal(failure?.subtype, "git_branch_missing");
  });

  test("a token that is refused has the queue wait for a newer one", async () => {
    const { session, label, repository } = await environment.startedSession();
    environment.server.tokens.revoke(label);
    const { messageId: waiting } = await session.send({ gitToken: "a-token-that-nobody-knows" });
    await session.waitsForCredential();
    const newer = environment.newToken();
    const requests = await environment.requestsTo(repository, async () => {
      await session.turn({ gitToken: newer.token });
      await session.completed(waiting);
    });
    assert.deepEqual(labelsOf(requests.filter(({ status }) => status === 200)), [newer.label]);
  });

  test("a sandbox that does not answer is asked again later", async () => {
    const { session } = await environment.startedSession();
    sandbox.isSilent = true;
    const { messageId: id } = await session.send();
    const { log } = environment.stack.worker;
    await waitFor("a retry of the delivery", () =>
      log.lines.some((line) => line.includes("delivery_retried") && line.includes(id)),
    );
    sandbox.isSilent = false;
    await session.completed(id);
  });

  test("deleting a session removes everything of it", async () => {
    const { session } = await environment.startedSession();
    await session.client.mutation("deleteSession", { sessionId: session.id });
    await waitFor("the end of its files", () => !existsSync(join(sandbox.root, session.id)));
    await assertQuiet(sandbox);
  });
});

const whilePushing: Misbehaviour = ({ service, method }) =>
  service === "git-receive-pack" && method === "POST" ? { kind: "stall" } : undefined;

describe("direct mode with an agent that takes its time", () => {
  let environment: Environment;
  let sandbox: SandboxPeer;
  let agent: GatedAgent;

  before(async () => {
    agent = await GatedAgent.create();
    ({ environment, sandbox } = await start({ worker: { AGENT_COMMAND: agent.command } }));
  });

  after(async () => {
    await environment?.close();
    await sandbox?.close();
    await agent?.remove();
  });

  /** A session whose agent works, on a turn that is to be published. */
  async function running(): Promise<PreparedSession & { messageId: string }> {
    agent.open();
    const prepared = await environment.startedSession();
    agent.shut();
    const { messageId: id } = await prepared.session.send({ autoCommit: true });
    await agent.started(id);
    return { ...prepared, messageId: id };
  }

  /** Ends the turn; its commit was pushed with the token of that label, and the agent was started once. */
  async function assertPublishedWith(
    { session, repository, messageId: id }: PreparedSession & { messageId: string },
    label: string,
  ): Promise<void> {
    const requests = await environment.requestsTo(repository, async () => {
      agent.open();
      await session.completed(id);
    });
    const pushes = requests.filter(
      ({ service, status }) => service === "git-receive-pack" && status === 200,
    );
    assert.deepEqual(labelsOf(pushes), [label]);
    assert.equal(agent.starts(id), 1);
  }

  async function update({ session }: PreparedSession, gitToken: string): Promise<void> {
    await session.client.mutation("updateSession", { cloudAgentSessionId: session.id, gitToken });
  }

  /** Stops everything and waits for the message to tell so. */
  async function interrupt({ session }: PreparedSession, id: string): Promise<void> {
    await session.client.mutation("interruptSession", { sessionId: session.id });
    const { status, completionSource } = await session.ended(id);
    assert.equal(status, "interrupted");
    assert.equal(completionSource, "interrupt");
    await assertQuiet(sandbox);
  }

  /** The session takes, runs and publishes another message. */
  async function assertUsable(prepared: PreparedSession): Promise<void> {
    agent.open();
    const id = await prepared.session.turn({ autoCommit: true });
    assert.equal(agent.starts(id), 1);
    const branches = await prepared.repository.branches();
    assert.ok(branches.includes(`session/${prepared.session.id}`));
  }

  test("a newer token replaces the older one while the agent works", async () => {
    const prepared = await running();
    const newer = environment.newToken();
    await update(prepared, newer.token);
    await waitFor("the newer token in origin", () =>
      readFileSync(join(sandbox.workspace(prepared.session.id), ".git", "config"), "utf8").includes(
        encodeURIComponent(newer.token),
      ),
    );
    environment.server.tokens.revoke(prepared.label);
    await assertPublishedWith(prepared, newer.label);
    const old = findInFiles(sandbox.root, needlesOf("the older token", prepared.token));
    assert.deepEqual(old, []);
  });

  test("a newer token that comes during the clone is the one that origin and the push get", async () => {
    const prepared = await environment.newSession();
    const { session, repository } = prepared;
    repository.misbehaviour = whileFetching({ kind: "delay", ms: 1500 });
    agent.shut();
    const { messageId: id } = await session.initiate();
    await waitFor("the clone with the older token", () =>
      environment.server.log.some(
        ({ path, method }) =>
          method === "POST" && path === `/${repository.name}.git/git-upload-pack`,
      ),
    );
    const newer = environment.newToken();
    const { messageId: second } = await session.send({ gitToken: newer.token, autoCommit: true });
    repository.misbehaviour = undefined;
    await agent.started(id);
    environment.server.tokens.revoke(prepared.label);
    agent.open();
    await session.completed(id);
    await assertPublishedWith({ ...prepared, messageId: second }, newer.label);
    await assertOrigin(sandbox, prepared, newer.token);
    const old = findInFiles(sandbox.root, needlesOf("the older token", prepared.token));
    assert.deepEqual(old, []);
  });

  test("a push that is refused is repeated with a newer token, and the agent is not", async () => {
    const prepared = await running();
    environment.server.tokens.revoke(prepared.label);
    agent.open();
    await prepared.session.waitsForCredential();
    const newer = environment.newToken();
    await update(prepared, newer.token);
    await assertPublishedWith(prepared, newer.label);
  });

  test("a token that is refused when it is pushed replaces nothing, and the next one does", async () => {
    const prepared = await running();
    await update(prepared, "a-token-that-no-server-knows");
    await prepared.session.waitsForCredential();
    await assertPublishedWith(prepared, prepared.label);
    const newer = environment.newToken();
    const { messageId: next } = await prepared.session.send({ gitToken: newer.token });
    environment.server.tokens.revoke(prepared.label);
    await prepared.session.completed(next);
  });

  test("an interrupt while the agent works ends it, and the next message finds its files", async () => {
    const prepared = await running();
    await interrupt(prepared, prepared.messageId);
    await assertUsable(prepared);
    assert.equal(agent.starts(prepared.messageId), 1);
  });

  test("an interrupt during the clone leaves no half workspace", async () => {
    const prepared = await environment.newSession();
    prepared.repository.misbehaviour = whileFetching({ kind: "stall" });
    const { messageId: id } = await prepared.session.initiate();
    await waitFor("the clone", () =>
      environment.server.log.some(
        ({ path, method }) =>
          method === "POST" && path === `/${prepared.repository.name}.git/git-upload-pack`,
      ),
    );
    await interrupt(prepared, id);
    prepared.repository.misbehaviour = undefined;
    assert.ok(!existsSync(sandbox.workspace(prepared.session.id)));
    assert.equal(agent.starts(id), 0);
    await assertUsable(prepared);
  });

  test("an interrupt during the push publishes nothing", async () => {
    agent.open();
    const prepared = await environment.newSession();
    prepared.repository.misbehaviour = whilePushing;
    const { messageId: first } = await prepared.session.initiate();
    await prepared.session.completed(first);
    const { messageId: id } = await prepared.session.send({ autoCommit: true });
    await waitFor("the push", () =>
      environment.server.log.some(
        ({ path, method }) =>
          method === "POST" && path === `/${prepared.repository.name}.git/git-receive-pack`,
      ),
    );
    await interrupt(prepared, id);
    prepared.repository.misbehaviour = undefined;
    await assertUsable(prepared);
  });

  test("when everything in the sandbox dies the message ends with a reason", async () => {
    const prepared = await running();
    sandbox.kill();
    const { status, failure } = await prepared.session.ended(prepared.messageId);
    assert.equal(status, "failed");
    assert.equal(failure?.code, "container_shutdown");
    await assertUsable(prepared);
    assert.equal(agent.starts(prepared.messageId), 1);
  });

  test("a Worker that is killed in mid-turn goes on reading, and starts nothing twice", async () => {
    const prepared = await running();
    await environment.stack.worker.kill();
    await environment.stack.worker.start();
    await assertPublishedWith(prepared, prepared.label);
  });
});

describe("direct mode with an agent that fails", () => {
  let environment: Environment;
  let sandbox: SandboxPeer;

  before(async () => {
    const script = 'echo \'{"type":"text"}\'; (setsid sleep 300 &) ; exit 3';
    const command = JSON.stringify(["/bin/sh", "-c", script]);
    ({ environment, sandbox } = await start({ worker: { AGENT_COMMAND: command } }));
  });

  after(async () => {
    await environment?.close();
    await sandbox?.close();
  });

  test("the message fails with the exit code, and what the agent left running ends", async () => {
    const { session } = await environment.newSession();
    const { messageId: id } = await session.initiate();
    const { status, failure } = await session.ended(id);
    assert.equal(status, "failed");
    assert.equal(failure?.code, "wrapper_error_after_activity");
    await assertQuiet(sandbox);
  });
});
