// A git server, a runtime and a Worker of a test file's own.

import type { Client } from "../../scripts/support/client.ts";
import { Session } from "../../scripts/support/session.ts";
import { type Stack, type StackOptions, startStack } from "../../scripts/support/stack.ts";
import type { GitRepository, RepositoryOptions } from "./git-repository.ts";
import { type GitServer, type RequestRecord, startGitServer } from "./git-server.ts";

/** A session of a test, with the repository and the token that it began with. */
export interface PreparedSession {
  session: Session;
  repository: GitRepository;
  /** The first token's label in the git server's log. */
  label: string;
  token: string;
}

/** Everything that a test file talks to. */
export class Environment {
  readonly server: GitServer;
  readonly stack: Stack;
  #names = 0;

  private constructor(server: GitServer, stack: Stack) {
    this.server = server;
    this.stack = stack;
  }

  static async start(options: StackOptions = {}): Promise<Environment> {
    const server = await startGitServer();
    try {
      const allowedHosts = [server.host, ...(options.allowedHosts ?? [])];
      const stack = await startStack({ ...options, allowedHosts });
      return new Environment(server, stack);
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.stack.close();
    await this.server.close();
  }

  /** A user that no other test has. */
  newUser(): string {
    this.#names += 1;
    return `user-${this.#names}`;
  }

  /** A repository that no other test has. */
  async newRepository(options: RepositoryOptions = {}): Promise<GitRepository> {
    this.#names += 1;
    return await this.server.createRepository(`repository-${this.#names}`, options);
  }

  /** Issues a token under a label that no other test has. */
  newToken(value?: string): { label: string; token: string } {
    this.#names += 1;
    const label = `token ${this.#names}`;
    const token = this.server.tokens.issue(label, value === undefined ? {} : { value });
    return { label, token };
  }

  /** Prepares a session on a repository and with a token of its own. */
  async newSession(
    input: Record<string, unknown> = {},
    client: Client = this.stack.client(this.newUser()),
    options: RepositoryOptions = {},
  ): Promise<PreparedSession> {
    const repository = await this.newRepository(options);
    const { label, token } = this.newToken();
    const session = await Session.prepare(client, {
      gitUrl: repository.url,
      gitToken: token,
      ...input,
    });
    return { session, repository, label, token };
  }

  /** The git requests with a credential that a piece of work makes on one repository. */
  async requestsTo(
    repository: GitRepository,
    work: () => Promise<unknown>,
  ): Promise<RequestRecord[]> {
    const mark = this.server.log.length;
    await work();
    return this.server
      .authenticatedSince(mark)
      .filter((record) => record.path.startsWith(`/${repository.name}.git/`));
  }
}

/** The labels of some requests, each once. */
export function labelsOf(records: readonly RequestRecord[]): string[] {
  return [...new Set(records.map((record) => record.label))].sort();
}
