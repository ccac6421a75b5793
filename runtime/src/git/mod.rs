//! Running git: what it is told, how it is watched, and what its failures mean.

pub mod config_file;
mod config_parser;
pub mod credential_file;
pub mod credential_helper;
pub mod plan;
pub mod progress;
pub mod remote;
pub mod run;
pub mod version;
