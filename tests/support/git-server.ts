// A real git server: smart HTTP through `git http-backend`, tokens as passwords, a log of who did what.
//
// Tests and the demo see in its log what really happened, whatever the other side says about itself.

import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findHttpBackend, runHttpBackend } from "./git-http-backend.ts";
import {
  answerWithFault,
  type FaultOfDelivery,
  isOfDelivery,
  sendBody,
} from "./git-misbehaviour.ts";
import { GitRepository, initializeRepository, type RepositoryOptions } from "./git-repository.ts";
import { GitTokens, NO_TOKEN } from "./git-tokens.ts";
import { end, LOOPBACK, listen, portOf } from "./loopback.ts";

/** One request. Never holds a token, only its label. */
export interface RequestRecord {
  /** The token's label, `none` or `unknown`. */
  label: string;
  /** `git-upload-pack` (clone, fetch), `git-receive-pack` (push) or `other`. */
  service: string;
  method: string;
  /** Path without the query. */
  path: string;
  /** Status of the reply; 0 when the server never answered. */
  status: number;
  /** When it came, milliseconds since the Unix epoch. */
  at: number;
}

const PATH = /^\/([A-Za-z0-9._-]+\.git)\/(info\/refs|git-upload-pack|git-receive-pack)$/;

/** The server; see {@link startGitServer}. */
export class GitServer {
  readonly tokens = new GitTokens();
  readonly log: RequestRecord[] = [];
  readonly #server: Server;
  readonly #address: string;
  readonly #root: string;
  readonly #backend: string;
  readonly #repositories = new Map<string, GitRepository>();
  readonly #running = new Set<() => void>();

  constructor(server: Server, address: string, root: string) {
    this.#server = server;
    this.#address = address;
    this.#root = root;
    this.#backend = findHttpBackend();
    server.on("request", (request, response) => void this.#answer(request, response));
  }

  /** `ADDRESS:PORT`. */
  get host(): string {
    return `${this.#address}:${portOf(this.#server)}`;
  }

  /** `http://ADDRESS:PORT`. */
  get url(): string {
    return `http://${this.host}`;
  }

  /** Makes a repository; its URL is `<url>/<name>.git`. */
  async createRepository(name: string, options: RepositoryOptions = {}): Promise<GitRepository> {
    const file = `${name}.git`;
    const folder = join(this.#root, file);
    await initializeRepository(folder, options);
    const repository = new GitRepository(
      name,
      folder,
      `${this.url}/${file}`,
      options.anonymousRead ?? false,
    );
    this.#repositories.set(file, repository);
    return repository;
  }

  /** Requests that came after `mark`, an earlier length of the log, and carried a credential. */
  authenticatedSince(mark: number): RequestRecord[] {
    return this.log.slice(mark).filter((record) => record.label !== NO_TOKEN);
  }

  /** Breaks all connections, as a restart of the server does. */
  breakConnections(): void {
    for (const stop of this.#running) stop();
    this.#server.closeAllConnections();
  }

  /** Breaks all connections and removes the repositories. */
  async close(): Promise<void> {
    this.breakConnections();
    await end(this.#server);
    await rm(this.#root, { recursive: true, force: true });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    const login = this.tokens.login(request.headers.authorization);
    const record: RequestRecord = {
      label: login.label,
      service: serviceOf(url),
      method: request.method ?? "GET",
      path: url.pathname,
      status: 0,
      at: Date.now(),
    };
    this.log.push(record);
    const [, file, action] = PATH.exec(url.pathname) ?? [];
    const repository = file === undefined ? undefined : this.#repositories.get(file);
    const fault = repository?.misbehaviour?.(record);
    if (fault !== undefined && !isOfDelivery(fault)) {
      record.status = answerWithFault(fault, request, response);
      return;
    }
    const mayRead = repository?.anonymousRead === true && record.service === "git-upload-pack";
    if (!login.valid && !mayRead) {
      record.status = refuse(request, response, 401);
      return;
    }
    if (repository === undefined || action === undefined || record.service === "other") {
      record.status = refuse(request, response, 404);
      return;
    }
    await this.#runGit(request, response, url, record, login.valid, fault);
  }

  async #runGit(
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    record: RequestRecord,
    loggedIn: boolean,
    fault: FaultOfDelivery | undefined,
  ): Promise<void> {
    if (fault?.kind === "delay") await new Promise((resolve) => setTimeout(resolve, fault.ms));
    try {
      const reply = await runHttpBackend(request, {
        program: this.#backend,
        root: this.#root,
        path: url.pathname,
        query: url.search.slice(1),
        user: loggedIn ? record.label.replaceAll(" ", "-") : undefined,
      });
      const stop = () => reply.process.kill("SIGKILL");
      this.#running.add(stop);
      reply.process.on("exit", () => this.#running.delete(stop));
      response.on("close", stop);
      record.status = reply.status;
      response.writeHead(reply.status, reply.headers.flat());
      sendBody(reply.body, response, fault);
    } catch {
      record.status = refuse(request, response, 500);
    }
  }
}

/**
 * Starts a git server on a free port, of loopback unless another address of this machine is given; its repositories
 * live in a temporary folder until `close()`.
 */
export async function startGitServer(address = LOOPBACK): Promise<GitServer> {
  const root = await mkdtemp(join(tmpdir(), "git-server-"));
  const server = createServer();
  await listen(server, address);
  return new GitServer(server, address, root);
}

function serviceOf(url: URL): string {
  const named = url.pathname.endsWith("/info/refs")
    ? url.searchParams.get("service")
    : url.pathname.slice(url.pathname.lastIndexOf("/") + 1);
  return named === "git-upload-pack" || named === "git-receive-pack" ? named : "other";
}

function refuse(request: IncomingMessage, response: ServerResponse, status: number): number {
  // The rest of the body is read and dropped, so that the client sees the answer and not a broken connection.
  request.resume();
  if (!response.headersSent) {
    const headers = status === 401 ? { "www-authenticate": 'Basic realm="git"' } : {};
    response.writeHead(status, { "content-type": "text/plain", ...headers });
  }
  response.end(`${status}\n`);
  return status;
}
