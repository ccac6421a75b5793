//! Admission of messages and rotation of the credential, on a store in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod faults;
mod refusals;
mod replay;
mod rotation;
