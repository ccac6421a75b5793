// The credential service of managed repositories: a real Worker that is called over RPC and asks the test what to say.

import { createServer, type Server } from "node:http";
import type { Service } from "../../scripts/support/worker-process.ts";
import { end, listen, portOf } from "./loopback.ts";

/** A call that the service got. */
export interface ServiceCall {
  method: string;
  request: Record<string, unknown>;
}

/** What the service says; a promise that never settles is a service that hangs. */
export type ServiceAnswer = (call: ServiceCall) => unknown;

/** The methods of today's services; older ones lack the first. */
export const SERVICE_METHODS = ["getCloudAgentAuthForRepo", "getTokenForRepo", "getGitLabToken"];

/** The service of one test file. */
export class TokenService {
  readonly calls: ServiceCall[] = [];
  answer: ServiceAnswer = () => ({ success: false, reason: "not_asked_for" });
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    server.on("request", async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const call = JSON.parse(Buffer.concat(chunks).toString()) as ServiceCall;
      this.calls.push(call);
      try {
        response.end(JSON.stringify(await this.answer(call)));
      } catch {
        response.writeHead(500).end();
      }
    });
  }

  static async start(): Promise<TokenService> {
    const server = createServer();
    await listen(server);
    return new TokenService(server);
  }

  /** The Worker to bind. */
  services(methods: readonly string[] = SERVICE_METHODS): Record<string, Service> {
    const port = portOf(this.#server);
    const calls = methods.map((name) => `${name}(request) { return ask("${name}", request); }`);
    const script = `
      import { WorkerEntrypoint } from "cloudflare:workers";
      async function ask(method, request) {
        const body = JSON.stringify({ method, request });
        const reply = await fetch("http://127.0.0.1:${port}/", { method: "POST", body });
        if (!reply.ok) throw new Error("the service fails");
        return await reply.json();
      }
      export default class extends WorkerEntrypoint {
        ${calls.join("\n")}
      }`;
    return { GIT_TOKEN_SERVICE: { script, variables: {} } };
  }

  async close(): Promise<void> {
    await end(this.#server);
  }
}
