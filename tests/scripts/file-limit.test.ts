import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCommand } from "../../scripts/test/command.ts";
import { nodeCounts } from "../../scripts/test/counts.ts";

const folder = mkdtempSync(join(tmpdir(), "file-limit-test-"));
const limiter = fileURLToPath(new URL("../../scripts/test/file-limit.ts", import.meta.url));
after(() => rmSync(folder, { recursive: true, force: true }));

async function runFile(name: string, code: string) {
  const file = join(folder, name);
  writeFileSync(file, code);
  const { succeeded, output } = await runCommand({
    // A runner that believes to be inside of another one reports differently.
    program: "env",
    args: [
      ...["-u", "NODE_TEST_CONTEXT", process.execPath, "--import", limiter],
      ...["--test", "--test-reporter=spec", file],
    ],
    env: { TEST_FILE_LIMIT_MS: "1500" },
    limitMs: 60_000,
  });
  return { succeeded, output, counts: nodeCounts(output) };
}

describe("the limit of a test file", () => {
  test("fails a file that hangs outside of its tests", async () => {
    const hanging = "setInterval(() => {}, 100); await new Promise(() => {});";
    const { succeeded, output, counts } = await runFile("hanging.test.mjs", hanging);
    assert.equal(succeeded, false);
    assert.match(output, /did not end within 1\.5 s; still open: .*Timeout/);
    assert.equal(counts.failed, 1);
  });

  test("leaves a file alone that ends in time", async () => {
    const code = "import { test } from 'node:test'; test('quick', () => {});";
    const { succeeded, counts } = await runFile("quick.test.mjs", code);
    assert.equal(succeeded, true);
    assert.deepEqual(counts, { passed: 1, failed: 0, skipped: 0 });
  });
});
