//! What requests do to a session.

use std::io;
use std::sync::Arc;

use cloud_agent_wire::{
    Generation, MessageId, PutCredential, PutTurn, RuntimeEvent, Submission, TurnReply, TurnState,
    WorkspaceReply, agent_input,
};

use super::Session;
use super::rotation::rotate;
use super::state::{Stale, TurnDecision};
use crate::store::files::{Durability, lock};
use crate::store::records::{self, TurnRecord};
use crate::turn::run::End;
use crate::workspace::spec::Spec;

/// Why a request changed nothing.
#[derive(Debug)]
pub enum RequestError {
    /// A field is not allowed.
    Invalid(String),
    /// The generation is older than one seen before.
    Stale,
    /// The session has no workspace to rotate the credential of.
    NoWorkspace,
    /// The session was deleted. Final: it never comes back.
    Gone,
    /// The runtime is stopping; the next one on this store goes on.
    Stopping,
    /// The journal is full: the reader must acknowledge first.
    JournalFull,
    /// The disk refused it.
    Disk(io::Error),
}

impl From<Stale> for RequestError {
    fn from(_: Stale) -> Self {
        Self::Stale
    }
}

impl From<io::Error> for RequestError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl Session {
    /// Begins to prepare the workspace, unless that is done or under way already.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn put_workspace(&self, spec: Spec) -> Result<WorkspaceReply, RequestError> {
        self.check_alive()?;
        let record = records::read_workspace(&self.paths)?;
        let mut state = lock(&self.state);
        let is_other = |url: &str| url != spec.url.as_str();
        let has_other = state
            .spec
            .as_ref()
            .is_some_and(|old| is_other(old.url.as_str()))
            || record.is_some_and(|record| is_other(&record.url));
        if has_other {
            let message = "repository.url must stay the one that the workspace was made from";
            return Err(RequestError::Invalid(message.to_owned()));
        }
        self.secrets
            .learn(spec.credential.as_ref(), spec.env.values());
        self.secrets
            .learn(None, &agent_input::secrets_of(&spec.configuration));
        self.remember(state.seen, spec.generation)?;
        state.put_workspace(spec)?;
        let generation = state.seen;
        drop(state);
        self.wake.notify_one();
        Ok(WorkspaceReply { generation })
    }

    /// Takes a newer credential: it is proved at once and then replaces the one in force.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn put_credential(
        self: &Arc<Self>,
        request: PutCredential,
    ) -> Result<WorkspaceReply, RequestError> {
        self.check_alive()?;
        let mut state = lock(&self.state);
        let Some(spec) = state.spec.clone() else {
            return Err(RequestError::NoWorkspace);
        };
        let generation = request.generation;
        if generation < state.seen {
            return Err(RequestError::Stale);
        }
        if generation > state.seen {
            self.secrets.learn(Some(&request.credential), []);
            self.remember(state.seen, generation)?;
            state.put_workspace(Spec {
                generation,
                credential: Some(request.credential),
                ..Spec::clone(&spec)
            })?;
            state.pushed = Some(generation);
            if let Some((cancel, older)) = state.start_rotating(&self.stop) {
                let session = Arc::clone(self);
                tokio::spawn(async move {
                    if let Some(older) = older {
                        session.take_over(&older).await;
                    }
                    rotate(session, generation, cancel).await;
                });
            }
        }
        drop(state);
        self.wake.notify_one();
        Ok(WorkspaceReply { generation })
    }

    /// Takes a turn, or tells what became of it.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn put_turn(
        &self,
        message: &MessageId,
        request: PutTurn,
    ) -> Result<TurnReply, RequestError> {
        let _gate = self.turns.lock().await;
        self.check_alive()?;
        let stored = records::read_turn(&self.paths, message)?;
        let decision = lock(&self.state).decide_turn(message, request.submission, stored.as_ref());
        match decision {
            TurnDecision::Answer(reply) => return Ok(reply),
            TurnDecision::Interrupted => {
                self.end_at_once(message, request.submission)?;
                return Ok(TurnReply {
                    submission: request.submission,
                    state: TurnState::Interrupted,
                });
            }
            TurnDecision::Wait => {}
        }
        if !self.journal.has_room_for_a_turn() {
            return Err(RequestError::JournalFull);
        }
        let submission = request.submission;
        tracing::info!(sessionId = %self.id, messageId = %message, submission = submission.get(), "the turn waits for the workspace");
        let record = lock(&self.state).wait(message, request);
        if let Err(error) = records::write_turn(&self.paths, &record) {
            lock(&self.state).forget(message);
            return Err(error.into());
        }
        self.wake.notify_one();
        Ok(TurnReply {
            submission,
            state: TurnState::Waiting,
        })
    }

    /// Stops a turn: one that runs or waits ends, and one that is unknown or may run again never starts.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn interrupt(&self, message: &MessageId) -> Result<(), RequestError> {
        let _gate = self.turns.lock().await;
        self.check_alive()?;
        if lock(&self.state).interrupt_running(message) {
            tracing::info!(sessionId = %self.id, messageId = %message, "interrupting the turn");
            return Ok(());
        }
        let waiting = lock(&self.state).interrupt_waiting(message);
        if let Some(turn) = waiting {
            self.end_gated(message, turn.submission, End::Interrupted)
                .await;
            return Ok(());
        }
        let stored = records::read_turn(&self.paths, message)?;
        if stored.as_ref().is_none_or(TurnRecord::may_run_again) {
            // The request that brings the turn may still be on its way.
            let submission = stored.map(|record| record.submission).unwrap_or_default();
            records::write_turn(&self.paths, &TurnRecord::stopped(message, submission))?;
        }
        Ok(())
    }

    /// Ends a submission of a turn that was interrupted before it came.
    fn end_at_once(&self, message: &MessageId, submission: Submission) -> Result<(), RequestError> {
        let event = RuntimeEvent::Interrupted {
            message_id: message.clone(),
            submission,
        };
        self.journal.append(event).map_err(io::Error::from)?;
        self.journal.sync()?;
        records::write_turn(&self.paths, &TurnRecord::stopped(message, submission))?;
        Ok(())
    }

    fn check_alive(&self) -> Result<(), RequestError> {
        if self.is_deleted() {
            Err(RequestError::Gone)
        } else if self.stop.is_cancelled() {
            Err(RequestError::Stopping)
        } else {
            Ok(())
        }
    }

    /// Writes down the newest generation, so that no restart goes back behind it.
    fn remember(&self, seen: Generation, generation: Generation) -> io::Result<()> {
        if generation > seen {
            records::write(&self.paths.generation(), &generation, Durability::Content)?;
        }
        Ok(())
    }
}
