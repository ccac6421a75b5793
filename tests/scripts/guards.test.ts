import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { GUARDS } from "../../scripts/mutants/guards.ts";
import { projectRoot } from "../../scripts/setup/paths.mjs";

test("each guard's text stands once in its file", () => {
  const places = GUARDS.flatMap(({ name, edits }) =>
    edits.map(({ file, find }) => {
      const parts = readFileSync(join(projectRoot, file), "utf8").split(find);
      return `${name}: ${parts.length - 1}`;
    }),
  );
  assert.deepEqual(
    places.filter((place) => !place.endsWith(": 1")),
    [],
  );
});
