// Stands before a runtime and keeps a copy of what it is sent; everything goes on to the real one.

import { createServer, type Server, request as send } from "node:http";
import { end, listen, portOf } from "./loopback.ts";

/** A request on its way to the runtime. */
export interface SentRequest {
  method: string;
  path: string;
  body: string;
}

/** The proxy of one test file. */
export class RecordingProxy {
  readonly requests: SentRequest[] = [];
  /** Base URL of the runtime, without a slash at the end. */
  target = "";
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    server.on("request", async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const body = Buffer.concat(chunks);
      const [method, path] = [request.method ?? "GET", request.url ?? "/"];
      this.requests.push({ method, path, body: body.toString() });
      const headers = { ...request.headers, host: new URL(this.target).host };
      const onward = send(`${this.target}${path}`, { method, headers }, (reply) => {
        response.writeHead(reply.statusCode ?? 502, reply.headers);
        reply.pipe(response);
      });
      onward.on("error", () => response.destroy());
      response.on("close", () => onward.destroy());
      onward.end(body);
    });
  }

  static async start(): Promise<RecordingProxy> {
    const server = createServer();
    await listen(server);
    return new RecordingProxy(server);
  }

  get url(): string {
    return `http://127.0.0.1:${portOf(this.#server)}`;
  }

  async close(): Promise<void> {
    await end(this.#server);
  }
}
