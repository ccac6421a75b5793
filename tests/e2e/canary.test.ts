// After a whole story the tokens are nowhere but where git needs the newest one.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { after, before, describe, test } from "node:test";
import { messageId, refusal } from "../../scripts/support/client.ts";
import type { Session } from "../../scripts/support/session.ts";
import type { OriginCredentials } from "../../scripts/support/stack.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { type CallbackReceiver, startCallbackReceiver } from "../support/callback-receiver.ts";
import { findInFiles, findInText, type Needle, needlesOf } from "../support/canary.ts";
import { encryptSecret, newKeyPair } from "../support/encrypt-secret.ts";
import { Environment } from "../support/environment.ts";
import { always } from "../support/git-misbehaviour.ts";
import type { GitRepository } from "../support/git-repository.ts";
import { ProcessWatcher, type Watch } from "../support/process-watcher.ts";
import { objectFiles, textOf } from "../support/stored.ts";
import { type Frame, StreamClient } from "../support/stream.ts";

interface Token {
  label: string;
  token: string;
}

for (const originCredentials of ["helper", "url"] satisfies OriginCredentials[]) {
  describe(`canary, origin credentials: ${originCredentials}`, () => {
    let environment: Environment;
    let receiver: CallbackReceiver;
    let tokens: Token[];
    let needles: Needle[];
    /** Of secrets that belong to the agent alone. */
    let agentNeedles: Needle[];
    let watch: Watch;
    const keys = newKeyPair("pkcs8");
    const canary = (name: string) => `${name}-${randomBytes(16).toString("hex")}/+"'\\`;
    const encrypted = canary("encrypted");
    const envelope = encryptSecret(keys.publicKey, encrypted);
    const agentSecrets = {
      variable: canary("variable"),
      encrypted,
      envelope: envelope.encryptedData,
      wrappedKey: envelope.encryptedDEK,
      header: canary("header"),
    };
    let session: Session;
    const frames: Frame[] = [];

    before(async () => {
      receiver = await startCallbackReceiver();
      environment = await Environment.start({
        allowedHosts: [receiver.host],
        originCredentials,
        worker: { CREDENTIAL_WAIT_MS: "200", AGENT_ENV_VARS_PRIVATE_KEY: keys.pem },
      });
      tokens = Array.from({ length: 5 }, () =>
        environment.newToken(`canary${randomBytes(16).toString("hex")}/+@:#?%41'"$(x)\\`),
      );
      needles = tokens.flatMap(({ label, token }) => needlesOf(label, token));
      agentNeedles = Object.entries(agentSecrets).flatMap(([name, value]) =>
        needlesOf(name, value),
      );
      const watcher = await ProcessWatcher.start(needles);
      session = await playStory();
      watch = await watcher.stop();
    });

    after(async () => {
      await environment?.close();
      await receiver?.close();
    });

    const value = (index: number) => tokens[index]?.token ?? "";

    /** Rotations, a dead token, a server that repeats the credential, retries, refusals and restarts. */
    async function playStory(): Promise<Session> {
      const user = environment.newUser();
      const prepared = await environment.newSession(
        {
          gitToken: value(0),
          envVars: { SOME_NAME: agentSecrets.variable },
          encryptedSecrets: { SECRET_NAME: envelope },
          mcpServers: { server: { url: "https://h", headers: { key: agentSecrets.header } } },
          setupCommands: ["echo set up"],
          callbackTarget: { url: receiver.url("/done") },
        },
        environment.stack.client(user),
      );
      const { session, repository } = prepared;
      const following = await StreamClient.open(environment.stack, user, session.id);
      const { messageId: first } = await session.initiate();
      await session.completed(first);
      await completedTurn(session, { gitToken: value(1), autoCommit: true });
      await echoed(session, repository);
      environment.server.tokens.revoke(tokens[2]?.label ?? "");
      const { messageId: dead } = await session.send({ gitToken: value(2) });
      await session.ended(dead);
      await refusal(session.send({ gitToken: `${value(3)}\n` }));
      await environment.stack.worker.kill();
      await environment.stack.worker.start();
      await following.closed();
      const again = { fromId: following.lastId };
      const goingOn = await StreamClient.open(environment.stack, user, session.id, again);
      await environment.stack.runtime.kill();
      await environment.stack.runtime.start();
      const last = messageId();
      await completedTurn(session, { messageId: last, gitToken: value(4), autoCommit: true });
      await refusal(session.send({ messageId: last, gitToken: value(4), autoCommit: true }));
      await goingOn.ended(last);
      await goingOn.close();
      frames.push(...following.frames, ...goingOn.frames);
      return session;
    }

    async function completedTurn(
      of: Session,
      followUp: { messageId?: string; gitToken: string; autoCommit: boolean },
    ): Promise<void> {
      const { messageId: id } = await of.send(followUp);
      await of.completed(id);
    }

    /** The git server refuses and prints the credential back. */
    async function echoed(of: Session, repository: GitRepository): Promise<void> {
      repository.misbehaviour = always({ kind: "echo" });
      const { messageId: id } = await of.send({ gitToken: value(3) });
      const { status } = await of.ended(id);
      assert.equal(status, "failed");
      repository.misbehaviour = undefined;
    }

    test("no file holds an old token, and the newest only where git needs it", () => {
      const newest = tokens[4]?.label ?? "";
      const finds = findInFiles(environment.stack.folder, [...needles, ...agentNeedles]);
      const wrong = finds.filter((find) => {
        if (!find.needle.startsWith(`${newest} (`)) return true;
        const inRepository = find.place.split("/").includes("repo");
        const isConfiguration = find.place.endsWith("/repo/.git/config");
        if (inRepository) return originCredentials === "helper" || !isConfiguration;
        return find.mode !== 0o600;
      });
      assert.deepEqual(wrong, []);
      assert.ok(finds.length > 0, "the newest token is where git finds it");
    });

    test("no log line holds a token", () => {
      assert.ok(environment.stack.logLines.length > 0);
      const finds = environment.stack.logLines.flatMap((line) =>
        findInText("log", line, [...needles, ...agentNeedles]).map((find) => find.needle),
      );
      assert.deepEqual(finds, []);
    });

    test("log lines are JSON and joined by session and message", () => {
      const lines = environment.stack.worker.log.lines
        .filter((line) => line.includes(session.id))
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      assert.ok(lines.length > 0);
      assert.ok(lines.some((line) => JSON.stringify(line).includes("msg_")));
    });

    test("no reply holds a token", () => {
      assert.ok(environment.stack.replies.length > 0);
      const finds = environment.stack.replies.flatMap((reply) =>
        findInText("reply", reply, [...needles, ...agentNeedles]).map((find) => find.needle),
      );
      assert.deepEqual(finds, []);
    });

    test("no frame of the stream holds a token", () => {
      const types = new Set(frames.map((frame) => frame.streamEventType));
      for (const type of ["cloud.message.failed", "preparing", "kilocode", "connected"]) {
        assert.ok(types.has(type), type);
      }
      const finds = frames.flatMap((frame) =>
        findInText("frame", JSON.stringify(frame), [...needles, ...agentNeedles]),
      );
      assert.deepEqual(finds, []);
    });

    test("no callback holds a token", async () => {
      await waitFor("a callback", () => receiver.received.length > 0);
      const finds = receiver.received.flatMap((callback) =>
        findInText("callback", JSON.stringify(callback), needles).map((find) => find.needle),
      );
      assert.deepEqual(finds, []);
    });

    test("no stored row or event holds a token in the clear", () => {
      const files = objectFiles(environment.stack.worker.storage);
      assert.ok(files.length > 0);
      for (const file of files) {
        const text = textOf(file);
        assert.deepEqual(findInText(file, text, [...needles, ...agentNeedles]), []);
        assert.ok(text.includes("cloud.message."), "the events are among what was read");
      }
    });

    test("nothing that ran may leave a core file, and nothing did", () => {
      const { pid } = environment.stack.runtime;
      const limits = readFileSync(`/proc/${pid}/limits`, "utf8");
      // Children inherit it.
      assert.match(limits, /^Max core file size +0 +0 /m);
      const names = readdirSync(environment.stack.folder, { recursive: true, encoding: "utf8" });
      assert.deepEqual(
        names.filter((name) => /^core(\.\d+)?$|\.(dmp|core|crash)$/.test(basename(name))),
        [],
      );
    });

    // With the URL as origin, git itself puts the token into the arguments of its helpers.
    if (originCredentials === "helper") {
      test("no process had a token in its arguments or environment", () => {
        assert.ok(watch.rounds > 10);
        assert.ok(watch.processes > 5);
        assert.deepEqual(watch.finds, []);
      });
    }
  });
}
