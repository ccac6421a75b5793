import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { withLock } from "../../scripts/setup/lock.mjs";

const folder = mkdtempSync(join(tmpdir(), "lock-test-"));
const module = fileURLToPath(new URL("../../scripts/setup/lock.mjs", import.meta.url));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A process that takes the lock, appends "in" and "out" to `record`, and holds it meanwhile. */
function holder(lock: string, record: string, holdMs: number) {
  const code = `
    import { appendFileSync } from "node:fs";
    import { withLock } from ${JSON.stringify(module)};
    await withLock(${JSON.stringify(lock)}, () => {}, async () => {
      appendFileSync(${JSON.stringify(record)}, "in\\n");
      await new Promise((resolve) => setTimeout(resolve, ${holdMs}));
      appendFileSync(${JSON.stringify(record)}, "out\\n");
    });`;
  return spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: "inherit" });
}

describe("the lock between processes", () => {
  test("lets one process in at a time", async () => {
    const lock = join(folder, "turns.lock");
    const record = join(folder, "turns.txt");
    const children = [1, 2, 3, 4].map(() => holder(lock, record, 50));
    const ends = await Promise.all(children.map((child) => once(child, "exit")));
    assert.deepEqual(
      ends.map(([status]) => status),
      [0, 0, 0, 0],
    );
    assert.equal(readFileSync(record, "utf8"), "in\nout\n".repeat(4));
    assert.equal(existsSync(lock), false);
  });

  test("is taken over from a holder that was killed", async () => {
    const lock = join(folder, "killed.lock");
    const record = join(folder, "killed.txt");
    const child = holder(lock, record, 600_000);
    while (!existsSync(record)) await new Promise((resolve) => setTimeout(resolve, 10));
    child.kill("SIGKILL");
    await once(child, "exit");
    assert.equal(existsSync(lock), true);
    assert.equal(
      await withLock(
        lock,
        () => {},
        async () => "mine",
      ),
      "mine",
    );
    assert.equal(existsSync(lock), false);
  });

  test("says once that it waits, and is released when the work fails", async () => {
    const lock = join(folder, "waits.lock");
    writeFileSync(lock, String(process.pid));
    let notices = 0;
    const notice = () => {
      notices += 1;
      setTimeout(() => rmSync(lock), 600);
    };
    const failing = withLock(lock, notice, async () => {
      throw new Error("the work failed");
    });
    await assert.rejects(failing, /the work failed/);
    assert.equal(notices, 1);
    assert.equal(existsSync(lock), false);
  });
});
