#![cfg_attr(test, allow(clippy::expect_used))]
//! What the session object and the workspace runtime say to each other, version 1.
//!
//! Both sides compile this crate, so a request that one of them can build is a request the other can read.
//! The crate holds shapes and names only: it does no I/O, reads no clock and makes no decision.
//!
//! Secrets appear in exactly two requests, [`PutWorkspace`] and [`PutCredential`], and only as
//! [`secret::Secret`], which can be neither printed nor serialized by accident.

pub mod error;
pub mod event;
pub mod failure;
pub mod ids;
pub mod intent;
pub mod routes;
pub mod secret;
pub mod workspace;

pub use error::{RuntimeError, RuntimeErrorCode};
pub use event::{JournalEvent, PrepareStep, RuntimeEvent};
pub use failure::{Failure, FailureCode, FailureStage, FailureSubtype};
pub use ids::{
    BootId, EventSequence, Generation, MessageId, SessionId, StoreId, Submission, Timestamp,
};
pub use intent::{Agent, Attachments, Finalization, Intent, Turn};
pub use secret::Secret;
pub use workspace::{
    Author, Branch, Credential, Health, PutCredential, PutTurn, PutWorkspace, Repository,
    TurnReply, TurnState, WorkspaceReply,
};

/// The version that `GET /healthz` reports; the object refuses a runtime with another one.
pub const VERSION: u32 = 1;
