//! The program; all of it is in the library, where fuzzing and tests reach what reads the bytes of others.

use std::process::ExitCode;

fn main() -> ExitCode {
    workspace_runtime::main()
}
