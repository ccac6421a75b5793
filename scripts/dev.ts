// Runs the Worker and the workspace runtime for work by hand.
//
//     npm run dev -- [--port N] [--runtime-port N] [--state-dir FOLDER] [--init]
//
// Secrets and variables come from the environment, then from .dev.vars. Everything that is stored lies below the
// state folder. With RUNTIME_URL the runtime is somebody else's and only the Worker is started.

import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs, parseEnv } from "node:util";
import { buildRuntime, buildWorker } from "./build.mjs";
import {
  pick,
  REQUIRED_SECRETS,
  RUNTIME_NAMES,
  type Variables,
  WORKER_NAMES,
  workerBuildFolder,
} from "./support/configuration.ts";
import type { LogLines } from "./support/log-lines.ts";
import { RuntimeProcess } from "./support/runtime-process.ts";
import { freshSecrets } from "./support/secrets.ts";
import { waitFor } from "./support/wait.ts";
import { WorkerProcess } from "./support/worker-process.ts";

/** In the working folder, which npm makes the root of the checkout. */
const VARIABLES_FILE = ".dev.vars";
const DEFAULT_PORT = 8787;

/** A mistake of the person at the terminal: one line, and no stack. */
class UsageError extends Error {}

interface Options {
  port: number;
  runtimePort: number;
  stateFolder: string;
  init: boolean;
}

/** What runs, and how to stop it. */
class Running {
  #stops: (() => Promise<void>)[] = [];
  #ending = false;

  add(stop: () => Promise<void>): void {
    this.#stops.push(stop);
  }

  /** Stops everything, the last one first, and ends this process. */
  async end(line: string, status: number): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    console.error(`dev: ${line}`);
    for (const stop of this.#stops.reverse()) await stop();
    process.exit(status);
  }
}

const running = new Running();
try {
  await main();
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  await running.end(error instanceof UsageError ? message : `could not start: ${message}`, 1);
}

async function main(): Promise<void> {
  const options = readOptions();
  if (options.init) {
    writeSecrets();
    return;
  }
  const variables = readVariables();
  stopOnSignals();
  await build(variables);
  const runtimeUrl = variables.RUNTIME_URL ?? (await startRuntime(options, variables));
  const worker = await startWorker(options, variables, runtimeUrl);
  await waitFor("an answer of the Worker", async () => (await fetch(`${worker.url}/health`)).ok);
  console.log(`ready ${worker.url}`);
}

function readOptions(): Options {
  const { values } = readArguments();
  return {
    port: readPort("--port", values.port ?? String(DEFAULT_PORT)),
    runtimePort: readPort("--runtime-port", values["runtime-port"] ?? "0"),
    stateFolder: resolve(values["state-dir"] ?? ".dev-state"),
    init: values.init ?? false,
  };
}

function readArguments() {
  try {
    return parseArgs({
      options: {
        port: { type: "string" },
        "runtime-port": { type: "string" },
        "state-dir": { type: "string" },
        init: { type: "boolean" },
      },
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message.split(". ")[0] : String(error);
    throw new UsageError(
      `${reason}; known are --port N, --runtime-port N, --state-dir FOLDER and --init`,
    );
  }
}

function readPort(flag: string, text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65_535) {
    throw new UsageError(`${flag} must be a port number, 0 for a free one`);
  }
  return port;
}

/** Writes `.dev.vars` with secrets that nobody has seen, unless it is there. */
function writeSecrets(): void {
  if (existsSync(VARIABLES_FILE)) throw new UsageError(".dev.vars is there already; left as it is");
  const secrets = { ...freshSecrets(), CALLBACK_SIGNING_SECRET: randomBytes(32).toString("hex") };
  const lines = Object.entries(secrets).map(([name, value]) => `${name}="${value}"\n`);
  writeFileSync(VARIABLES_FILE, lines.join(""), { mode: 0o600, flag: "wx" });
  console.log("dev: wrote .dev.vars with fresh secrets; npm run dev uses them");
}

/** Every fixed name that is set. The environment wins over the file. */
function readVariables(): Variables {
  const file = existsSync(VARIABLES_FILE) ? parseEnv(readFileSync(VARIABLES_FILE, "utf8")) : {};
  const names = [...WORKER_NAMES, ...RUNTIME_NAMES, "RUNTIME_URL"];
  const variables = { ...pick(file, names), ...pick(process.env, names) };
  // The processes get what is meant for them and inherit nothing.
  for (const name of names) delete process.env[name];
  const missing = REQUIRED_SECRETS.filter((name) => variables[name] === undefined);
  if (missing.length > 0) {
    const verb = missing.length === 1 ? "is" : "are";
    throw new UsageError(
      `${missing.join(", ")} ${verb} missing: set ${missing.length === 1 ? "it" : "them"} in the environment or in .dev.vars` +
        " (npm run dev -- --init writes .dev.vars with fresh secrets)",
    );
  }
  return variables;
}

async function build(variables: Variables): Promise<void> {
  await buildWorker();
  if (variables.RUNTIME_URL === undefined) await buildRuntime();
}

async function startRuntime(options: Options, variables: Variables): Promise<string> {
  const runtime = await RuntimeProcess.start(
    {
      port: options.runtimePort,
      variables: {
        WORKSPACE_ROOT: join(options.stateFolder, "workspaces"),
        ...pick(variables, RUNTIME_NAMES),
      },
    },
    (started) => {
      running.add(() => started.stop());
      passOn(started.log);
    },
  );
  runtime.onExit((reason) => void running.end(`the runtime ended (${reason})`, 1));
  return runtime.url;
}

async function startWorker(
  options: Options,
  variables: Variables,
  runtimeUrl: string,
): Promise<WorkerProcess> {
  const worker = await WorkerProcess.start(
    {
      build: workerBuildFolder(),
      storage: join(options.stateFolder, "worker"),
      port: options.port,
      handlesSignals: true,
      variables: {
        ENVIRONMENT: "development",
        ...pick(variables, WORKER_NAMES),
        RUNTIME_URL: runtimeUrl,
      },
    },
    (started) => {
      running.add(() => started.stop());
      passOn(started.log);
    },
  );
  worker.onExit(() => void running.end("workerd ended", 1));
  return worker;
}

function passOn(log: LogLines): void {
  log.onLine((line, channel) => {
    process[channel].write(`${line}\n`);
  });
}

function stopOnSignals(): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => void running.end(`stopping on ${signal}`, 0));
  }
  stopWithNpm();
}

/** npm passes signals to a shell that does not pass them on; the end of that shell is seen here instead. */
function stopWithNpm(): void {
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) void running.end("stopping with npm", 0);
  }, 250).unref();
}
