// What the agent is given: attached files, variables and secrets, and what the session was prepared with for it.

import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { refusal } from "../../scripts/support/client.ts";
import { bearer } from "../../scripts/support/secrets.ts";
import type { FollowUp, Session } from "../../scripts/support/session.ts";
import { findInFiles, findInText, needlesOf } from "../support/canary.ts";
import { type EncryptedSecret, encryptSecret, newKeyPair } from "../support/encrypt-secret.ts";
import { Environment } from "../support/environment.ts";
import { git } from "../support/git-command.ts";
import { RecordingAgent } from "../support/recording-agent.ts";
import { fileOf, objectFiles, rowsOf, textOf } from "../support/stored.ts";

const BUCKET = "ATTACHMENTS";
const MEBIBYTE = 1024 * 1024;

describe("what the agent is given", () => {
  const keys = newKeyPair("pkcs1");
  let agent: RecordingAgent;
  let environment: Environment;

  before(async () => {
    agent = await RecordingAgent.create();
    environment = await Environment.start({
      buckets: [BUCKET],
      runtime: { AGENT_COMMAND: agent.command },
      // Long enough to remove a file between a message's admission and its delivery.
      worker: { AGENT_ENV_VARS_PRIVATE_KEY: keys.pem, DRAIN_DELAY_MS: "250" },
    });
  });

  after(async () => {
    await environment?.close();
    await agent?.remove();
  });

  async function completed(session: Session, followUp?: FollowUp): Promise<void> {
    const sent = followUp === undefined ? session.initiate() : session.send(followUp);
    await session.completed((await sent).messageId);
  }

  describe("attached files", () => {
    async function upload(
      session: Session,
      contents: readonly Buffer[],
      extension = "png",
    ): Promise<{ path: string; files: string[] }> {
      const { userId } = await session.view();
      const path = randomUUID();
      const files: string[] = [];
      for (const content of contents) {
        const name = `${randomUUID()}.${extension}`;
        await environment.stack.worker.putObject(
          BUCKET,
          `${userId}/cloud-agent/${path}/${name}`,
          content,
        );
        files.push(name);
      }
      return { path, files };
    }

    const send = (session: Session, fields: Record<string, unknown>) =>
      session.send({ prompt: "Look at these.", ...fields });

    test("are local files outside of the git tree when the agent starts", async () => {
      const { session } = await environment.newSession();
      await completed(session);
      const contents = [randomBytes(5 * MEBIBYTE), Buffer.from("text"), Buffer.alloc(0)];
      for (const field of ["attachments", "images"]) {
        const uploaded = await upload(session, contents);
        await session.completed((await send(session, { [field]: uploaded })).messageId);
        const { attachments } = agent.line().turn as {
          attachments: { path: string; files: string[]; localPaths: string[] };
        };
        assert.deepEqual(attachments.files, uploaded.files);
        assert.equal(attachments.path, uploaded.path);
        const workspace = environment.stack.workspace(session.id);
        assert.equal(attachments.localPaths.length, contents.length);
        for (const [index, path] of attachments.localPaths.entries()) {
          assert.ok(!path.startsWith(workspace), path);
          assert.ok(readFileSync(path).equals(contents[index] ?? Buffer.alloc(1)), path);
        }
        assert.equal(await git(workspace, ["status", "--porcelain"]), "");
      }
    });

    test("come with the first message too", async () => {
      const user = environment.newUser();
      const client = environment.stack.client(user);
      const [path, name] = [randomUUID(), `${randomUUID()}.MD`];
      const key = `${user}/cloud-agent/${path}/${name}`;
      const attachments = { path, files: [name] };
      const refused = await refusal(environment.newSession({ attachments }, client));
      assert.equal(refused.code, "BAD_REQUEST");
      assert.match(refused.message, /must name an uploaded file/);
      await environment.stack.worker.putObject(BUCKET, key, Buffer.from("first"));
      const { session } = await environment.newSession({ attachments }, client);
      await completed(session);
      const { localPaths } = (agent.line().turn as { attachments: { localPaths: string[] } })
        .attachments;
      assert.equal(readFileSync(localPaths[0] ?? "", "utf8"), "first");
    });

    test("that are missing or too large are named, and nothing is admitted", async () => {
      const { session } = await environment.newSession();
      await completed(session);
      const large = await upload(session, [Buffer.from("a"), randomBytes(5 * MEBIBYTE + 1)]);
      const fine = await upload(session, [Buffer.from("a")]);
      const others = environment.stack.client(environment.newUser());
      const other = (await environment.newSession({}, others)).session;
      for (const [field, files, position, expected] of [
        ["attachments", large, 1, "must name a file of at most 5 MiB"],
        ["images", large, 1, "must name a file of at most 5 MiB"],
        ["attachments", { ...fine, path: randomUUID() }, 0, "must name an uploaded file"],
        // What another user uploaded.
        ["attachments", await upload(other, [Buffer.from("a")]), 0, "must name an uploaded file"],
      ] as const) {
        const refused = await refusal(send(session, { [field]: files }));
        assert.equal(refused.code, "BAD_REQUEST");
        const [issue] = JSON.parse(refused.message) as { path: unknown[]; message: string }[];
        assert.deepEqual(issue?.path, [field, "files", position]);
        assert.equal(issue.message, expected);
      }
      assert.equal((await session.view()).execution, null);
    });

    test("that are gone at delivery end the message; a replay before that is answered", async () => {
      const { session } = await environment.newSession();
      await completed(session);
      const { userId } = await session.view();
      const uploaded = await upload(session, [Buffer.from("a")]);
      const sent = await send(session, { attachments: uploaded });
      const key = `${userId}/cloud-agent/${uploaded.path}/${uploaded.files[0]}`;
      await environment.stack.worker.deleteObject(BUCKET, key);
      const again = await send(session, { attachments: uploaded, messageId: sent.messageId });
      assert.equal(again.messageId, sent.messageId);
      const { status, failure } = await session.ended(sent.messageId);
      assert.equal(status, "failed");
      assert.equal(failure?.code, "invalid_delivery_request");
      assert.match(failure.message ?? "", /an attached file is not there any more$/);
      await completed(session, {});
    });
  });

  test("variables, then decrypted secrets, then what is reserved make its environment", async () => {
    const user = environment.newUser();
    const { session, token } = await environment.newSession(
      {
        envVars: { PLAIN: "plain value", BOTH: "of the variables", KILOCODE_TOKEN: "replaced" },
        encryptedSecrets: {
          SECRET: encryptSecret(keys.publicKey, "secret välue\nof two lines"),
          BOTH: encryptSecret(keys.publicKey, "of the secrets"),
          EMPTY: encryptSecret(keys.publicKey, ""),
        },
        setupCommands: ["printf '%s' \"$PLAIN/$BOTH\" > ../seen-by-setup"],
      },
      environment.stack.client(user),
    );
    await completed(session);
    const seen = agent.environment();
    assert.equal(seen.PLAIN, "plain value");
    assert.equal(seen.SECRET, "secret välue\nof two lines");
    assert.equal(seen.BOTH, "of the secrets");
    assert.equal(seen.EMPTY, "");
    assert.equal(seen.SESSION_ID, session.id);
    assert.equal(seen.GIT_TERMINAL_PROMPT, "0");
    assert.equal(seen.HOME, seen.SESSION_HOME);
    assert.ok(seen.HOME?.startsWith(environment.stack.workspaces));
    const [head, claims] = bearer(environment.stack.secrets.AUTH_JWT_SECRET, user).split(".");
    assert.ok(claims !== undefined && seen.KILOCODE_TOKEN?.startsWith(`${head}.`));
    const kilo = JSON.parse(
      Buffer.from(seen.KILOCODE_TOKEN?.split(".")[1] ?? "", "base64url").toString(),
    ) as Record<string, unknown>;
    assert.equal(kilo.kiloUserId, user);
    assert.ok(!Object.values(seen).some((value) => value.includes(token)), "no git token");
    const setup = `${environment.stack.workspace(session.id)}/../seen-by-setup`;
    assert.equal(readFileSync(setup, "utf8"), "plain value/of the secrets");
  });

  test("what only it understands reaches it whole, in one line", async () => {
    const given = {
      mcpServers: {
        local: { type: "local", command: ["run", "it"], environment: { KEY: "value of a key" } },
        remote: { type: "remote", url: "https://mcp.example", headers: { "x-key": "header" } },
      },
      runtimeSkills: [{ name: "skill", files: { "a.md": "text\nof two lines \u{1f600}" } }],
      runtimeAgents: [{ slug: "reviewer", name: "Reviewer", prompt: "review", depth: 1.5 }],
      kiloCommands: { fix: { template: "fix $ARGUMENTS" } },
      appendSystemPrompt: 'Say "yes"\nand stop.',
      gateThreshold: "warning",
      profileId: randomUUID(),
    };
    const { session } = await environment.newSession({
      ...given,
      mode: "reviewer",
      condenseOnComplete: true,
    });
    await completed(session);
    const first = agent.line();
    assert.deepEqual(first.configuration, given);
    assert.deepEqual(first.agent, { mode: "reviewer", model: "test/model" });
    assert.deepEqual(first.finalization, { condenseOnComplete: true });
    await completed(session, {});
    assert.deepEqual(agent.line().configuration, given);
  });

  test("a slash command reaches it as one, its arguments verbatim", async () => {
    const { session } = await environment.newSession({ variant: "high" });
    await completed(session);
    const words = { command: "review", arguments: "$1  'x' $ARGUMENTS\n" };
    const sent = (await session.client.mutation("sendMessageV2", {
      cloudAgentSessionId: session.id,
      payload: { type: "command", ...words },
    })) as { messageId: string };
    await session.completed(sent.messageId);
    const { turn, agent: by } = agent.line();
    assert.deepEqual(turn, { type: "command", messageId: sent.messageId, ...words });
    // It names no agent: the session's applies.
    assert.deepEqual(by, { mode: "code", model: "test/model", variant: "high" });
    const file = fileOf(environment.stack.worker.storage, session.id);
    const events = rowsOf(file).event as { kind: string; message_id: string; payload: string }[];
    const queued = events.find((event) => event.message_id === sent.messageId);
    assert.equal(JSON.parse(queued?.payload ?? "{}").content, `/review ${words.arguments}`);
  });

  test("secrets are nowhere but in the agent's hands", async () => {
    const secret = (name: string) => `${name}-${randomBytes(16).toString("hex")}`;
    const values = {
      variable: secret("variable"),
      encrypted: secret("encrypted"),
      header: secret("header"),
      tool: secret("tool"),
    };
    const envelope = encryptSecret(keys.publicKey, values.encrypted);
    const user = environment.newUser();
    const kilocodeToken = bearer(environment.stack.secrets.AUTH_JWT_SECRET, user, 7200);
    const { session } = await environment.newSession(
      {
        envVars: { VARIABLE: values.variable },
        encryptedSecrets: { ENCRYPTED: envelope },
        mcpServers: {
          local: { type: "local", command: ["x"], environment: { TOOL: values.tool } },
          remote: { type: "remote", url: "https://h.example", headers: { key: values.header } },
        },
      },
      environment.stack.client(user, { bearer: kilocodeToken }),
    );
    await completed(session);
    assert.equal(agent.environment().KILOCODE_TOKEN, kilocodeToken);
    assert.equal(agent.environment().ENCRYPTED, values.encrypted);
    const needles = Object.entries({
      ...values,
      kilocodeToken,
      envelope: envelope.encryptedData,
      wrappedKey: envelope.encryptedDEK,
    }).flatMap(([name, value]) => needlesOf(name, value));
    const { stack } = environment;
    assert.deepEqual(findInFiles(stack.folder, needles), []);
    for (const file of objectFiles(stack.worker.storage)) {
      const text = textOf(file);
      assert.deepEqual(findInText(file, text, needles), []);
    }
    for (const text of [...stack.logLines, ...stack.replies]) {
      assert.deepEqual(findInText("log or reply", text, needles), []);
    }
  });

  test("secrets that do not open end the message with a reason", async () => {
    const good = encryptSecret(keys.publicKey, "value");
    const broken: Record<string, EncryptedSecret> = {
      "another key": encryptSecret(newKeyPair("pkcs8").publicKey, "value"),
      "no base64": { ...good, encryptedData: "no base64!" },
      "cut off": { ...good, encryptedData: good.encryptedData.slice(0, 40) },
      "another value's key": {
        ...good,
        encryptedDEK: encryptSecret(keys.publicKey, "value").encryptedDEK,
      },
    };
    for (const [name, secret] of Object.entries(broken)) {
      const { session } = await environment.newSession({
        encryptedSecrets: { GOOD: good, BROKEN: secret },
      });
      const { messageId } = await session.initiate();
      const { status, failure } = await session.ended(messageId);
      assert.equal(status, "failed", name);
      assert.equal(failure?.code, "invalid_delivery_request");
      assert.equal(
        failure.message,
        "The message cannot be delivered: an entry of encryptedSecrets is malformed or was encrypted for another key",
      );
    }
  });
});

describe("a Worker without a private key and a bucket", () => {
  let environment: Environment;

  before(async () => {
    environment = await Environment.start();
  });

  after(async () => {
    await environment?.close();
  });

  test("says which is missing", async () => {
    const { session } = await environment.newSession({
      encryptedSecrets: { NAME: encryptSecret(newKeyPair("pkcs8").publicKey, "value") },
    });
    const { messageId } = await session.initiate();
    const { failure } = await session.ended(messageId);
    assert.equal(failure?.code, "invalid_delivery_request");
    assert.match(failure.message ?? "", /AGENT_ENV_VARS_PRIVATE_KEY is not set$/);
    const attachments = { path: randomUUID(), files: [`${randomUUID()}.png`] };
    const followUp = { attachments } as FollowUp;
    const refused = await refusal(session.send(followUp));
    assert.equal(refused.code, "INTERNAL_SERVER_ERROR");
    assert.equal(refused.message, "ATTACHMENTS is missing");
  });
});
