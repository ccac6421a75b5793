// The floor of replaying events: an object that sends the rows of a table to a socket, as they are.

interface State {
  readonly storage: {
    readonly sql: {
      exec(statement: string, ...values: unknown[]): Iterable<{ id: number; payload: string }>;
    };
  };
}

interface Socket {
  accept(): void;
  send(text: string): void;
  close(code: number): void;
}

declare const WebSocketPair: new () => { 0: Socket; 1: Socket };

/** What `POST /trpc/fill` says: how many rows there shall be, and what is in each. */
interface Filling {
  cloudAgentSessionId: string;
  count: number;
  payload: string;
}

interface Environment {
  readonly SESSIONS: {
    getByName(name: string): { fetch(request: Request): Promise<Response> };
  };
}

export default {
  async fetch(request: Request, env: Environment): Promise<Response> {
    return await env.SESSIONS.getByName("replayed").fetch(request);
  },
};

/** The object. */
export class Session {
  readonly #sql: State["storage"]["sql"];

  constructor(state: State) {
    this.#sql = state.storage.sql;
  }

  async fetch(request: Request): Promise<Response> {
    if (request.headers.get("upgrade") === "websocket") return this.#replay();
    const { count, payload } = (await request.json()) as Filling;
    this.#sql.exec("CREATE TABLE event (id INTEGER PRIMARY KEY, payload TEXT NOT NULL)");
    this.#sql.exec(
      `INSERT INTO event (payload) WITH RECURSIVE row(number) AS
        (SELECT 1 UNION ALL SELECT number + 1 FROM row WHERE number < ?) SELECT ? FROM row`,
      count,
      payload,
    );
    return new Response("{}");
  }

  #replay(): Response {
    const { 0: client, 1: server } = new WebSocketPair();
    server.accept();
    for (const { id, payload } of this.#sql.exec("SELECT id, payload FROM event ORDER BY id")) {
      server.send(`{"eventId":${id},${payload}`);
    }
    return new Response(null, { status: 101, webSocket: client } as ResponseInit);
  }
}
