#![cfg_attr(
    test,
    allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]
//! Prepares git workspaces, runs the agent and keeps the event journal of a session.
//!
//! Without arguments this program is the HTTP server that the session object talks to. It is also its own helper:
//!
//! - `workspace-runtime agent`: the agent that is built in;
//! - `workspace-runtime git-credential …`: git's credential helper inside workspaces;
//! - `workspace-runtime upload-pack …`: serves a workspace's commits as the agent's user.
//!
//! Everything that git or the agent wrote is treated as hostile: it is read as data, and no token is in reach where
//! it could run.

mod agent_environment;
mod children;
mod clock;
mod config;
mod context;
mod git;
mod group;
mod journal;
mod limits;
mod process;
mod serve;
mod server;
mod session;
mod store;
mod strays;
mod turn;
pub mod untrusted;
mod workspace;

use std::process::ExitCode;

use config::Config;

/// The configuration is wrong.
const EXIT_CONFIG: u8 = 2;

/// The program. Reads its arguments and its environment.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => start_server(),
        ["agent"] => finish(turn::builtin::main(
            std::io::stdin().lock(),
            std::io::stdout(),
        )),
        ["git-credential", ..] => {
            let rest = arguments.get(1..).unwrap_or_default();
            git::credential_helper::main(rest, std::io::stdin().lock(), std::io::stdout());
            ExitCode::SUCCESS
        }
        ["upload-pack", ..] => {
            let rest = arguments.get(1..).unwrap_or_default();
            finish(Err(turn::upload_pack::main(rest)))
        }
        _ => {
            eprintln!("usage: workspace-runtime [agent]");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn start_server() -> ExitCode {
    let config = match Config::read(|name| std::env::var_os(name)) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(std::io::stderr)
        .init();
    serve::main(config)
}

fn finish(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
