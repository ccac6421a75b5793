//! A durable session for cloud coding agents, as a Cloudflare Durable Object.
//!
//! A session admits follow-up messages durably, makes a fresh git token its credential before the message
//! becomes visible, queues, and delivers by alarm to a runtime that owns the git workspace.
//!
//! # Where things are
//! - [`session`] decides: admission, rotation, delivery. It does no I/O, reads no clock and knows no platform type.
//! - [`trpc`] and [`auth`] decode and check what clients send, just as purely.
//! - [`stream`] decides what a socket that follows a session is sent.
//! - [`container`] decides what the owner of a sandbox's container does next.
//! - [`direct`] writes the commands that prepare a workspace in a sandbox without a runtime, and reads their answers.
//! - `shell`, compiled for WebAssembly only, decodes, loads, lets `session` decide, commits and performs.
//! - [`telemetry`] is the shape of every log line.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod auth;
pub mod callback_request;
pub mod commands;
pub mod config;
pub mod container;
#[cfg(test)]
mod declarations;
pub mod direct;
pub mod envelope;
pub mod limits;
pub mod mint;
pub mod ndjson;
pub mod projection;
pub mod session;
pub mod stream;
pub mod telemetry;
pub mod trpc;

#[cfg(target_arch = "wasm32")]
mod shell;
