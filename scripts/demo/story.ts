// The story that the demo plays: a session whose git token is replaced again and again.

import { randomBytes } from "node:crypto";
import type { CredentialOutput } from "../../client/index.d.ts";
import { type Needle, needlesOf } from "../../tests/support/canary.ts";
import type { GitRepository } from "../../tests/support/git-repository.ts";
import type { GitServer, RequestRecord } from "../../tests/support/git-server.ts";
import { ProcessWatcher } from "../../tests/support/process-watcher.ts";
import { type Client, messageId, refusal } from "../support/client.ts";
import { type FollowUp, Session } from "../support/session.ts";
import type { Stack } from "../support/stack.ts";
import {
  describeRequests,
  findLeaks,
  onlyWith,
  requestsDuring,
  statusWith,
  Workspace,
} from "./evidence.ts";
import type { Timeline } from "./timeline.ts";

const TOKENS = [1, 2, 3, 4, 5].map((number) => `token ${number}`);
const NEWEST = "token 5";

/** One playing of the story; see {@link playStory}. */
class Story {
  readonly #timeline: Timeline;
  readonly #server: GitServer;
  readonly #repository: GitRepository;
  readonly #stack: Stack;
  readonly #client: Client;
  readonly #tokens = new Map<string, string>();
  /** Set by the first step. */
  session!: Session;
  #workspace!: Workspace;
  #firstFollowUp = "";

  constructor(timeline: Timeline, server: GitServer, repository: GitRepository, stack: Stack) {
    this.#timeline = timeline;
    this.#server = server;
    this.#repository = repository;
    this.#stack = stack;
    this.#client = stack.client("demo-user");
    for (const label of TOKENS) this.#tokens.set(label, issue(server, label));
  }

  get needles(): Needle[] {
    return [...this.#tokens].flatMap(([label, token]) => needlesOf(label, token));
  }

  token(label: string): string {
    return this.#tokens.get(label) ?? "";
  }

  async prepare(): Promise<void> {
    const { step, action, check } = this.#say();
    step("Prepare a session with token 1");
    action(`prepareSession gitUrl=${this.#repository.url} gitToken=token 1`);
    const requests = await requestsDuring(this.#server, async () => {
      this.session = await Session.prepare(this.#client, {
        prompt: "First turn: write down what you see.",
        gitUrl: this.#repository.url,
        gitToken: this.token("token 1"),
      });
    });
    this.#workspace = new Workspace(this.#stack.workspace(this.session.id));
    check(`the session is ${this.session.id}`, /^agent_[0-9a-f-]{36}$/.test(this.session.id));
    const { generation } = await this.#credential();
    check("its credential has generation 1", generation === 1, generation);
    const nothing = requests.length === 0 && !this.#workspace.exists();
    check("nothing was cloned yet: no git request, no workspace", nothing);
  }

  async firstTurn(): Promise<void> {
    const { step, action, check } = this.#say();
    step("First turn: cold clone with token 1");
    action("initiateFromKilocodeSessionV2");
    const requests = await requestsDuring(this.#server, async () => {
      const acknowledgement = await this.session.initiate();
      check("the first message is queued at once", acknowledgement.delivery === "queued");
      await this.session.completed(acknowledgement.messageId);
    });
    check("the turn completed", true);
    check(`the git server saw ${describeRequests(requests)}`, onlyWith("token 1", requests));
    check("the workspace holds the repository", this.#workspace.read("README.md") !== "");
    const notes = this.#workspace.read("NOTES.md");
    check("the agent wrote the prompt into NOTES.md", notes.includes("First turn"));
    await this.#checkOrigin("token 1");
  }

  async rotation(): Promise<void> {
    const { step, action, check } = this.#say();
    step("Token 1 dies; a follow-up brings token 2, and its work is pushed");
    action("the git server revokes token 1");
    this.#server.tokens.revoke("token 1");
    const status = await statusWith(this.token("token 1"), this.#repository.url);
    check("the git server refuses token 1 (401)", status === 401, status);
    const before = this.#workspace.identity();
    this.#firstFollowUp = messageId();
    const requests = await this.#turn({
      prompt: "Second turn: go on.",
      messageId: this.#firstFollowUp,
      gitToken: this.token("token 2"),
      autoCommit: true,
    });
    await this.#checkCredential(2, this.#firstFollowUp);
    check(`the git server saw ${describeRequests(requests)}`, onlyWith("token 2", requests));
    check("the workspace is warm: the same clone as before", before === this.#workspace.identity());
    await this.#checkOrigin("token 2");
    await this.#checkPush("token 2", requests, ["First turn", "Second turn"]);
  }

  async newerToken(): Promise<void> {
    const { step, check } = this.#say();
    step("A newer follow-up brings token 3; token 2 stays alive, so a use of it would be seen");
    const id = messageId();
    const requests = await this.#turn({ messageId: id, gitToken: this.token("token 3") });
    await this.#checkCredential(3, id);
    check(`the git server saw ${describeRequests(requests)}`, onlyWith("token 3", requests));
    await this.#checkOrigin("token 3");
  }

  async lateRetry(): Promise<void> {
    const { step, action, check } = this.#say();
    step("A late retry of the first follow-up arrives with its old token 2");
    const before = await this.#credential();
    const requests = await requestsDuring(this.#server, async () => {
      action("sendMessageV2 with the message id of the first follow-up, gitToken=token 2");
      const refused = await refusal(
        this.session.send({
          prompt: "Second turn: go on.",
          messageId: this.#firstFollowUp,
          gitToken: this.token("token 2"),
          autoCommit: true,
        }),
      );
      check(`it is answered: ${refused.message}`, /already terminal/.test(refused.message));
    });
    check("token 3 is still the credential", same(before, await this.#credential()));
    check("the git server saw nothing of it", requests.length === 0, requests);
    const next = await this.#turn({ prompt: "Third turn: no token with it.", autoCommit: true });
    check(`the next turn: ${describeRequests(next)}`, onlyWith("token 3", next));
    await this.#checkOrigin("token 3");
    await this.#checkPush("token 3", next, ["Third turn"]);
  }

  async race(): Promise<void> {
    const { step, action, check } = this.#say();
    step("Two follow-ups in a row, and a retry of the older one before either is delivered");
    const [older, newer] = [messageId(), messageId()];
    const first = { messageId: older, prompt: "Older.", gitToken: this.token("token 4") };
    const second = { messageId: newer, prompt: "Newer.", gitToken: this.token(NEWEST) };
    const requests = await requestsDuring(this.#server, async () => {
      action("sendMessageV2 gitToken=token 4, then another with token 5, then the first again");
      await this.session.send(first);
      await this.session.send(second);
      const retried = await this.session.send(first);
      const known = retried.messageId === older && retried.delivery === "queued";
      check("the retry is answered as the message that is already queued", known, retried);
      await this.session.completed(older);
      await this.session.completed(newer);
    });
    await this.#checkCredential(5, newer);
    check(`both turns: ${describeRequests(requests)}`, onlyWith(NEWEST, requests));
  }

  async ignoredTokens(): Promise<void> {
    const { step, check } = this.#say();
    step("An empty gitToken and a githubToken change nothing");
    const before = await this.#credential();
    const followUps: FollowUp[] = [{ gitToken: "" }, { githubToken: this.token("token 2") }];
    for (const followUp of followUps) {
      const requests = await this.#turn({ ...followUp, autoCommit: true });
      check("the credential is the same", same(before, await this.#credential()));
      check(`the git server saw ${describeRequests(requests)}`, onlyWith(NEWEST, requests));
    }
    await this.#checkOrigin(NEWEST);
  }

  /** What the agent's own git commands use, without any help of the runtime. */
  async agentGit(): Promise<void> {
    const { step, action, check } = this.#say();
    step("The agent's own git commands use the newest token too");
    action("git ls-remote origin, in the workspace");
    const requests = await requestsDuring(this.#server, () =>
      this.#workspace.git("ls-remote", "origin"),
    );
    check(`the git server saw ${describeRequests(requests)}`, onlyWith(NEWEST, requests));
  }

  async canary(watcher: ProcessWatcher | undefined): Promise<void> {
    const { step, action, check } = this.#say();
    step("The tokens are nowhere else");
    action("every token, raw, percent-encoded and in base64, is looked for everywhere");
    const leaks = findLeaks(this.#stack, this.needles, NEWEST);
    check(
      "no file holds an old token, nor the newest one where it must not be",
      leaks.files.length === 0,
      leaks.files,
    );
    for (const place of new Set(leaks.rightful.map((find) => find.place))) {
      action(`found where it belongs: ${NEWEST} in ${place}`);
    }
    check("git finds the newest token there", leaks.rightful.length > 0);
    check(
      `none of ${this.#stack.logLines.length} log lines holds one`,
      leaks.logs.length === 0,
      leaks.logs,
    );
    check(
      `none of ${this.#stack.replies.length / 2} replies holds one`,
      leaks.replies.length === 0,
      leaks.replies,
    );
    if (watcher === undefined) {
      action("processes are not watched: in this mode git itself puts the URL into its arguments");
      return;
    }
    const watch = await watcher.stop();
    check(
      `no process had one in its arguments or environment (${watch.rounds} looks at all processes, ${watch.processes} processes)`,
      watch.finds.length === 0 && watch.rounds > 0,
      watch.finds,
    );
  }

  async #turn(followUp: FollowUp): Promise<RequestRecord[]> {
    const id = followUp.messageId ?? messageId();
    this.#timeline.action(`sendMessageV2 ${this.#describe(followUp)}`);
    return await requestsDuring(this.#server, async () => {
      await this.session.send({ ...followUp, messageId: id });
      await this.session.completed(id);
    });
  }

  #describe(followUp: FollowUp): string {
    const parts = Object.entries(followUp).map(([field, value]) => {
      if (field !== "gitToken" && field !== "githubToken") return `${field}=${value}`;
      const label = [...this.#tokens].find(([, token]) => token === value)?.[0];
      return `${field}=${label ?? '""'}`;
    });
    return parts.filter((part) => !part.startsWith("messageId=")).join(" ");
  }

  async #credential(): Promise<CredentialOutput> {
    const { credential } = await this.session.view();
    if (credential === undefined) throw new Error("getSession shows no credential");
    return credential;
  }

  async #checkCredential(generation: number, setBy: string): Promise<void> {
    const credential = await this.#credential();
    this.#timeline.check(
      `the credential has generation ${generation} and was set by this message`,
      credential.generation === generation && credential.messageId === setBy,
      credential,
    );
  }

  async #checkOrigin(label: string): Promise<void> {
    const origin = await this.#workspace.origin();
    if (this.#stack.originCredentials === "helper") {
      const clean = origin === this.#repository.url;
      this.#timeline.check(`git remote get-url origin holds no token: ${origin}`, clean);
      return;
    }
    const url = new URL(origin);
    const used = decodeURIComponent(url.password) === this.token(label);
    this.#timeline.check(`git remote get-url origin holds ${label}`, used);
  }

  async #checkPush(
    label: string,
    requests: readonly RequestRecord[],
    texts: string[],
  ): Promise<void> {
    const pushes = requests.filter(
      (record) => record.service === "git-receive-pack" && record.method === "POST",
    );
    const pushed = onlyWith(label, pushes);
    this.#timeline.check(`the work was pushed with ${label}`, pushed, pushes);
    const branch = `session/${this.session.id}`;
    const notes = await this.#repository.readFile(branch, "NOTES.md");
    const whole = texts.every((text) => notes.includes(text));
    this.#timeline.check(`the git server has it on branch ${branch}`, whole, notes);
  }

  #say() {
    const timeline = this.#timeline;
    return {
      step: timeline.step.bind(timeline),
      action: timeline.action.bind(timeline),
      check: timeline.check.bind(timeline),
    };
  }
}

/** Tokens with characters that URLs, shells and JSON treat in their own ways. */
function issue(server: GitServer, label: string): string {
  return server.tokens.issue(label, {
    value: `git_${randomBytes(16).toString("hex")}/+@:#?%41'"$(x)`,
  });
}

function same(before: CredentialOutput, after: CredentialOutput): boolean {
  return JSON.stringify(before) === JSON.stringify(after);
}

/** Plays the story; throws at the first check that does not hold. */
export async function playStory(
  timeline: Timeline,
  server: GitServer,
  repository: GitRepository,
  stack: Stack,
): Promise<{ session: Session; token: string }> {
  const story = new Story(timeline, server, repository, stack);
  const watched = stack.originCredentials === "helper";
  const watcher = watched ? await ProcessWatcher.start(story.needles) : undefined;
  await story.prepare();
  await story.firstTurn();
  await story.rotation();
  await story.newerToken();
  await story.lateRetry();
  await story.race();
  await story.ignoredTokens();
  await story.agentGit();
  await story.canary(watcher);
  return { session: story.session, token: story.token(NEWEST) };
}
