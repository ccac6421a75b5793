// Real containers on a machine without Docker: podman as the engine, a base image made of Debian's packages, since no
// registry of images is asked for one, and a workerd that runs containers with such an engine.
//
// Only the tests of containers need it, so that it is not part of the set-up that every command begins with.

import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { answerOf, findProgram, runStep } from "./command.mjs";
import { hasApt, installPackages } from "./debian-packages.mjs";
import { withLock } from "./lock.mjs";
import { cacheFolder, logFile, projectRoot } from "./paths.mjs";
import { SetupError, say } from "./report.mjs";

const PACKAGES = [
  "podman",
  "runc",
  "netavark",
  "aardvark-dns",
  "uidmap",
  "iptables",
  "debootstrap",
];
const PROGRAMS = ["podman", "runc", "debootstrap"];
const SUITE = "bookworm";
const FOLDER = join(cacheFolder, "containers");

/** The image that images of tests are made of: Debian with git. */
export const BASE_IMAGE = `localhost/cloud-agent-session-base:${SUITE}`;

/** The base image as a file: podman forgets its images more easily than this folder is deleted. */
const BASE_ARCHIVE = join(FOLDER, `${SUITE}.tar`);

/**
 * How podman runs here. Limits are below those that a root without all capabilities may set, and runc does without the
 * unified control groups that other runtimes want.
 */
const CONFIGURATION = `[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]

[engine]
runtime = "runc"
`;

/** Podman's environment: its settings are the project's, not the machine's. */
export function engineEnvironment() {
  return { ...process.env, CONTAINERS_CONF: join(FOLDER, "containers.conf") };
}

const WORKERD_SOURCE = join(projectRoot, "tests", "container", "workerd");

/** The folder whose `node_modules` hold that workerd, with a name of its own for each lock file. */
export function workerdFolder() {
  const lock = readFileSync(join(WORKERD_SOURCE, "package-lock.json"));
  const digest = createHash("sha256").update(lock).digest("hex").slice(0, 16);
  return join(cacheFolder, "tools", `container-workerd-${digest}`);
}

/** Installs what is missing, and ends with a SetupError where this machine cannot run containers. */
export async function setUpContainers() {
  if (process.platform !== "linux" || process.arch !== "x64" || process.getuid?.() !== 0) {
    throw new SetupError("Containers are tested on Linux on x86-64 as root; this is not that.");
  }
  await withLock(
    join(cacheFolder, "containers.lock"),
    () => say("waiting for another set-up of containers on this machine"),
    async () => {
      await installEngine();
      await makeBaseImage();
      await tryEngine();
      await installWorkerd();
    },
  );
}

async function installEngine() {
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(engineEnvironment().CONTAINERS_CONF, CONFIGURATION);
  if (PROGRAMS.every((name) => findProgram(name))) return;
  if (!hasApt()) {
    throw new SetupError(
      "Containers need podman, runc and debootstrap, which set-up can install on Debian only.",
    );
  }
  await installPackages(PACKAGES);
}

function hasImage() {
  const env = engineEnvironment();
  return answerOf("podman", ["image", "exists", BASE_IMAGE], { env }) !== undefined;
}

async function makeBaseImage() {
  if (hasImage()) return;
  const log = logFile("base-image");
  if (!existsSync(BASE_ARCHIVE)) await archiveDebian(log);
  await runStep({
    program: "podman",
    args: ["import", BASE_ARCHIVE, BASE_IMAGE],
    env: engineEnvironment(),
    log,
    failure: "The base image for containers cannot be imported.",
  });
}

async function archiveDebian(log) {
  say("making a base image for containers of Debian's packages (a minute)");
  const folder = mkdtempSync(join(tmpdir(), "base-image-"));
  const root = join(folder, "root");
  const archive = `${BASE_ARCHIVE}.${process.pid}`;
  const failure = "The base image for containers cannot be made of Debian's packages.";
  const step = ([program, ...args]) => runStep({ program, args, log, failure });
  try {
    const include = "--include=git,ca-certificates";
    await step(["debootstrap", "--variant=minbase", include, SUITE, root]);
    rmSync(join(root, "var", "cache", "apt", "archives"), { recursive: true, force: true });
    rmSync(join(root, "var", "lib", "apt", "lists"), { recursive: true, force: true });
    await step(["tar", "--create", "--directory", root, "--file", archive, "."]);
    renameSync(archive, BASE_ARCHIVE);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    rmSync(archive, { force: true });
  }
}

/** Programs that are installed may still not be allowed to run a container here. */
async function tryEngine() {
  await runStep({
    program: "podman",
    args: ["run", "--rm", BASE_IMAGE, "true"],
    env: engineEnvironment(),
    log: logFile("podman"),
    limitMs: 60_000,
    failure: "This machine does not let podman run a container.",
  });
}

async function installWorkerd() {
  const folder = workerdFolder();
  if (existsSync(join(folder, "node_modules", ".installed"))) return;
  say("installing a workerd that runs containers (a quarter of a minute)");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const name of ["package.json", "package-lock.json"]) {
    copyFileSync(join(WORKERD_SOURCE, name), join(folder, name));
  }
  await runStep({
    program: "npm",
    args: ["ci", "--include=dev", "--include=optional", "--loglevel=error", "--no-progress"],
    cwd: folder,
    log: logFile("container-workerd"),
    failure: "The workerd that runs containers cannot be installed.",
  });
  writeFileSync(join(folder, "node_modules", ".installed"), "");
}
