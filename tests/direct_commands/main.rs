//! The commands of direct mode, run by a real shell: every text is one word of them, and a repeat does nothing twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

#[path = "../hostile/page.rs"]
#[allow(dead_code, reason = "only the rows are read here")]
mod page;
mod quoting;
#[path = "../simulation/random_numbers.rs"]
#[allow(dead_code, reason = "a part of it is enough here")]
mod random_numbers;
mod turns;

use std::process::{Command, Output};

fn run(shell: &str, script: &str) -> Output {
    let output = Command::new(shell).args(["-c", script]).output();
    output.expect("the shell runs")
}
