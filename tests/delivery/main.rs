//! Delivery of messages to a runtime: claims, answers, events, failures and ends, on a store in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod answers;
mod callbacks;
mod claims;
mod credentials;
mod endings;
mod events;
mod followers;
mod loss;
mod managed;
mod reports;
mod retention;
mod retries;
mod workspace;
