// A sandbox as direct mode knows it: it runs every command that it is sent with a real shell, so that a quoting mistake
// really executes.

import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { end, listen, portOf } from "./loopback.ts";

/** What a command came to. */
interface Executed {
  success: boolean;
  exitCode: number;
  stdout: string;
  stderr: string;
}

interface Execute {
  command: string;
  cwd?: string;
  env?: Record<string, string>;
  timeoutMs?: number;
}

/** A running sandbox. */
export class SandboxPeer {
  /** Holds everything that it stores, and nothing else is in it. Its name is one that needs quoting. */
  readonly root: string;
  /** What its commands printed as errors. */
  readonly errors: string[] = [];
  /** What it answered. */
  readonly answers: string[] = [];
  /** Commands after which the shell was not what it had been. */
  brokenShells = 0;
  /** While it is set, commands are taken and not answered. */
  isSilent = false;
  readonly #folder: string;
  readonly #server: Server;

  private constructor(folder: string, server: Server) {
    this.#folder = folder;
    this.root = join(folder, "it's a $(touch root) workspace");
    this.#server = server;
  }

  static async start(): Promise<SandboxPeer> {
    const folder = await mkdtemp(join(tmpdir(), "sandbox-"));
    const server = createServer((request, response) => void peer.#serve(request, response));
    const peer = new SandboxPeer(folder, server);
    mkdirSync(peer.root);
    await listen(server);
    return peer;
  }

  /** Base URL, without a slash at the end. */
  get url(): string {
    return `http://127.0.0.1:${portOf(this.#server)}`;
  }

  /** The folder of a session's git workspace. */
  workspace(sessionId: string): string {
    return join(this.root, sessionId, "repo");
  }

  /** Names of what lies beside the workspaces' folder: nothing, unless a text was executed. */
  strangers(): string[] {
    return readdirSync(this.#folder).filter((name) => !this.root.endsWith(name));
  }

  /** What runs in it, in the order of process numbers. */
  processes(): { pid: number; command: string }[] {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .flatMap((name) => {
        try {
          const command = readFileSync(`/proc/${name}/cmdline`, "utf8");
          const environment = readFileSync(`/proc/${name}/environ`, "utf8");
          const isIn = [command, environment, readlinkSync(`/proc/${name}/cwd`)].some((text) =>
            text.includes(this.#folder),
          );
          return isIn ? [{ pid: Number(name), command: command.replaceAll("\0", " ") }] : [];
        } catch {
          // It ended meanwhile, or belongs to another user.
          return [];
        }
      });
  }

  /** Ends everything that runs in it, as the end of a container does, and leaves the disk as it is. */
  kill(): void {
    for (const { pid } of this.processes()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It ended meanwhile.
      }
    }
  }

  async close(): Promise<void> {
    this.kill();
    await end(this.#server);
    this.kill();
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    if (this.isSilent) return;
    if (request.method !== "POST" || request.url !== "/api/execute") {
      response.writeHead(404).end();
      return;
    }
    const executed = await this.#execute(JSON.parse(body) as Execute);
    this.answers.push(executed.stdout);
    if (executed.stderr !== "") this.errors.push(executed.stderr);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(executed));
  }

  async #execute({ command, cwd, env, timeoutMs }: Execute): Promise<Executed> {
    // As a stock sandbox does: the next command finds the same shell, if the one before has not ended or changed it.
    const session = `umask 022\n${command}\n[ "$(umask)" = 0022 ] && printf alive >&3`;
    const child = spawn("/bin/sh", ["-c", session], {
      cwd: cwd ?? this.#folder,
      env: { PATH: process.env.PATH ?? "/usr/bin:/bin", HOME: this.#folder, ...env },
      stdio: ["ignore", "pipe", "pipe", "pipe"],
      timeout: timeoutMs,
    });
    let isAlive = false;
    child.stdio[3]?.on("data", () => {
      isAlive = true;
    });
    let [stdout, stderr] = ["", ""];
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const exitCode = await new Promise<number>((resolve) => {
      child.once("error", () => resolve(127));
      child.once("close", (code) => resolve(code ?? 137));
    });
    if (!isAlive) this.brokenShells += 1;
    return { success: exitCode === 0, exitCode, stdout, stderr };
  }
}
