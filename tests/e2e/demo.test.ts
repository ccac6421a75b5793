// The demo ends well, and can be left running.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { projectRoot } from "../../scripts/setup/paths.mjs";
import { LogLines } from "../../scripts/support/log-lines.ts";
import { waitFor } from "../../scripts/support/wait.ts";

const DEMO_MS = 100_000;

test("every check holds, and --keep leaves the Worker running until Ctrl-C", async () => {
  const script = join(projectRoot, "scripts", "demo.ts");
  const child = spawn(process.execPath, [script, "--keep"], {
    cwd: projectRoot,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log = new LogLines();
  log.attach(child.stdout, "stdout");
  log.attach(child.stderr, "stderr");
  const exited = once(child, "exit");
  let ended = false;
  exited.then(() => {
    ended = true;
  });
  const find = (pattern: RegExp) => pattern.exec(log.lines.join("\n"))?.[1];
  try {
    const url = await waitFor(
      "the Worker's address",
      () => ended || find(/^ {2}Worker +(http\S+)$/m),
      DEMO_MS,
    );
    assert.ok(typeof url === "string", log.tail(60));
    assert.ok((await fetch(`${url}/health`)).ok);
    const state = find(/^ {2}state +(\S+)$/m) ?? "";
    assert.ok(existsSync(state));
    child.kill("SIGINT");
    assert.deepEqual(await exited, [0, null]);
    assert.match(log.lines.join("\n"), /All \d+ checks held, in both modes/);
    assert.ok(!existsSync(state), "its files are removed");
  } finally {
    child.kill("SIGKILL");
  }
});
