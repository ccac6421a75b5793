// `npm run dev`, as a person would run it.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, statSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { projectRoot } from "../../scripts/setup/paths.mjs";
import { clientOf } from "../../scripts/support/client.ts";
import { LogLines } from "../../scripts/support/log-lines.ts";
import { freshSecrets, type Secrets } from "../../scripts/support/secrets.ts";
import { Session } from "../../scripts/support/session.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { type GitServer, startGitServer } from "../support/git-server.ts";

let server: GitServer;
let folder: string;
const children: ChildProcess[] = [];

before(async () => {
  server = await startGitServer();
  folder = await mkdtemp(join(tmpdir(), "dev-test-"));
});

after(async () => {
  for (const { pid } of children) {
    try {
      // Whatever a failed test left running is in the child's process group.
      if (pid !== undefined) process.kill(-pid, "SIGKILL");
    } catch {
      // Nothing is left of it, as it should be.
    }
  }
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

/** The Worker and the runtime are built before the tests, so this covers only the check that they are. */
const READY_MS = 100_000;

interface Development {
  child: ChildProcess;
  log: LogLines;
  exited: Promise<number | null>;
}

function start(
  program: string,
  args: string[],
  variables: Record<string, string> = {},
  cwd = projectRoot,
): Development {
  const child = spawn(program, args, {
    cwd,
    detached: true,
    env: { ...process.env, ...variables },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const log = new LogLines();
  log.attach(child.stdout, "stdout");
  log.attach(child.stderr, "stderr");
  const exited = once(child, "exit").then(([code]) => code as number | null);
  return { child, log, exited };
}

async function ready({ log }: Development): Promise<string> {
  const find = () => /^ready (http:\/\/127\.0\.0\.1:\d+)$/m.exec(log.lines.join("\n"))?.[1];
  return await waitFor("the line `ready`", find, READY_MS).catch((error: Error) => {
    throw new Error(`${error.message}; there was:\n${log.tail()}`);
  });
}

async function refuses(url: string): Promise<void> {
  await waitFor("the end of the server", () =>
    fetch(`${url}/health`).then(
      () => false,
      () => true,
    ),
  );
}

const script = [join(projectRoot, "scripts", "dev.ts")];

test("serves stock clients, keeps its state in its folder and goes on with it", async () => {
  const secrets: Secrets = freshSecrets();
  const state = join(folder, "state");
  const flags = ["--port", "0", "--runtime-port", "0", "--state-dir", state];
  const variables = { ...secrets, DEV_ALLOWED_HOSTS: server.host, DRAIN_DELAY_MS: "20" };
  const repository = await server.createRepository("development");
  const token = server.tokens.issue("development token");

  const first = start("npm", ["run", "dev", "--", ...flags], variables);
  const url = await ready(first);
  const session = await Session.prepare(clientOf("developer", url, secrets), {
    gitUrl: repository.url,
    gitToken: token,
  });
  const { messageId } = await session.initiate();
  await session.completed(messageId);
  assert.ok(existsSync(join(state, "worker")));
  const notes = join(state, "workspaces", session.id, "repo", "NOTES.md");
  assert.match(readFileSync(notes, "utf8"), /Write down what you see/);
  assert.ok(
    first.log.lines.some((line) => line.startsWith("{") && line.includes(messageId)),
    "the structured log is passed on",
  );
  assert.ok(!first.log.lines.join("\n").includes(token));

  // Only npm is told to stop, as by a process manager.
  first.child.kill("SIGTERM");
  await first.exited;
  await refuses(url);

  const second = start(process.execPath, [...script, ...flags], variables);
  const again = await ready(second);
  const same = new Session(clientOf("developer", again, secrets), session.id);
  assert.equal((await same.result(messageId)).status, "completed");
  second.child.kill("SIGINT");
  assert.equal(await second.exited, 0);
  await refuses(again);
});

test("uses a runtime that is there already", async () => {
  const secrets = freshSecrets();
  const flags = ["--port", "0", "--state-dir", join(folder, "bound")];
  const development = start(process.execPath, [...script, ...flags], {
    ...secrets,
    RUNTIME_URL: "http://127.0.0.1:9",
  });
  await ready(development);
  assert.ok(!existsSync(join(folder, "bound", "workspaces")), "no runtime of its own");
  development.child.kill("SIGTERM");
  assert.equal(await development.exited, 0);
});

test("names a missing secret in one line and ends", async () => {
  for (const name of Object.keys(freshSecrets())) {
    const secrets = { ...freshSecrets(), [name]: "" };
    const { log, exited } = start(process.execPath, script, secrets, folder);
    assert.equal(await exited, 1);
    assert.equal(log.lines.length, 1, log.tail());
    assert.match(log.lines[0] ?? "", new RegExp(`${name} is missing.*--init`));
  }
});

test("--init writes secrets that only their owner reads, once", async () => {
  const cwd = join(folder, "fresh");
  await mkdir(cwd);
  const file = join(cwd, ".dev.vars");
  const first = start(process.execPath, [...script, "--init"], {}, cwd);
  assert.equal(await first.exited, 0);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const written = readFileSync(file, "utf8");
  for (const name of Object.keys(freshSecrets()))
    assert.match(written, new RegExp(`^${name}=`, "m"));
  const second = start(process.execPath, [...script, "--init"], {}, cwd);
  assert.equal(await second.exited, 1);
  assert.equal(readFileSync(file, "utf8"), written);

  const development = start(process.execPath, [...script, "--port", "0"], {}, cwd);
  await ready(development);
  assert.ok(existsSync(join(cwd, ".dev-state")));
  development.child.kill("SIGTERM");
  assert.equal(await development.exited, 0);
});

test("names a malformed flag and ends", async () => {
  for (const [flag, named] of [
    ["--port=many", "--port"],
    ["--runtime-port=70000", "--runtime-port"],
    ["--unknown", "--unknown"],
  ] as const) {
    const { log, exited } = start(process.execPath, [...script, flag], { ...freshSecrets() });
    assert.equal(await exited, 1);
    assert.match(log.tail(), new RegExp(named));
  }
});
