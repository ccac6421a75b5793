// A git server, a runtime and a Worker of a test file's own.

import type { Client } from "../../scripts/support/client.ts";
import { Session } from "../../scripts/support/session.ts";
import { type Stack, type StackOptions, startStack } from "../../scripts/support/stack.ts";
import type { GitRepository, RepositoryOptions } from "./git-repository.ts";
import { type GitServer, type RequestRecord, startGitServer } from "./git-server.ts";
import { changeRows, fileOf } from "./stored.ts";

/** A token, and the label that it has in the git server's log. */
export interface IssuedToken {
  label: string;
  token: string;
}

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

  /** Changes what a session has stored while nothing runs. Returns how many rows the last statement changed. */
  async changeStored(session: Session, statements: readonly string[]): Promise<number> {
    const { worker } = this.stack;
    const file = fileOf(worker.storage, session.id);
    await worker.stop();
    const changed = changeRows(file, statements);
    await worker.start();
    return changed;
  }

  /** Prepares a session as {@link newSession} does, and has its first turn done. */
  async startedSession(...args: Parameters<Environment["newSession"]>): Promise<PreparedSession> {
    const prepared = await this.newSession(...args);
    const { messageId } = await prepared.session.initiate();
    await prepared.session.completed(messageId);
    return prepared;
  }

  /** Tokens that git and shells could misread: two with every printable character, and the longest that is allowed. */
  newAwkwardTokens(): [IssuedToken, IssuedToken, IssuedToken] {
    const characters = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index));
    const first = this.newToken(`1${characters.join("")}`);
    const second = this.newToken(`2${characters.reverse().join("")}`);
    return [first, second, this.newToken("x".repeat(4096))];
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
  newToken(value?: string): IssuedToken {
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
