import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { cargoCounts, nodeCounts } from "../../scripts/test/counts.ts";

describe("counts of executed tests", () => {
  test("cargo: the lines of all test programs are added up", () => {
    const output = [
      "running 3 tests",
      "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
      "test result: \u001b[31mFAILED\u001b[0m. 4 passed; 2 failed; 1 ignored; 0 measured; 5 filtered out",
      "a test that prints: test result: ok. 9 passed; 0 failed; 0 ignored;",
    ].join("\n");
    assert.deepEqual(cargoCounts(output), { passed: 7, failed: 2, skipped: 1 });
  });

  test("node: the closing lines count, and a cancelled test is a failed one", () => {
    const names = ["tests 9", "suites 1", "pass 4", "fail 2", "cancelled 1", "skipped 1", "todo 1"];
    const output = `✔ one (1ms)\n${names.map((name) => `ℹ ${name}`).join("\n")}\n`;
    assert.deepEqual(nodeCounts(output), { passed: 4, failed: 3, skipped: 2 });
  });

  test("no closing line counts as no test", () => {
    const nothing = { passed: 0, failed: 0, skipped: 0 };
    assert.deepEqual(cargoCounts("error: could not compile"), nothing);
    assert.deepEqual(nodeCounts("SyntaxError: nothing ran"), nothing);
  });
});
