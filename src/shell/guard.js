// The module's entry points, guarded against a WebAssembly instance that dies.
//
// A panic or another trap inside a task ends the instance, and with it every promise that its tasks would have settled:
// requests would hang until their clients give up. The `worker` crate makes a new instance for the next event; this
// file fails the events that were under way, at once.

import Entrypoint, {
  WorkspaceContainer as Container,
  CloudAgentSession as Session,
} from "worker-module";

/** Rejects an event that is under way. */
const underWay = new Set();

addEventListener("error", ({ error }) => {
  if (!(error instanceof WebAssembly.RuntimeError)) return;
  for (const reject of underWay) reject(new Error("the WebAssembly instance died"));
  underWay.clear();
});

/** Runs an event's handler; fails when the instance dies before it has ended. */
function guarded(handler) {
  return new Promise((resolve, reject) => {
    underWay.add(reject);
    const endWith = (settle) => (value) => {
      underWay.delete(reject);
      settle(value);
    };
    try {
      Promise.resolve(handler()).then(endWith(resolve), endWith(reject));
    } catch (error) {
      endWith(reject)(error);
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

export default class extends Entrypoint {
  async fetch(request) {
    try {
      return await guarded(() => super.fetch(request));
    } catch (error) {
      console.error(String(error));
      return internalError(request.url);
    }
  }
}

export class CloudAgentSession {
  #session;

  constructor(state, env) {
    this.#session = new Session(state, env);
  }

  fetch(request) {
    return guarded(() => this.#session.fetch(request));
  }

  alarm() {
    return guarded(() => this.#session.alarm());
  }

  webSocketMessage(socket, message) {
    return guarded(() => this.#session.webSocketMessage(socket, message));
  }

  webSocketClose(socket, code, reason, wasClean) {
    return guarded(() => this.#session.webSocketClose(socket, code, reason, wasClean));
  }

  webSocketError(socket, error) {
    return guarded(() => this.#session.webSocketError(socket, error));
  }
}

export class WorkspaceContainer {
  #container;

  constructor(state, env) {
    this.#container = new Container(state, env);
  }

  fetch(request) {
    return guarded(() => this.#container.fetch(request));
  }

  alarm() {
    return guarded(() => this.#container.alarm());
  }
}
