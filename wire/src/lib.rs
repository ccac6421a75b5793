#![cfg_attr(
    test,
    allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]
//! What the session object and the workspace runtime say to each other, version 1.
//!
//! Both sides compile this crate, so a request that one of them can build is a request the other can read.
//! The crate holds shapes, names and the rules that hold on both sides: what they accept (URLs, addresses, branch names),
//! what goes into a shell or a URL, and what becomes of an agent's and git's output. It does no I/O and reads no clock.
//!
//! Secrets appear in exactly three requests, [`Claim`], [`PutWorkspace`] and [`PutCredential`], and only as
//! [`secret::Secret`], which can be neither printed nor serialized by accident.

pub mod address;
pub mod agent_input;
pub mod agent_output;
pub mod branch_name;
pub mod error;
pub mod event;
pub mod failure;
pub mod git_failure;
pub mod git_url;
pub mod ids;
pub mod intent;
mod json_tokens;
mod readings;
pub mod redact;
pub mod routes;
pub mod secret;
mod secret_forms;
pub mod shell_word;
#[cfg(feature = "typescript")]
pub mod typescript;
pub mod url_encoding;
pub mod workspace;

pub use address::AllowedHosts;
pub use error::{RuntimeError, RuntimeErrorCode};
pub use event::{GateResult, JournalEvent, PrepareStep, RuntimeEvent};
pub use failure::{Failure, FailureCode, FailureStage, FailureSubtype};
pub use git_url::{CallbackUrl, GitUrl, UrlError};
pub use ids::{
    BootId, EventSequence, Generation, MessageId, SessionId, StoreId, Submission, Timestamp,
};
pub use intent::{Agent, Attachments, Finalization, Intent, Turn};
pub use secret::Secret;
pub use shell_word::{NulInWord, ShellWord};
pub use workspace::{
    Author, Branch, Claim, Credential, Health, PutCredential, PutTurn, PutWorkspace, Repository,
    TurnReply, TurnState, WorkspaceReply, agent_command, is_runtime_token,
};

/// The version that `GET /healthz` reports; the object refuses a runtime with another one.
pub const VERSION: u32 = 1;
