//! The session's decisions: pure functions from typed state, a command and the time to typed writes and effects.
//!
//! Nothing in here does I/O, reads a clock, makes randomness or holds a platform type; nonces, ids and times are
//! arguments. That is what lets a native test, or a simulation that dies between any two writes, drive exactly
//! the code that runs in production.
//!
//! One rule shapes every function: *load, decide, commit, perform*. A decision is a list of [`step::Step`]s. Each
//! step is committed whole or not at all, in order, and nothing outside is touched before the last one is.

pub mod admission;
pub mod attachment;
pub mod callback;
pub mod claim;
pub mod command;
pub mod credential;
pub mod deadline;
pub mod delivery;
pub mod encrypted_secret;
pub mod ending;
pub mod engine;
pub mod error;
pub mod event;
pub mod event_data;
pub mod journal;
pub mod kilocode;
pub mod managed;
pub mod message;
pub mod outcome;
pub mod preparation;
mod progress;
pub mod record;
pub mod retention;
pub mod retry;
pub mod sealing;
pub mod step;
pub mod timing;
pub mod view;
pub mod volatile;
