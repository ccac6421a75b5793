// An interrupt at every stage of a turn: the state is true within five seconds, and the next message works.

import assert from "node:assert/strict";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment, type PreparedSession } from "../support/environment.ts";
import { GatedAgent } from "../support/gated-agent.ts";
import { git } from "../support/git-command.ts";
import { type Misbehaviour, whileFetching } from "../support/git-misbehaviour.ts";

/** From the request of an interrupt until the message shows it: a bound that users are promised. */
const INTERRUPT_MS = 5_000;

const whilePushing: Misbehaviour = ({ service, method }) =>
  service === "git-receive-pack" && method === "POST" ? { kind: "stall" } : undefined;

describe("an interrupt", () => {
  let environment: Environment;
  let agent: GatedAgent;
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "interrupt-"));
    agent = await GatedAgent.create();
    environment = await Environment.start({ runtime: { AGENT_COMMAND: agent.command } });
  });

  after(async () => {
    await environment?.close();
    await agent?.remove();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  /** Stops everything and waits for the message to tell so. */
  async function interrupt({ session }: PreparedSession, messageId: string): Promise<void> {
    const asked = session.client.mutation("interruptSession", { sessionId: session.id });
    const [{ status, completionSource }] = await Promise.all([
      session.ended(messageId, INTERRUPT_MS),
      asked,
    ]);
    assert.equal(status, "interrupted");
    assert.equal(completionSource, "interrupt");
    assert.notEqual((await session.view()).execution?.status, "running");
  }

  /** The session takes, runs and publishes another message; what was interrupted stays so. */
  async function assertUsable(prepared: PreparedSession, interrupted: string): Promise<void> {
    const { session, repository } = prepared;
    agent.open();
    const { messageId: next } = await session.send({ autoCommit: true });
    await session.completed(next);
    assert.equal(agent.starts(next), 1);
    const workspace = environment.stack.workspace(session.id);
    await git(workspace, ["fsck", "--no-progress", "--connectivity-only", "--no-dangling"]);
    const head = (await git(workspace, ["rev-parse", "HEAD"])).trim();
    const published = await Promise.all(
      (await repository.branches()).map((branch) =>
        git(repository.folder, ["rev-parse", branch]).then((text) => text.trim()),
      ),
    );
    assert.ok(published.includes(head), "the next message's commit is published");
    assert.equal((await session.result(interrupted)).status, "interrupted");
  }

  function askedFor(prepared: PreparedSession, service: string): Promise<unknown> {
    return waitFor(`a request of ${service}`, () =>
      environment.server.log.some(
        ({ path, method }) =>
          method === "POST" && path === `/${prepared.repository.name}.git/${service}`,
      ),
    );
  }

  test("during the clone: no half workspace, and the next message clones", async () => {
    const prepared = await environment.newSession();
    prepared.repository.misbehaviour = whileFetching({ kind: "stall" });
    const { messageId } = await prepared.session.initiate();
    await askedFor(prepared, "git-upload-pack");
    await interrupt(prepared, messageId);
    prepared.repository.misbehaviour = undefined;
    assert.ok(!existsSync(environment.stack.workspace(prepared.session.id)));
    assert.equal(agent.starts(messageId), 0);
    await assertUsable(prepared, messageId);
  });

  test("during a setup command: it is ended, and the next message sets up again", async () => {
    const begun = join(folder, "begun");
    const gate = join(folder, "gate");
    const prepared = await environment.newSession({
      setupCommands: [`touch '${begun}'; while [ ! -e '${gate}' ]; do sleep 0.05; done`],
    });
    const { messageId } = await prepared.session.initiate();
    await waitFor("the setup command", () => existsSync(begun));
    await interrupt(prepared, messageId);
    assert.equal(agent.starts(messageId), 0);
    rmSync(begun);
    writeFileSync(gate, "");
    await assertUsable(prepared, messageId);
    assert.ok(existsSync(begun), "the setup command ran again");
  });

  test("while the agent works: it is ended, and the next message finds its files", async () => {
    agent.shut();
    const prepared = await environment.newSession();
    const { messageId } = await prepared.session.initiate();
    await agent.started(messageId);
    await interrupt(prepared, messageId);
    await assertUsable(prepared, messageId);
    assert.equal(agent.starts(messageId), 1);
  });

  test("during the push: nothing is published for it, and the next message publishes", async () => {
    agent.open();
    const prepared = await environment.newSession();
    prepared.repository.misbehaviour = whilePushing;
    const { messageId: first } = await prepared.session.initiate();
    await prepared.session.completed(first);
    const before = await prepared.repository.branches();
    const { messageId } = await prepared.session.send({ autoCommit: true });
    await askedFor(prepared, "git-receive-pack");
    await interrupt(prepared, messageId);
    assert.deepEqual(await prepared.repository.branches(), before);
    prepared.repository.misbehaviour = undefined;
    await assertUsable(prepared, messageId);
  });
});
