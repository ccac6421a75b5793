//! A session: its workspace, its turns and its journal, driven by one task.

mod recovery;
mod registry;
mod requests;
mod rotation;
mod secrets;
mod state;
mod worker;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cloud_agent_wire::{Generation, SessionId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::git::credential_file;
use crate::journal::Journal;
use crate::store::files::{Durability, lock};
use crate::store::paths::SessionPaths;
use crate::store::records::{self, WorkspaceRecord};
use crate::strays::kill_session;

pub use recovery::recover;
pub use registry::Registry;
pub use requests::RequestError;
pub use secrets::Secrets;
use state::State;

/// A session that is open in this process.
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Its files.
    pub paths: SessionPaths,
    /// Its journal.
    pub journal: Arc<Journal>,
    /// The process's context.
    pub context: Arc<Context>,
    state: Mutex<State>,
    secrets: Arc<Secrets>,
    /// Held while turn records change, so that what is decided and what is written cannot drift apart.
    turns: tokio::sync::Mutex<()>,
    /// Held while the credential of the workspace changes.
    credential: tokio::sync::Mutex<()>,
    wake: Notify,
    /// Told when a live rotation has put a credential into force.
    rotated: Notify,
    /// Fires when the runtime stops or the session is deleted.
    stop: CancellationToken,
    /// Fires when the task has ended.
    stopped: CancellationToken,
    deleted: AtomicBool,
}

impl Session {
    /// Opens a session whose folders are there, and starts its task.
    fn start(
        id: SessionId,
        context: &Arc<Context>,
        journal: Journal,
        stop: CancellationToken,
    ) -> io::Result<Arc<Self>> {
        let paths = context.store.session(&id);
        let seen: Option<Generation> = records::read(&paths.generation())?;
        let prepared = records::read_workspace(&paths)?.map(|record| record.generation);
        let secrets = Secrets::default();
        // What an earlier process put into force, or was about to, may stand in the workspace.
        let in_force = credential_file::read(&paths.credential()).ok();
        let incoming = credential_file::read_several(&paths.incoming_credentials());
        for credential in in_force.iter().chain(&incoming) {
            secrets.learn(Some(credential), []);
        }
        let session = Arc::new(Self {
            id,
            paths,
            journal: Arc::new(journal),
            context: Arc::clone(context),
            state: Mutex::new(State::new(seen.max(prepared).unwrap_or_default())),
            secrets: Arc::new(secrets),
            turns: tokio::sync::Mutex::new(()),
            credential: tokio::sync::Mutex::new(()),
            wake: Notify::new(),
            rotated: Notify::new(),
            stop,
            stopped: CancellationToken::new(),
            deleted: AtomicBool::new(false),
        });
        tokio::spawn(worker::work(Arc::clone(&session)));
        Ok(session)
    }

    /// Waits until the session's task has ended and nothing of it runs any more.
    async fn stop(&self) {
        self.stop.cancel();
        self.stopped.cancelled().await;
        kill_session(&self.context, &self.paths).await;
        // A live rotation may still be putting files into place.
        drop(self.credential.lock().await);
    }

    /// What removes the session's secrets from the output of its children, kept up to date.
    pub fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets)
    }

    /// The credential generation that the remote accepted last.
    pub fn generation_in_force(&self) -> Generation {
        let state = lock(&self.state);
        state
            .ready
            .map(|ready| ready.generation)
            .unwrap_or_default()
    }

    /// Writes down the newest commit that the remote is known to have.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn set_published(&self, commit: &str) -> io::Result<()> {
        let _guard = self.credential.lock().await;
        let path = self.paths.workspace_record();
        match records::read_workspace(&self.paths)? {
            Some(record) => {
                let published = Some(commit.to_owned());
                records::write(
                    &path,
                    &WorkspaceRecord {
                        published,
                        ..record
                    },
                    Durability::Content,
                )
            }
            None => Ok(()),
        }
    }

    fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }
}
