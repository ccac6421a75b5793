// The driver: sends prepared requests to a contender from inside workerd, so that no proxy is in the way.
//
// The platform's clock has whole milliseconds and moves on with every piece of I/O, so what it says after the last reply
// is when that came. Jobs are long enough for whole milliseconds.

import type { Fetcher } from "./platform.ts";

/** One request and the status that it must be answered with. */
export interface Call {
  /** A procedure's name, or a path with a slash in front. */
  procedure: string;
  /** JSON text; null for a query, whose input stands behind the procedure's name. */
  body: string | null;
  status: number;
}

/** A piece of work: the calls of a lane go one after the other, lanes go side by side. */
export interface Job {
  /** Name of the service binding. */
  contender: string;
  headers: Record<string, string>;
  lanes: Call[][];
  /** Whether the replies' bodies are wanted. */
  wantsReplies: boolean;
}

/** What came of a job. */
export interface Outcome {
  /** Milliseconds from the first request to the last reply. */
  ms: number;
  /** The replies' bodies, lane by lane, when they were wanted. */
  replies: string[][];
}

export default {
  async fetch(request: Request, env: Record<string, Fetcher>): Promise<Response> {
    if (request.headers.get("upgrade") === "websocket") return await connect(request, env);
    const { contender, headers, lanes, wantsReplies } = (await request.json()) as Job;
    const target = env[contender];
    if (target === undefined) return new Response(`no contender ${contender}`, { status: 404 });
    try {
      const start = Date.now();
      const replies = await Promise.all(lanes.map((lane) => runLane(target, headers, lane)));
      const ms = Date.now() - start;
      return Response.json({ ms, replies: wantsReplies ? replies : [] } satisfies Outcome);
    } catch (error) {
      return new Response(String(error), { status: 500 });
    }
  },
};

/** Passes a socket on to the contender that the query names. */
async function connect(request: Request, env: Record<string, Fetcher>): Promise<Response> {
  const contender = new URL(request.url).searchParams.get("contender") ?? "";
  const target = env[contender];
  return target === undefined ? new Response(null, { status: 404 }) : await target.fetch(request);
}

async function runLane(
  target: Fetcher,
  headers: Record<string, string>,
  lane: readonly Call[],
): Promise<string[]> {
  const replies: string[] = [];
  for (const { procedure, body, status } of lane) {
    const url = new URL(procedure, "https://contender/trpc/").href;
    const method = body === null ? "GET" : "POST";
    const reply = await target.fetch(url, { method, headers, body });
    const text = await reply.text();
    if (reply.status !== status) {
      throw new Error(`${procedure} gave ${reply.status} instead of ${status}: ${text}`);
    }
    replies.push(text);
  }
  return replies;
}
