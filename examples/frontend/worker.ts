// A frontend's Worker: it prepares sessions, sends follow-ups with a fresh git token and lets a browser follow them.

import { createTRPCClient, httpLink } from "@trpc/client";
import type { AppRouter, IssuedTicket } from "../../client/index.d.ts";

interface Environment {
  /** Service binding to the session service. */
  CLOUD_AGENT: { fetch: typeof fetch };
  INTERNAL_API_SECRET: string;
}

/** The host is never looked up: a service binding takes every request. */
const SERVICE = "https://cloud-agent";
const AGENT = { mode: "code", model: "anthropic/claude-sonnet-4" };

export default {
  async fetch(request: Request, env: Environment): Promise<Response> {
    // The sign-in is a cookie, since a browser can set no header on a WebSocket.
    const token = /(?:^|; )token=([^;]*)/.exec(request.headers.get("cookie") ?? "")?.[1] ?? "";
    const headers = {
      authorization: `Bearer ${token}`,
      "x-internal-api-key": env.INTERNAL_API_SECRET,
      "content-type": "application/json",
    };
    const link = httpLink<AppRouter>({
      url: `${SERVICE}/trpc`,
      headers,
      fetch: (input, init) => env.CLOUD_AGENT.fetch(input, init as RequestInit),
    });
    const service = createTRPCClient<AppRouter>({ links: [link] });
    const { pathname, searchParams } = new URL(request.url);
    const [, sessions, cloudAgentSessionId, part] = pathname.split("/");
    if (sessions !== "sessions") return new Response("Not found", { status: 404 });

    if (cloudAgentSessionId === undefined) {
      const { prompt, gitUrl, gitToken } = (await request.json()) as Record<string, string>;
      const prepared = await service.prepareSession.mutate({
        ...AGENT,
        prompt: prompt ?? "",
        ...(gitUrl !== undefined && { gitUrl }),
        ...(gitToken !== undefined && { gitToken }),
        autoInitiate: true,
      });
      return Response.json(prepared, { status: 201 });
    }
    if (part === "messages") {
      const { prompt, gitToken } = (await request.json()) as Record<string, string>;
      const message = { ...AGENT, cloudAgentSessionId, prompt: prompt ?? "" };
      const sent = await service.sendMessageV2.mutate(
        gitToken === undefined ? message : { ...message, gitToken },
      );
      return Response.json(sent, { status: 202 });
    }
    const answer = await env.CLOUD_AGENT.fetch(`${SERVICE}/stream-ticket`, {
      method: "POST",
      headers,
      body: JSON.stringify({ cloudAgentSessionId }),
    });
    if (!answer.ok) return answer;
    const { ticket } = (await answer.json()) as IssuedTicket;
    // A browser that lost its connection says which event it saw last.
    const fromId = searchParams.get("fromId") ?? "0";
    const query = new URLSearchParams({ cloudAgentSessionId, ticket, fromId });
    // The upgrade passes through: the browser's socket ends at the session itself.
    return env.CLOUD_AGENT.fetch(`${SERVICE}/stream?${query}`, {
      headers: { upgrade: "websocket" },
    });
  },
};
