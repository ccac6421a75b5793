// A git server, an engine and a Worker whose sessions have containers.

import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { workerdFolder } from "../../../scripts/setup/containers.mjs";
import { clientOf } from "../../../scripts/support/client.ts";
import { type Variables, workerBuildFolder } from "../../../scripts/support/configuration.ts";
import { freshSecrets, type Secrets } from "../../../scripts/support/secrets.ts";
import { type FollowUp, Session } from "../../../scripts/support/session.ts";
import { waitFor } from "../../../scripts/support/wait.ts";
import { type Containers, WorkerProcess } from "../../../scripts/support/worker-process.ts";
import { labelsOf } from "../../support/environment.ts";
import type { GitRepository } from "../../support/git-repository.ts";
import { type GitServer, startGitServer } from "../../support/git-server.ts";
import { ContainerEngine } from "./engine.ts";

/** The newest date that the workerd of the tests knows. */
const COMPATIBILITY_DATE = "2025-12-10";

/** Milliseconds within which a turn ends that may begin with the start of a container. */
export const TURN_MS = 60_000;

/** A session with a repository of its own. */
export interface SandboxSession {
  session: Session;
  repository: GitRepository;
  label: string;
  token: string;
}

/** How to start one. */
export interface SandboxesOptions {
  /** More variables of the Worker. */
  variables?: Variables;
  /** Which stage of the tests' Dockerfile containers are made of. */
  image?: "prompt" | "slow";
  /** Names of bindings that are R2 buckets. */
  buckets?: readonly string[];
}

/** Everything that a test file talks to. */
export class Sandboxes {
  readonly server: GitServer;
  readonly engine: ContainerEngine;
  readonly worker: WorkerProcess;
  readonly secrets: Secrets;
  readonly #folder: string;
  #names = 0;

  private constructor(parts: {
    server: GitServer;
    engine: ContainerEngine;
    worker: WorkerProcess;
    secrets: Secrets;
    folder: string;
  }) {
    this.server = parts.server;
    this.engine = parts.engine;
    this.worker = parts.worker;
    this.secrets = parts.secrets;
    this.#folder = parts.folder;
  }

  static async start(options: SandboxesOptions = {}): Promise<Sandboxes> {
    const engine = await ContainerEngine.start();
    const secrets = freshSecrets();
    const server = await startGitServer(engine.openBridge());
    engine.buildImage([server.host], options.image ?? "prompt");
    const folder = await mkdtemp(join(tmpdir(), "sandboxes-"));
    const require = createRequire(join(workerdFolder(), "package.json"));
    const containers: Containers = {
      miniflare: require("miniflare"),
      compatibilityDate: COMPATIBILITY_DATE,
      engine: engine.address,
      image: engine.image,
    };
    const worker = await WorkerProcess.start({
      build: workerBuildFolder(),
      storage: join(folder, "worker"),
      containers,
      buckets: options.buckets ?? [],
      variables: {
        ...secrets,
        ENVIRONMENT: "development",
        DEV_ALLOWED_HOSTS: server.host,
        DRAIN_DELAY_MS: "20",
        ...options.variables,
      },
    });
    return new Sandboxes({ server, engine, worker, secrets, folder });
  }

  /** Prepares a session of a user of its own. */
  async newSession(input: Record<string, unknown> = {}): Promise<SandboxSession> {
    this.#names += 1;
    const repository = await this.server.createRepository(`repository-${this.#names}`);
    const { label, token } = this.newToken();
    const client = clientOf(`user-${this.#names}`, this.worker.url, this.secrets);
    const prepared = { gitUrl: repository.url, gitToken: token, ...input };
    const session = await Session.prepare(client, prepared);
    return { session, repository, label, token };
  }

  /** Issues a token under a label of its own. */
  newToken(value?: string): { label: string; token: string } {
    this.#names += 1;
    const label = `token ${this.#names}`;
    const token = this.server.tokens.issue(label, value === undefined ? {} : { value });
    return { label, token };
  }

  /** The container of the only session that has one. */
  get container(): string {
    const [name, ...others] = this.engine.containers();
    if (name === undefined || others.length > 0) throw new Error(`not one container: ${others}`);
    return name;
  }

  /** The git requests with a credential since an earlier length of the server's log. */
  labelsSince(mark: number): string[] {
    return labelsOf(this.server.authenticatedSince(mark));
  }

  /** Log lines of the Worker with all of these words. */
  logged(...words: readonly string[]): string[] {
    return this.worker.log.lines.filter((line) => words.every((word) => line.includes(word)));
  }

  /** Sends a message and waits until it has completed. */
  async turn(session: Session, followUp: FollowUp = {}): Promise<string> {
    const { messageId } = await session.send(followUp);
    await this.completed(session, messageId);
    return messageId;
  }

  /** Starts the first turn and waits until it has completed. */
  async firstTurn(session: Session): Promise<string> {
    const { messageId } = await session.initiate();
    await this.completed(session, messageId);
    return messageId;
  }

  /** Waits until a message has completed, and until the log says so: what happened before is in it then. */
  async completed(session: Session, messageId: string): Promise<void> {
    await session.completed(messageId, TURN_MS);
    await waitFor("the log of the end", () => this.logged("message_ended", messageId).length > 0);
  }

  /** Ends everything. */
  async close(): Promise<void> {
    await this.worker.stop();
    await this.engine.close();
    await this.server.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
