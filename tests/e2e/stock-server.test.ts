// Requests of every kind to this service and to a stock tRPC server with the same procedures: the same status, the same
// shape, the same codes. (A stock server also takes bodies that are no JSON; this service has no procedure for them.)

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { initTRPC, TRPCError } from "@trpc/server";
import { fetchRequestHandler } from "@trpc/server/adapters/fetch";
import { z } from "zod";
import { bearer } from "../../scripts/support/secrets.ts";
import { Environment } from "../support/environment.ts";

const SESSION = "agent_00000000-0000-4000-8000-000000000000";
const MESSAGE = "msg_0123456789abABCDEFGHIJKLMN";

const trpc = initTRPC.create();
const notFound = () => {
  throw new TRPCError({ code: "NOT_FOUND", message: "Session not found" });
};
const session = z.object({
  cloudAgentSessionId: z.string().regex(/^agent_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i),
});

/** As much of the service as the requests below reach. */
const stock = trpc.router({
  health: trpc.procedure.query(() => ({ status: "ok" })),
  getSession: trpc.procedure.input(session).query(notFound),
  getMessageResult: trpc.procedure
    .input(session.extend({ messageId: z.string() }).strict())
    .query(notFound),
  sendMessageV2: trpc.procedure
    .input(session.extend({ prompt: z.string(), mode: z.string(), model: z.string() }))
    .mutation(notFound),
  initiateFromKilocodeSessionV2: trpc.procedure.input(session.strict()).mutation(notFound),
});

interface Probe {
  path: string;
  method?: string;
  body?: string;
  /** `null` sends no such header. */
  type?: string | null;
  /** Whether it is asked for lines, as `httpBatchStreamLink` does. */
  lines?: boolean;
}

/** What a client can tell answers apart by: everything but the sentences and the time. */
interface Outcome {
  status: number;
  calls: unknown;
}

const input = (value: unknown) => `input=${encodeURIComponent(JSON.stringify(value))}`;
const known = { cloudAgentSessionId: SESSION };
const message = { ...known, prompt: "x", mode: "code", model: "a/b" };
const post = (path: string, value: unknown): Probe => ({
  path,
  method: "POST",
  body: typeof value === "string" ? value : JSON.stringify(value),
});

const PROBES: Record<string, Probe[]> = {
  "calls that are in order": [
    { path: "health" },
    { path: `health?${input({})}` },
    { path: `getSession?${input(known)}` },
    { path: `getMessageResult?${input({ ...known, messageId: MESSAGE })}` },
    post("sendMessageV2", message),
    post("sendMessageV2", { ...message, somethingElse: 1 }),
    post("initiateFromKilocodeSessionV2", known),
  ],
  paths: [
    { path: "" },
    { path: "noSuchThing" },
    { path: "health.more" },
    { path: "Health" },
    { path: "health/" },
    { path: "he%61lth" },
    { path: "health%2Chealth?batch=1" },
    { path: "__proto__" },
    { path: "constructor" },
    post("noSuchThing", {}),
    post("", {}),
  ],
  methods: [
    post("getSession", known),
    post("health", {}),
    { path: `sendMessageV2?${input(message)}` },
    { path: "initiateFromKilocodeSessionV2" },
    ...["PUT", "PATCH", "DELETE"].flatMap((method) => [
      { ...post("sendMessageV2", message), method },
      { ...post("getSession", known), method },
    ]),
    { path: "health", method: "HEAD" },
    { path: "noSuchThing", method: "HEAD" },
  ],
  "inputs of a query": [
    { path: "getSession" },
    { path: "getSession?input=" },
    { path: "getSession?input=%7B" },
    { path: "getSession?input=undefined" },
    ...[
      null,
      7,
      "text",
      [],
      {},
      { cloudAgentSessionId: 7 },
      { cloudAgentSessionId: "agent_1" },
    ].map((value) => ({ path: `getSession?${input(value)}` })),
    { path: `getSession?${input(known)}&${input({})}` },
    { path: `getSession?${input({})}&${input(known)}` },
    { path: `getSession?other=1&${input(known)}` },
    { path: `getSession?${input({ ...known, more: 1 })}` },
    { path: `getMessageResult?${input({ ...known, messageId: MESSAGE, more: 1 })}` },
  ],
  "bodies of a mutation": [
    { path: "sendMessageV2", method: "POST" },
    ...["", "{", "null", "7", "[]", '"text"', "{}{}", "undefined", "{'a':1}"].map((body) =>
      post("sendMessageV2", body),
    ),
    post("initiateFromKilocodeSessionV2", { ...known, more: 1 }),
    { ...post("sendMessageV2", {}), path: `sendMessageV2?${input(message)}` },
  ],
  "content types": [
    ...[
      ...["text/plain", "application/x-www-form-urlencoded"],
      ...["APPLICATION/JSON", "application/json; charset=utf-8", "application/jsonp", "json"],
      null,
    ].map((type) => ({ ...post("sendMessageV2", message), type })),
    { path: "health", type: "text/plain" },
    { path: "health", type: null },
  ],
  "refusals of batches in lines": [
    { path: "health", lines: true },
    { ...post("sendMessageV2", message), lines: true },
    { ...post("sendMessageV2?batch=1", {}), type: "text/plain", lines: true },
    { path: `getSession,sendMessageV2?batch=1&${input({})}`, lines: true },
  ],
  batches: [
    { path: `health?batch=1` },
    { path: `health?batch=1&${input({})}` },
    { path: `health,health?batch=1&${input({})}` },
    { path: `health,health?${input({})}` },
    { path: `health?batch=0` },
    { path: `health?batch=true` },
    { path: `health,?batch=1&${input({})}` },
    { path: `,?batch=1&${input({})}` },
    { path: `?batch=1&${input({})}` },
    { path: `getSession,getSession?batch=1&${input({ 0: known, 1: known })}` },
    { path: `getSession,getSession?batch=1&${input({ 1: known })}` },
    { path: `getSession,health?batch=1&${input({ 0: known })}` },
    { path: `getSession,noSuchThing?batch=1&${input({ 0: known, 1: known })}` },
    { path: `noSuchThing,nothing?batch=1&${input({})}` },
    { path: `getSession,getSession?batch=1&${input([known, known])}` },
    { path: `getSession,getSession?batch=1&${input({ "00": known, "1": known })}` },
    { path: `getSession?batch=1&${input(null)}` },
    { path: `getSession?batch=1&${input("text")}` },
    { path: "getSession?batch=1&input=%7B" },
    { path: `getSession,sendMessageV2?batch=1&${input({ 0: known, 1: message })}` },
    post("sendMessageV2,initiateFromKilocodeSessionV2?batch=1", { 0: message, 1: known }),
    post("sendMessageV2,sendMessageV2?batch=1", { 0: message }),
    post("sendMessageV2,sendMessageV2?batch=1", message),
    post("sendMessageV2?batch=1", ""),
    post("sendMessageV2?batch=1", "{"),
    post("sendMessageV2,getSession?batch=1", { 0: message, 1: known }),
    { ...post("sendMessageV2,sendMessageV2?batch=1", {}), type: "text/plain" },
    ...[11, 30].map((count) => ({ path: `${Array(count).fill("health")}?batch=1&${input({})}` })),
    post(
      `${Array(12).fill("sendMessageV2")}?batch=1`,
      Object.fromEntries(Array.from({ length: 12 }, (_, index) => [index, message])),
    ),
  ],
};

describe("beside a stock tRPC server", () => {
  let environment: Environment;

  before(async () => {
    environment = await Environment.start();
  });

  after(async () => {
    await environment?.close();
  });

  function requestOf(probe: Probe): Request {
    const { path, method = "GET", body, type = "application/json", lines = false } = probe;
    const { worker, secrets } = environment.stack;
    const headers = new Headers({
      authorization: `Bearer ${bearer(secrets.AUTH_JWT_SECRET, "somebody")}`,
    });
    if (type !== null) headers.set("content-type", type);
    if (lines) headers.set("trpc-accept", "application/jsonl");
    // Without a type of its own a text would get one.
    const bytes = body === undefined ? null : new TextEncoder().encode(body);
    return new Request(`${worker.url}/trpc/${path}`, { method, headers, body: bytes });
  }

  async function outcomeOf(reply: Response): Promise<Outcome> {
    const text = await reply.text();
    const essence = (answer: Record<string, unknown>) => {
      if (answer.error === undefined) return Object.keys(answer);
      const { code, data } = answer.error as {
        code: number;
        data: { code: string; httpStatus: number; path?: string };
      };
      return { code, key: data.code, status: data.httpStatus, path: data.path };
    };
    if (text === "") return { status: reply.status, calls: undefined };
    const answer = JSON.parse(text);
    const calls = Array.isArray(answer) ? answer.map(essence) : essence(answer);
    return { status: reply.status, calls };
  }

  for (const [what, probes] of Object.entries(PROBES)) {
    test(`${what} are answered alike`, async () => {
      for (const probe of probes) {
        const ours = await outcomeOf(await fetch(requestOf(probe)));
        const theirs = await outcomeOf(
          await fetchRequestHandler({
            endpoint: "/trpc",
            req: requestOf(probe),
            router: stock,
            createContext: () => ({}),
          }),
        );
        assert.deepEqual(ours, theirs, JSON.stringify(probe));
      }
    });
  }
});
