//! Prepares git workspaces, runs the agent and keeps the event journal of a session.
fn main() {}
