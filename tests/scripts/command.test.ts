import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { runCommand } from "../../scripts/test/command.ts";

function script(code: string, limitMs = 20_000) {
  return runCommand({ program: process.execPath, args: ["-e", code], limitMs });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe("a command of the test run", () => {
  test("keeps what both streams print and tells the status", async () => {
    const good = await script("console.log('to out'); console.error('to err')");
    assert.equal(good.succeeded, true);
    assert.match(good.output, /to out/);
    assert.match(good.output, /to err/);
    assert.equal((await script("process.exit(3)")).succeeded, false);
    const missing = { program: "/nonexistent/program", args: [], limitMs: 1_000 };
    assert.equal((await runCommand(missing)).succeeded, false);
  });

  test("is killed with its children when it does not end in time", async () => {
    const { succeeded, output } = await script(
      `const child = require("node:child_process").spawn("sleep", ["300"]);
       console.log("child", child.pid);
       setInterval(() => {}, 1000);`,
      1_500,
    );
    assert.equal(succeeded, false);
    const pid = Number(output.match(/child (\d+)/)?.[1]);
    assert.ok(pid > 0);
    while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
  });

  test("leaves no child behind when it ends well", async () => {
    const { succeeded, output } = await script(
      `const child = require("node:child_process").spawn("sleep", ["300"], { stdio: "inherit" });
       child.unref();
       console.log("child", child.pid);`,
    );
    assert.equal(succeeded, true);
    const pid = Number(output.match(/child (\d+)/)?.[1]);
    while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
  });
});
