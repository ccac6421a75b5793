// The cable between a client and a server: TCP that a test can cut.

import { connect, createServer, type Server, type Socket } from "node:net";
import { listen, portOf } from "./loopback.ts";

/** A cable; it carries connections until it is cut, and later ones again. */
export class Cable {
  readonly #server: Server;
  readonly #ends = new Set<Socket>();

  private constructor(server: Server, port: number) {
    this.#server = server;
    server.on("connection", (near) => {
      const far = connect(port, "127.0.0.1");
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#ends.add(from);
        from.pipe(to);
        from.on("error", () => undefined);
        from.on("close", () => {
          this.#ends.delete(from);
          to.destroy();
        });
      }
    });
  }

  /** Lays a cable to a server on this machine. */
  static async to(url: string): Promise<Cable> {
    const server = createServer();
    await listen(server);
    return new Cable(server, Number(new URL(url).port));
  }

  /** Where the server is reached through it. */
  get url(): string {
    return `http://127.0.0.1:${portOf(this.#server)}`;
  }

  /** Ends every connection at once, as no end would: what is on its way is lost. */
  cut(): void {
    for (const end of this.#ends) end.resetAndDestroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
