// The git server of the tests itself, driven by real git.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { git } from "../support/git-command.ts";
import { always, whileFetching } from "../support/git-misbehaviour.ts";
import { type GitServer, startGitServer } from "../support/git-server.ts";

let server: GitServer;
let folder: string;

before(async () => {
  server = await startGitServer();
  folder = await mkdtemp(join(tmpdir(), "git-server-test-"));
});

after(async () => {
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

function withToken(url: string, token: string): string {
  return url.replace("http://", `http://any-user:${encodeURIComponent(token)}@`);
}

async function failure(running: Promise<unknown>): Promise<string> {
  return await running.then(
    () => assert.fail("git should have failed"),
    (error: { stderr: string }) => error.stderr,
  );
}

describe("git server", () => {
  test("a clone and a push with a token are served and logged under its label", async () => {
    const repository = await server.createRepository("ordinary", {
      files: { "README.md": "hello\n" },
    });
    const token = server.tokens.issue("ordinary token");
    const work = join(folder, "ordinary");
    const mark = server.log.length;
    await git(folder, ["clone", "--quiet", withToken(repository.url, token), work]);
    assert.equal(await readFile(join(work, "README.md"), "utf8"), "hello\n");

    await writeFile(join(work, "new.txt"), "new\n");
    await git(work, ["add", "--all"]);
    await git(work, ["commit", "--quiet", "-m", "Add a file"]);
    await git(work, ["push", "--quiet", "origin", "HEAD:refs/heads/feature"]);

    assert.deepEqual(await repository.branches(), ["feature", "main"]);
    assert.equal(await repository.readFile("feature", "new.txt"), "new\n");
    assert.deepEqual(await repository.files("feature"), ["README.md", "new.txt"]);
    assert.equal((await repository.commits("feature"))[0]?.subject, "Add a file");
    const seen = server.authenticatedSince(mark).map((r) => [r.label, r.service, r.status]);
    assert.ok(seen.length >= 4);
    assert.ok(seen.every(([label, , status]) => label === "ordinary token" && status === 200));
    assert.ok(seen.some(([, service]) => service === "git-receive-pack"));
    assert.ok(!JSON.stringify(server.log).includes(token));
  });

  test("a large push (chunked) and a gzip-encoded request arrive whole", async () => {
    const repository = await server.createRepository("large");
    const token = server.tokens.issue("large token");
    const work = join(folder, "large");
    await git(folder, ["clone", "--quiet", withToken(repository.url, token), work]);
    const content = randomBytes(3 * 1024 * 1024);
    await writeFile(join(work, "large.bin"), content);
    await git(work, ["add", "--all"]);
    await git(work, ["commit", "--quiet", "-m", "Add a large file"]);
    // A body above http.postBuffer is sent chunked.
    await git(work, ["-c", "http.postBuffer=65536", "push", "--quiet", "origin", "main"]);
    // Many haves make git compress its request, with a version 0 or 2 protocol alike.
    for (let index = 0; index < 80; index += 1) {
      await git(work, ["commit", "--quiet", "--allow-empty", "-m", `local ${index}`]);
    }
    await repository.commit("main", { "other.txt": "other\n" }, "Somebody else");
    for (const version of ["0", "2"]) {
      await git(work, ["-c", `protocol.version=${version}`, "fetch", "--quiet", "origin"]);
    }
    const fetched = await git(work, ["show", "origin/main:other.txt"]);
    assert.equal(fetched, "other\n");
    const size = await git(work, ["cat-file", "-s", "origin/main:large.bin"]);
    assert.equal(Number(size), content.length);
  });

  test("a missing, unknown, expired or revoked token is refused with 401", async () => {
    const repository = await server.createRepository("guarded");
    const target = (token?: string) =>
      token === undefined ? repository.url : withToken(repository.url, token);
    const expired = server.tokens.issue("expired token", { expiresAt: Date.now() - 1 });
    const revoked = server.tokens.issue("revoked token");
    await git(folder, ["ls-remote", target(revoked)]);
    server.tokens.revoke("revoked token");
    for (const [label, token] of [
      ["none", undefined],
      ["unknown", "never-issued"],
      ["expired token", expired],
      ["revoked token", revoked],
    ] as const) {
      await failure(git(folder, ["ls-remote", target(token)]));
      const last = server.log.at(-1);
      assert.deepEqual([last?.label, last?.status], [label, 401]);
    }
  });

  test("a token dies at its moment", async () => {
    const repository = await server.createRepository("short");
    const token = server.tokens.issue("short token", { expiresAt: Date.now() + 60_000 });
    await git(folder, ["ls-remote", withToken(repository.url, token)]);
    server.tokens.expire("short token", Date.now());
    await failure(git(folder, ["ls-remote", withToken(repository.url, token)]));
  });

  test("tokens with every printable character work percent-encoded", async () => {
    const repository = await server.createRepository("characters");
    const value = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).join(
      "",
    );
    server.tokens.issue("all characters", { value });
    await git(folder, ["ls-remote", withToken(repository.url, value)]);
    assert.deepEqual(
      [server.log.at(-1)?.label, server.log.at(-1)?.status],
      ["all characters", 200],
    );
  });

  test("anonymous reading serves clones and refuses pushes", async () => {
    const repository = await server.createRepository("public", { anonymousRead: true });
    const work = join(folder, "public");
    await git(folder, ["clone", "--quiet", repository.url, work]);
    await git(work, ["commit", "--quiet", "--allow-empty", "-m", "Nothing"]);
    await failure(git(work, ["push", "--quiet", "origin", "main"]));
    assert.equal((await repository.commits("main")).length, 1);
  });

  test("unknown repositories and paths outside repositories are 404", async () => {
    const token = server.tokens.issue("lost token");
    const authorization = `Basic ${Buffer.from(`x:${token}`).toString("base64")}`;
    for (const path of [
      "/absent.git/info/refs?service=git-upload-pack",
      "/ordinary.git/HEAD",
      "/ordinary.git/info/refs",
      "/..%2f..%2fetc/passwd",
    ]) {
      const reply = await fetch(`${server.url}${path}`, { headers: { authorization } });
      assert.equal(reply.status, 404, path);
      await reply.body?.cancel();
    }
  });

  test("misbehaviours do what they say", async () => {
    const repository = await server.createRepository("hostile", {
      files: { "random.bin": randomBytes(512 * 1024) },
    });
    const token = server.tokens.issue("hostile token");
    const url = withToken(repository.url, token);

    repository.misbehaviour = always({ kind: "redirect", location: "http://127.0.0.1:1/" });
    await failure(git(folder, ["-c", "http.followRedirects=false", "ls-remote", url]));
    assert.equal(server.log.at(-1)?.status, 302);

    repository.misbehaviour = (request) =>
      request.label === "none" ? undefined : { kind: "echo" };
    assert.match(await failure(git(folder, ["ls-remote", url])), new RegExp(token));

    repository.misbehaviour = whileFetching({ kind: "drop", afterBytes: 100_000 });
    const dropped = await failure(git(folder, ["clone", url, join(folder, "dropped")]));
    assert.match(dropped, /early EOF|remote end hung up|curl 18|disconnect|RPC failed/);

    for (const fault of [
      { kind: "stall" },
      { kind: "trickle" },
      { kind: "pause", afterBytes: 1000 },
    ] as const) {
      repository.misbehaviour = whileFetching(fault);
      const slow = ["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=1"];
      await failure(git(folder, [...slow, "clone", url, join(folder, fault.kind)]));
    }

    repository.misbehaviour = always({ kind: "delay", ms: 300 });
    const started = performance.now();
    await git(folder, ["ls-remote", url]);
    assert.ok(performance.now() - started >= 300);

    repository.misbehaviour = always({ kind: "status", status: 503 });
    await failure(git(folder, ["ls-remote", url]));
    assert.equal(server.log.at(-1)?.status, 503);

    repository.misbehaviour = undefined;
    await git(folder, ["clone", "--quiet", url, join(folder, "recovered")]);
  });
});
