// Kills workerd and the runtime again and again while clients send messages, and checks that nothing is lost.
//
//     npm run torture [-- --full] [--seed N] [--sessions N] [--messages N] [--worker-kills N] [--runtime-kills N]
//                     [--interrupts N] [--deletions N] [--origin-credentials helper|url]
//                     [--seconds N] [--keep] [--no-build]
//
// Ends with 0 only when everything held. A run that found something keeps its folder, with the logs of both processes.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type GitServer, startGitServer } from "../tests/support/git-server.ts";
import { buildRuntime, buildWorker } from "./build.mjs";
import { checkCredentials, checkPlaces } from "./torture/checks/credentials.ts";
import {
  checkDeleted,
  checkProcesses,
  checkPublished,
  checkWorkspace,
} from "./torture/checks/leftovers.ts";
import { checkMessages } from "./torture/checks/messages.ts";
import { figuresOf } from "./torture/figures.ts";
import { Findings } from "./torture/findings.ts";
import { LogIndex } from "./torture/log-index.ts";
import { readObjects } from "./torture/objects.ts";
import { type Options, readOptions, UsageError } from "./torture/options.ts";
import { Report } from "./torture/report.ts";
import { Run } from "./torture/run.ts";

const report = new Report();

try {
  process.exitCode = (await torture(readOptions(process.argv.slice(2)))) ? 0 : 1;
} catch (error) {
  console.error(error instanceof UsageError ? `torture: ${error.message}` : error);
  process.exitCode = 1;
}

/** Makes one run; tells whether everything held. */
async function torture(options: Options): Promise<boolean> {
  const { seed, sessions, messages, workerKills, runtimeKills, interrupts, deletions } = options;
  report.title(
    `Seed ${seed}: ${messages} messages to ${sessions} sessions, ` +
      `${workerKills} kills of workerd, ${runtimeKills} of the runtime, ` +
      `${interrupts} interrupts, ${deletions} deletions, origin: ${options.originCredentials}`,
  );
  if (options.build) {
    report.line("building what changed");
    await buildWorker();
    await buildRuntime();
  }
  const folder = mkdtempSync(join(tmpdir(), "torture-"));
  const findings = new Findings();
  const server = await startGitServer();
  let run: Run | undefined;
  try {
    run = await Run.start(folder, server, { options, findings, report });
    await playAndCheck(run);
  } catch (error) {
    if (run === undefined) throw error;
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    findings.check(false, `the run broke off: ${reason}`);
  } finally {
    await run?.stack.close();
    await server.close();
  }
  checkProcesses([folder], [], findings);
  return conclude(run, folder);
}

async function playAndCheck(run: Run): Promise<void> {
  stopOnSignals(run, run.server);
  await run.prepare();
  report.line("sessions are prepared; messages are sent and processes killed");
  await run.play();
  report.line("everything is sent and nothing is killed any more");
  await run.rest();
  const { history, findings, stack } = run;
  const ids = history.sessions.map(({ id }) => id);
  const stored = readObjects(stack, ids);
  const log = new LogIndex(stack.worker.log.lines, stack.runtime.log.lines);
  const evidence = { history, stored, log, starts: run.agent.starts(), ends: run.agent.ends() };
  checkMessages(evidence, findings);
  const unambiguous = checkCredentials(stack.secrets, history, stored, log, findings);
  checkPlaces(stack, history, run.mark, findings);
  checkDeleted(stack, history.deleted, findings);
  for (const session of history.sessions) {
    await checkWorkspace(stack, session, findings);
    const repository = run.repositories.get(session.repository);
    const object = stored.get(session.id);
    if (repository === undefined || object === undefined) continue;
    await checkPublished(repository, session, object, findings);
  }
  checkProcesses([run.stack.folder], [stack.worker.pid, stack.runtime.pid], findings);
  report.title("Figures");
  report.table(figuresOf(run, stored, log, unambiguous));
}

function conclude(run: Run, folder: string): boolean {
  const { findings, options, stack } = run;
  const log = new LogIndex(stack.worker.log.lines, stack.runtime.log.lines);
  report.findings(findings, log);
  const held = findings.all.length === 0;
  if (held && !options.keep) rmSync(folder, { recursive: true, force: true });
  else {
    writeFileSync(join(folder, "worker.log"), `${stack.worker.log.lines.join("\n")}\n`);
    writeFileSync(join(folder, "runtime.log"), `${stack.runtime.log.lines.join("\n")}\n`);
    console.log(`\n  files and logs: ${folder}`);
  }
  const seconds = report.seconds.toFixed(1);
  report.title(
    held
      ? `All ${findings.checks} checks held in ${seconds} s; seed ${options.seed}.`
      : `${findings.all.length} of ${findings.checks} checks FAILED in ${seconds} s; ` +
          `again with --seed ${options.seed}.`,
  );
  return held;
}

/** Ends everything when the person at the terminal does not want to wait. */
function stopOnSignals(run: Run, server: GitServer): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, async () => {
      console.error(`torture: stopped by ${signal}; seed ${run.options.seed}`);
      run.end();
      await run.stack.close();
      await server.close();
      rmSync(run.stack.folder, { recursive: true, force: true });
      process.exit(1);
    });
  }
}
