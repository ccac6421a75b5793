// Plays the whole story on this machine, with a real git server, and checks every step.
//
//     npm run demo [-- --keep]
//
// With --keep everything is left running afterwards, and the way to reach it is printed.

import { parseArgs } from "node:util";
import { startGitServer } from "../tests/support/git-server.ts";
import { buildRuntime, buildWorker } from "./build.mjs";
import { playStory } from "./demo/story.ts";
import { CheckFailed, Timeline } from "./demo/timeline.ts";
import { bearer } from "./support/secrets.ts";
import { type OriginCredentials, type Stack, startStack } from "./support/stack.ts";

/** Long enough that several messages are admitted before the first of them is delivered. */
const DRAIN_DELAY_MS = "300";

const MODES: Record<OriginCredentials, string[]> = {
  helper: [
    "origin holds no token; git asks a helper, which reads a private file (the default)",
    "every process of this machine is watched for tokens during the story",
  ],
  url: ["origin is the authenticated URL, for tools that know no credential helpers"],
};

const { values } = parseArgs({ options: { keep: { type: "boolean", default: false } } });
const timeline = new Timeline();

timeline.title(
  "cloud-agent-session: a coding session whose git token is replaced while it works",
  "A git server with tokens that die, the workspace runtime and the Worker run on this machine.",
  "'>' is what a client or the git server does; 'ok' is what was checked against the git server's",
  "log, the workspace on disk or the answers of the API. Tokens are shown by their names only.",
);
timeline.action("building what changed");
await buildWorker();
await buildRuntime();
timeline.action(`built in ${timeline.seconds.toFixed(1)} s`);
timeline.startClock();

/** Ctrl-C, or another program that ends the demo. */
class Interrupted extends Error {}
const interruption = new Promise<never>((_, reject) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => reject(new Interrupted(signal)));
  }
});
// It is waited for only while a story plays.
interruption.catch(() => undefined);

if ((await play("url")) && (await play("helper"))) {
  const seconds = timeline.seconds.toFixed(1);
  timeline.title(`All ${timeline.checks} checks held, in both modes, in ${seconds} s.`);
} else {
  process.exitCode = 1;
}

/** Plays the story in one mode; tells whether every check held. */
async function play(mode: OriginCredentials): Promise<boolean> {
  timeline.title(`Origin credentials: ${mode}`, ...MODES[mode]);
  const server = await startGitServer();
  let stack: Stack | undefined;
  try {
    const repository = await server.createRepository("project", {
      files: { "README.md": "# A project\n", "src/main.txt": "hello\n" },
    });
    stack = await startStack({
      allowedHosts: [server.host],
      originCredentials: mode,
      worker: { DRAIN_DELAY_MS },
      handlesSignals: true,
    });
    const playing = playStory(timeline, server, repository, stack);
    const { session, token } = await Promise.race([playing, interruption]);
    if (values.keep && mode === "helper") {
      printAccess(stack, session.id, repository.url, token);
      await interruption.catch(() => undefined);
    }
    return true;
  } catch (error) {
    if (!(error instanceof Interrupted)) explain(error, stack);
    return false;
  } finally {
    await stack?.close();
    await server.close();
  }
}

function explain(error: unknown, stack: Stack | undefined): void {
  const text = error instanceof Error ? error.message : String(error);
  timeline.failed(text);
  if (!(error instanceof CheckFailed) && error instanceof Error) console.error(error.stack);
  console.error("\nThe last lines of the Worker:");
  console.error(stack?.worker.log.tail() ?? "(it was not started)");
  console.error("\nThe last lines of the runtime:");
  console.error(stack?.runtime.log.tail() ?? "(it was not started)");
}

/** Tells how to go on by hand. */
function printAccess(stack: Stack, session: string, gitUrl: string, token: string): void {
  const input = JSON.stringify({
    cloudAgentSessionId: session,
    prompt: "Go on by hand.",
    mode: "code",
    model: "test/model",
    gitToken: token,
  });
  console.log(`
Everything is still running; Ctrl-C ends it and removes its files.

  Worker       ${stack.worker.url}
  runtime      ${stack.runtime.url}
  git server   ${gitUrl}
  state        ${stack.folder}
  session      ${session}

The secrets of this run, for this terminal:

  export BEARER='${bearer(stack.secrets.AUTH_JWT_SECRET, "demo-user")}'
  export INTERNAL_KEY='${stack.secrets.INTERNAL_API_SECRET}'

A follow-up, and the session afterwards:

  curl -sS ${stack.worker.url}/trpc/sendMessageV2 -H "authorization: Bearer $BEARER" \\
    -H 'content-type: application/json' --data ${shellQuoted(input)}
  curl -sSG ${stack.worker.url}/trpc/getSession -H "authorization: Bearer $BEARER" \\
    --data-urlencode ${shellQuoted(`input=${JSON.stringify({ cloudAgentSessionId: session })}`)}
`);
}

function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
