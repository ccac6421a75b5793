// The Rust that builds the runtime and the native tests. Set-up does not install it: how Rust is
// kept on a machine is its owner's choice.

import { answerOf, findProgram } from "./command.mjs";
import { SetupError } from "./report.mjs";

/** The floor of the `worker` crate. */
const MINIMUM = [1, 91];

/** Ends set-up with one sentence when Rust or a C linker is missing, or Rust is too old. */
export function requireNativeRust() {
  const version = answerOf("cargo", ["--version"])?.match(/^cargo (\d+)\.(\d+)/);
  const wanted = `Rust ${MINIMUM.join(".")} or newer`;
  if (!version) {
    throw new SetupError(`Rust is missing; install ${wanted} (cargo and rustc must be in PATH).`);
  }
  const [major, minor] = [Number(version[1]), Number(version[2])];
  if (major < MINIMUM[0] || (major === MINIMUM[0] && minor < MINIMUM[1])) {
    throw new SetupError(`Rust ${major}.${minor} is too old; install ${wanted}.`);
  }
  if (!findProgram("cc")) {
    throw new SetupError(
      "A C compiler is missing, which Rust needs to link programs; install gcc or clang so that cc is in PATH.",
    );
  }
}
