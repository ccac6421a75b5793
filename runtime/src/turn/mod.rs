//! Turns: the agent's run, and publishing its work.

pub mod agent;
pub mod builtin;
pub mod publish;
pub mod run;
pub mod upload_pack;
