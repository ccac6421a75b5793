//! What the native tests share: a store in memory, sessions made ready, a runtime that is simulated.
#![allow(
    dead_code,
    reason = "every test binary compiles the whole harness and uses a part of it"
)]

pub mod delivering;
mod effects;
pub mod fixtures;
pub mod follower;
pub mod invariants;
pub mod memory_store;
pub mod model;
pub mod receiver;
pub mod runtime;
pub mod session;
pub mod shell;
pub mod tables;
pub mod world;
