// The engine that runs the containers of one test file, and what it says about them.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BASE_IMAGE, engineEnvironment } from "../../../scripts/setup/containers.mjs";
import { projectRoot } from "../../../scripts/setup/paths.mjs";
import { runtimeProgram } from "../../../scripts/support/configuration.ts";
import { waitFor } from "../../../scripts/support/wait.ts";

const COMMAND_MS = 60_000;

function run(args: readonly string[]): { stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync("podman", args, {
    env: engineEnvironment(),
    encoding: "utf8",
    timeout: COMMAND_MS,
  });
  if (status !== 0) throw new Error(`podman ${args[0]} ended with ${status}: ${stderr}`);
  return { stdout, stderr };
}

/** Runs podman and returns what it prints. */
export function podman(...args: string[]): string {
  return run(args).stdout;
}

/** Everything that the programs of a container have printed. */
export function logOf(container: string): string {
  const { stdout, stderr } = run(["logs", container]);
  return stdout + stderr;
}

/** Runs a program inside a container and returns what it prints. */
export function inside(container: string, ...command: string[]): string {
  return podman("exec", container, ...command);
}

/** What a container is doing: `running`, `exited`, or `gone` when there is none of this name. */
export function stateOf(container: string): string {
  const listed: { Names: string[]; State: string }[] = JSON.parse(
    podman("ps", "--all", "--format", "json"),
  );
  return listed.find(({ Names }) => Names.includes(container))?.State ?? "gone";
}

/** A process inside a container. */
export interface ContainerProcess {
  pid: number;
  uid: number;
  /** `Z` for one that has ended and was not collected. */
  state: string;
  argv: string[];
}

/** All processes inside a container, as this machine sees them. */
export function processesOf(container: string): ContainerProcess[] {
  const pids = podman("top", container, "hpid").split("\n").slice(1);
  return pids.flatMap((line) => {
    const pid = Number(line);
    try {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1);
      const uid = Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]);
      const state = /^State:\s+(\w)/m.exec(status)?.[1] ?? "";
      return pid > 0 ? [{ pid, uid, state, argv }] : [];
    } catch {
      return []; // It ended meanwhile.
    }
  });
}

/** The image of `runtime/Dockerfile`, which all test files share. */
const RUNTIME_IMAGE = "localhost/cloud-agent-session-runtime:test";

/** Makes it of the program that was built on this machine, so that neither a compiler nor a registry is needed. */
function buildRuntimeImage(): void {
  if (!existsSync(runtimeProgram())) throw new Error("the runtime is not built");
  podman(
    ...["build", "--target=prebuilt", "--file", join(projectRoot, "runtime", "Dockerfile")],
    ...["--build-arg", `BASE=${BASE_IMAGE}`, "--tag", RUNTIME_IMAGE, projectRoot],
  );
}

/** An engine with an image of its own. */
export class ContainerEngine {
  readonly #folder: string;
  readonly #service: ChildProcess;
  readonly #name: string;

  private constructor(folder: string, service: ChildProcess) {
    this.#folder = folder;
    this.#service = service;
    this.#name = `cloud-agent-session-test-${randomBytes(6).toString("hex")}`;
  }

  static async start(): Promise<ContainerEngine> {
    const folder = await mkdtemp(join(tmpdir(), "container-engine-"));
    const socket = join(folder, "engine.sock");
    const service = spawn("podman", ["system", "service", "--time=0", `unix://${socket}`], {
      env: engineEnvironment(),
      stdio: "ignore",
    });
    const engine = new ContainerEngine(folder, service);
    process.once("exit", () => service.kill("SIGKILL"));
    await waitFor("the engine's socket", () => existsSync(socket));
    return engine;
  }

  /** Its address. */
  get address(): string {
    return `unix://${join(this.#folder, "engine.sock")}`;
  }

  /** The image of its containers. */
  get image(): string {
    return `localhost/${this.#name}`;
  }

  /**
   * The address under which containers find this machine. The bridge that has it exists only as long as a container is
   * on it, so one is kept there.
   */
  openBridge(): string {
    podman("run", "--detach", "--rm", "--name", this.#name, BASE_IMAGE, "sleep", "infinity");
    return podman("inspect", "--format", "{{.NetworkSettings.Gateway}}", this.#name).trim();
  }

  /** Makes the image: a stage of the tests' Dockerfile on top of the runtime's image. */
  buildImage(allowedHosts: readonly string[], stage: string): void {
    buildRuntimeImage();
    podman(
      // Of an image that differs in an argument alone, the cache would give the older one.
      ...["build", "--no-cache", `--target=${stage}`, "--tag", this.image],
      ...["--build-arg", `IMAGE=${RUNTIME_IMAGE}`],
      ...["--build-arg", `DEV_ALLOWED_HOSTS=${allowedHosts.join(",")}`],
      join(projectRoot, "tests", "container"),
    );
  }

  /** The names of its containers, also of those that have ended. */
  containers(): string[] {
    const filter = `ancestor=${this.image}`;
    const names = podman("ps", "--all", "--filter", filter, "--format", "{{.Names}}");
    return names.split("\n").filter((name) => name !== "");
  }

  /** Removes everything of its own and ends it. */
  async close(): Promise<void> {
    for (const name of [...this.containers(), this.#name]) {
      podman("rm", "--force", "--ignore", "--time=0", name);
    }
    podman("rmi", "--force", this.image);
    this.#service.kill("SIGTERM");
    await rm(this.#folder, { recursive: true, force: true });
  }
}
