// After a whole story in direct mode the tokens are nowhere but where direct mode cannot do without them: in argument
// lists of the sandbox, in `.git/config` there, and in the one file that the newest is pushed with.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { refusal } from "../../scripts/support/client.ts";
import type { Session } from "../../scripts/support/session.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { type CallbackReceiver, startCallbackReceiver } from "../support/callback-receiver.ts";
import { findInFiles, findInText, type Needle, needlesOf } from "../support/canary.ts";
import { Environment } from "../support/environment.ts";
import { always } from "../support/git-misbehaviour.ts";
import { SandboxPeer } from "../support/sandbox-peer.ts";
import { objectFiles, textOf } from "../support/stored.ts";
import { type Frame, StreamClient } from "../support/stream.ts";

/** Shows everything that it knows: what it was given, where it works, and the credential, in every way that tools do. */
const INDISCREET_AGENT = `
cat
env
git remote -v
cat .git/config
git config --get remote.origin.url | base64
git config --get remote.origin.url | od -An -tx1 | tr -d ' \\n'
printf '{"type":"said","text":"%s"}\\n' "$(git config --get remote.origin.url)"
printf '%s' "$(git config --get remote.origin.url)" >&2
`;

describe("canary, direct mode", () => {
  let environment: Environment;
  let receiver: CallbackReceiver;
  let sandbox: SandboxPeer;
  let folder: string;
  let tokens: { label: string; token: string }[];
  let needles: Needle[];
  let agentNeedles: Needle[];
  const frames: Frame[] = [];
  const canary = (name: string) => `${name}-${randomBytes(16).toString("hex")}/+"'\\`;
  const secrets = { variable: canary("variable"), header: canary("header") };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "indiscreet-"));
    writeFileSync(join(folder, "agent"), INDISCREET_AGENT);
    receiver = await startCallbackReceiver();
    sandbox = await SandboxPeer.start();
    environment = await Environment.start({
      allowedHosts: [receiver.host],
      worker: {
        WORKSPACE_MODE: "direct",
        WORKSPACE_ROOT: sandbox.root,
        RUNTIME_URL: sandbox.url,
        AGENT_COMMAND: JSON.stringify(["/bin/sh", join(folder, "agent")]),
        CREDENTIAL_WAIT_MS: "200",
      },
    });
    tokens = Array.from({ length: 5 }, () =>
      environment.newToken(`canary${randomBytes(16).toString("hex")}/+@:#?%41'"$(x)\\`),
    );
    needles = tokens.flatMap(({ label, token }) => needlesOf(label, token));
    agentNeedles = Object.entries(secrets).flatMap(([name, value]) => needlesOf(name, value));
    await playStory();
  });

  after(async () => {
    await environment?.close();
    await sandbox?.close();
    await receiver?.close();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  const value = (index: number) => tokens[index]?.token ?? "";

  /** Rotations, a dead token, a server that repeats the credential, a refusal and a restart. */
  async function playStory(): Promise<void> {
    const user = environment.newUser();
    const prepared = await environment.newSession(
      {
        gitToken: value(0),
        envVars: { SOME_NAME: secrets.variable },
        mcpServers: { server: { url: "https://h", headers: { key: secrets.header } } },
        setupCommands: ["env"],
        callbackTarget: { url: receiver.url("/done") },
      },
      environment.stack.client(user),
    );
    const { repository } = prepared;
    const following = await StreamClient.open(environment.stack, user, prepared.session.id);
    const { messageId: first } = await prepared.session.initiate();
    await prepared.session.completed(first);
    await turn(prepared.session, 1);
    repository.misbehaviour = always({ kind: "echo" });
    const { messageId: echoed } = await prepared.session.send({ gitToken: value(3) });
    assert.equal((await prepared.session.ended(echoed)).status, "failed");
    repository.misbehaviour = undefined;
    environment.server.tokens.revoke(tokens[2]?.label ?? "");
    const { messageId: dead } = await prepared.session.send({ gitToken: value(2) });
    await prepared.session.ended(dead);
    await refusal(prepared.session.send({ gitToken: `${value(3)}\n` }));
    await environment.stack.worker.kill();
    await environment.stack.worker.start();
    await following.closed();
    const again = { fromId: following.lastId };
    const goingOn = await StreamClient.open(environment.stack, user, prepared.session.id, again);
    await goingOn.ended(await turn(prepared.session, 4));
    await goingOn.close();
    frames.push(...following.frames, ...goingOn.frames);
  }

  async function turn(of: Session, index: number): Promise<string> {
    const { messageId: id } = await of.send({ gitToken: value(index), autoCommit: true });
    await of.completed(id);
    return id;
  }

  test("no file of the sandbox holds an old token, and the newest only where git needs it", () => {
    const newest = tokens[4]?.label ?? "";
    const finds = findInFiles(sandbox.root, needles);
    const wrong = finds.filter(({ needle, place, mode }) => {
      const isNeeded = place.endsWith("/repo/.git/config") || place.endsWith("/state/credential");
      // What the agent printed stays in the sandbox until the next turn.
      const isOutput = place.endsWith("/output");
      return !(needle.startsWith(`${newest} (`) && (isOutput || (isNeeded && mode === 0o600)));
    });
    assert.deepEqual(wrong, []);
    assert.ok(finds.some(({ place }) => place.endsWith("/repo/.git/config")));
  });

  test("no file beside the sandbox holds a token or a secret", () => {
    assert.deepEqual(findInFiles(environment.stack.folder, [...needles, ...agentNeedles]), []);
  });

  test("no log line, reply or error holds a token or a secret", () => {
    assert.ok(environment.stack.logLines.length > 0);
    const texts = [...environment.stack.logLines, ...environment.stack.replies, ...sandbox.errors];
    const finds = texts.flatMap((text) => findInText("text", text, [...needles, ...agentNeedles]));
    assert.deepEqual(finds, []);
  });

  test("the agent showed all of it, and no frame of the stream does", () => {
    const types = new Set(frames.map((frame) => frame.streamEventType));
    for (const type of ["cloud.message.failed", "preparing", "kilocode", "output"]) {
      assert.ok(types.has(type), type);
    }
    assert.ok(frames.some((frame) => JSON.stringify(frame).includes("[redacted]")));
    const finds = frames.flatMap((frame) =>
      findInText("frame", JSON.stringify(frame), [...needles, ...agentNeedles]),
    );
    assert.deepEqual(finds, []);
  });

  test("no callback holds a token", async () => {
    await waitFor("a callback", () => receiver.received.length > 0);
    const finds = receiver.received.flatMap((callback) =>
      findInText("callback", JSON.stringify(callback), [...needles, ...agentNeedles]),
    );
    assert.deepEqual(finds, []);
  });

  test("no stored row or event holds a token in the clear", () => {
    const files = objectFiles(environment.stack.worker.storage);
    assert.ok(files.length > 0);
    for (const file of files) {
      const text = textOf(file);
      assert.deepEqual(findInText(file, text, [...needles, ...agentNeedles]), []);
      assert.ok(text.includes("[redacted]"), "what the agent said is among what was read");
    }
  });

  test("nothing runs in the sandbox any more, and no text was executed", async () => {
    await waitFor("the end of everything that ran", () => sandbox.processes().length === 0);
    assert.deepEqual(sandbox.strangers(), []);
  });
});
