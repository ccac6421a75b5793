//! Live rotation: a new credential while a turn runs.

use std::sync::Arc;
use std::time::Duration;

use cloud_agent_wire::{Failure, FailureSubtype, Generation, RuntimeEvent};
use tokio_util::sync::CancellationToken;

use super::Session;
use crate::git::run::{Git, StepError};
use crate::store::files::lock;
use crate::store::records;
use crate::workspace::credential::prove;
use crate::workspace::prepare::Ready;
use crate::workspace::spec::Spec;
use crate::workspace::warm;

/// Waits before the remote is asked again after trouble that says nothing about the credential. The last one is
/// repeated until the turn is over; then the credential is proved before the next turn.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Time that a proof has left when a newer credential has come.
const TAKE_OVER: Duration = Duration::from_secs(5);

/// Proves the newest credential and puts it into force beside the running agent, until `cancel` fires.
pub async fn rotate(session: Arc<Session>, generation: Generation, cancel: CancellationToken) {
    let longest = session.context.config.deadlines.rotation_retry;
    let mut retries = RETRIES.into_iter();
    loop {
        match session.rotate_once(generation, &cancel).await {
            Ok(()) | Err(StepError::Cancelled) => return,
            Err(StepError::Failed(failure)) => {
                tracing::warn!(sessionId = %session.id, generation = generation.get(), failure = ?failure, "a pushed credential could not be used");
                if failure.subtype == Some(FailureSubtype::GitAuthenticationFailed) {
                    session.refuse(generation, failure);
                    return;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(retries.next().unwrap_or(longest).min(longest)) => {}
            () = cancel.cancelled() => return,
        }
    }
}

impl Session {
    /// Lets the rotation to an older credential end, or ends it. What it proves may be all that the remote accepts, but
    /// a remote that does not answer it must not hold up a newer one.
    pub(super) async fn take_over(&self, older: &CancellationToken) {
        let turn = tokio::time::timeout(TAKE_OVER, self.credential.lock()).await;
        if turn.is_err() {
            older.cancel();
        }
    }

    async fn rotate_once(
        &self,
        generation: Generation,
        cancel: &CancellationToken,
    ) -> Result<(), StepError> {
        let _guard = self.credential.lock().await;
        let Some(spec) = self.wanted(generation) else {
            return Err(StepError::Cancelled);
        };
        let git = Git {
            context: &self.context,
            paths: &self.paths,
            cancel,
            generation,
        };
        prove(&git, &spec.url, spec.credential.as_ref()).await?;
        let old_tokens = self.secrets.old_tokens(spec.credential.as_ref());
        let record =
            records::read_workspace(&self.paths).map_err(|error| git.disk_failed(&error))?;
        warm::put_into_force(&git, &spec, &old_tokens, record)?;
        tracing::info!(sessionId = %self.id, generation = generation.get(), "a pushed credential is in force");
        let mut state = lock(&self.state);
        let cold = state.ready.is_some_and(|ready| ready.cold);
        state.ready = Some(Ready { generation, cold });
        drop(state);
        self.rotated.notify_waiters();
        Ok(())
    }

    /// Tells that the remote refused the credential in force while a turn needed it, and waits until a live rotation
    /// has put a newer one into force.
    ///
    /// # Errors
    /// `failure`, when none came in time; [`StepError::Cancelled`].
    pub async fn newer_credential(
        &self,
        failure: Failure,
        cancel: &CancellationToken,
    ) -> Result<(), StepError> {
        let used = failure.generation;
        if self.generation_in_force() > used {
            // It came while the command ran.
            return Ok(());
        }
        self.append_surely(RuntimeEvent::CredentialRefused { generation: used });
        tracing::warn!(sessionId = %self.id, generation = used.get(), "the remote refused the credential of a running turn");
        let newer = async {
            loop {
                let mut rotated = std::pin::pin!(self.rotated.notified());
                rotated.as_mut().enable();
                if self.generation_in_force() > used {
                    return;
                }
                rotated.await;
            }
        };
        tokio::select! {
            () = newer => Ok(()),
            () = cancel.cancelled() => Err(StepError::Cancelled),
            () = tokio::time::sleep(self.context.config.deadlines.credential_wait) => {
                Err(StepError::Failed(failure))
            }
        }
    }

    /// The settings with this generation, if they are still the newest and not in force yet.
    fn wanted(&self, generation: Generation) -> Option<Arc<Spec>> {
        let state = lock(&self.state);
        let spec = state.spec.clone()?;
        let is_in_force = state
            .ready
            .is_some_and(|ready| ready.generation >= generation);
        (spec.generation == generation && !is_in_force).then_some(spec)
    }

    /// The old credential stays in use, and the refused one is not tried again.
    fn refuse(&self, generation: Generation, failure: Failure) {
        {
            let mut state = lock(&self.state);
            if state
                .spec
                .as_ref()
                .is_some_and(|spec| spec.generation == generation)
            {
                state.failed = Some(failure);
            }
        }
        self.append_surely(RuntimeEvent::CredentialRefused { generation });
    }
}
