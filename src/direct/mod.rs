//! Direct mode: the object itself prepares a session's workspace in a sandbox that runs commands and knows nothing else.
//!
//! Everything is a command for the sandbox's shell, and what a command answers is data. The commands are scripts under
//! `scripts/` behind assignments of quoted words, so that no text is ever read as a program ([`command`]). What takes
//! long runs in the sandbox on its own: a driver, which is written for one turn ([`turn`]), prepares the workspace, runs
//! the agent and notes each event in a file; [`events`] makes the session's events of that. All state is in the
//! sandbox's files, so a repeated command finds what the first one did.

pub mod answer;
pub mod command;
pub mod events;
mod scripts;
pub mod turn;

/// The folder of the workspaces where no other is configured: the one that stock images start in.
pub const DEFAULT_ROOT: &str = "/workspace";
