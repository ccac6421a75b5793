// The module's entry points, guarded against a WebAssembly instance that dies.
//
// A panic or another trap ends the instance, and with it every promise that its tasks would have settled: requests would
// hang until their clients give up. What `worker-build` puts around the module makes a new instance before the next
// event, through proxies that cost each event several objects and promises. This file does the same for less, and fails
// the events that were under way, at once.

import Entrypoint, {
  WorkspaceContainer as ContainerProxy,
  CloudAgentSession as SessionProxy,
} from "worker-module";
import { describe, locate, readBody } from "./request.js";

/** Where `worker` notes that the instance has died, and counts instances. */
const life = globalThis.__worker_init_state;
/** The functions and classes behind the proxies. */
const { answer, headerNames, bodyBytesMax } = Entrypoint.prototype;
const Session = SessionProxy.prototype.constructor;
const Container = ContainerProxy.prototype.constructor;

const names = headerNames();
const bytesMax = bodyBytesMax();

/** Rejects an event that is under way. */
const underWay = new Set();

addEventListener("error", ({ error }) => noteFailure(error));

/** Notes the instance's end where an error is that. */
function noteFailure(error) {
  if (error instanceof WebAssembly.RuntimeError) bury();
}

/** Notes the instance's end, and fails what was under way. */
function bury() {
  life.criticalError = true;
  for (const reject of underWay) reject(new Error("the WebAssembly instance died"));
  underWay.clear();
}

/** Calls into the instance, into a new one when the last has died. */
function entered(call) {
  if (life.criticalError) {
    // Nobody may have seen the end but the panic's hook.
    bury();
    // The proxy makes the new instance when it is asked for an object.
    new Entrypoint({}, {});
  }
  try {
    return call();
  } catch (error) {
    // What is called answers with promises. Whatever it throws is a trap, or the end of the stack.
    bury();
    throw error;
  }
}

/** Runs an event's handler; fails when the instance dies before it has ended. */
function guarded(handler) {
  return new Promise((resolve, reject) => {
    const fail = (error) => {
      underWay.delete(fail);
      reject(error);
    };
    const succeed = (value) => {
      underWay.delete(fail);
      resolve(value);
    };
    const failAndNote = (error) => {
      noteFailure(error);
      fail(error);
    };
    try {
      const ended = entered(handler);
      underWay.add(fail);
      ended.then(succeed, failAndNote);
    } catch (error) {
      reject(error);
    }
  });
}

/** Requests that are to admit messages: their errors say whether to send them again. */
const ADMISSION = /\/trpc\/.*(sendMessageV2|initiateFromKilocodeSessionV2)/;

/** The reply of a Worker whose instance died: what tRPC clients can read. */
function internalError(url) {
  const data = { code: "INTERNAL_SERVER_ERROR", httpStatus: 500 };
  if (ADMISSION.test(url)) Object.assign(data, { error: "INTERNAL", retryable: true });
  const error = { message: "Internal server error", code: -32603, data };
  return Response.json({ error }, { status: 500 });
}

export default {
  async fetch(request, env) {
    try {
      const location = locate(request);
      const description = describe(request, location, names);
      const body = await readBody(request, location, bytesMax);
      return await guarded(() => answer(description, body, env));
    } catch (error) {
      console.error(String(error));
      return internalError(request.url);
    }
  },
};

/** An object, made anew by every instance that is asked for it. */
class Incarnation {
  #make;
  #object;
  #instanceId;

  constructor(make) {
    this.#make = make;
    entered(() => this.current());
  }

  /** To be asked for when the instance was entered. */
  current() {
    if (this.#instanceId !== life.instanceId) {
      this.#object = this.#make();
      this.#instanceId = life.instanceId;
    }
    return this.#object;
  }
}

export class CloudAgentSession {
  #session;

  constructor(state, env) {
    this.#session = new Incarnation(() => new Session(state, env));
  }

  async fetch(request) {
    if (request.headers.has("upgrade")) {
      return await this.#guarded((session) => session.fetch(request));
    }
    const body = await request.text();
    return await entered(() => this.#session.current().answer(request.url, body));
  }

  alarm() {
    return this.#guarded((session) => session.alarm());
  }

  webSocketMessage(socket, message) {
    return this.#guarded((session) => session.webSocketMessage(socket, message));
  }

  webSocketClose(socket, code, reason, wasClean) {
    return this.#guarded((session) => session.webSocketClose(socket, code, reason, wasClean));
  }

  webSocketError(socket, error) {
    return this.#guarded((session) => session.webSocketError(socket, error));
  }

  #guarded(handler) {
    return guarded(() => handler(this.#session.current()));
  }
}

export class WorkspaceContainer {
  #container;

  constructor(state, env) {
    this.#container = new Incarnation(() => new Container(state, env));
  }

  fetch(request) {
    return guarded(() => this.#container.current().fetch(request));
  }

  alarm() {
    return guarded(() => this.#container.current().alarm());
  }
}
