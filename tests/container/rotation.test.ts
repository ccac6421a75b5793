// A session whose workspace is in a container that its object starts: the whole story of a credential.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { messageId, refusal } from "../../scripts/support/client.ts";
import { findInText, type Needle, needlesOf } from "../support/canary.ts";
import { ProcessWatcher, type Watch } from "../support/process-watcher.ts";
import { inside, logOf, podman, processesOf } from "./support/engine.ts";
import { Sandboxes, type SandboxSession } from "./support/sandboxes.ts";

/** The user that the image gives to agents. */
const AGENT_UID = 10001;

describe("a session in a container", () => {
  let sandboxes: Sandboxes;
  let prepared: SandboxSession;
  let needles: Needle[];
  let watch: Watch;
  /** The labels that the git server saw in each turn. */
  const seen: Record<"cold" | "warm" | "afterRetry", string[]> = {
    cold: [],
    warm: [],
    afterRetry: [],
  };
  let older: { label: string; token: string };
  let newer: { label: string; token: string };

  before(async () => {
    sandboxes = await Sandboxes.start();
    const canary = () => `canary${randomBytes(16).toString("hex")}/+@:#?%41'"$(x)\\`;
    older = sandboxes.newToken(canary());
    newer = sandboxes.newToken(canary());
    needles = [
      ...needlesOf(older.label, older.token),
      ...needlesOf(newer.label, newer.token),
      ...needlesOf("RUNTIME_TOKEN", sandboxes.secrets.RUNTIME_TOKEN),
    ];
    const watcher = await ProcessWatcher.start(needles);
    prepared = await sandboxes.newSession({ gitToken: older.token });
    await playStory();
    watch = await watcher.stop();
  });

  after(async () => {
    await sandboxes?.close();
  });

  async function playStory(): Promise<void> {
    const { session } = prepared;
    seen.cold = await labelsDuring(() => sandboxes.firstTurn(session));
    const followUp = { messageId: messageId(), gitToken: older.token };
    await sandboxes.turn(session, followUp);
    const autoCommit = true;
    seen.warm = await labelsDuring(() =>
      sandboxes.turn(session, { gitToken: newer.token, autoCommit }),
    );
    seen.afterRetry = await labelsDuring(async () => {
      const { code, message } = await refusal(session.send(followUp));
      assert.equal(code, "BAD_REQUEST");
      assert.match(message, /already terminal/);
      await sandboxes.turn(session, { prompt: "Leave something running.", autoCommit });
    });
  }

  async function labelsDuring(work: () => Promise<unknown>): Promise<string[]> {
    const mark = sandboxes.server.log.length;
    await work();
    return sandboxes.labelsSince(mark);
  }

  test("clones cold with the first token, and works warm with the second alone", () => {
    const [accepted, ...later] = sandboxes.logged("message_accepted");
    assert.match(accepted ?? "", /"cold":true/);
    assert.equal(later.length, 3);
    assert.ok(later.every((line) => line.includes('"cold":false')));
    assert.deepEqual(seen.cold, [older.label]);
    assert.deepEqual(seen.warm, [newer.label]);
  });

  test("a late retry does not bring the first token back", () => {
    assert.deepEqual(seen.afterRetry, [newer.label]);
  });

  test("autoCommit pushed the agent's work", async () => {
    const { session, repository } = prepared;
    const commits = await repository.commits(`session/${session.id}`);
    assert.equal(commits.length, 3, "the first commit, and one of each turn that was to commit");
  });

  test("the container was started once, and claimed", () => {
    assert.equal(sandboxes.engine.containers().length, 1);
    assert.equal(sandboxes.logged("container_changed", '"started"').length, 1);
    assert.equal(logOf(sandboxes.container).match(/the runtime was claimed/g)?.length, 1);
  });

  test("origin is the plain URL", () => {
    const folder = `/workspace/${prepared.session.id}/repo`;
    const git = ["git", "-c", "safe.directory=*", "-C", folder];
    const origin = inside(sandboxes.container, ...git, "remote", "get-url", "origin");
    assert.equal(origin.trim(), prepared.repository.url);
  });

  test("process 1 is the runtime, and nothing of a turn outlives it", () => {
    const [runtime, ...others] = processesOf(sandboxes.container);
    assert.deepEqual(runtime?.argv, ["/usr/local/bin/workspace-runtime"]);
    assert.deepEqual(others, []);
  });

  test("what the agent wrote is the agent's, and what the runtime wrote is not", () => {
    const folder = `/workspace/${prepared.session.id}`;
    const owners = inside(
      sandboxes.container,
      "stat",
      "-c",
      "%u",
      `${folder}/repo/NOTES.md`,
      folder,
    );
    assert.deepEqual(owners.split("\n").filter(Boolean), [String(AGENT_UID), "0"]);
  });

  test("no process had a token in its arguments or environment", () => {
    assert.ok(watch.rounds > 10);
    assert.ok(watch.processes > 5);
    assert.deepEqual(watch.finds, []);
  });

  test("neither the container's configuration nor its log holds a token", () => {
    const { container } = sandboxes;
    for (const text of [podman("inspect", container), logOf(container)]) {
      assert.ok(text.length > 100);
      assert.deepEqual(findInText("container", text, needles), []);
    }
  });

  test("no layer of the image holds a token", async () => {
    const folder = await mkdtemp(join(tmpdir(), "image-"));
    try {
      const archive = join(folder, "image.tar");
      podman("save", "--output", archive, sandboxes.engine.image);
      const bytes = readFileSync(archive);
      assert.ok(bytes.includes("test-agent"), "the layers are there as they are");
      assert.deepEqual(
        needles.filter(({ text }) => bytes.includes(text)).map(({ name }) => name),
        [],
      );
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
