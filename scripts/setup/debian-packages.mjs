// Debian packages, installed as root or through a sudo that asks for no password.

import { existsSync } from "node:fs";
import { answerOf, findProgram, runStep } from "./command.mjs";
import { logFile } from "./paths.mjs";
import { SetupError, say } from "./report.mjs";

let listsAreFresh = false;

/** Whether this machine installs its software with apt. */
export function hasApt() {
  return existsSync("/etc/debian_version") && findProgram("apt-get") !== undefined;
}

/** The installed version of a package, or `undefined`. */
export function installedVersion(name) {
  const answer = answerOf("dpkg-query", ["--status", name]);
  if (!answer || !/^Status: .* installed$/m.test(answer)) return undefined;
  return answer.match(/^Version: (.*)$/m)?.[1];
}

/**
 * The command line that runs `command` as root: unchanged for root, through `sudo -n` where that
 * works. Otherwise a SetupError tells the person to run `command` first.
 */
export function asRoot(command) {
  if (process.getuid?.() === 0) return command;
  if (answerOf("sudo", ["-n", "true"]) !== undefined) return ["sudo", "-n", ...command];
  throw new SetupError(
    `Set-up needs root for "${command.join(" ")}"; run that yourself, or run set-up once as root.`,
  );
}

/** Installs packages after one refresh of the package lists. */
export async function installPackages(names) {
  const log = logFile("apt");
  const wait = ["-o", "DPkg::Lock::Timeout=300"];
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const install = asRoot([
    "apt-get",
    ...wait,
    "install",
    "--yes",
    "--no-install-recommends",
    ...names,
  ]);
  say(`installing the Debian packages ${names.join(", ")}`);
  if (!listsAreFresh) {
    const [program, ...args] = asRoot(["apt-get", ...wait, "update"]);
    await runStep({
      program,
      args,
      env,
      log,
      failure: "Debian's package lists cannot be fetched.",
    });
    listsAreFresh = true;
  }
  const [program, ...args] = install;
  const failure = `The Debian packages ${names.join(", ")} cannot be installed.`;
  await runStep({ program, args, env, log, failure });
}
