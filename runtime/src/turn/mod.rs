//! Turns: the agent's run, what it prints, and publishing its work.

pub mod agent;
pub mod builtin;
pub mod input;
pub mod lines;
pub mod publish;
pub mod run;
pub mod upload_pack;
