//! Where the files of one session are.

use std::path::{Path, PathBuf};

use cloud_agent_wire::MessageId;

/// Paths under a session's folder.
#[derive(Debug, Clone)]
pub struct SessionPaths {
    base: PathBuf,
}

macro_rules! paths {
    ($($(#[$doc:meta])* $name:ident = $path:literal;)+) => {
        $($(#[$doc])*
        pub fn $name(&self) -> PathBuf {
            self.base.join($path)
        })+
    };
}

impl SessionPaths {
    /// The paths under this folder.
    pub fn new(base: PathBuf) -> Self {
        Self { base }
    }

    /// The session's folder.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The session's id, which names its folder.
    pub fn session_id(&self) -> &str {
        self.base
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
    }

    paths! {
        /// The workspace.
        repo = "repo";
        /// The agent's home.
        home = "home";
        /// Uploaded files.
        attachments = "attachments";
        /// Folder of the agent's copy of the credential.
        agent_credential_folder = "credential";
        /// The agent's copy of the credential.
        agent_credential = "credential/token";
        /// Everything that belongs to the runtime alone.
        runtime = "runtime";
        /// The runtime's copy of the credential.
        credential = "runtime/credential";
        /// Credentials that were about to be put into force: the workspace may hold them.
        incoming_credentials = "runtime/incoming-credentials";
        /// A credential that is being proved.
        candidate_credential = "runtime/temporary-credential";
        /// The record of the complete workspace; absent while it is cold.
        workspace_record = "runtime/workspace.json";
        /// The newest generation that was seen.
        generation = "runtime/generation";
        /// Records of turns that are over.
        turns = "runtime/turns";
        /// Records of turns that are not over.
        open_turns = "runtime/open-turns";
        /// The journal's segments.
        journal = "runtime/journal";
        /// The repository that commits are pushed from.
        push_repository = "runtime/push.git";
        /// A folder that stays empty: home and working directory of git.
        empty = "runtime/empty";
    }

    /// The record of a turn that is not over.
    pub fn open_turn(&self, message: &MessageId) -> PathBuf {
        self.open_turns().join(format!("{message}.json"))
    }

    /// The record of a turn that is over.
    pub fn turn(&self, message: &MessageId) -> PathBuf {
        self.turns().join(format!("{message}.json"))
    }
}
