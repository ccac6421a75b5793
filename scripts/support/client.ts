// The stock tRPC client, as a frontend would use it.

import { randomBytes } from "node:crypto";
import {
  createTRPCUntypedClient,
  type HTTPLinkOptions,
  httpBatchLink,
  httpLink,
  TRPCClientError,
  type TRPCUntypedClient,
} from "@trpc/client";
import type { AnyRouter } from "@trpc/server";
import type { Secrets } from "./secrets.ts";
import { bearer } from "./secrets.ts";

/** Calls procedures by their names. */
export type Client = TRPCUntypedClient<AnyRouter>;

/** What a client needs to know. */
export interface ClientOptions {
  /** Base URL of the Worker. */
  url: string;
  /** The `Authorization` header's bearer token; absent to send none. */
  bearer?: string;
  /** The `x-internal-api-key` header; absent to send none. */
  internalKey?: string;
  /** More headers. */
  headers?: Record<string, string>;
  /** Whether calls made in one tick travel as one request. */
  batch?: boolean;
  /** Stands in for `fetch`, to watch what is sent and received. */
  fetch?: typeof fetch;
}

/** Makes a client of `@trpc/client` without any change to it. */
export function createClient(options: ClientOptions): Client {
  const headers: Record<string, string> = { ...options.headers };
  if (options.bearer !== undefined) headers.authorization = `Bearer ${options.bearer}`;
  if (options.internalKey !== undefined) headers["x-internal-api-key"] = options.internalKey;
  // The library's type of `fetch` says the same in other words, which the compiler does not see.
  const fetcher = (options.fetch ?? fetch) as NonNullable<
    HTTPLinkOptions<AnyRouter["_def"]["_config"]["$types"]>["fetch"]
  >;
  const link = { url: `${options.url}/trpc`, headers, fetch: fetcher };
  return createTRPCUntypedClient<AnyRouter>({
    links: [options.batch === true ? httpBatchLink(link) : httpLink(link)],
  });
}

/** A client of `userId` with everything that it may do. */
export function clientOf(
  userId: string,
  url: string,
  secrets: Secrets,
  more: Partial<ClientOptions> = {},
): Client {
  return createClient({
    url,
    bearer: bearer(secrets.AUTH_JWT_SECRET, userId),
    internalKey: secrets.INTERNAL_API_SECRET,
    ...more,
  });
}

/** What the service says about an error. */
export interface ServiceError {
  message: string;
  /** The tRPC key, such as `BAD_REQUEST`. */
  code: string;
  httpStatus: number;
  /** The admission code, such as `PENDING_QUEUE_FULL`, where there is one. */
  error?: string;
  retryable?: boolean;
}

/** Waits for a call that must be refused, and returns what the service said. */
export async function refusal(call: Promise<unknown>): Promise<ServiceError> {
  const outcome = await call.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if (!("error" in outcome)) {
    throw new Error(`the call should have been refused, but gave ${JSON.stringify(outcome.value)}`);
  }
  const { error } = outcome;
  if (!(error instanceof TRPCClientError) || error.data === undefined || error.data === null) {
    throw error;
  }
  return { message: error.message, ...error.data };
}

const BASE62 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/** A message id as clients make them: 12 hexadecimal digits of time, 14 random characters. */
export function messageId(now = Date.now()): string {
  const time = (BigInt(now) * 0x1000n) & 0xffff_ffff_ffffn;
  const suffix = Array.from(randomBytes(14), (byte) => BASE62[byte % BASE62.length]).join("");
  return `msg_${time.toString(16).padStart(12, "0")}${suffix}`;
}
