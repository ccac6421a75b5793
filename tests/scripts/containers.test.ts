import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { test } from "node:test";
import { runCommand } from "../../scripts/test/command.ts";

/** An engine that has every image and may run no container. */
const PODMAN = `#!/bin/sh
case $1 in
image) exit 0 ;;
*) echo "not permitted" >&2; exit 125 ;;
esac
`;

test("on a machine without containers their tests fail with one sentence", async () => {
  const folder = mkdtempSync(join(tmpdir(), "no-containers-"));
  try {
    for (const [name, script] of [
      ["podman", PODMAN],
      ["runc", "#!/bin/sh\n"],
      ["debootstrap", "#!/bin/sh\n"],
    ] as const) {
      writeFileSync(join(folder, name), script, { mode: 0o755 });
    }
    const { succeeded, output } = await runCommand({
      program: process.execPath,
      args: ["scripts/test.ts", "container"],
      env: {
        PATH: [folder, process.env.PATH].join(delimiter),
        XDG_CACHE_HOME: join(folder, "cache"),
      },
      limitMs: 60_000,
    });
    assert.equal(succeeded, false);
    assert.match(
      output,
      /^setup: (This machine does not let podman run a container\.|Containers are tested on Linux) /m,
    );
    assert.match(output, /^FAILED: Tests in real containers/m);
    assert.doesNotMatch(output, /^ok: /m);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
