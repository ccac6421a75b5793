//! Hostile inputs, servers, repositories and agents against the runtime. The tables of `docs/hostile-inputs.md` are
//! what these tests have seen.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice
)]

mod inputs;
mod links;
mod memory;
#[path = "../../../tests/hostile/page.rs"]
mod page;
mod repositories;
mod scene;
mod servers;
mod settings;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
mod workspaces;
