// `createTRPCClient<AppRouter>` of the stock client library, with the declarations that are generated for it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  createTRPCClient,
  httpBatchLink,
  httpBatchStreamLink,
  httpLink,
  TRPCClientError,
} from "@trpc/client";
import type {
  AdmissionCode,
  AppRouter,
  ErrorCode,
  MessageStatus,
  StoredEventType,
  StreamErrorCode,
  StreamEvent,
  StreamEventType,
  StreamFrame,
} from "../../client/index.d.ts";
import { messageId } from "../../scripts/support/client.ts";
import { bearer } from "../../scripts/support/secrets.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment } from "../support/environment.ts";
import { printingAgentCommand } from "../support/printing-agent.ts";
import { StreamClient } from "../support/stream.ts";

const AGENT = { mode: "code", model: "test/model" };
const NOBODYS_SESSION = "agent_00000000-0000-4000-8000-000000000000";

let environment: Environment;

before(async () => {
  environment = await Environment.start({
    worker: { DRAIN_DELAY_MS: "500" },
    runtime: { AGENT_COMMAND: printingAgentCommand },
  });
});

after(async () => {
  await environment?.close();
});

/** The links of the library, by name. */
const LINKS = { httpLink, httpBatchLink, httpBatchStreamLink };

function typedClient(
  link: keyof typeof LINKS,
  options: { user?: string; bearer?: string; internalKey?: string; contentType?: string } = {},
) {
  const { worker, secrets } = environment.stack;
  const user = options.user ?? environment.newUser();
  const linkOptions = {
    url: `${worker.url}/trpc`,
    headers: {
      authorization: `Bearer ${options.bearer ?? bearer(secrets.AUTH_JWT_SECRET, user)}`,
      "x-internal-api-key": options.internalKey ?? secrets.INTERNAL_API_SECRET,
      ...(options.contentType !== undefined && { "content-type": options.contentType }),
    },
  };
  return createTRPCClient<AppRouter>({ links: [LINKS[link](linkOptions)] });
}

type TypedClient = ReturnType<typeof typedClient>;

async function preparedSession(client: TypedClient): Promise<string> {
  const repository = await environment.newRepository();
  const { cloudAgentSessionId } = await client.prepareSession.mutate({
    prompt: "Write down what you see.",
    ...AGENT,
    gitUrl: repository.url,
    gitToken: environment.newToken().token,
  });
  return cloudAgentSessionId;
}

/** What the types and the service say about a refused call. */
async function refused(call: Promise<unknown>) {
  const error = await call.then(
    () => assert.fail("the call should have been refused"),
    (error: TRPCClientError<AppRouter>) => error,
  );
  assert.ok(error instanceof TRPCClientError);
  assert.ok(error.data, "the service answered");
  const { code, httpStatus, error: admissionCode, retryable } = error.data;
  return { code, httpStatus, admissionCode, retryable, message: error.message };
}

interface Refusal {
  name: string;
  call: (client: TypedClient, session: string) => Promise<unknown>;
  code: ErrorCode;
  httpStatus: number;
  admissionCode?: AdmissionCode;
  retryable?: boolean;
}

const REFUSALS: Refusal[] = [
  {
    name: "an input that breaks a rule",
    call: (client, session) =>
      client.sendMessageV2.mutate({ cloudAgentSessionId: session, prompt: "", ...AGENT }),
    code: "BAD_REQUEST",
    httpStatus: 400,
  },
  {
    name: "a message id with another content",
    call: async (client, session) => {
      const message = { cloudAgentSessionId: session, messageId: messageId(), ...AGENT };
      await client.sendMessageV2.mutate({ ...message, prompt: "Do one thing." });
      await client.sendMessageV2.mutate({ ...message, prompt: "Do another thing." });
    },
    code: "BAD_REQUEST",
    httpStatus: 400,
    admissionCode: "BAD_REQUEST",
    retryable: false,
  },
  {
    name: "a session that is not there",
    call: (client) =>
      client.sendMessageV2.mutate({
        cloudAgentSessionId: NOBODYS_SESSION,
        prompt: "Hello?",
        ...AGENT,
      }),
    code: "NOT_FOUND",
    httpStatus: 404,
    admissionCode: "NOT_FOUND",
    retryable: false,
  },
  {
    name: "a full queue",
    call: async (client, session) => {
      for (let sent = 0; sent < 20; sent += 1) {
        await client.sendMessageV2.mutate({
          cloudAgentSessionId: session,
          prompt: `Do thing ${sent}.`,
          ...AGENT,
        });
      }
    },
    code: "TOO_MANY_REQUESTS",
    httpStatus: 429,
    admissionCode: "PENDING_QUEUE_FULL",
    retryable: true,
  },
  {
    name: "a body that is too large",
    call: (client, session) =>
      client.sendMessageV2.mutate({
        cloudAgentSessionId: session,
        prompt: "x".repeat(1_100_000),
        ...AGENT,
      }),
    code: "PAYLOAD_TOO_LARGE",
    httpStatus: 413,
  },
  {
    name: "a query that is called like a mutation",
    call: (client) => {
      // The types do not allow it; a client without types does it.
      const { getSession } = client as unknown as Record<"getSession", TypedClient["health"]> &
        Record<"getSession", TypedClient["deleteSession"]>;
      return getSession.mutate({ sessionId: NOBODYS_SESSION });
    },
    code: "METHOD_NOT_SUPPORTED",
    httpStatus: 405,
  },
  {
    name: "a body that is no JSON by its type",
    call: (_client, session) =>
      typedClient("httpLink", { contentType: "text/plain" }).deleteSession.mutate({
        sessionId: session,
      }),
    code: "UNSUPPORTED_MEDIA_TYPE",
    httpStatus: 415,
  },
  {
    name: "a caller without a valid bearer token",
    call: () =>
      typedClient("httpLink", { bearer: "nothing" }).getSession.query({
        cloudAgentSessionId: NOBODYS_SESSION,
      }),
    code: "UNAUTHORIZED",
    httpStatus: 401,
  },
  {
    name: "a caller without the internal key",
    call: (_client, session) =>
      typedClient("httpLink", { internalKey: "nothing" }).updateSession.mutate({
        cloudAgentSessionId: session,
        callbackTarget: null,
      }),
    code: "UNAUTHORIZED",
    httpStatus: 401,
  },
];

for (const link of Object.keys(LINKS) as (keyof typeof LINKS)[]) {
  describe(link, () => {
    test("runs every procedure", async () => {
      const client = typedClient(link);
      const session = await preparedSession(client);
      const inSession = { cloudAgentSessionId: session };

      const first = await client.initiateFromKilocodeSessionV2.mutate(inSession);
      const follow = await client.sendMessageV2.mutate({
        ...inSession,
        messageId: messageId(),
        prompt: "Go on.",
        ...AGENT,
      });
      for (const { messageId } of [first, follow]) {
        const status = await waitFor("the end of a message", async () => {
          const result = await client.getMessageResult.query({ ...inSession, messageId });
          const open: MessageStatus[] = ["queued", "running"];
          return open.includes(result.status) ? undefined : result.status;
        });
        assert.equal(status, "completed");
      }
      assert.deepEqual(
        await client.updateSession.mutate({ ...inSession, gitToken: environment.newToken().token }),
        { success: true },
      );
      const view = await client.getSession.query(inSession);
      assert.equal(view.sessionId, session);
      assert.equal(view.credential?.generation, 2);
      assert.equal((await client.interruptSession.mutate({ sessionId: session })).success, true);
      assert.equal((await client.deleteSession.mutate({ sessionId: session })).success, true);
      assert.equal((await client.health.query()).status, "ok");
    });

    for (const { name, call, ...expected } of REFUSALS) {
      test(`reads the refusal of ${name}`, async () => {
        const client = typedClient(link);
        const session = await preparedSession(client);
        const { message, ...seen } = await refused(call(client, session));
        assert.deepEqual(seen, { admissionCode: undefined, retryable: undefined, ...expected });
        assert.notEqual(message, "");
      });
    }
  });
}

/** What an event says, in a word. The compiler knows every type and what comes with it. */
function told(event: StreamEvent): string | boolean | number {
  switch (event.streamEventType) {
    case "cloud.message.queued":
      return event.data.content;
    case "cloud.message.sent":
      return event.data.delivery;
    case "cloud.message.completed":
      return event.data.completionData.source;
    case "cloud.message.failed":
      return event.data.failure.code;
    case "cloud.credential.required":
      return event.data.waitingUntil - event.data.waitingSince;
    case "kilocode":
      return typeof event.data;
    case "autocommit_started":
      return event.data.messageId;
    case "autocommit_completed":
      return event.data.pushed;
    case "connected":
      return event.data.latestEventId;
    case "preparing":
      return event.data.step;
    case "cloud.status":
      return event.data.cloudStatus.type;
    case "output":
      return event.data.content;
    default:
      return assert.fail(`no such type: ${event satisfies never}`);
  }
}

test("the stream's frames are the declared ones", async () => {
  const user = environment.newUser();
  const client = typedClient("httpLink", { user });
  const session = await preparedSession(client);
  const inSession = { cloudAgentSessionId: session };
  const follower = await StreamClient.open(environment.stack, user, session);
  const frames = follower.frames as unknown as StreamEvent[];
  const ended = (id: string) =>
    waitFor(`the end of ${id}`, () =>
      frames.some(
        (frame) =>
          (frame.streamEventType === "cloud.message.completed" ||
            frame.streamEventType === "cloud.message.failed") &&
          frame.data.messageId === id,
      ),
    );
  const send = (prompt: string, more: object = {}) =>
    client.sendMessageV2.mutate({ ...inSession, ...AGENT, prompt, ...more });

  await ended((await send("json=1 text=1", { autoCommit: true })).messageId);
  const { messageId: refusedId } = await send("No.", { gitToken: "refused" });
  await waitFor("the wait for a token", () =>
    frames.some((frame) => frame.streamEventType === "cloud.credential.required"),
  );
  await client.interruptSession.mutate({ sessionId: session });
  await ended(refusedId);

  const stored: StoredEventType[] = [];
  const types = new Set<StreamEventType>();
  for (const frame of frames) {
    assert.notEqual(told(frame), undefined, JSON.stringify(frame));
    types.add(frame.streamEventType);
    if (frame.eventId > 0) stored.push(frame.streamEventType as StoredEventType);
  }
  const volatileTypes: StreamEventType[] = ["connected", "preparing", "cloud.status", "output"];
  assert.equal(types.size, new Set([...stored, ...volatileTypes]).size);
  assert.equal(types.size, 12, `${[...types]}`);

  await client.deleteSession.mutate({ sessionId: session });
  await follower.closed();
  const gone: StreamErrorCode = "WS_SESSION_NOT_FOUND";
  const errors = follower.errors as StreamFrame[];
  assert.deepEqual(
    errors.map((frame) => "type" in frame && frame.code),
    [gone],
  );
});

test("the compiler refuses calls that the service would refuse", () => {
  const inNobodys = { cloudAgentSessionId: NOBODYS_SESSION };
  const calls = (client: TypedClient) => [
    // @ts-expect-error: the session is missing
    () => client.getSession.query({}),
    // @ts-expect-error: a query cannot be mutated
    () => client.getSession.mutate({ cloudAgentSessionId: NOBODYS_SESSION }),
    // @ts-expect-error: there is no such procedure
    () => client.sendMessageV3.mutate({}),
    // @ts-expect-error: a message has a prompt, a mode and a model, or a payload
    () => client.sendMessageV2.mutate({ ...inNobodys, prompt: "x" }),
    () => client.sendMessageV2.mutate({ ...inNobodys, payload: { type: "command", command: "x" } }),
    // @ts-expect-error: a slash command has a name
    () => client.sendMessageV2.mutate({ ...inNobodys, payload: { type: "command" } }),
    // @ts-expect-error: a token is a text
    () => client.updateSession.mutate({ cloudAgentSessionId: NOBODYS_SESSION, gitToken: 1 }),
  ];
  assert.equal(calls.length, 1, "the calls are compiled, never made");
});
