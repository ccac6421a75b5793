// Bad input: a clear error that names the field, and nothing stored is changed by it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { messageId, refusal, type ServiceError } from "../../scripts/support/client.ts";
import { bearer, signJwt } from "../../scripts/support/secrets.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment, type PreparedSession } from "../support/environment.ts";
import { digestOf, objectFiles, rowsOf } from "../support/stored.ts";

let environment: Environment;
let prepared: PreparedSession;
/** What every session has stored before the tests. */
let stored: string;

const UNKNOWN_SESSION = "agent_00000000-0000-4000-8000-000000000000";
const CANARY = "do-not-echo-this";

before(async () => {
  environment = await Environment.start();
  prepared = await environment.newSession();
  const { messageId: first } = await prepared.session.initiate();
  await prepared.session.completed(first);
  // The alarm puts the last deadline but that of retention away a moment after the turn has ended.
  await waitFor("the session to rest", () =>
    objectFiles(environment.stack.worker.storage).every(
      (file) => rowsOf(file).deadline?.length === 1,
    ),
  );
  stored = digestOf(environment.stack.worker.storage);
});

after(async () => {
  await environment?.close();
});

function assertNothingChanged(): void {
  assert.equal(digestOf(environment.stack.worker.storage), stored, "something was stored");
}

function assertNames(field: string, refused: ServiceError): void {
  assert.equal(refused.code, "BAD_REQUEST");
  assert.equal(refused.httpStatus, 400);
  assert.match(refused.message, new RegExp(field));
  assert.ok(!refused.message.includes(CANARY), "the value is not repeated");
}

type Body = NonNullable<RequestInit["body"]>;

describe("sendMessageV2", () => {
  const long = (count: number) => "x".repeat(count);
  const cases: [string, string, Record<string, unknown>][] = [
    ["no session id", "cloudAgentSessionId", { cloudAgentSessionId: undefined }],
    ["a session id of another form", "cloudAgentSessionId", { cloudAgentSessionId: CANARY }],
    [
      "a session id that is a path",
      "cloudAgentSessionId",
      { cloudAgentSessionId: "agent_../../x" },
    ],
    ["a session id of another type", "cloudAgentSessionId", { cloudAgentSessionId: 7 }],
    ["a message id of another form", "messageId", { messageId: `msg_${CANARY}` }],
    ["a message id of another type", "messageId", { messageId: { a: CANARY } }],
    ["no prompt", "prompt", { prompt: undefined }],
    ["an empty prompt", "[Pp]rompt", { prompt: "" }],
    ["a blank prompt", "[Pp]rompt", { prompt: " \n\t" }],
    ["a prompt of another type", "prompt", { prompt: [CANARY] }],
    ["an oversized prompt", "prompt", { prompt: long(100_001) }],
    ["an unknown mode", "mode", { mode: "no-such-mode" }],
    ["a mode of another form", "mode", { mode: `Bad ${CANARY}` }],
    ["an oversized mode", "mode", { mode: long(101) }],
    ["the custom mode", "mode", { mode: "custom" }],
    ["a model of another form", "model", { model: `bad model ${CANARY}` }],
    ["an empty model", "model", { model: "" }],
    ["an oversized model", "model", { model: long(256) }],
    ["a variant of another form", "variant", { variant: `1${CANARY}` }],
    ["an autoCommit of another type", "autoCommit", { autoCommit: CANARY }],
    ["a token with a line feed", "gitToken", { gitToken: `${CANARY}\nhost=evil` }],
    ["a token with a carriage return", "gitToken", { gitToken: `${CANARY}\r` }],
    ["a token with NUL", "gitToken", { gitToken: `${CANARY}\0` }],
    ["a token with a space", "gitToken", { gitToken: `${CANARY} x` }],
    ["a token with other letters", "gitToken", { gitToken: `${CANARY}é` }],
    ["an oversized token", "gitToken", { gitToken: long(4097) }],
    ["a token of another type", "gitToken", { gitToken: 7 }],
    [
      "attachments and images at once",
      "attachments",
      {
        attachments: { path: crypto.randomUUID(), files: [`${crypto.randomUUID()}.png`] },
        images: { path: crypto.randomUUID(), files: [`${crypto.randomUUID()}.png`] },
      },
    ],
    [
      "an attachment with a path in its name",
      "attachments",
      { attachments: { path: crypto.randomUUID(), files: [`../${CANARY}.png`] } },
    ],
    ["a payload of another kind", "payload", { payload: { type: CANARY }, prompt: undefined }],
  ];
  for (const [name, field, input] of cases) {
    test(`refuses ${name}`, async () => {
      const { session } = prepared;
      const refused = await refusal(
        session.client.mutation("sendMessageV2", {
          cloudAgentSessionId: session.id,
          prompt: "Go on.",
          mode: "code",
          model: "a/b",
          ...input,
        }),
      );
      assertNames(field, refused);
      assertNothingChanged();
    });
  }

  test("refuses an unknown session and another user's, and stores nothing for them", async () => {
    const files = objectFiles(environment.stack.worker.storage).length;
    const stranger = environment.stack.client(environment.newUser());
    for (const [client, cloudAgentSessionId] of [
      [prepared.session.client, UNKNOWN_SESSION],
      [stranger, prepared.session.id],
    ] as const) {
      for (const [procedure, input, kind] of [
        ["sendMessageV2", { prompt: "x", mode: "code", model: "a/b" }, "mutation"],
        ["initiateFromKilocodeSessionV2", {}, "mutation"],
        ["updateSession", { gitToken: "x" }, "mutation"],
        ["getSession", {}, "query"],
        ["getMessageResult", { messageId: messageId() }, "query"],
      ] as const) {
        const refused = await refusal(client[kind](procedure, { cloudAgentSessionId, ...input }));
        assert.equal(refused.code, "NOT_FOUND", procedure);
        assert.equal(refused.message, "Session not found", procedure);
      }
    }
    assertNothingChanged();
    const grown = objectFiles(environment.stack.worker.storage).length - files;
    assert.equal(grown, 0, "guessed names cost no storage");
  });
});

describe("prepareSession", () => {
  const good = { prompt: "x", mode: "code", model: "a/b", gitUrl: "https://example.com/r.git" };
  const urls: [string, string][] = [
    ["userinfo", `https://user:${CANARY}@example.com/r.git`],
    ["a token as user", `https://${CANARY}@example.com/r.git`],
    ["plain http", "http://example.com/r.git"],
    ["plain http on a loopback port that is not allowed", "http://127.0.0.1:9/r.git"],
    ["ssh", "ssh://example.com/r.git"],
    ["git's own protocol", "git://example.com/r.git"],
    ["the scp form", "git@example.com:r.git"],
    ["a file", "file:///etc/passwd"],
    ["a path", "/etc/passwd"],
    ["a remote helper", "ext::sh -c id"],
    ["an option", "--upload-pack=touch /tmp/p"],
    ["a backslash", "https://example.com\\@127.0.0.1/r.git"],
    ["no host", "https:///r.git"],
    ["a space in front", " https://example.com/r.git"],
    ["a line feed", "https://example.com/r\n.git"],
    ["an encoded line feed", "https://example.com/r.git%0ahost=evil"],
    ["a query", "https://example.com/r.git?x=1"],
    ["a fragment", "https://example.com/r.git#x"],
    ["port 0", "https://example.com:0/r.git"],
    ["another port", "https://example.com:22/r.git"],
    ["loopback", "https://127.0.0.1/r.git"],
    ["loopback in short", "https://127.1/r.git"],
    ["loopback in hexadecimal", "https://0x7f.0.0.1/r.git"],
    ["loopback as a number", "https://2130706433/r.git"],
    ["loopback in IPv6", "https://[::1]/r.git"],
    ["loopback mapped into IPv6", "https://[::ffff:7f00:1]/r.git"],
    ["localhost", "https://localhost/r.git"],
    ["a private network", "https://10.0.0.1/r.git"],
    ["a metadata service", "https://169.254.169.254/r.git"],
    ["a metadata service by name", "https://metadata.google.internal/r.git"],
    ["a metadata service in NAT64", "https://[64:ff9b::a9fe:a9fe]/r.git"],
    ["nothing", ""],
    ["64 KiB", `https://example.com/${"x".repeat(65_536)}`],
  ];
  const cases: [string, string, Record<string, unknown>][] = [
    ...urls.map(
      ([name, gitUrl]) =>
        [`a gitUrl with ${name}`, "gitUrl", { gitUrl }] as [string, string, { gitUrl: string }],
    ),
    ["a gitUrl of another type", "gitUrl", { gitUrl: 7 }],
    ["no repository", "githubRepo|gitUrl", { gitUrl: undefined }],
    ["two repositories", "gitUrl", { githubRepo: "a/b" }],
    ["a githubRepo of another form", "githubRepo", { gitUrl: undefined, githubRepo: CANARY }],
    ["bitbucket", "platform", { platform: "bitbucket" }],
    ["a token with a control character", "gitToken", { gitToken: `${CANARY}\u0007` }],
    ["an empty prompt", "prompt", { prompt: "" }],
    ["an oversized prompt", "prompt", { prompt: "x".repeat(100_001) }],
    ["a branch that is an option", "upstreamBranch", { upstreamBranch: "--upload-pack=x" }],
    ["a branch with dots", "upstreamBranch", { upstreamBranch: "a..b" }],
    ["a branch that is a command", "upstreamBranch", { upstreamBranch: "$(id)" }],
    ["too many setup commands", "setupCommands", { setupCommands: Array(21).fill("true") }],
    ["a reserved env var", "envVars", { envVars: { HOME: CANARY } }],
    ["an env var of another type", "envVars", { envVars: { A: 7 } }],
    [
      "a callback to a private address",
      "callbackTarget",
      { callbackTarget: { url: "https://10.0.0.1/x" } },
    ],
  ];
  for (const [name, field, input] of cases) {
    test(`refuses ${name}`, async () => {
      const { client } = prepared.session;
      assertNames(field, await refusal(client.mutation("prepareSession", { ...good, ...input })));
      assertNothingChanged();
    });
  }
});

describe("requests that are no calls", () => {
  async function post(body: Body, headers: Record<string, string> = {}) {
    const { worker, secrets } = environment.stack;
    const reply = await fetch(`${worker.url}/trpc/sendMessageV2`, {
      method: "POST",
      body,
      headers: {
        authorization: `Bearer ${bearer(secrets.AUTH_JWT_SECRET, "somebody")}`,
        "content-type": "application/json",
        ...headers,
      },
    });
    const { error } = (await reply.json()) as {
      error: { message: string; data: { code: string } };
    };
    return { status: reply.status, message: error.message, code: error.data.code };
  }

  for (const [name, body] of [
    ["malformed JSON", `{"prompt": "${CANARY}`],
    ["two JSON values", "{}{}"],
    ["bytes that are no UTF-8", Buffer.from([0x7b, 0xff, 0xfe, 0x7d])],
    ["a list", "[]"],
    ["null", "null"],
    ["nothing", ""],
    ["very deep JSON", "[".repeat(100_000)],
  ] as [string, Body][]) {
    test(`refuses ${name}`, async () => {
      const refused = await post(body);
      assert.equal(refused.status, 400);
      assert.ok(["BAD_REQUEST", "PARSE_ERROR"].includes(refused.code), refused.code);
      assert.ok(!refused.message.includes(CANARY));
      assertNothingChanged();
    });
  }

  test("refuses a body above 1 MiB, with and without its length announced", async () => {
    const body = JSON.stringify({ prompt: "x".repeat(1024 * 1024) });
    const announced = await post(body);
    assert.equal(announced.status, 413);
    assert.equal(announced.code, "PAYLOAD_TOO_LARGE");
    const { worker, secrets } = environment.stack;
    const chunked = await fetch(`${worker.url}/trpc/sendMessageV2`, {
      method: "POST",
      body: new Blob([body]).stream(),
      duplex: "half",
      headers: {
        authorization: `Bearer ${bearer(secrets.AUTH_JWT_SECRET, "somebody")}`,
        "content-type": "application/json",
      },
    });
    assert.equal(chunked.status, 413);
    await chunked.body?.cancel();
    assertNothingChanged();
  });

  test("does not believe a length that the body exceeds", async () => {
    const head = ["content-length: 5", "transfer-encoding: chunked"];
    const { socket, reply } = rawRequest("POST /trpc/sendMessageV2", [...head, JSON_TYPE]);
    const piece = "x".repeat(64 * 1024);
    for (let sent = 0; sent <= 1024 * 1024; sent += piece.length) {
      socket.write(`${piece.length.toString(16)}\r\n${piece}\r\n`);
    }
    socket.write("0\r\n\r\n");
    assert.match(await reply, /^HTTP\/1\.1 4(00|13) /);
    assertNothingChanged();
  });

  for (const [line, status] of [
    ["GET /health", 200],
    ["POST /nothing", 404],
    ["GET /trpc/health", 200],
    ["GET /stream", 426],
  ] as const) {
    test(`${line} does not wait for a body that never comes`, async () => {
      const { socket, reply } = rawRequest(line, ["content-length: 10", JSON_TYPE]);
      assert.match(await reply, new RegExp(`^HTTP/1\\.1 ${status} `));
      socket.destroy();
    });
  }
});

const JSON_TYPE = "content-type: application/json";

/** A request whose body is left to the caller, and the beginning of its reply. */
function rawRequest(line: string, headers: readonly string[]) {
  const { hostname, port } = new URL(environment.stack.worker.url);
  const socket = connect(Number(port), hostname);
  socket.write(`${line} HTTP/1.1\r\nhost: ${hostname}\r\n${headers.join("\r\n")}\r\n\r\n`);
  const reply = once(socket, "data").then(([chunk]) => String(chunk));
  return { socket, reply };
}

describe("who may call", () => {
  const claims = (more: object = {}) => ({
    kiloUserId: "somebody",
    version: 3,
    exp: Math.floor(Date.now() / 1000) + 60,
    ...more,
  });

  async function refused(headers: Record<string, string>, procedure = "sendMessageV2") {
    const reply = await fetch(`${environment.stack.worker.url}/trpc/${procedure}`, {
      method: "POST",
      body: JSON.stringify({ cloudAgentSessionId: prepared.session.id, prompt: "x" }),
      headers: { "content-type": "application/json", ...headers },
    });
    const { error } = (await reply.json()) as {
      error: { message: string; code: number; data: { code: string } };
    };
    assert.equal(reply.status, 401);
    assert.equal(error.code, -32001);
    assert.equal(error.data.code, "UNAUTHORIZED");
    assertNothingChanged();
    return error.message;
  }

  test("nobody without a valid bearer token", async () => {
    const secret = environment.stack.secrets.AUTH_JWT_SECRET;
    const past = Math.floor(Date.now() / 1000) - 1;
    const good = signJwt(claims(), secret);
    const [head = "", body = "", signature = ""] = good.split(".");
    const unsigned = Buffer.from(JSON.stringify({ alg: "none" })).toString("base64url");
    const forged = Buffer.from(JSON.stringify(claims({ kiloUserId: "admin" }))).toString(
      "base64url",
    );
    for (const [authorization, message] of [
      [undefined, "Missing Authorization header"],
      ["Basic eDp5", "Invalid Authorization header format"],
      [`Bearer ${signJwt(claims({ exp: past }), secret)}`, "Token expired"],
      [`Bearer ${signJwt(claims({ exp: undefined }), secret)}`, "Token validation failed"],
      [`Bearer ${signJwt(claims({ version: 2 }), secret)}`, "Invalid token version"],
      [`Bearer ${signJwt(claims({ kiloUserId: undefined }), secret)}`, "Token validation failed"],
      [`Bearer ${signJwt(claims(), "another secret")}`, "Invalid token signature"],
      [`Bearer ${head}.${forged}.${signature}`, "Invalid token signature"],
      [`Bearer ${unsigned}.${body}.`, undefined],
      ["Bearer x.y.z", "Token validation failed"],
    ] as [string | undefined, string | undefined][]) {
      const said = await refused(authorization === undefined ? {} : { authorization });
      if (message !== undefined) assert.equal(said, message);
    }
  });

  test("internal procedures need the internal key as well", async () => {
    const { AUTH_JWT_SECRET, INTERNAL_API_SECRET } = environment.stack.secrets;
    const authorization = `Bearer ${bearer(AUTH_JWT_SECRET, "somebody")}`;
    for (const procedure of ["prepareSession", "updateSession"]) {
      await refused({ authorization }, procedure);
      await refused({ authorization, "x-internal-api-key": "wrong" }, procedure);
      await refused({ authorization, "x-internal-api-key": `${INTERNAL_API_SECRET}x` }, procedure);
      await refused({ "x-internal-api-key": INTERNAL_API_SECRET }, procedure);
    }
  });
});
