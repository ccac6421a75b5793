// A runtime behind a service binding: another Worker stands between the object and the runtime.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { waitFor } from "../../scripts/support/wait.ts";
import type { Service } from "../../scripts/support/worker-process.ts";
import { Environment, labelsOf } from "../support/environment.ts";

/** Hands every request on to the runtime, as an operator's own Worker would. */
const FORWARDING = `
export default {
  fetch(request, env) {
    const { pathname, search } = new URL(request.url);
    console.log("forwarded " + request.method + " " + pathname);
    return fetch(new Request(env.RUNTIME_URL + pathname + search, request));
  },
};`;

/** Takes requests and never answers. */
const SILENT = `export default { fetch: () => new Promise((done) => setTimeout(done, 60_000)) };`;

const runtimeBehind =
  (script: string) =>
  (runtimeUrl: string): Record<string, Service> => ({
    RUNTIME: { script, variables: { RUNTIME_URL: runtimeUrl } },
  });

/** Where nothing listens: only the binding can lead to a runtime. */
const NOWHERE = "http://127.0.0.1:9";

describe("a runtime behind a service binding", () => {
  let environment: Environment;

  before(async () => {
    environment = await Environment.start({
      services: runtimeBehind(FORWARDING),
      worker: { RUNTIME_URL: NOWHERE },
    });
  });

  after(async () => {
    await environment?.close();
  });

  test("clones cold, rotates warm and pushes, all through the binding", async () => {
    const { session, repository, label } = await environment.newSession();
    const cold = await environment.requestsTo(repository, async () => {
      const { messageId } = await session.initiate();
      await session.completed(messageId);
    });
    assert.deepEqual(labelsOf(cold), [label]);
    const newer = environment.newToken();
    const warm = await environment.requestsTo(repository, async () => {
      const { messageId } = await session.send({ gitToken: newer.token, autoCommit: true });
      await session.completed(messageId);
    });
    assert.deepEqual(labelsOf(warm), [newer.label]);
    assert.ok(warm.some((record) => record.service === "git-receive-pack"));
    const forwarded = environment.stack.worker.log.lines.filter((line) =>
      line.includes("forwarded "),
    );
    for (const call of ["GET /healthz", "PUT /v1/", "GET /v1/"]) {
      assert.ok(
        forwarded.some((line) => line.includes(`forwarded ${call}`)),
        `${call} went through the binding`,
      );
    }
  });
});

describe("a service that does not answer", () => {
  let environment: Environment;

  before(async () => {
    environment = await Environment.start({ services: runtimeBehind(SILENT) });
  });

  after(async () => {
    await environment?.close();
  });

  test("is given up, and the message is delivered again later", async () => {
    const { session } = await environment.newSession();
    const { messageId } = await session.initiate();
    const { log } = environment.stack.worker;
    const retry = await waitFor("a retry of the delivery", () =>
      log.lines.find((line) => line.includes("delivery_retried") && line.includes(messageId)),
    );
    assert.match(retry, /SANDBOX_CONNECT_FAILED/i);
    const { status } = await session.result(messageId);
    assert.equal(status, "queued");
  });
});
