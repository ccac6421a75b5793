// An agent's tools ask git for the token, as docs/agent.md says, and get the current one.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Environment } from "../support/environment.ts";

const PAGE = new URL("../../docs/agent.md", import.meta.url);

/** The line of the page that reads the token, before that of a tool that uses it. */
const recipe = /```sh\n(token=.+)\n/.exec(readFileSync(PAGE, "utf8"))?.[1] ?? "";

const digest = (text: string): string => createHash("sha256").update(text).digest("hex");

for (const originCredentials of ["helper", "url"] as const) {
  describe(`with the credential of origin as ${originCredentials}`, () => {
    let environment: Environment;
    let folder: string;

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "agent-token-"));
      // A digest, since the token itself would be taken out of what an agent prints, and must be in no file.
      const script = `read -r intent; ${recipe}; printf %s "$token" | sha256sum > "$0/token"; env > "$0/env"`;
      environment = await Environment.start({
        originCredentials,
        runtime: { AGENT_COMMAND: JSON.stringify(["/bin/sh", "-c", script, folder]) },
      });
    });

    after(async () => {
      await environment?.close();
      await rm(folder, { recursive: true, force: true });
    });

    test("a tool of the agent gets the newest token, and none is in its environment", async () => {
      assert.match(recipe, /git credential fill/);
      const { session, token } = await environment.newSession();
      await session.completed((await session.initiate()).messageId);
      const seen = () => readFileSync(join(folder, "token"), "utf8").slice(0, 64);
      assert.equal(seen(), digest(token));
      const newer = environment.newToken();
      await session.completed((await session.send({ gitToken: newer.token })).messageId);
      assert.equal(seen(), digest(newer.token));
      const variables = readFileSync(join(folder, "env"), "utf8");
      assert.ok(!variables.includes(newer.token));
      assert.doesNotMatch(variables, /^(GH|GITHUB|GITLAB)_TOKEN=/m);
    });
  });
}
