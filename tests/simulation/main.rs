//! Deterministic simulation of a session: the real decisions on a store that dies, requests that come twice, late and
//! out of order, a runtime that fails, and clocks that jump. Every invariant is checked after every step.
//!
//! `SIMULATION_SEED=7` replays one random history, `SIMULATION_RUNS=100000` plays more of them, and
//! `SIMULATION_SWEEP=large` walks histories with more deaths and mishaps, which takes minutes; `small` leaves some out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod admission_sweep;
mod delivery_sweep;
mod exploration;
mod generator;
mod page;
mod random;
mod random_numbers;
mod settle;
