// Stock tRPC clients work unchanged, and the wire looks as they expect it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { messageId, refusal } from "../../scripts/support/client.ts";
import { bearer } from "../../scripts/support/secrets.ts";
import { Session } from "../../scripts/support/session.ts";
import { Environment } from "../support/environment.ts";

let environment: Environment;

before(async () => {
  environment = await Environment.start();
});

after(async () => {
  await environment?.close();
});

/** A request by hand, with the headers of `user`. */
async function call(
  path: string,
  init: RequestInit = {},
  user = "raw-user",
): Promise<{ status: number; headers: Headers; body: unknown }> {
  const { worker, secrets } = environment.stack;
  const reply = await fetch(`${worker.url}${path}`, {
    ...init,
    headers: {
      authorization: `Bearer ${bearer(secrets.AUTH_JWT_SECRET, user)}`,
      "x-internal-api-key": secrets.INTERNAL_API_SECRET,
      ...init.headers,
    },
  });
  const text = await reply.text();
  return {
    status: reply.status,
    headers: reply.headers,
    body: text === "" ? undefined : JSON.parse(text),
  };
}

function post(input: unknown, contentType = "application/json"): RequestInit {
  const body = typeof input === "string" ? input : JSON.stringify(input);
  return { method: "POST", body, headers: { "content-type": contentType } };
}

function query(input: unknown): string {
  return `input=${encodeURIComponent(JSON.stringify(input))}`;
}

interface ErrorEnvelope {
  error: {
    message: string;
    code: number;
    data: { code: string; httpStatus: number; path?: string; error?: string; retryable?: boolean };
  };
}

function errorOf(body: unknown): ErrorEnvelope["error"] {
  assert.ok(!Array.isArray(body), "a single error, not a list");
  return (body as ErrorEnvelope).error;
}

for (const batch of [false, true]) {
  describe(batch ? "httpBatchLink" : "httpLink", () => {
    test("does prepare, initiate, send and the queries", async () => {
      const client = environment.stack.client(environment.newUser(), { batch });
      const { session, repository } = await environment.newSession({}, client);

      const first = await session.initiate();
      assert.deepEqual(first, {
        cloudAgentSessionId: session.id,
        status: "started",
        streamUrl: `/stream?cloudAgentSessionId=${session.id}`,
        messageId: first.messageId,
        delivery: "queued",
        executionId: first.messageId,
      });
      const id = messageId();
      const second = await session.send({ messageId: id });
      assert.equal(second.messageId, id);
      assert.equal(second.delivery, "queued");

      const [one, two] = await Promise.all([
        session.completed(first.messageId),
        session.completed(id),
      ]);
      assert.equal(one.messageId, first.messageId);
      assert.equal(two.messageId, id);
      const view = await session.view();
      assert.equal(view.sessionId, session.id);
      assert.equal(view.gitUrl, repository.url);
      assert.equal(view.execution, null);
      assert.equal(view.credential?.generation, 1);
      assert.match(view.credential?.fingerprint ?? "", /^[0-9a-f]{8}$/);
      await client.query("health");
    });

    test("reads errors with their admission code", async () => {
      const client = environment.stack.client(environment.newUser(), { batch });
      const { session } = await environment.newSession({}, client);
      const stranger = session.through(environment.stack.client(environment.newUser(), { batch }));
      const refused = await refusal(stranger.send());
      assert.equal(refused.code, "NOT_FOUND");
      assert.equal(refused.httpStatus, 404);
      assert.equal(refused.message, "Session not found");
      assert.equal(refused.error, "NOT_FOUND");
      assert.equal(refused.retryable, false);
    });
  });
}

describe("httpBatchLink", () => {
  test("puts calls of one tick into one request", async () => {
    let requests = 0;
    const counting: typeof fetch = (input, init) => {
      requests += 1;
      return fetch(input, init);
    };
    const client = environment.stack.client(environment.newUser(), {
      batch: true,
      fetch: counting,
    });
    const { session } = await environment.newSession({}, client);
    requests = 0;
    const [one, two, failed] = await Promise.all([
      session.view(),
      session.view(),
      refusal(session.result(messageId())),
    ]);
    assert.equal(requests, 1);
    assert.deepEqual(one, two);
    assert.equal(failed.code, "NOT_FOUND");
  });

  test("messages of one batch are admitted in their order", async () => {
    const client = environment.stack.client(environment.newUser(), { batch: true });
    const { session } = await environment.newSession({}, client);
    const ids = [messageId(), messageId(), messageId()];
    const tokens = ids.map(() => environment.newToken());
    const sent = await Promise.all(
      ids.map((id, index) => session.send({ messageId: id, gitToken: tokens[index]?.token ?? "" })),
    );
    assert.deepEqual(
      sent.map((acknowledgement) => acknowledgement.messageId),
      ids,
    );
    const { credential } = await session.view();
    assert.equal(credential?.messageId, ids[2]);
    assert.equal(credential?.generation, 4);
  });
});

describe("the wire", () => {
  test("a success is result and data", async () => {
    const repository = await environment.newRepository({ anonymousRead: true });
    const prepared = await call(
      "/trpc/prepareSession",
      post({ prompt: "x", mode: "code", model: "a/b", gitUrl: repository.url }),
    );
    assert.equal(prepared.status, 200);
    assert.match(prepared.headers.get("content-type") ?? "", /^application\/json/);
    const { result } = prepared.body as { result: { data: Record<string, string> } };
    assert.deepEqual(Object.keys(prepared.body as object), ["result"]);
    assert.match(result.data.cloudAgentSessionId ?? "", /^agent_[0-9a-f-]{36}$/);
    assert.equal(typeof result.data.kiloSessionId, "string");

    const id = result.data.cloudAgentSessionId;
    const viewed = await call(`/trpc/getSession?${query({ cloudAgentSessionId: id })}`);
    assert.equal(viewed.status, 200);
    assert.ok(!("credential" in (viewed.body as { result: { data: object } }).result.data));
  });

  test("an error is message, code and data", async () => {
    const missing = await call(
      `/trpc/getSession?${query({
        cloudAgentSessionId: "agent_00000000-0000-4000-8000-000000000000",
      })}`,
    );
    assert.equal(missing.status, 404);
    const error = errorOf(missing.body);
    assert.equal(error.message, "Session not found");
    assert.equal(error.code, -32004);
    assert.equal(error.data.code, "NOT_FOUND");
    assert.equal(error.data.httpStatus, 404);
    assert.equal(error.data.path, "getSession");
  });

  test("a batch of different outcomes is 207, of equal ones their status", async () => {
    const unknown = { cloudAgentSessionId: "agent_00000000-0000-4000-8000-000000000000" };
    const mixed = await call(
      `/trpc/health,getSession,noSuchThing?batch=1&${query({ 1: unknown })}`,
    );
    assert.equal(mixed.status, 207);
    const answers = mixed.body as (ErrorEnvelope & { result?: unknown })[];
    assert.equal(answers.length, 3);
    assert.ok(answers[0]?.result);
    assert.equal(answers[1]?.error.data.code, "NOT_FOUND");
    assert.equal(answers[2]?.error.message, 'No procedure found on path "noSuchThing"');

    const equal = await call(
      `/trpc/getSession,getSession?batch=1&${query({ 0: unknown, 1: unknown })}`,
    );
    assert.equal(equal.status, 404);
    const single = await call(`/trpc/health?batch=1&${query({})}`);
    assert.equal(single.status, 200);
    assert.ok(Array.isArray(single.body));
  });

  test("queries are GET, mutations POST; HEAD says that something is there", async () => {
    const posted = await call("/trpc/getSession", post({}));
    assert.equal(posted.status, 405);
    assert.equal(errorOf(posted.body).data.code, "METHOD_NOT_SUPPORTED");
    assert.equal(errorOf(posted.body).code, -32005);
    const got = await call(`/trpc/sendMessageV2?${query({})}`);
    assert.equal(got.status, 405);
    for (const method of ["PUT", "DELETE", "PATCH"]) {
      const other = await call("/trpc/sendMessageV2", { ...post({}), method });
      assert.equal(other.status, 405, method);
      assert.equal(errorOf(other.body).data.code, "METHOD_NOT_SUPPORTED");
    }
    const head = await call("/trpc/health", { method: "HEAD" });
    assert.equal(head.status, 204);
  });

  test("unknown procedures and routes are 404 in JSON", async () => {
    const procedure = await call("/trpc/noSuchThing", post({}));
    assert.equal(procedure.status, 404);
    assert.equal(errorOf(procedure.body).message, 'No procedure found on path "noSuchThing"');
    const route = await call("/no/such/route");
    assert.equal(route.status, 404);
    assert.equal(typeof route.body, "object");
  });

  test("other content types are 415", async () => {
    for (const type of [
      "text/plain",
      "multipart/form-data; boundary=x",
      "application/octet-stream",
    ]) {
      const reply = await call("/trpc/sendMessageV2", post("{}", type));
      assert.equal(reply.status, 415, type);
      assert.equal(errorOf(reply.body).data.code, "UNSUPPORTED_MEDIA_TYPE");
    }
    const charset = await call("/trpc/sendMessageV2", post({}, "application/json; charset=utf-8"));
    assert.equal(charset.status, 400);
  });

  test("a bad envelope is one error for the whole request", async () => {
    const mixed = "/trpc/health,sendMessageV2?batch=1";
    const many = `/trpc/${Array(51).fill("health").join(",")}?batch=1`;
    for (const reply of [await call(mixed, post({})), await call(`${many}&${query({})}`)]) {
      assert.equal(reply.status, 400);
      const error = errorOf(reply.body);
      assert.equal(error.code, -32600);
      assert.equal(error.data.code, "BAD_REQUEST");
      assert.equal(error.data.httpStatus, 400);
    }
  });

  test("a batch without inputs by position fails call by call, as on a stock server", async () => {
    for (const body of ["[]", '"text"', "7", "{"]) {
      const reply = await call("/trpc/sendMessageV2,sendMessageV2?batch=1", post(body));
      assert.equal(reply.status, 400, body);
      const codes = (reply.body as ErrorEnvelope[]).map(({ error }) => error.data.code);
      assert.deepEqual(codes, ["BAD_REQUEST", "BAD_REQUEST"], body);
    }
  });

  test("GET /health answers without a credential", async () => {
    const reply = await fetch(`${environment.stack.worker.url}/health`);
    const body = (await reply.json()) as { status: string; timestamp: unknown };
    assert.equal(reply.status, 200);
    assert.equal(body.status, "ok");
    assert.ok(body.timestamp);
  });

  test("payload forms of a message are taken like the flat form", async () => {
    const user = environment.newUser();
    const { session } = await environment.newSession({}, environment.stack.client(user));
    const prompt = messageId();
    const sent = await call(
      "/trpc/sendMessageV2",
      post({
        cloudAgentSessionId: session.id,
        messageId: prompt,
        payload: { type: "prompt", prompt: "As a payload.", mode: "code", model: "a/b" },
        somethingUnknown: true,
      }),
      user,
    );
    assert.equal(sent.status, 200, JSON.stringify(sent.body));
    const command = await call(
      "/trpc/sendMessageV2",
      post({
        cloudAgentSessionId: session.id,
        messageId: null,
        payload: { type: "command", command: "review" },
      }),
      user,
    );
    assert.equal(command.status, 200, JSON.stringify(command.body));
    const { result } = command.body as { result: { data: { messageId: string } } };
    assert.match(result.data.messageId, /^msg_[0-9a-f]{12}[0-9A-Za-z]{14}$/);
    await new Session(environment.stack.client(user), session.id).completed(prompt);
  });
});
