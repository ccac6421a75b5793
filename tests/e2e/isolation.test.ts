// One user learns nothing of another's sessions: a foreign id is answered as one that was never given, byte by byte.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { messageId } from "../../scripts/support/client.ts";
import { bearer, signJwt } from "../../scripts/support/secrets.ts";
import { Session } from "../../scripts/support/session.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment } from "../support/environment.ts";
import { GatedAgent } from "../support/gated-agent.ts";
import { isForgotten, objectFiles, rowsOf } from "../support/stored.ts";
import { requestTicket, upgrade } from "../support/stream.ts";

const DECLARATIONS = new URL("../../client/index.d.ts", import.meta.url);

/** Inputs that are in order but for the session, by procedure. */
const INPUTS: Record<string, { kind: "query" | "mutation"; input: (id: string) => object }> = {
  updateSession: {
    kind: "mutation",
    input: (cloudAgentSessionId) => ({ cloudAgentSessionId, gitToken: "x" }),
  },
  initiateFromKilocodeSessionV2: {
    kind: "mutation",
    input: (cloudAgentSessionId) => ({ cloudAgentSessionId }),
  },
  sendMessageV2: {
    kind: "mutation",
    input: (cloudAgentSessionId) => ({
      ...{ cloudAgentSessionId, prompt: "Go on.", mode: "code", model: "a/b" },
      ...{ messageId: messageId(), gitToken: "x" },
    }),
  },
  getSession: { kind: "query", input: (cloudAgentSessionId) => ({ cloudAgentSessionId }) },
  getMessageResult: {
    kind: "query",
    input: (cloudAgentSessionId) => ({ cloudAgentSessionId, messageId: messageId() }),
  },
  interruptSession: { kind: "mutation", input: (sessionId) => ({ sessionId }) },
  deleteSession: { kind: "mutation", input: (sessionId) => ({ sessionId }) },
};

/** A reply as a client sees it, but for the time. */
interface Seen {
  status: number;
  headers: [string, string][];
  body: string;
}

describe("isolation", () => {
  let environment: Environment;
  let agent: GatedAgent;
  const stranger = "stranger";
  /** Sessions of two users in different states, by what they are. */
  const foreign = new Map<string, Session>();
  let runningMessage: string;

  before(async () => {
    agent = await GatedAgent.create();
    environment = await Environment.start({ runtime: { AGENT_COMMAND: agent.command } });
    const [one, other] = [environment.newUser(), environment.newUser()];
    const prepare = async (user: string): Promise<Session> =>
      (await environment.newSession({}, environment.stack.client(user))).session;

    foreign.set("one that was only prepared", await prepare(one));
    agent.open();
    const ended = await prepare(one);
    await ended.completed((await ended.initiate()).messageId);
    foreign.set("one that has worked", ended);
    agent.shut();
    const running = await prepare(other);
    runningMessage = (await running.initiate()).messageId;
    await agent.started(runningMessage);
    await waitFor("the turn to run", async () => {
      return (await running.result(runningMessage)).status === "running";
    });
    foreign.set("one that works", running);
    const deleted = await prepare(other);
    await deleted.client.mutation("deleteSession", { sessionId: deleted.id });
    foreign.set("one that was deleted", deleted);
    const { storage } = environment.stack.worker;
    await waitFor("its storage to be empty", () => isForgotten(storage, deleted.id));
    // The stranger has sessions too.
    await prepare(stranger);
  });

  after(async () => {
    agent?.open();
    await environment?.close();
    await agent?.remove();
  });

  async function call(path: string, init: RequestInit = {}): Promise<Seen> {
    const { worker, secrets } = environment.stack;
    const reply = await fetch(`${worker.url}${path}`, {
      ...init,
      headers: {
        authorization: `Bearer ${bearer(secrets.AUTH_JWT_SECRET, stranger)}`,
        "x-internal-api-key": secrets.INTERNAL_API_SECRET,
        "content-type": "application/json",
      },
    });
    return await seen(reply);
  }

  async function seen(reply: Response): Promise<Seen> {
    const headers = [...reply.headers].filter(([name]) => name !== "date");
    return { status: reply.status, headers, body: await reply.text() };
  }

  /** What a procedure answers, called alone and twice in a batch. */
  async function answers(procedure: string, id: string): Promise<Seen[]> {
    const { kind, input } = INPUTS[procedure] ?? assert.fail(procedure);
    const text = JSON.stringify(input(id));
    const both = JSON.stringify({ 0: input(id), 1: input(id) });
    const [alone, batch] = [`/trpc/${procedure}`, `/trpc/${procedure},${procedure}?batch=1`];
    if (kind === "mutation") {
      return [
        await call(alone, { method: "POST", body: text }),
        await call(batch, { method: "POST", body: both }),
      ];
    }
    return [
      await call(`${alone}?input=${encodeURIComponent(text)}`),
      await call(`${batch}&input=${encodeURIComponent(both)}`),
    ];
  }

  /** What the objects store, but for what a running turn keeps changing. */
  function stored(): unknown[] {
    return objectFiles(environment.stack.worker.storage).map((file) => {
      const { deadline: _deadline, runtime: _runtime, ...rows } = rowsOf(file);
      return [file, rows];
    });
  }

  /** An id of the same form that nobody has. */
  const nobodys = (): string => `agent_${crypto.randomUUID()}`;

  test("every procedure that names a session is looked at", () => {
    const declared = [
      ...readFileSync(DECLARATIONS, "utf8").matchAll(/^ {4}(\w+): TRPC(?:Query|Mutation)Pro/gm),
    ];
    const names = declared.map(([, name]) => name ?? "");
    assert.deepEqual(
      names.filter((name) => name !== "prepareSession" && name !== "health").sort(),
      Object.keys(INPUTS).sort(),
    );
  });

  test("every procedure answers a foreign id like one that nobody has, and stores nothing", async () => {
    const before = stored();
    for (const procedure of Object.keys(INPUTS)) {
      const unknown = await answers(procedure, nobodys());
      const says = { interruptSession: /Session not found/, deleteSession: /already deleted/ };
      const expected = says[procedure as keyof typeof says] ?? /"NOT_FOUND"/;
      for (const { body } of unknown) assert.match(body, expected, procedure);
      for (const [what, session] of foreign) {
        assert.deepEqual(await answers(procedure, session.id), unknown, `${procedure} of ${what}`);
      }
    }
    // A name that is guessed leads to an object of the stranger's own, which has no tables: there is nothing whose
    // reading could take time, and nothing is written.
    assert.deepEqual(stored(), before);
  });

  test("a foreign message is unknown in a session of one's own", async () => {
    const own = await Session.prepare(environment.stack.client(stranger), {
      gitUrl: (await environment.newRepository({ anonymousRead: true })).url,
    });
    const result = (message: string) => {
      const input = JSON.stringify({ cloudAgentSessionId: own.id, messageId: message });
      return call(`/trpc/getMessageResult?input=${encodeURIComponent(input)}`);
    };
    const unknown = await result(messageId());
    assert.equal(unknown.status, 404);
    assert.deepEqual(await result(runningMessage), unknown);
    // Nor does its id count as taken.
    const { delivery } = await own.send({ messageId: runningMessage });
    assert.equal(delivery, "queued");
  });

  test("tickets and the stream answer a foreign id like one that nobody has", async () => {
    const { stack } = environment;
    const exp = Math.floor(Date.now() / 1000) + 60;
    const of = async (id: string) => {
      const forged = (cloudAgentSessionId: string) =>
        signJwt(
          {
            ...{ type: "stream_ticket", userId: stranger, kiloSessionId: "ses_1", exp },
            ...{ cloudAgentSessionId, nonce: crypto.randomUUID() },
          },
          stack.secrets.AUTH_JWT_SECRET,
        );
      const stream = async (query: Record<string, string>) => {
        const { status, body } = await upgrade(stack, { cloudAgentSessionId: id, ...query });
        return { status, body };
      };
      return {
        ticket: await seen(await requestTicket(stack, stranger, { cloudAgentSessionId: id })),
        withoutTicket: await stream({}),
        withTicket: await stream({ ticket: forged(id) }),
        withTicketOfAnother: await stream({ ticket: forged(nobodys()) }),
      };
    };
    const unknown = await of(nobodys());
    assert.deepEqual(
      [
        unknown.ticket.status,
        unknown.withoutTicket.status,
        unknown.withTicket.status,
        unknown.withTicketOfAnother.status,
      ],
      [404, 401, 404, 403],
    );
    for (const [what, session] of foreign) assert.deepEqual(await of(session.id), unknown, what);
  });

  test("what was tried changed nothing for the owners", async () => {
    const running = foreign.get("one that works");
    assert.ok(running);
    assert.equal((await running.view()).credential?.generation, 1);
    agent.open();
    assert.equal((await running.completed(runningMessage)).status, "completed");
    const prepared = foreign.get("one that was only prepared");
    assert.equal((await prepared?.view())?.execution, null);
  });
});
