// One run: everything is started, messages go through while processes are killed, and everything comes to rest.

import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { GitRepository } from "../../tests/support/git-repository.ts";
import type { GitServer } from "../../tests/support/git-server.ts";
import { Session } from "../support/session.ts";
import { type Stack, startStack } from "../support/stack.ts";
import { waitFor } from "../support/wait.ts";
import { NotedAgent } from "./agent.ts";
import { newMessage, playClient } from "./clients.ts";
import type { Findings } from "./findings.ts";
import { History, type SessionHistory } from "./history.ts";
import { killRepeatedly } from "./killer.ts";
import { openMessages, readObjects, remainsOfDeleted } from "./objects.ts";
import type { Options } from "./options.ts";
import { Random } from "./random.ts";
import type { Report } from "./report.ts";
import { Sender } from "./sender.ts";
import { deleteAtWork, interruptSession, type UserParts } from "./users.ts";

const CLIENTS_OF_SESSION = 2;
const PROGRESS_MS = 5000;
const REST_POLL_MS = 500;

/** Everything of one run. */
export class Run {
  readonly options: Options;
  readonly history = new History();
  readonly findings: Findings;
  readonly agent: NotedAgent;
  readonly stack: Stack;
  readonly server: GitServer;
  readonly repositories = new Map<string, GitRepository>();
  /** A part of every token of the run, so that one search finds them all. */
  readonly mark: string;
  readonly #report: Report;
  readonly #ending = new AbortController();
  #tokens = 0;

  private constructor(parts: {
    options: Options;
    findings: Findings;
    agent: NotedAgent;
    stack: Stack;
    server: GitServer;
    report: Report;
  }) {
    this.options = parts.options;
    this.findings = parts.findings;
    this.agent = parts.agent;
    this.stack = parts.stack;
    this.server = parts.server;
    this.#report = parts.report;
    this.mark = randomBytes(16).toString("hex");
  }

  /** Starts Worker and runtime in `folder`. */
  static async start(
    folder: string,
    server: GitServer,
    parts: { options: Options; findings: Findings; report: Report },
  ): Promise<Run> {
    const notes = join(folder, "agent");
    mkdirSync(notes);
    const agent = new NotedAgent(notes);
    const stack = await startStack({
      folder,
      allowedHosts: [server.host],
      originCredentials: parts.options.originCredentials,
      runtime: { AGENT_COMMAND: agent.command },
      handlesSignals: true,
    });
    return new Run({ ...parts, agent, stack, server });
  }

  /** Prepares the sessions and has the first message of each delivered. */
  async prepare(): Promise<void> {
    for (let index = 0; index < this.options.sessions; index += 1) {
      const name = `repository-${index + 1}`;
      const repository = await this.server.createRepository(name);
      this.repositories.set(name, repository);
      const firstToken = this.#newToken();
      const client = this.stack.client(this.#user(index));
      const session = await Session.prepare(client, {
        gitUrl: repository.url,
        gitToken: firstToken,
      });
      this.history.sessions.push({ id: session.id, repository: name, firstToken, messages: [] });
      await session.initiate();
    }
  }

  /** Sends all messages, and kills both processes meanwhile. */
  async play(): Promise<void> {
    const progress = setInterval(() => this.#tell(), PROGRESS_MS);
    const limit = setTimeout(() => this.#ending.abort(), this.options.sendingMs);
    const work = [
      ...this.history.sessions.map((session, index) => this.#send(session, index)),
      this.#kill("workerd", this.options.workerKills, this.history.workerKills),
      this.#kill("runtime", this.options.runtimeKills, this.history.runtimeKills),
      this.#interrupt(),
      this.#delete(),
    ];
    try {
      await Promise.all(work);
    } finally {
      clearInterval(progress);
      clearTimeout(limit);
      const inTime = !this.#ending.signal.aborted;
      this.findings.check(inTime, `sending did not end within ${this.options.sendingMs / 1000} s`);
      this.#ending.abort();
      await Promise.allSettled(work);
    }
  }

  /** Waits until every message has ended; only the files are looked at, so that nothing wakes an object. */
  async rest(): Promise<void> {
    const ids = this.history.sessions.map(({ id }) => id);
    const deadline = performance.now() + this.options.restMs;
    let last = -1;
    await waitFor(
      "rest",
      async () => {
        const open = openMessages(readObjects(this.stack, ids)).length;
        const undeleted = remainsOfDeleted(this.stack, this.history.deleted).length;
        if (open + undeleted !== last) {
          this.#report.line(
            `${open} messages have not ended, ${undeleted} sessions are not deleted`,
          );
        }
        last = open + undeleted;
        if (last === 0 || performance.now() > deadline) return true;
        await new Promise((resolve) => setTimeout(resolve, REST_POLL_MS));
        return false;
      },
      Number.POSITIVE_INFINITY,
    );
  }

  /** Ends sending and killing soon. */
  end(): void {
    this.#ending.abort();
  }

  async #send(session: SessionHistory, index: number): Promise<void> {
    const { sessions, messages } = this.options;
    const random = new Random(this.options.seed, `session ${index}`);
    const total = Math.floor((messages + index) / sessions);
    const parts = {
      session,
      newToken: () => this.#newToken(),
      tally: this.history.tally,
      signal: this.#ending.signal,
    };
    const clients = Array.from({ length: CLIENTS_OF_SESSION }, (_, number) => {
      const own = new Random(this.options.seed, `session ${index} client ${number}`);
      return {
        ...parts,
        random: own,
        sender: this.#sender(session, index, own),
        count: Math.floor((total - 1 + number) / CLIENTS_OF_SESSION),
      };
    });
    await Promise.all(clients.map(playClient));
    if (this.#ending.signal.aborted) return;
    // One more when all others have arrived: in every other session it surely brings the newest token, and in the
    // rest the clients' race decides.
    const last = newMessage({ ...parts, random }, undefined);
    last.token = index % 2 === 0 ? this.#newToken() : undefined;
    await this.#sender(session, index, random).deliver(last);
  }

  #sender(session: SessionHistory, index: number, random: Random): Sender {
    return new Sender({
      stack: this.stack,
      user: this.#user(index),
      sessionId: session.id,
      history: this.history,
      findings: this.findings,
      random,
      signal: this.#ending.signal,
    });
  }

  async #kill(name: "workerd" | "runtime", count: number, kills: number[]): Promise<void> {
    const random = new Random(this.options.seed, name);
    const process = name === "workerd" ? this.stack.worker : this.stack.runtime;
    await killRepeatedly(process, {
      due: random.moments(count, this.options.messages),
      progress: () => this.history.acknowledged,
      random,
      onKill: () => kills.push(Date.now()),
      signal: this.#ending.signal,
    });
  }

  async #interrupt(): Promise<void> {
    const random = new Random(this.options.seed, "interrupts");
    const { sessions } = this.history;
    await this.#atMoments(random, this.options.interrupts, async () => {
      const index = Math.floor(random.between(0, sessions.length));
      const session = sessions[index];
      if (session) await interruptSession(this.#userParts(this.#user(index), random), session.id);
    });
  }

  async #delete(): Promise<void> {
    const random = new Random(this.options.seed, "deletions");
    await this.#atMoments(random, this.options.deletions, async (number) => {
      const repository = await this.server.createRepository(`deleted-${number + 1}`);
      const tokens = [this.#newToken(), this.#newToken()];
      const parts = this.#userParts(`torture-deleter-${number + 1}`, random);
      await deleteAtWork(parts, repository.url, tokens);
    });
  }

  /** Does something at that many random moments, counted in acknowledged messages. */
  async #atMoments(
    random: Random,
    count: number,
    act: (number: number) => Promise<void>,
  ): Promise<void> {
    const { signal } = this.#ending;
    for (const [number, due] of random.moments(count, this.options.messages).entries()) {
      await waitFor(
        `${due} acknowledged messages`,
        () => signal.aborted || this.history.acknowledged >= due,
        Number.POSITIVE_INFINITY,
      );
      if (signal.aborted) return;
      await act(number);
    }
  }

  #userParts(user: string, random: Random): UserParts {
    const { stack, history, findings } = this;
    return { stack, user, history, findings, random, signal: this.#ending.signal };
  }

  #tell(): void {
    const { acknowledged, workerKills, runtimeKills, interrupts, deleted } = this.history;
    this.#report.line(
      `${acknowledged} of ${this.options.messages} messages acknowledged, ` +
        `workerd killed ${workerKills.length}, the runtime ${runtimeKills.length} times, ` +
        `${interrupts.length} interrupts, ${deleted.length} deletions`,
    );
  }

  #newToken(): string {
    this.#tokens += 1;
    const value = `git_${this.mark}_${randomBytes(8).toString("hex")}`;
    return this.server.tokens.issue(`token ${this.#tokens}`, { value });
  }

  #user(index: number): string {
    return `torture-user-${index + 1}`;
  }
}
