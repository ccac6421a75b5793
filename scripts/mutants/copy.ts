// A copy of the sources that may be damaged, with the tests of the protocol as one program.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { projectRoot } from "../setup/paths.mjs";

/** The test programs that drive the protocol. */
const PROGRAMS = ["admission", "delivery", "simulation"];
/** The one program that holds their tests: compiling is most of the time that a mutant takes. */
export const TEST_PROGRAM = "protocol";

/** A copy; `close` removes it. */
export class Copy {
  readonly root: string;
  /** Where it is compiled to: kept, so that the next copy finds the libraries ready. */
  readonly target = process.env.CARGO_TARGET_DIR ?? join(projectRoot, "target", "mutants");

  private constructor(root: string) {
    this.root = root;
  }

  /** Copies what git knows, and what it would add. */
  static make(): Copy {
    const copy = new Copy(mkdtempSync(join(tmpdir(), "mutants-")));
    const listed = execFileSync("git", ["ls-files", "-z", "-c", "-o", "--exclude-standard"], {
      cwd: projectRoot,
      encoding: "utf8",
    });
    for (const file of new Set(listed.split("\0").filter(Boolean))) {
      mkdirSync(dirname(join(copy.root, file)), { recursive: true });
      cpSync(join(projectRoot, file), join(copy.root, file), { force: true });
    }
    copy.#joinTests();
    // Only the tests are linked, and they are compiled more often than they run.
    copy.edit("Cargo.toml", 'crate-type = ["cdylib", "rlib"]', 'crate-type = ["rlib"]');
    copy.edit(
      "Cargo.toml",
      "cloud-agent-session.opt-level = 2",
      "cloud-agent-session.opt-level = 1",
    );
    return copy;
  }

  /** Replaces a text that stands exactly once in a file. */
  edit(file: string, find: string, put: string): void {
    const path = join(this.root, file);
    const parts = readFileSync(path, "utf8").split(find);
    if (parts.length !== 2) {
      throw new Error(`${file} has ${parts.length - 1} times, not once:\n${find}`);
    }
    writeFileSync(path, parts.join(put));
  }

  /** Replaces a file. */
  write(file: string, text: string): void {
    writeFileSync(join(this.root, file), text);
  }

  /** Adds text at the end of a file. */
  append(file: string, text: string): void {
    const path = join(this.root, file);
    writeFileSync(path, readFileSync(path, "utf8") + text);
  }

  close(): void {
    rmSync(this.root, { recursive: true, force: true });
  }

  #joinTests(): void {
    const modules = new Map([["harness", "harness/mod.rs"]]);
    for (const program of PROGRAMS) {
      const main = readFileSync(join(this.root, "tests", program, "main.rs"), "utf8");
      for (const [, name = ""] of main.matchAll(/^mod (\w+);$/gm)) {
        if (name === "harness") continue;
        if (modules.has(name)) throw new Error(`tests/ has two modules named ${name}`);
        modules.set(name, `${program}/${name}.rs`);
      }
    }
    const lines = [...modules].map(([name, path]) => `#[path = "../${path}"]\nmod ${name};\n`);
    const folder = join(this.root, "tests", TEST_PROGRAM);
    mkdirSync(folder);
    writeFileSync(join(folder, "main.rs"), `#![allow(warnings)]\n${lines.join("")}`);
  }
}
