// The names that configure the Worker and the runtime, and where their values come from.

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { projectRoot } from "../setup/paths.mjs";

/** Secrets without which nothing runs. */
export const REQUIRED_SECRETS = [
  "AUTH_JWT_SECRET",
  "INTERNAL_API_SECRET",
  "CREDENTIAL_SEALING_KEYS",
  "RUNTIME_TOKEN",
] as const;

/** Every variable and secret of the Worker, `RUNTIME_URL` aside. */
export const WORKER_NAMES = [
  ...REQUIRED_SECRETS,
  "CALLBACK_SIGNING_SECRET",
  "AGENT_ENV_VARS_PRIVATE_KEY",
  "ENVIRONMENT",
  "WORKSPACE_MODE",
  "WORKSPACE_ROOT",
  "AGENT_COMMAND",
  "WS_ALLOWED_ORIGINS",
  "DEV_ALLOWED_HOSTS",
  "DRAIN_DELAY_MS",
  "MARKER_TTL_MS",
  "CREDENTIAL_WAIT_MS",
  "NO_OUTPUT_MS",
  "SLEEP_AFTER_MS",
] as const;

/** Every variable of the runtime's process, `PORT` aside. */
export const RUNTIME_NAMES = [
  "RUNTIME_TOKEN",
  "WORKSPACE_ROOT",
  "AGENT_COMMAND",
  "AGENT_UID",
  "ORIGIN_CREDENTIALS",
  "DEV_ALLOWED_HOSTS",
  "GIT_CA_FILE",
] as const;

/** Values by name. */
export type Variables = Record<string, string>;

/** The named values of `source`; those that are absent or empty are left out. */
export function pick(
  source: Record<string, string | undefined>,
  names: readonly string[],
): Variables {
  const picked: Variables = {};
  for (const name of names) {
    const value = source[name];
    if (value !== undefined && value !== "") picked[name] = value;
  }
  return picked;
}

/** What `wrangler.toml` says about the Worker. */
export interface WorkerConfiguration {
  compatibilityDate: string;
  /** The `[vars]` table. */
  vars: Variables;
}

/** Reads `wrangler.toml`, so that local Workers run as deployed ones do. */
export function readWorkerConfiguration(): WorkerConfiguration {
  const text = readFileSync(join(projectRoot, "wrangler.toml"), "utf8");
  const compatibilityDate = /^compatibility_date *= *"([^"]+)"/m.exec(text)?.[1];
  if (compatibilityDate === undefined) throw new Error("wrangler.toml has no compatibility_date");
  const table = /^\[vars\]\n((?:(?!\[).*\n?)*)/m.exec(text)?.[1] ?? "";
  const vars: Variables = {};
  for (const [, name = "", value = ""] of table.matchAll(/^([A-Z_]+) *= *"([^"]*)"/gm)) {
    vars[name] = value;
  }
  return { compatibilityDate, vars };
}

/** The folder of the built Worker: the one that is deployed, or the test build with fault injection. */
export function workerBuildFolder(kind: "deployed" | "faults" = "deployed"): string {
  return join(projectRoot, kind === "deployed" ? "build" : "build-test");
}

/** The built runtime program. */
export function runtimeProgram(): string {
  const target = resolve(projectRoot, process.env.CARGO_TARGET_DIR ?? "target");
  return join(target, "release", "workspace-runtime");
}
