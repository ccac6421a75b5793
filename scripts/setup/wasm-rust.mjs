// The Rust that compiles for wasm32: the machine's own where it has that target, otherwise
// Debian's rustc with a standard library that set-up builds once (see debian-rust.mjs).

import { readdirSync } from "node:fs";
import { delimiter } from "node:path";
import { answerOf, findProgram, runLogged } from "./command.mjs";
import * as debian from "./debian-rust.mjs";
import { logFile } from "./paths.mjs";
import { SetupError, say } from "./report.mjs";

export const WASM_TARGET = "wasm32-unknown-unknown";

/** How long `rustup target add` may take before it counts as not possible here. */
const RUSTUP_LIMIT_MS = 120_000;

/** `WASM_RUST=own` or `WASM_RUST=debian` allows only that one of the two. */
function allowed(kind) {
  return !process.env.WASM_RUST || process.env.WASM_RUST === kind;
}

function ownHasTarget() {
  // Debian's compiler needs a linker named to it, also where it is the machine's own.
  if (answerOf("rustc", ["--print", "sysroot"]) === debian.SYSROOT) return false;
  const folder = answerOf("rustc", ["--print", "target-libdir", "--target", WASM_TARGET]);
  if (folder === undefined) return false;
  try {
    return readdirSync(folder).some((name) => /^libstd-.*\.rlib$/.test(name));
  } catch {
    return false;
  }
}

/**
 * The environment in which cargo, clippy and worker-build compile for wasm32, with a `key` that
 * names the compiler; `undefined` when this machine has none yet.
 */
export function findWasmRust() {
  if (allowed("own") && ownHasTarget()) {
    return { kind: "own", key: answerOf("rustc", ["-vV"]), env: {} };
  }
  if (allowed("debian") && debian.hasWasmStd(WASM_TARGET)) {
    return {
      kind: "debian",
      key: debian.compilerKey(),
      env: {
        // worker-build asks the first `rustc` in PATH, whatever RUSTC says.
        PATH: ["/usr/bin", process.env.PATH].filter(Boolean).join(delimiter),
        CARGO: debian.CARGO,
        RUSTC: debian.RUSTC,
        CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER: debian.LINKER,
      },
    };
  }
  return undefined;
}

/** Installs the wasm32 target, by rustup where that works and otherwise the Debian way. */
export async function installWasmRust() {
  if (allowed("own") && (await addByRustup())) return;
  if (allowed("debian") && debian.isPossible()) {
    await debian.install(WASM_TARGET);
    return;
  }
  throw new SetupError(
    `The Rust target ${WASM_TARGET} is missing and cannot be installed here; run "rustup target add ${WASM_TARGET}" where the network allows it, or use a Debian that offers the package rustc-web.`,
  );
}

async function addByRustup() {
  if (!findProgram("rustup")) return false;
  say(`adding the Rust target ${WASM_TARGET} with rustup`);
  const status = await runLogged({
    program: "rustup",
    args: ["target", "add", WASM_TARGET],
    env: { ...process.env, RUSTUP_MAX_RETRIES: "0" },
    log: logFile("rustup"),
    limitMs: RUSTUP_LIMIT_MS,
  });
  if (status === 0 && ownHasTarget()) return true;
  say(`rustup cannot download here (see ${logFile("rustup")})`);
  return false;
}
