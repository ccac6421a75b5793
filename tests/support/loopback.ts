// Servers of a test's own, on loopback.

import type { Server as HttpServer } from "node:http";
import type { AddressInfo, Server } from "node:net";

/** The address that this machine alone reaches. */
export const LOOPBACK = "127.0.0.1";

/** Has a server listen on a free port. */
export async function listen(server: Server, address = LOOPBACK): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, address, resolve);
  });
}

/** Port of a server that listens. */
export function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** Breaks all connections of a server and ends it. */
export async function end(server: HttpServer): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}
