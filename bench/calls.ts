// The requests of the cases.

import { randomBytes } from "node:crypto";
import { messageId } from "../scripts/support/client.ts";
import type { Call } from "./workers/driver.ts";

/** Typical words of a follow-up. */
const PROMPT =
  "Please look at the failing test once more, and tell me what you would change. ".repeat(4);

/** A token as git hosts issue them. */
function gitToken(): string {
  return `glpat-${randomBytes(15).toString("hex")}`;
}

/** Makes a session; the reply says its id. */
export function prepareSession(): Call {
  const input = {
    prompt: PROMPT,
    mode: "code",
    model: "bench/model",
    gitUrl: "https://git.example.com/team/project.git",
    gitToken: gitToken(),
  };
  return { procedure: "prepareSession", body: JSON.stringify(input), status: 200 };
}

/** What is said about a follow-up besides its session. */
export interface FollowUpOptions {
  /** Whether it brings a fresh git token. */
  rotates: boolean;
  /** The status that it must be answered with. */
  status?: number;
}

/** A follow-up. */
export function sendMessage(
  cloudAgentSessionId: string,
  { rotates, status = 200 }: FollowUpOptions,
): Call {
  const input = {
    cloudAgentSessionId,
    messageId: messageId(),
    prompt: PROMPT,
    mode: "code",
    model: "bench/model",
    ...(rotates ? { gitToken: gitToken() } : {}),
  };
  return { procedure: "sendMessageV2", body: JSON.stringify(input), status };
}

/** Ends every message that waits. */
export function interruptSession(sessionId: string): Call {
  return { procedure: "interruptSession", body: JSON.stringify({ sessionId }), status: 200 };
}

/** `count` things, made one by one. */
export function times<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}
