// Managed repositories: the server resolves their tokens at every delivery, from a service that is called over RPC.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { Session } from "../../scripts/support/session.ts";
import { startStack } from "../../scripts/support/stack.ts";
import { waitFor } from "../../scripts/support/wait.ts";
import { findInFiles, findInText, needlesOf } from "../support/canary.ts";
import { Environment, labelsOf } from "../support/environment.ts";
import { GatedAgent } from "../support/gated-agent.ts";
import { git } from "../support/git-command.ts";
import type { GitRepository } from "../support/git-repository.ts";
import { RecordingProxy } from "../support/recording-proxy.ts";
import { objectFiles, textOf } from "../support/stored.ts";
import { SERVICE_METHODS, TokenService } from "../support/token-service.ts";

const NOT_CONNECTED = "No GitLab integration found. Please connect your GitLab account first.";

describe("a managed repository on GitLab", () => {
  let service: TokenService;
  let agent: GatedAgent;
  let environment: Environment;

  before(async () => {
    service = await TokenService.start();
    agent = await GatedAgent.create();
    agent.open();
    environment = await Environment.start({
      // `origin` then shows the user name that goes with the token.
      originCredentials: "url",
      services: () => service.services(),
      runtime: { AGENT_COMMAND: agent.command },
    });
  });

  after(async () => {
    await environment?.close();
    await agent?.remove();
    await service?.close();
  });

  /** The service gives this token from now on. */
  function gives(token: string): void {
    service.answer = () => ({
      success: true,
      token,
      instanceUrl: environment.server.url,
      glabIsOAuth2: true,
    });
  }

  async function newSession(
    input: Record<string, unknown> = {},
  ): Promise<{ session: Session; repository: GitRepository }> {
    const repository = await environment.newRepository();
    const session = await Session.prepare(environment.stack.client(environment.newUser()), {
      gitUrl: repository.url,
      platform: "gitlab",
      ...input,
    });
    return { session, repository };
  }

  test("every delivery uses the token that the service gives then, and no client's", async () => {
    const [first, second, clients] = [
      environment.newToken(),
      environment.newToken(),
      environment.newToken(),
    ];
    const { session, repository } = await newSession({
      gitToken: clients.token,
      createdOnPlatform: "slack",
    });
    gives(first.token);
    const calls = service.calls.length;
    const cold = await environment.requestsTo(repository, async () => {
      const { messageId } = await session.initiate();
      await session.completed(messageId);
    });
    assert.deepEqual(labelsOf(cold), [first.label]);
    const { userId } = await session.view();
    assert.deepEqual(service.calls.slice(calls), [
      {
        method: "getGitLabToken",
        request: { repositoryUrl: repository.url, userId, createdOnPlatform: "slack" },
      },
    ]);
    environment.server.tokens.revoke(first.label);
    gives(second.token);
    const warm = await environment.requestsTo(repository, async () => {
      const { messageId } = await session.send({ gitToken: clients.token, autoCommit: true });
      await session.completed(messageId);
    });
    assert.deepEqual(labelsOf(warm), [second.label]);
    assert.ok(warm.some((record) => record.service === "git-receive-pack"));
    const origin = new URL(
      (await git(environment.stack.workspace(session.id), ["remote", "get-url", "origin"])).trim(),
    );
    assert.equal(origin.username, "oauth2");
    assert.ok(decodeURIComponent(origin.password) === second.token);
    assert.equal((await session.view()).credential, undefined);
  });

  test("the same token again is not proved again", async () => {
    const { label, token } = environment.newToken();
    gives(token);
    const { session, repository } = await newSession();
    const { messageId } = await session.initiate();
    await session.completed(messageId);
    const requests = await environment.requestsTo(repository, async () => {
      const { messageId: next } = await session.send();
      await session.completed(next);
    });
    assert.deepEqual(requests, [], `${label} is in the workspace already`);
  });

  test("a token that dies while the agent works is resolved anew for the push", async () => {
    const [first, second] = [environment.newToken(), environment.newToken()];
    gives(first.token);
    const { session, repository } = await newSession();
    const { messageId: initial } = await session.initiate();
    await session.completed(initial);
    agent.shut();
    const { messageId } = await session.send({ autoCommit: true });
    await agent.started(messageId);
    environment.server.tokens.revoke(first.label);
    gives(second.token);
    const requests = await environment.requestsTo(repository, async () => {
      agent.open();
      await session.completed(messageId);
    });
    assert.deepEqual(labelsOf(requests), [first.label, second.label].sort());
    const pushes = requests.filter((record) => record.service === "git-receive-pack");
    assert.ok(pushes.some((record) => record.label === second.label && record.status === 200));
    assert.equal(agent.starts(messageId), 1);
    const [commit] = await repository.commits(`session/${session.id}`);
    assert.ok(commit, "the work was pushed");
  });

  test("a service that is slow is waited for", async () => {
    const { token } = environment.newToken();
    const { session } = await newSession();
    service.answer = async () => {
      // Longer than the object waits at a time.
      await new Promise((resolve) => setTimeout(resolve, 2_500));
      return { success: true, token, instanceUrl: environment.server.url, glabIsOAuth2: true };
    };
    const calls = service.calls.length;
    const { messageId } = await session.initiate();
    await session.completed(messageId);
    assert.equal(service.calls.length, calls + 1, "one call was enough");
  });

  test("a service without a token ends the message with a sentence", async () => {
    for (const [answer, sentence] of [
      [{ success: false, reason: "no_integration_found" }, NOT_CONNECTED],
      [{ success: true, token: "" }, NOT_CONNECTED],
      [{ success: false, reason: "invalid_org_id" }, "the credential service refused the request"],
      ["nonsense", "the credential service is unavailable"],
    ] as const) {
      service.answer = () => answer;
      const { session, repository } = await newSession();
      const requests = await environment.requestsTo(repository, async () => {
        const { messageId } = await session.initiate();
        const { status, failure } = await session.ended(messageId);
        assert.equal(status, "failed");
        assert.equal(failure?.code, "invalid_delivery_request");
        assert.equal(failure.retryable, false);
        assert.equal(failure.message, `The message cannot be delivered: ${sentence}`);
      });
      assert.deepEqual(requests, []);
    }
  });

  test("no token of the service is stored, logged or answered", async () => {
    const tokens = ["first", "second"].map((name) =>
      environment.newToken(`${name}-${randomBytes(16).toString("hex")}`),
    );
    const { session } = await newSession();
    for (const [index, { token }] of tokens.entries()) {
      gives(token);
      const { messageId } = index === 0 ? await session.initiate() : await session.send();
      await session.completed(messageId);
    }
    const needles = tokens.flatMap(({ label, token }) => needlesOf(label, token));
    const { worker, logLines, replies } = environment.stack;
    assert.deepEqual(findInFiles(worker.storage, needles), []);
    for (const file of objectFiles(worker.storage)) {
      const text = textOf(file);
      assert.deepEqual(findInText(file, text, needles), []);
    }
    for (const text of [...logLines, ...replies]) {
      assert.deepEqual(findInText("log or reply", text, needles), []);
    }
  });
});

describe("a managed repository on GitHub", () => {
  const author = { name: "app[bot]", email: "7+app[bot]@users.noreply.github.com" };

  const services: [string, readonly string[]][] = [
    ["today's service", SERVICE_METHODS],
    ["an older service", ["getTokenForRepo", "getGitLabToken"]],
  ];
  for (const [name, methods] of services) {
    test(`the runtime is given what ${name} resolves`, async () => {
      const service = await TokenService.start();
      const proxy = await RecordingProxy.start();
      const stack = await startStack({
        services: () => service.services(methods),
        worker: { RUNTIME_URL: proxy.url },
      });
      proxy.target = stack.runtime.url;
      try {
        const token = `github-${randomBytes(16).toString("hex")}`;
        const isNew = methods.includes("getCloudAgentAuthForRepo");
        const reply = {
          success: true,
          installationId: "1",
          appType: "standard",
          accountLogin: "a",
        };
        service.answer = () =>
          isNew
            ? { ...reply, githubToken: token, source: "installation", gitAuthor: author }
            : { ...reply, token };
        const organization = "0f8fad5b-d9cb-469f-a165-70867728950e";
        const session = await Session.prepare(stack.client("user-1"), {
          githubRepo: "acme/project",
          githubToken: "a client's",
          kilocodeOrganizationId: organization,
          createdOnPlatform: "cloud-agent-web",
        });
        await session.initiate();
        const sent = await waitFor("the workspace's request", () =>
          proxy.requests.find(
            ({ method, path }) => method === "PUT" && path.endsWith("/workspace"),
          ),
        );
        const body = JSON.parse(sent.body) as {
          repository: unknown;
          credential: { username: string; token: string };
          generation: number;
        };
        assert.deepEqual(body.repository, {
          url: "https://github.com/acme/project.git",
          ...(isNew ? { author } : {}),
        });
        assert.equal(body.credential.username, "x-access-token");
        assert.ok(body.credential.token === token);
        assert.equal(body.generation, 1);
        assert.deepEqual(service.calls[0], {
          method: isNew ? "getCloudAgentAuthForRepo" : "getTokenForRepo",
          request: {
            githubRepo: "acme/project",
            userId: "user-1",
            orgId: organization,
            allowUserAuthorization: true,
          },
        });
      } finally {
        await stack.close();
        await proxy.close();
        await service.close();
      }
    });
  }

  test("an app that is not installed ends the message, and a missing binding says its name", async () => {
    const service = await TokenService.start();
    service.answer = () => ({ success: false, reason: "no_installation_found" });
    const stacks = await Promise.all([
      startStack({ services: () => service.services() }),
      startStack(),
    ]);
    try {
      for (const [index, subtype, detail] of [
        [0, "git_authentication_failed", "the GitHub app is not installed for the repository"],
        [1, undefined, "the credential service GIT_TOKEN_SERVICE is not bound"],
      ] as const) {
        const stack = stacks[index];
        const session = await Session.prepare(stack.client("user-1"), {
          githubRepo: "acme/project",
        });
        const { messageId } = await session.initiate();
        const { status, failure } = await session.ended(messageId);
        assert.equal(status, "failed");
        assert.equal(failure?.code, "workspace_setup_failed");
        assert.equal(failure.subtype, subtype);
        assert.ok(failure.message?.endsWith(`: ${detail}`), failure.message);
        assert.equal(failure.attempts, index === 0 ? 1 : 2);
      }
    } finally {
      await Promise.all(stacks.map((stack) => stack.close()));
      await service.close();
    }
  });
});
