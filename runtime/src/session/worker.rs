//! The task of a session: prepares, runs one turn at a time, and ends turns.

use std::sync::Arc;
use std::time::Duration;

use cloud_agent_wire::{
    Failure, FailureCode, FailureStage, FailureSubtype, MessageId, RuntimeEvent, Submission,
};
use tokio_util::sync::CancellationToken;

use super::Session;
use super::state::{Step, Waiting};
use crate::git::run::{StepError, setup_failure};
use crate::store::files::lock;
use crate::store::records::{self, TurnRecord};
use crate::turn::run::{End, Turn};
use crate::workspace::prepare::{Preparation, Ready, Reporter, prepare};
use crate::workspace::spec::Spec;

/// Wait between two tries to write the end of a turn to a disk that refuses it.
const END_RETRY: Duration = Duration::from_secs(1);

/// Runs until the session is told to stop.
pub async fn work(session: Arc<Session>) {
    while !session.stop.is_cancelled() {
        let gate = session.turns.lock().await;
        let step = lock(&session.state).next(&session.stop);
        match step {
            Step::Prepare(spec, cancel) => {
                drop(gate);
                session.prepare(&spec, &cancel).await;
            }
            Step::Run {
                turn,
                ready,
                spec,
                record,
                cancel,
            } => {
                let written = records::write_turn(&session.paths, &record);
                drop(gate);
                let end = match written {
                    Ok(()) => session.run(&turn, ready, &spec, &cancel).await,
                    Err(error) => session.not_started(&turn, &error, &spec),
                };
                session.end(&turn.message_id, turn.submission, end).await;
            }
            Step::Refuse(turn, failure) => {
                // Still behind the gate: a newer submission or an interrupt comes before or after the end.
                session
                    .end_gated(&turn.message_id, turn.submission, End::Failed(failure))
                    .await;
            }
            Step::Idle => {
                drop(gate);
                tokio::select! {
                    () = session.wake.notified() => {}
                    () = session.stop.cancelled() => {}
                }
            }
        }
    }
    session.end_waiting().await;
    session.stopped.cancel();
}

impl Session {
    async fn prepare(&self, spec: &Arc<Spec>, cancel: &CancellationToken) {
        let generation = spec.generation;
        let result = {
            let _guard = self.credential.lock().await;
            let old_tokens = self.secrets.old_tokens(spec.credential.as_ref());
            let reporter = Reporter::new(&self.journal);
            tracing::info!(sessionId = %self.id, generation = generation.get(), "preparing the workspace");
            prepare(&Preparation {
                context: &self.context,
                paths: &self.paths,
                spec,
                reporter: &reporter,
                cancel,
                old_tokens: &old_tokens,
            })
            .await
        };
        let mut state = lock(&self.state);
        state.preparing = None;
        match result {
            Ok(ready) => {
                tracing::info!(sessionId = %self.id, generation = generation.get(), cold = ready.cold, "the workspace is ready");
                let is_fresh = ready.cold || state.ready.is_some_and(|before| before.cold);
                state.ready = Some(Ready {
                    cold: is_fresh,
                    ..ready
                });
            }
            Err(StepError::Cancelled) => {
                tracing::info!(sessionId = %self.id, generation = generation.get(), "preparing was abandoned");
            }
            Err(StepError::Failed(failure)) => {
                tracing::warn!(sessionId = %self.id, generation = generation.get(), failure = ?failure, "preparing failed");
                let is_refused = failure.subtype == Some(FailureSubtype::GitAuthenticationFailed);
                let tell = is_refused && state.pushed == Some(generation);
                state.failed = Some(failure);
                drop(state);
                if tell {
                    self.append_surely(RuntimeEvent::CredentialRefused { generation });
                }
            }
        }
    }

    async fn run(
        &self,
        turn: &Waiting,
        ready: Ready,
        spec: &Arc<Spec>,
        cancel: &CancellationToken,
    ) -> End {
        // Only the first turn after a clone is told that the workspace is new.
        if let Some(ready) = &mut lock(&self.state).ready {
            ready.cold = false;
        }
        tracing::info!(sessionId = %self.id, messageId = %turn.message_id, submission = turn.submission.get(), "the turn starts");
        let turn = Turn {
            session: self,
            message_id: &turn.message_id,
            submission: turn.submission,
            intent: &turn.intent,
            ready,
            spec,
            cancel,
        };
        turn.run().await
    }

    /// A turn's agent is not started after all, so that a newer submission may start it.
    pub fn take_back_start(&self, message: &MessageId) {
        lock(&self.state).take_back_start(message);
    }

    fn not_started(&self, turn: &Waiting, error: &std::io::Error, spec: &Spec) -> End {
        self.take_back_start(&turn.message_id);
        tracing::error!(sessionId = %self.id, error = %error, "a turn record could not be written");
        End::Failed(setup_failure(
            FailureSubtype::SandboxStorageFull,
            spec.generation,
            format!("file operation failed: {}", error.kind()),
        ))
    }

    async fn end(&self, message: &MessageId, submission: Submission, end: End) {
        let _gate = self.turns.lock().await;
        self.end_gated(message, submission, end).await;
    }

    /// Ends a turn: its event, then its record. Both are repeated until the disk takes them or the session stops; a
    /// turn whose event was not written stays open, and the next start ends it. The caller holds [`Session::turns`].
    pub(super) async fn end_gated(&self, message: &MessageId, submission: Submission, end: End) {
        let end = self.stop_reason(message, end);
        tracing::info!(sessionId = %self.id, messageId = %message, submission = submission.get(), end = end.name(), "the turn ended");
        let state = end.state();
        let event = end.event(message.clone(), submission);
        // A newer submission may have taken the turn over while this one failed.
        let open = lock(&self.state).open_turn(message).cloned();
        let open = open.filter(|open| open.submission == submission);
        let is_told = self
            .insist(|| Ok(self.journal.append(event.clone())?))
            .await
            && self.insist(|| self.journal.sync()).await;
        let Some(open) = open else {
            return;
        };
        if is_told {
            let record = TurnRecord { state, ..open };
            self.insist(|| records::write_turn(&self.paths, &record))
                .await;
        }
        lock(&self.state).end(message);
    }

    /// Repeats a file operation until it succeeds; `false` when the session stops before.
    async fn insist<T>(&self, operation: impl Fn() -> std::io::Result<T>) -> bool {
        loop {
            let Err(error) = operation() else {
                return true;
            };
            tracing::error!(sessionId = %self.id, error = %error, "the end of a turn could not be written");
            tokio::select! {
                () = tokio::time::sleep(END_RETRY) => {}
                () = self.stop.cancelled() => return false,
            }
        }
    }

    /// A turn that ends because the runtime stops was not stopped by the user.
    fn stop_reason(&self, message: &MessageId, end: End) -> End {
        if !matches!(end, End::Interrupted) || !self.stop.is_cancelled() {
            return end;
        }
        let state = lock(&self.state);
        let started = state.open_turn(message).is_some_and(|open| open.started);
        End::Failed(shutdown_failure(started, state.seen))
    }

    async fn end_waiting(&self) {
        loop {
            let waiting = lock(&self.state).take_any_waiting();
            let Some(turn) = waiting else {
                return;
            };
            self.end(&turn.message_id, turn.submission, End::Interrupted)
                .await;
        }
    }

    /// Appends an event whose loss would only delay the object. Trouble is logged.
    pub fn append_surely(&self, event: RuntimeEvent) {
        if let Err(error) = self.journal.append(event) {
            tracing::error!(sessionId = %self.id, error = ?error, "an event could not be written");
        }
    }
}

/// The failure of a turn whose runtime stopped.
pub fn shutdown_failure(started: bool, generation: cloud_agent_wire::Generation) -> Failure {
    Failure {
        stage: if started {
            FailureStage::Interruption
        } else {
            FailureStage::PreDispatch
        },
        code: FailureCode::ContainerShutdown,
        subtype: None,
        generation,
        detail: None,
    }
}
