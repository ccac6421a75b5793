// Our Worker with counters around its object's storage. `POST /trpc/counters` tells and resets those of a session.

import type { ObjectNamespace } from "./platform.ts";
import worker, { CloudAgentSession as Session } from "./worker-under-test.js";

/** What an object asked of its storage. */
export interface Counters {
  /** Statements. */
  statements: number;
  rowsRead: number;
  /** Rows of tables and of their indexes. */
  rowsWritten: number;
  /** Bytes of the values that were bound to statements. */
  bytesBound: number;
  /** Bytes of the database, when the counters were read. */
  databaseBytes: number;
  /** Transactions. */
  transactions: number;
  /** Writes of the alarm. */
  alarms: number;
}

interface Cursor {
  readonly rowsRead: number;
  readonly rowsWritten: number;
}

interface State {
  readonly storage: {
    readonly sql: { exec(statement: string, ...values: unknown[]): Cursor; databaseSize: number };
  };
}

function none(): Counters {
  return {
    statements: 0,
    rowsRead: 0,
    rowsWritten: 0,
    bytesBound: 0,
    databaseBytes: 0,
    transactions: 0,
    alarms: 0,
  };
}

export default {
  async fetch(request: Request, env: { SESSIONS: ObjectNamespace }): Promise<Response> {
    if (!request.url.endsWith("/trpc/counters")) return await worker.fetch(request, env);
    const { objectName } = (await request.json()) as { objectName: string };
    const { SESSIONS } = env;
    return await SESSIONS.getByName(objectName).fetch(new Request("https://session/counters"));
  },
};

/** Our object over storage that counts. */
export class CloudAgentSession {
  readonly #session: Session;
  readonly #state: State;
  readonly #cursors: Cursor[] = [];
  #counters = none();

  constructor(state: State, env: unknown) {
    this.#state = state;
    this.#session = new Session(this.#counting(state), env);
  }

  async fetch(request: Request): Promise<Response> {
    if (!request.url.endsWith("/counters")) return await this.#session.fetch(request);
    for (const { rowsRead, rowsWritten } of this.#cursors.splice(0)) {
      this.#counters.rowsRead += rowsRead;
      this.#counters.rowsWritten += rowsWritten;
    }
    const databaseBytes = this.#state.storage.sql.databaseSize;
    const counters = { ...this.#counters, databaseBytes };
    this.#counters = none();
    return Response.json(counters);
  }

  alarm(): Promise<unknown> {
    return this.#session.alarm();
  }

  #counting(state: State): State {
    const sql = replacing(state.storage.sql, {
      exec: (statement: string, ...values: unknown[]) => {
        const cursor = state.storage.sql.exec(statement, ...values);
        // How many rows it came to is known when it has been read to its end.
        this.#cursors.push(cursor);
        this.#counters.statements += 1;
        for (const value of values) this.#counters.bytesBound += sizeOf(value);
        return cursor;
      },
    });
    const target = state.storage as unknown as Record<string, (...args: unknown[]) => unknown>;
    const storage = replacing(state.storage, {
      sql,
      transactionSync: (...args: unknown[]) => {
        this.#counters.transactions += 1;
        return target.transactionSync?.apply(state.storage, args);
      },
      setAlarm: (...args: unknown[]) => {
        this.#counters.alarms += 1;
        return target.setAlarm?.apply(state.storage, args);
      },
    });
    return replacing(state, { storage });
  }
}

/** `target` with some of its properties replaced; its methods still run on itself. */
function replacing<T extends object>(target: T, replaced: Record<string, unknown>): T {
  return new Proxy(target, {
    get(_, name) {
      if (typeof name === "string" && Object.hasOwn(replaced, name)) return replaced[name];
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function sizeOf(value: unknown): number {
  if (typeof value === "string") return new TextEncoder().encode(value).length;
  return value === null ? 0 : 8;
}
