// The peer's Worker: routes, checks the caller and the input, and asks the session's object.

import type { z } from "zod";
import { authenticate } from "../bearer.ts";
import type { Envelope, SessionEnvironment } from "../platform.ts";
import { prepareSession, sendMessage } from "./input.ts";

export { Session } from "./session.ts";

/** How often an object is asked before the request fails. */
const TRIES_MAX = 3;

export default {
  async fetch(request: Request, env: SessionEnvironment): Promise<Response> {
    const receivedAt = Date.now();
    const { pathname } = new URL(request.url);
    const path = pathname.replace(/^\/trpc\//, "");
    if (request.method !== "POST") return failure(path, 405, "Method not supported");
    const userId = await authenticate(request, env.AUTH_JWT_SECRET);
    if (userId === undefined) return failure(path, 401, "Token validation failed");
    let body: unknown;
    try {
      body = await request.json();
    } catch {
      return failure(path, 400, "The body is not JSON");
    }
    switch (path) {
      case "prepareSession": {
        if (!(await isInternal(request, env.INTERNAL_API_SECRET))) {
          return failure(path, 401, "Invalid or missing internal API key");
        }
        const input = prepareSession.safeParse(body);
        if (!input.success) return invalid(path, input.error);
        const sessionId = `agent_${crypto.randomUUID()}`;
        return await ask(env, path, sessionId, userId, receivedAt, input.data);
      }
      case "sendMessageV2": {
        const input = sendMessage.safeParse(body);
        if (!input.success) return invalid(path, input.error);
        const messageId = input.data.messageId ?? newMessageId();
        const sessionId = input.data.cloudAgentSessionId;
        return await ask(env, path, sessionId, userId, receivedAt, { ...input.data, messageId });
      }
      default:
        return failure(path, 404, `No procedure found on path "${path}"`);
    }
  },
};

/** Asks the object, again with the same stamp when the platform says that this may help. */
async function ask(
  env: SessionEnvironment,
  path: string,
  sessionId: string,
  userId: string,
  receivedAt: number,
  input: object,
): Promise<Response> {
  const object = env.SESSIONS.getByName(`${userId}:${sessionId}`);
  for (let attempt = 1; ; attempt += 1) {
    const envelope: Envelope<object> = {
      v: 1,
      input: { ...input, cloudAgentSessionId: sessionId },
      userId,
      receivedAt,
      try: attempt,
    };
    try {
      const reply = await object.fetch(`https://session/${path}`, {
        method: "POST",
        body: JSON.stringify(envelope),
      });
      const data = (await reply.json()) as { message?: string };
      if (reply.ok) return Response.json({ result: { data } });
      return failure(path, reply.status, data.message ?? "Internal server error");
    } catch (error) {
      const { retryable, overloaded } = error as { retryable?: boolean; overloaded?: boolean };
      if (attempt >= TRIES_MAX || retryable !== true || overloaded === true) {
        return failure(path, 500, "Internal server error");
      }
    }
  }
}

function invalid(path: string, error: z.ZodError): Response {
  return failure(path, 400, JSON.stringify(error.issues));
}

function failure(path: string, httpStatus: number, message: string): Response {
  const error = { message, code: -32600, data: { code: "ERROR", httpStatus, path } };
  return Response.json({ error }, { status: httpStatus });
}

/** Compares digests, so that how long it takes says nothing about the key. */
async function isInternal(request: Request, secret: string): Promise<boolean> {
  const given = request.headers.get("x-internal-api-key") ?? "";
  const digest = (text: string) => crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const [left, right] = await Promise.all([digest(given), digest(secret)]);
  const expected = new Uint8Array(right);
  return new Uint8Array(left).every((byte, index) => byte === expected[index]);
}

function newMessageId(): string {
  const time = (BigInt(Date.now()) * 0x1000n) & 0xffff_ffff_ffffn;
  const random = crypto.randomUUID().replaceAll("-", "").slice(0, 14);
  return `msg_${time.toString(16).padStart(12, "0")}${random}`;
}
