// Who may follow a session: tickets, origins and the statuses of refused upgrades.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { bearer, signJwt } from "../../scripts/support/secrets.ts";
import type { Session } from "../../scripts/support/session.ts";
import { Environment } from "../support/environment.ts";
import {
  requestTicket,
  StreamClient,
  ticketFor,
  type Upgrade,
  upgrade,
} from "../support/stream.ts";

const ORIGIN = "https://app.example";

describe("access to the stream", () => {
  let environment: Environment;
  let user: string;
  let session: Session;

  before(async () => {
    environment = await Environment.start({ worker: { WS_ALLOWED_ORIGINS: ORIGIN } });
    ({ user, session } = await newSession());
  });

  after(async () => {
    await environment?.close();
  });

  async function newSession(): Promise<{ user: string; session: Session }> {
    const name = environment.newUser();
    const prepared = await environment.newSession({}, environment.stack.client(name));
    return { user: name, session: prepared.session };
  }

  /** Another id of the same form, of a session that does not exist. */
  function missing(id: string): string {
    const last = id.endsWith("0") ? "1" : "0";
    return `${id.slice(0, -1)}${last}`;
  }

  /** A ticket with claims of the test's choice. */
  function forged(claims: Record<string, unknown>, secret?: string): string {
    const exp = Math.floor(Date.now() / 1000) + 60;
    const usual = { type: "stream_ticket", userId: user, kiloSessionId: "ses_1", nonce: "n", exp };
    return signJwt(
      { ...usual, cloudAgentSessionId: session.id, ...claims },
      secret ?? environment.stack.secrets.AUTH_JWT_SECRET,
    );
  }

  async function refusedUpgrade(
    query: Record<string, string>,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; code: string; message: string }> {
    const outcome: Upgrade = await upgrade(environment.stack, query, headers);
    outcome.socket?.destroy();
    const { type, code, message } = JSON.parse(outcome.body || "{}");
    assert.equal(type, "error");
    return { status: outcome.status, code, message };
  }

  test("a ticket lives a minute and opens one socket once", async () => {
    const now = Math.floor(Date.now() / 1000);
    const { ticket, expiresAt } = await ticketFor(environment.stack, user, session.id);
    assert.ok(expiresAt >= now + 58 && expiresAt <= now + 62, `${expiresAt - now}`);
    const query = { cloudAgentSessionId: session.id, ticket };
    const first = await upgrade(environment.stack, query);
    assert.equal(first.status, 101);
    first.socket?.destroy();
    const again = await refusedUpgrade(query);
    assert.deepEqual(again, {
      status: 401,
      code: "WS_AUTH_ERROR",
      message: "Ticket was already used",
    });
    await environment.stack.worker.kill();
    await environment.stack.worker.start();
    assert.equal((await refusedUpgrade(query)).status, 401);
  });

  test("what is wrong with a request has its status", async () => {
    const id = session.id;
    const { ticket } = await ticketFor(environment.stack, user, id);
    const past = Math.floor(Date.now() / 1000) - 1;
    const other = await newSession();
    const rows: [string, Record<string, string>, Record<string, string>, number][] = [
      ["no id", { ticket }, {}, 400],
      ["a malformed id", { cloudAgentSessionId: "agent_1", ticket }, {}, 400],
      ["a malformed fromId", { cloudAgentSessionId: id, ticket, fromId: "x" }, {}, 400],
      ["no ticket", { cloudAgentSessionId: id }, {}, 401],
      ["no JWT", { cloudAgentSessionId: id, ticket: "x" }, {}, 401],
      ["an expired ticket", { cloudAgentSessionId: id, ticket: forged({ exp: past }) }, {}, 401],
      ["another key", { cloudAgentSessionId: id, ticket: forged({}, "other") }, {}, 401],
      [
        "a bearer token",
        {
          cloudAgentSessionId: id,
          ticket: bearer(environment.stack.secrets.AUTH_JWT_SECRET, user),
        },
        {},
        401,
      ],
      ["no user", { cloudAgentSessionId: id, ticket: forged({ userId: undefined }) }, {}, 401],
      ["another session's", { cloudAgentSessionId: other.session.id, ticket }, {}, 403],
      [
        "a terminal's",
        { cloudAgentSessionId: id, ticket: forged({ purpose: "terminal" }) },
        {},
        403,
      ],
      [
        "another origin",
        { cloudAgentSessionId: id, ticket },
        { origin: "https://evil.example" },
        403,
      ],
    ];
    for (const [what, query, headers, status] of rows) {
      assert.equal((await refusedUpgrade(query, headers)).status, status, what);
    }
    // None of that used the ticket up.
    const opened = await upgrade(
      environment.stack,
      { cloudAgentSessionId: id, ticket },
      { origin: ORIGIN },
    );
    assert.equal(opened.status, 101);
    opened.socket?.destroy();
  });

  test("without an upgrade there is no stream", async () => {
    const { ticket } = await ticketFor(environment.stack, user, session.id);
    const query = new URLSearchParams({ cloudAgentSessionId: session.id, ticket });
    const reply = await fetch(`${environment.stack.worker.url}/stream?${query}`);
    assert.equal(reply.status, 426);
    await reply.text();
  });

  test("a ticket is issued to the owner's bearer token only", async () => {
    const { stack } = environment;
    const body = { cloudAgentSessionId: session.id };
    const { ticket } = await ticketFor(stack, user, session.id);
    for (const authorization of ["", "Bearer x", `Bearer ${ticket}`]) {
      const reply = await requestTicket(stack, user, body, { authorization });
      assert.equal(reply.status, 401, authorization);
    }
    for (const malformed of [
      {},
      { cloudAgentSessionId: 1 },
      { ...body, organizationId: "not a uuid" },
    ]) {
      const reply = await requestTicket(stack, user, malformed);
      assert.equal(reply.status, 400, JSON.stringify(malformed));
    }
    const organizationId = "0f8fad5b-d9cb-469f-a165-70867728950e";
    assert.equal((await requestTicket(stack, user, { ...body, organizationId })).status, 200);
    const reply = await fetch(`${stack.worker.url}/stream-ticket`);
    assert.equal(reply.status, 405);
    await reply.text();
  });

  test("a ticket is no bearer token", async () => {
    const { ticket } = await ticketFor(environment.stack, user, session.id);
    const client = environment.stack.client(user, { bearer: ticket });
    await assert.rejects(session.through(client).view(), /Token validation failed/);
  });

  test("pages of a listed origin may ask for tickets, others may not", async () => {
    const url = `${environment.stack.worker.url}/stream-ticket`;
    const preflight = (origin: string) =>
      fetch(url, {
        method: "OPTIONS",
        headers: { origin, "access-control-request-method": "POST" },
      });
    const listed = await preflight(ORIGIN);
    assert.equal(listed.status, 204);
    assert.equal(listed.headers.get("access-control-allow-origin"), ORIGIN);
    assert.match(listed.headers.get("access-control-allow-headers") ?? "", /authorization/);
    const other = await preflight("https://evil.example");
    assert.equal(other.headers.get("access-control-allow-origin"), null);
    await other.text();
    const body = { cloudAgentSessionId: session.id };
    const reply = await requestTicket(environment.stack, user, body, { origin: ORIGIN });
    assert.equal(reply.status, 200);
    assert.equal(reply.headers.get("access-control-allow-origin"), ORIGIN);
  });

  test("a foreign session and a missing one look the same", async () => {
    const { stack } = environment;
    const foreign = await newSession();
    const answers = await Promise.all(
      [foreign.session.id, missing(foreign.session.id)].map(async (id) => {
        const reply = await requestTicket(stack, user, { cloudAgentSessionId: id });
        // A ticket in the user's own name, as nobody issues one.
        const ticket = forged({ cloudAgentSessionId: id, nonce: id });
        return {
          ticket: { status: reply.status, body: await reply.text() },
          stream: await refusedUpgrade({ cloudAgentSessionId: id, ticket }),
          without: await refusedUpgrade({ cloudAgentSessionId: id }),
          mismatched: await refusedUpgrade({ cloudAgentSessionId: id, ticket: forged({}) }),
        };
      }),
    );
    assert.equal(answers[0]?.ticket.status, 404);
    assert.equal(answers[0]?.stream.status, 404);
    assert.deepEqual(answers[0], answers[1]);
  });

  test("deletion closes sockets, and a deleted session is gone", async () => {
    const gone = await newSession();
    const client = await StreamClient.open(environment.stack, gone.user, gone.session.id);
    await client.type("connected");
    const { ticket } = await ticketFor(environment.stack, gone.user, gone.session.id);
    await gone.session.client.mutation("deleteSession", { sessionId: gone.session.id });
    assert.deepEqual(await client.closed(), { code: 1000, reason: "The session was deleted" });
    assert.deepEqual(
      client.errors.map(({ code }) => code),
      ["WS_SESSION_NOT_FOUND"],
    );
    const query = { cloudAgentSessionId: gone.session.id, ticket };
    assert.equal((await refusedUpgrade(query)).status, 404);
    const body = { cloudAgentSessionId: gone.session.id };
    assert.equal((await requestTicket(environment.stack, gone.user, body)).status, 404);
  });

  test("a session has a bounded number of sockets", async () => {
    const crowded = await newSession();
    const open = () => StreamClient.open(environment.stack, crowded.user, crowded.session.id);
    const clients = await Promise.all(Array.from({ length: 16 }, open));
    const { ticket } = await ticketFor(environment.stack, crowded.user, crowded.session.id);
    const query = { cloudAgentSessionId: crowded.session.id, ticket };
    assert.equal((await refusedUpgrade(query)).status, 429);
    await clients[0]?.close();
    // The refusal did not use the ticket up.
    const opened = await upgrade(environment.stack, query);
    assert.equal(opened.status, 101);
    opened.socket?.destroy();
    await Promise.all(clients.slice(1).map((client) => client.close()));
  });
});
