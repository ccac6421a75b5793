//! The environment of everything that belongs to the session: the agent and the setup commands.

use std::collections::BTreeMap;
use std::ffi::OsString;

use cloud_agent_wire::Secret;

use crate::context::Context;
use crate::process::SESSION_MARKER;
use crate::store::paths::SessionPaths;

/// The session's variables over a clean base; the last ones cannot be overridden. Nothing of the runtime's own
/// environment but `PATH` gets through.
pub fn agent_environment(
    context: &Context,
    paths: &SessionPaths,
    session: &BTreeMap<String, Secret>,
) -> Vec<(OsString, OsString)> {
    let mut environment: BTreeMap<OsString, OsString> = BTreeMap::new();
    environment.insert("PATH".into(), context.config.path.clone());
    environment.insert("LANG".into(), "C.UTF-8".into());
    for (name, value) in session {
        environment.insert(name.into(), value.expose().into());
    }
    environment.insert("HOME".into(), paths.home().into());
    environment.insert("SESSION_HOME".into(), paths.home().into());
    environment.insert(SESSION_MARKER.into(), paths.session_id().into());
    environment.insert("SESSION_ATTACHMENTS".into(), paths.attachments().into());
    environment.insert("GIT_TERMINAL_PROMPT".into(), "0".into());
    // Where the workspace is no repository any more, git must not find one that happens to lie around the store.
    environment.insert("GIT_CEILING_DIRECTORIES".into(), paths.base().into());
    environment.extend([context.marker()]);
    environment.into_iter().collect()
}
