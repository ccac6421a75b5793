//! The sessions that are open in this process.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cloud_agent_wire::SessionId;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{RequestError, Session};
use crate::context::Context;
use crate::git::run::blocking;
use crate::journal::Journal;
use crate::store::paths::SessionPaths;
use crate::store::removal::remove_directory;
use crate::workspace::credential;

/// Opens sessions when they are asked for.
pub struct Registry {
    context: Arc<Context>,
    open: Mutex<HashMap<SessionId, Arc<Session>>>,
    stop: CancellationToken,
}

impl Registry {
    /// No session is open yet.
    pub fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            open: Mutex::new(HashMap::new()),
            stop: CancellationToken::new(),
        }
    }

    /// A session that exists; `None` when there is none.
    ///
    /// # Errors
    /// [`RequestError::Gone`], [`RequestError::Stopping`] and [`RequestError::Disk`].
    pub async fn find(&self, id: &SessionId) -> Result<Option<Arc<Session>>, RequestError> {
        let mut open = self.open.lock().await;
        if let Some(session) = open.get(id) {
            return Ok(Some(Arc::clone(session)));
        }
        let exists = self.context.store.session(id).runtime().exists();
        if exists {
            self.open(&mut open, id).await.map(Some)
        } else {
            Ok(None)
        }
    }

    /// A session, made if it does not exist yet.
    ///
    /// # Errors
    /// [`RequestError::Gone`], [`RequestError::Stopping`] and [`RequestError::Disk`].
    pub async fn find_or_create(&self, id: &SessionId) -> Result<Arc<Session>, RequestError> {
        let mut open = self.open.lock().await;
        if let Some(session) = open.get(id) {
            return Ok(Arc::clone(session));
        }
        self.open(&mut open, id).await
    }

    async fn open(
        &self,
        open: &mut HashMap<SessionId, Arc<Session>>,
        id: &SessionId,
    ) -> Result<Arc<Session>, RequestError> {
        if self.context.store.is_deleted(id) {
            return Err(RequestError::Gone);
        }
        if self.stop.is_cancelled() {
            return Err(RequestError::Stopping);
        }
        let (context, session_id) = (Arc::clone(&self.context), id.clone());
        let journal = blocking(move || {
            let paths = context.store.create_session(&session_id)?;
            Journal::open(&paths.journal(), |_| {})
        })
        .await?;
        let stop = self.stop.child_token();
        let session = Session::start(id.clone(), &self.context, journal, stop)?;
        open.insert(id.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// Stops everything of a session and removes it for good. A repeat waits for the same, and removes what an earlier
    /// try had to leave.
    ///
    /// # Errors
    /// [`RequestError::Gone`] when it is removed already; [`RequestError::Disk`]: the session stays deleted, and a
    /// repeat or the next start removes the rest.
    pub async fn delete(&self, id: &SessionId) -> Result<(), RequestError> {
        let paths = self.context.store.session(id);
        if self.context.store.is_deleted(id) && !paths.base().exists() {
            return Err(RequestError::Gone);
        }
        self.context.store.bury(id)?;
        // It stays open until nothing of it runs, so that no repeat removes files under it.
        let session = self.open.lock().await.get(id).cloned();
        if let Some(session) = session {
            session.deleted.store(true, Ordering::Release);
            session.journal.close();
            session.stop().await;
            self.open.lock().await.remove(id);
        }
        tracing::info!(sessionId = %id, "the session was deleted");
        let owner = self.context.owner();
        blocking(move || remove(&paths, owner)).await?;
        Ok(())
    }

    /// Stops every session; turns that are not over end with a typed reason.
    pub async fn stop(&self) {
        self.stop.cancel();
        let sessions: Vec<_> = self.open.lock().await.drain().collect();
        for (_, session) in sessions {
            session.stop().await;
        }
    }
}

/// Removes a session's files, its secrets first: the rest may resist. Blocks.
///
/// # Errors
/// Those of the file system; everything was tried then.
pub(super) fn remove(paths: &SessionPaths, owner: u32) -> io::Result<()> {
    let secrets = credential::forget(paths, owner);
    remove_directory(paths.base())?;
    secrets
}
