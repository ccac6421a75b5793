// From the start of a workerd process to its first reply.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import workerd from "workerd";
import { readWorkerConfiguration, workerBuildFolder } from "../../scripts/support/configuration.ts";
import { bearer, freshSecrets } from "../../scripts/support/secrets.ts";
import { bundle } from "../bundle.ts";
import { prepareSession, sendMessage } from "../calls.ts";
import type { Call } from "../workers/driver.ts";
import { record, rotated, type Samples } from "./admission.ts";

const USER = "bench";

/** Milliseconds from the start of a process to the reply to a message with rotation, by contender. */
export async function measureStart(parent: string, rounds: number): Promise<Samples> {
  const samples: Samples = new Map();
  const folder = await mkdtemp(join(parent, "cloud-agent-bench-start-"));
  try {
    const setups = [await ours(folder), await floor(folder)];
    const sessions = new Map<Setup, string[]>();
    for (const setup of setups) sessions.set(setup, await sessionsOf(setup, rounds + 1));
    for (let round = 0; round <= rounds; round += 1) {
      for (const setup of rotated(setups, round)) {
        const call = sendMessage(sessions.get(setup)?.[round] ?? "", { rotates: true });
        const start = performance.now();
        const process = await startProcess(setup.config);
        try {
          await send(setup, process.port, call);
          if (round > 0) record(samples, setup.name, performance.now() - start);
        } finally {
          await process.stop();
        }
      }
    }
    return samples;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A contender that can be started by itself. */
interface Setup {
  name: string;
  config: string;
  headers: Record<string, string>;
}

async function ours(parent: string): Promise<Setup> {
  return setUp(parent, "ours", "CloudAgentSession", (folder) => {
    for (const name of ["index.js", "index_bg.wasm"]) {
      copyFileSync(join(workerBuildFolder(), name), join(folder, name));
    }
    return [
      '(name = "index.js", esModule = embed "index.js")',
      '(name = "index_bg.wasm", wasm = embed "index_bg.wasm")',
    ];
  });
}

async function floor(parent: string): Promise<Setup> {
  const script = await bundle("floor.ts");
  return setUp(parent, "floor", "Session", (folder) => {
    writeFileSync(join(folder, "index.js"), script);
    return ['(name = "index.js", esModule = embed "index.js")'];
  });
}

function setUp(
  parent: string,
  name: string,
  className: string,
  writeModules: (folder: string) => string[],
): Setup {
  const folder = join(parent, name);
  const storage = join(folder, "storage");
  mkdirSync(storage, { recursive: true });
  const modules = writeModules(folder);
  const { compatibilityDate, vars } = readWorkerConfiguration();
  const secrets = freshSecrets();
  const variables = {
    ...vars,
    ENVIRONMENT: "development",
    RUNTIME_URL: "http://127.0.0.1:9",
    DRAIN_DELAY_MS: String(60 * 60 * 1000),
    ...secrets,
  };
  const bindings = Object.entries(variables).map(
    ([variable, value]) => `(name = "${variable}", text = ${JSON.stringify(value)})`,
  );
  bindings.push(`(name = "SESSIONS", durableObjectNamespace = "${className}")`);
  const config = join(folder, "config.capnp");
  const text = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "storage", disk = (path = ${JSON.stringify(storage)}, writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "worker")],
);
const worker :Workerd.Worker = (
  modules = [${modules.join(", ")}],
  compatibilityDate = "${compatibilityDate}",
  bindings = [${bindings.join(", ")}],
  durableObjectNamespaces = [(className = "${className}", uniqueKey = "bench", enableSql = true)],
  durableObjectStorage = (localDisk = "storage"),
);
`;
  // It holds the secrets of this run, which end with it.
  writeFileSync(config, text, { mode: 0o600 });
  const headers = {
    authorization: `Bearer ${bearer(secrets.AUTH_JWT_SECRET, USER)}`,
    "x-internal-api-key": secrets.INTERNAL_API_SECRET,
    "content-type": "application/json",
  };
  return { name, config, headers };
}

async function sessionsOf(setup: Setup, count: number): Promise<string[]> {
  const process = await startProcess(setup.config);
  try {
    const ids: string[] = [];
    for (let session = 0; session < count; session += 1) {
      const reply = (await send(setup, process.port, prepareSession())) as {
        result: { data: { cloudAgentSessionId: string } };
      };
      ids.push(reply.result.data.cloudAgentSessionId);
    }
    return ids;
  } finally {
    await process.stop();
  }
}

async function send({ name, headers }: Setup, port: number, call: Call): Promise<unknown> {
  const url = `http://127.0.0.1:${port}/trpc/${call.procedure}`;
  const reply = await fetch(url, {
    method: "POST",
    headers: { ...headers, connection: "close" },
    body: call.body,
  });
  const text = await reply.text();
  if (reply.status !== call.status) throw new Error(`${name} gave ${reply.status}: ${text}`);
  return JSON.parse(text);
}

interface WorkerdProcess {
  port: number;
  stop(): Promise<void>;
}

/** Starts workerd and resolves when it listens, which it says on descriptor 3. */
async function startProcess(config: string): Promise<WorkerdProcess> {
  const child: ChildProcess = spawn(workerd.default, ["serve", "--control-fd=3", config], {
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const exited = once(child, "exit");
  const stop = async () => {
    kill();
    await exited;
    process.off("exit", kill);
  };
  for await (const line of createInterface({ input: child.stdio[3] as Readable })) {
    const message = JSON.parse(line) as { event: string; socket?: string; port?: number };
    if (message.event === "listen" && message.port !== undefined)
      return { port: message.port, stop };
  }
  await stop();
  throw new Error("workerd did not start");
}
