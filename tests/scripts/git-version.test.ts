import assert from "node:assert/strict";
import { test } from "node:test";
import { isSafe } from "../../scripts/setup/git.mjs";

test("only releases without the known clone holes count as safe", () => {
  const safe = ["2.43.7", "2.47.3", "2.47.4", "2.48.2", "2.50.1", "2.51.0", "3.0.0"];
  const unsafe = ["1.9.5", "2.39.5", "2.42.9", "2.43.6", "2.47.2", "2.48.1", "2.50.0"];
  const judge = (version: string) => isSafe(version.split(".").map(Number));
  assert.deepEqual(
    safe.filter((version) => !judge(version)),
    [],
  );
  assert.deepEqual(unsafe.filter(judge), []);
});
