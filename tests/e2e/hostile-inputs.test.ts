// The rows of tests/hostile through the real Worker. Natively the same rows are judged by tests/hostile_inputs.rs, and
// docs/hostile-inputs.md shows what came of them.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { projectRoot } from "../../scripts/setup/paths.mjs";
import { messageId } from "../../scripts/support/client.ts";
import { findInFiles, findInText, type Needle, needlesOf } from "../support/canary.ts";
import { Environment, type PreparedSession } from "../support/environment.ts";
import { ProcessWatcher } from "../support/process-watcher.ts";

interface Row {
  input: string;
  expected: string;
}

/** Stands for what must not be stored. Inputs that are accepted get another one. */
const SECRET = `canary${randomBytes(12).toString("hex")}+%41~`;
const AGENT = { prompt: "x", mode: "code", model: "a/b" };
const GOOD = { ...AGENT, gitUrl: "https://example.com/r.git" };

let environment: Environment;
let prepared: PreparedSession;
let watcher: ProcessWatcher;
let needles: Needle[];

before(async () => {
  environment = await Environment.start();
  prepared = await environment.newSession();
  needles = needlesOf("secret", SECRET);
  watcher = await ProcessWatcher.start(needles);
});

after(async () => {
  await environment?.close();
});

function rows(name: string): Row[] {
  const path = join(projectRoot, "tests", "hostile", `${name}.json`);
  return JSON.parse(readFileSync(path, "utf8")) as Row[];
}

function expand(text: string, secret: string): string {
  return text
    .replace(/«([^»]*?)\*(\d+)»/g, (_match, unit: string, times: string) =>
      unit.repeat(Number(times)),
    )
    .replaceAll("«T»", secret);
}

/** Tries every row and tells those that were not answered as expected. */
async function wrongRows(
  name: string,
  field: RegExp,
  isAccepted: (row: Row) => boolean,
  send: (input: string, row: Row) => Promise<unknown>,
): Promise<string[]> {
  const wrong: string[] = [];
  for (const row of rows(name)) {
    const accepted = isAccepted(row);
    const input = expand(row.input, accepted ? "another" : SECRET);
    const answer = await send(input, row).then(
      () => "accepted",
      (error: { message: string; data?: { code?: string } }) =>
        `${error.data?.code}: ${error.message}`,
    );
    const isRight = accepted
      ? answer === "accepted"
      : answer.startsWith("BAD_REQUEST: ") && field.test(answer);
    if (!isRight) wrong.push(`${JSON.stringify(row.input).slice(0, 100)}: ${answer}`);
  }
  return wrong;
}

const prepare = (input: Record<string, unknown>) =>
  prepared.session.client.mutation("prepareSession", { ...GOOD, ...input });

describe("every row is answered as expected", () => {
  test("gitUrl", async () => {
    const isAccepted = (row: Row) => row.expected === "accepted";
    const send = (gitUrl: string) => prepare({ gitUrl });
    assert.deepEqual(await wrongRows("urls", /gitUrl/, isAccepted, send), []);
  });

  test("callbackTarget.url", async () => {
    const isAccepted = (row: Row) => row.expected !== "refused";
    const send = (url: string) => prepare({ callbackTarget: { url } });
    assert.deepEqual(await wrongRows("urls", /callbackTarget/, isAccepted, send), []);
  });

  test("upstreamBranch", async () => {
    const isAccepted = (row: Row) => row.expected !== "refused";
    const send = (upstreamBranch: string) => prepare({ upstreamBranch });
    assert.deepEqual(await wrongRows("branches", /upstreamBranch/, isAccepted, send), []);
  });

  test("gitToken at each place that takes one", async () => {
    const { client, id: cloudAgentSessionId } = prepared.session;
    // An empty token counts as absent.
    const isAccepted = (row: Row) => row.expected === "accepted" || row.input === "";
    const update = (gitToken: string) =>
      client.mutation("updateSession", { cloudAgentSessionId, gitToken });
    for (const send of [
      (gitToken: string) => prepare({ gitToken }),
      (gitToken: string) => update(gitToken || "x"),
      // The queue would be full of what is accepted, so only what is refused is sent.
      (gitToken: string, row: Row) =>
        isAccepted(row)
          ? Promise.resolve()
          : client.mutation("sendMessageV2", {
              ...AGENT,
              cloudAgentSessionId,
              messageId: messageId(),
              gitToken,
            }),
    ]) {
      assert.deepEqual(await wrongRows("tokens", /gitToken/, isAccepted, send), []);
    }
  });
});

describe("the secret of the refused rows is nowhere", () => {
  test("in no argument list and no environment", async () => {
    const watch = await watcher.stop();
    assert.ok(watch.rounds > 10);
    assert.deepEqual(watch.finds, []);
  });

  test("in no reply, no log line and no file", () => {
    const { replies, logLines, folder } = environment.stack;
    assert.ok(replies.length > 400);
    const texts = [...replies, ...logLines];
    assert.deepEqual(
      texts.flatMap((text) => findInText("text", text, needles)),
      [],
    );
    assert.deepEqual(findInFiles(folder, needles), []);
  });
});
