//! Workspaces: made by a clone, kept warm, and given a new credential without being touched otherwise.

pub mod branch;
pub mod cold;
pub mod config_writer;
pub mod credential;
pub mod locks;
mod nested_configs;
pub mod origin;
pub mod prepare;
pub mod spec;
pub mod warm;
