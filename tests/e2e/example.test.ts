// The example of a frontend, as its readers would run it: bundled, on workerd, bound to the service.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import { Miniflare } from "miniflare";
import type { Acknowledgement, PrepareSessionOutput, StreamFrame } from "../../client/index.d.ts";
import { readWorkerConfiguration } from "../../scripts/support/configuration.ts";
import { bearer } from "../../scripts/support/secrets.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { Environment, labelsOf } from "../support/environment.ts";

const SOURCE = new URL("../../examples/frontend/worker.ts", import.meta.url).pathname;

let environment: Environment;
let frontend: Miniflare;
let url: string;

before(async () => {
  environment = await Environment.start();
  const bundle = await build({ entryPoints: [SOURCE], bundle: true, format: "esm", write: false });
  const { compatibilityDate } = readWorkerConfiguration();
  frontend = new Miniflare({
    modules: true,
    script: bundle.outputFiles[0]?.text ?? "",
    compatibilityDate,
    host: "127.0.0.1",
    port: 0,
    cf: false,
    bindings: { INTERNAL_API_SECRET: environment.stack.secrets.INTERNAL_API_SECRET },
    serviceBindings: {
      CLOUD_AGENT: { external: { address: new URL(environment.stack.worker.url).host, http: {} } },
    },
  });
  url = (await frontend.ready).origin;
});

after(async () => {
  await frontend?.dispose();
  await environment?.close();
});

test("the example is short", () => {
  assert.ok(readFileSync(SOURCE, "utf8").split("\n").length < 80);
});

test("a frontend prepares, rotates the token with a follow-up, and follows both", async () => {
  const { AUTH_JWT_SECRET } = environment.stack.secrets;
  const cookie = `theme=dark; token=${bearer(AUTH_JWT_SECRET, environment.newUser())}`;
  const repository = await environment.newRepository();
  const [first, second] = [environment.newToken(), environment.newToken()];
  const post = async (path: string, body: object): Promise<unknown> => {
    const reply = await fetch(`${url}${path}`, {
      method: "POST",
      headers: { cookie },
      body: JSON.stringify(body),
    });
    assert.ok(reply.ok, `${path}: ${reply.status}`);
    return await reply.json();
  };

  const { cloudAgentSessionId } = (await post("/sessions", {
    prompt: "Write down what you see.",
    gitUrl: repository.url,
    gitToken: first.token,
  })) as PrepareSessionOutput;

  const ended: string[] = [];
  const socket = new WebSocket(`${url.replace(/^http/, "ws")}/sessions/${cloudAgentSessionId}`, {
    headers: { cookie },
  } as unknown as string[]);
  socket.addEventListener("message", ({ data }) => {
    const frame = JSON.parse(String(data)) as StreamFrame;
    if ("type" in frame) return;
    if (frame.streamEventType === "cloud.message.completed") ended.push(frame.data.messageId);
  });
  await waitFor("the end of the first message", () => ended.length === 1, 30_000);

  const requests = await environment.requestsTo(repository, async () => {
    const sent = (await post(`/sessions/${cloudAgentSessionId}/messages`, {
      prompt: "Go on.",
      gitToken: second.token,
    })) as Acknowledgement;
    await waitFor("the end of the follow-up", () => ended.includes(sent.messageId), 30_000);
  });
  assert.deepEqual(labelsOf(requests), [second.label]);
  socket.close();
});
