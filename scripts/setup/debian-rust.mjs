// Debian's Rust for wasm32. Debian ships a compiler (rustc-web) and the source of the standard
// library, but no compiled library for wasm32: it is built here once for each compiler version.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { answerOf, runStep, withoutCargoSettings } from "./command.mjs";
import { asRoot, hasApt, installedVersion, installPackages } from "./debian-packages.mjs";
import { logFile } from "./paths.mjs";
import { say } from "./report.mjs";

export const CARGO = "/usr/bin/cargo";
export const RUSTC = "/usr/bin/rustc";
export const LINKER = "wasm-ld-22";
export const SYSROOT = "/usr";

const PACKAGES = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy", "lld-22"];
const LIBRARIES = "/usr/lib/rustlib";
/** Holds the `rustc -vV` of the compiler that built the library beside it. */
const KEY_FILE = "built-by.txt";

/** Whether this way can be tried on this machine. */
export function isPossible() {
  return hasApt();
}

/** What identifies the compiler; a library fits only the compiler that built it. */
export function compilerKey() {
  return answerOf(RUSTC, ["-vV"]);
}

/** Whether the packages and a standard library of this very compiler are there. */
export function hasWasmStd(target) {
  try {
    const builtBy = readFileSync(join(LIBRARIES, target, KEY_FILE), "utf8").trim();
    return builtBy === compilerKey() && PACKAGES.every((name) => installedVersion(name));
  } catch {
    return false;
  }
}

/** Installs the packages and builds the standard library for `target`. */
export async function install(target) {
  if (!PACKAGES.every((name) => installedVersion(name))) await installPackages(PACKAGES);
  if (hasWasmStd(target)) return;
  say(`building Rust's standard library for ${target} (about half a minute)`);
  const work = mkdtempSync(join(tmpdir(), "wasm-std-"));
  try {
    await buildStd(work, target);
    await placeStd(work, target);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const CRATE_NAME = "empty_crate_for_std";

async function buildStd(work, target) {
  mkdirSync(join(work, "src"));
  writeFileSync(join(work, "src", "lib.rs"), "");
  writeFileSync(
    join(work, "Cargo.toml"),
    `[package]\nname = "${CRATE_NAME}"\nversion = "0.0.0"\nedition = "2021"\n\n[workspace]\n`,
  );
  await runStep({
    program: CARGO,
    args: ["build", "--release", "--target", target, "-Zbuild-std=std,panic_abort,test"],
    cwd: work,
    env: {
      ...withoutCargoSettings(process.env),
      // -Zbuild-std is refused by a stable compiler without this.
      RUSTC_BOOTSTRAP: "1",
      RUSTC,
      // Without the bitcode, link-time optimisation against the library fails.
      RUSTFLAGS: "-Cembed-bitcode=yes",
    },
    log: logFile("wasm-std"),
    failure: `Rust's standard library cannot be built for ${target}.`,
  });
}

/** Puts the libraries in place with one rename, so that no build ever sees half of them. */
async function placeStd(work, target) {
  const built = join(work, "target", target, "release", "deps");
  const staging = join(work, "staging");
  const libraries = readdirSync(built)
    .filter((name) => name.endsWith(".rlib") && !name.includes(CRATE_NAME))
    .map((name) => join(built, name));
  mkdirSync(join(staging, "lib"), { recursive: true });
  writeFileSync(join(staging, KEY_FILE), `${compilerKey()}\n`);
  const place = join(LIBRARIES, target);
  const script = [
    `cp ${libraries.map(quote).join(" ")} ${quote(join(staging, "lib"))}/`,
    `rm -rf ${quote(`${place}.new`)}`,
    `cp -r ${quote(staging)} ${quote(`${place}.new`)}`,
    `chmod -R a+rX ${quote(`${place}.new`)}`,
    `rm -rf ${quote(place)}`,
    `mv ${quote(`${place}.new`)} ${quote(place)}`,
  ].join(" && ");
  const [program, ...args] = asRoot(["sh", "-c", script]);
  await runStep({
    program,
    args,
    log: logFile("wasm-std-copy"),
    failure: `Rust's standard library cannot be copied to ${place}.`,
  });
}

function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
