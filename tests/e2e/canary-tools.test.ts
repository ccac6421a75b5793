// The tools that look for tokens do find them.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { findInFiles, findInText, needlesOf } from "../support/canary.ts";
import { ProcessWatcher } from "../support/process-watcher.ts";

const TOKEN = `canary_${process.pid}/+@:%41='"$(x)`;
const needles = needlesOf("canary", TOKEN);

test("a token is found in every form", () => {
  const url = new URL("http://127.0.0.1/");
  url.password = TOKEN;
  for (const text of [
    `before ${TOKEN} after`,
    JSON.stringify({ token: TOKEN }),
    `http://x-access-token:${encodeURIComponent(TOKEN)}@host/`,
    url.href,
    `authorization: Basic ${Buffer.from(`x-access-token:${TOKEN}`).toString("base64")}`,
    Buffer.from(`{"a":"${TOKEN}"}`).toString("base64"),
    Buffer.from(`{"ab":"${TOKEN}"}`).toString("base64"),
    Buffer.from(`{"abc":"${TOKEN}"}`).toString("base64"),
    Buffer.from(TOKEN).toString("hex"),
  ]) {
    assert.notDeepEqual(findInText("text", text, needles), [], text);
  }
  assert.deepEqual(findInText("text", "an innocent text", needles), []);
});

test("a token is found in a file", async () => {
  const folder = await mkdtemp(join(tmpdir(), "canary-"));
  try {
    await writeFile(join(folder, "innocent"), "nothing");
    assert.deepEqual(findInFiles(folder, needles), []);
    await writeFile(join(folder, "leak"), `\0\0${TOKEN}\0`, { mode: 0o640 });
    assert.deepEqual(findInFiles(folder, needles)[0], {
      needle: "canary (raw)",
      place: "leak",
      mode: 0o640,
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a token is found in arguments and environment of a short-lived process", async () => {
  const watcher = await ProcessWatcher.start(needles);
  for (const [args, env] of [
    [["0.2", TOKEN], {}],
    [["0.2"], { LEAK: TOKEN }],
  ] as [string[], Record<string, string>][]) {
    const child = spawn(process.execPath, ["-e", "setTimeout(() => 0, 100)", ...args], { env });
    await once(child, "exit");
  }
  const watch = await watcher.stop();
  const places = watch.finds.map((find) => find.place.split(" ")[0]);
  assert.deepEqual([...new Set(places)].sort(), ["arguments", "environment"]);
  assert.ok(watch.rounds > 10);
  assert.ok(!JSON.stringify(watch.finds).includes(TOKEN));
});
