// One request through `git http-backend`, git's own CGI program for smart HTTP.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { gitEnvironment } from "./git-command.ts";

/** The CGI program, or a sentence on what is missing. */
export function findHttpBackend(): string {
  const folder = execFileSync("git", ["--exec-path"], { encoding: "utf8" }).trim();
  return join(folder, "git-http-backend");
}

/** What one run of the CGI program is told beside the request itself. */
export interface BackendRequest {
  /** The program, from {@link findHttpBackend}. */
  program: string;
  /** The folder that holds the bare repositories. */
  root: string;
  /** Path inside it, such as `/repository.git/info/refs`. */
  path: string;
  /** Query string without the question mark. */
  query: string;
  /** Who is logged in; pushing is allowed when it is set. */
  user: string | undefined;
}

/** The head of a CGI reply, and the rest of it as a stream. */
export interface BackendReply {
  status: number;
  headers: [string, string][];
  body: Readable;
  process: ChildProcess;
}

const HEAD_MAX_BYTES = 64 * 1024;

/** Starts the CGI program for `request` and resolves when it has sent its head. */
export function runHttpBackend(
  request: IncomingMessage,
  backend: BackendRequest,
): Promise<BackendReply> {
  const child = spawn(backend.program, [], {
    env: gitEnvironment(cgiVariables(request, backend)),
    stdio: ["pipe", "pipe", "ignore"],
  });
  // The program may end before it has read the whole body (a refused push); that is no fault of the server.
  child.stdin.on("error", () => undefined);
  request.pipe(child.stdin);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    readHead(child.stdout, (head, body) => {
      if (head === undefined) {
        reject(new Error("git http-backend ended without a reply"));
        return;
      }
      resolve({ ...parseHead(head), body, process: child });
    });
  });
}

function cgiVariables(request: IncomingMessage, backend: BackendRequest): Record<string, string> {
  const variables: Record<string, string | undefined> = {
    GIT_PROJECT_ROOT: backend.root,
    GIT_HTTP_EXPORT_ALL: "1",
    PATH_INFO: backend.path,
    QUERY_STRING: backend.query,
    REQUEST_METHOD: request.method ?? "GET",
    REMOTE_ADDR: "127.0.0.1",
    REMOTE_USER: backend.user,
    CONTENT_TYPE: request.headers["content-type"],
    // Absent for a chunked body: the program then reads to the end of its input.
    CONTENT_LENGTH: request.headers["content-length"],
    HTTP_CONTENT_ENCODING: request.headers["content-encoding"],
    HTTP_GIT_PROTOCOL: header(request, "git-protocol"),
    GIT_PROTOCOL: header(request, "git-protocol"),
  };
  return Object.fromEntries(
    Object.entries(variables).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function readHead(
  output: Readable,
  done: (head: string | undefined, body: Readable) => void,
): void {
  let received = Buffer.alloc(0);
  const finish = (head: string | undefined, rest: Buffer) => {
    output.off("data", take);
    output.off("end", ended);
    output.pause();
    if (rest.length > 0) output.unshift(rest);
    done(head, output);
  };
  const take = (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    const end = received.indexOf("\r\n\r\n");
    if (end >= 0) finish(received.subarray(0, end).toString("latin1"), received.subarray(end + 4));
    else if (received.length > HEAD_MAX_BYTES) finish(undefined, Buffer.alloc(0));
  };
  const ended = () => finish(undefined, Buffer.alloc(0));
  output.on("data", take);
  output.on("end", ended);
}

function parseHead(head: string): { status: number; headers: [string, string][] } {
  let status = 200;
  const headers: [string, string][] = [];
  for (const line of head.split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon < 0) continue;
    const name = line.slice(0, colon);
    const value = line.slice(colon + 1).trim();
    if (name.toLowerCase() === "status") status = Number.parseInt(value, 10);
    else headers.push([name, value]);
  }
  return { status, headers };
}
