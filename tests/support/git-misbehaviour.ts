// What a git server can do wrong, for tests of those who talk to it.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Readable } from "node:stream";

/** A request as far as a misbehaviour may depend on it. */
export interface GitRequest {
  /** `git-upload-pack` (fetch), `git-receive-pack` (push) or `other`. */
  service: string;
  /** `GET` for the list of refs, `POST` for a pack. */
  method: string;
  /** Label of the credential that came with it. */
  label: string;
}

/** What the server does instead of a proper answer. */
export type Fault =
  /** Takes the request and never answers. */
  | { kind: "stall" }
  /** Answers as it should, after so many milliseconds. */
  | { kind: "delay"; ms: number }
  /** Answers one byte a second. */
  | { kind: "trickle" }
  /** Sends the client elsewhere. */
  | { kind: "redirect"; location: string }
  /** Refuses and repeats the credential in its text, with terminal escapes. */
  | { kind: "echo" }
  /** Answers with a status and a short text. */
  | { kind: "status"; status: number; headers?: Record<string, string> }
  /** Answers as it should, and breaks the connection after so many bytes of the body. */
  | { kind: "drop"; afterBytes: number }
  /** Answers as it should, and stops sending after so many bytes of the body. */
  | { kind: "pause"; afterBytes: number };

/** Decides for every request what goes wrong; `undefined` means nothing. */
export type Misbehaviour = (request: GitRequest) => Fault | undefined;

/** A misbehaviour for the requests that carry packs of a fetch or clone. */
export function whileFetching(fault: Fault): Misbehaviour {
  return (request) =>
    request.service === "git-upload-pack" && request.method === "POST" ? fault : undefined;
}

/** A misbehaviour for every request. */
export function always(fault: Fault): Misbehaviour {
  return () => fault;
}

/** The faults of an answer that is git's own. */
export type FaultOfDelivery = Extract<Fault, { kind: "delay" | "drop" | "pause" | "trickle" }>;

/** Tells them from those that stand for the whole answer. */
export function isOfDelivery(fault: Fault): fault is FaultOfDelivery {
  return ["delay", "drop", "pause", "trickle"].includes(fault.kind);
}

/** Answers a request with one of the faults that need no git. Returns the status, 0 when none was sent. */
export function answerWithFault(
  fault: Exclude<Fault, FaultOfDelivery>,
  request: IncomingMessage,
  response: ServerResponse,
): number {
  switch (fault.kind) {
    case "stall":
      return 0;
    case "redirect":
      response.writeHead(302, { location: fault.location }).end();
      return 302;
    case "echo":
      response
        .writeHead(403, { "content-type": "text/plain" })
        .end(
          `\x1b[31mYou sent ${request.headers.authorization ?? "nothing"}\x1b[0m\n${decoded(request)}\n`,
        );
      return 403;
    case "status":
      response
        .writeHead(fault.status, { "content-type": "text/plain", ...fault.headers })
        .end(`status ${fault.status}\n`);
      return fault.status;
  }
}

function decoded(request: IncomingMessage): string {
  const encoded = (request.headers.authorization ?? "").replace(/^basic +/i, "");
  return Buffer.from(encoded, "base64").toString("utf8");
}

/** Sends a body, and goes wrong on the way if `fault` says so. */
export function sendBody(
  body: Readable,
  response: ServerResponse,
  fault: FaultOfDelivery | undefined,
): void {
  if (fault?.kind === "trickle") trickle(body, response);
  else if (fault?.kind === "drop" || fault?.kind === "pause") sendStart(body, response, fault);
  else body.pipe(response);
}

function sendStart(
  body: Readable,
  response: ServerResponse,
  fault: { kind: "drop" | "pause"; afterBytes: number },
): void {
  let left = fault.afterBytes;
  body.on("data", (chunk: Buffer) => {
    if (left <= 0) return;
    const part = chunk.subarray(0, left);
    left -= part.length;
    response.write(part, () => {
      if (left <= 0 && fault.kind === "drop") response.socket?.destroy();
    });
    if (left <= 0) body.pause();
  });
  body.on("end", () => {
    if (left > 0) response.end();
  });
  body.resume();
}

function trickle(body: Readable, response: ServerResponse): void {
  const waiting: number[] = [];
  let ended = false;
  body.on("data", (chunk: Buffer) => {
    for (const byte of chunk.subarray(0, 4096 - waiting.length)) waiting.push(byte);
  });
  body.on("end", () => {
    ended = true;
  });
  body.resume();
  response.flushHeaders();
  const timer = setInterval(() => {
    const byte = waiting.shift();
    if (byte !== undefined) response.write(Buffer.of(byte));
    else if (ended) response.end();
  }, 1000);
  response.on("close", () => clearInterval(timer));
}
