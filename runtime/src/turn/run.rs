//! One turn from `ready` to its end.

use std::sync::Arc;

use cloud_agent_wire::{
    Failure, FailureCode, FailureStage, GateResult, Intent, MessageId, RuntimeEvent, Submission,
    TurnState,
};
use tokio_util::sync::CancellationToken;

use super::agent::{self, AgentEnd};
use super::publish;
use crate::git::run::StepError;
use crate::journal::AppendError;
use crate::session::Session;
use crate::strays::{Work, kill_session};
use crate::workspace::branch;
use crate::workspace::prepare::Ready;
use crate::workspace::spec::Spec;

/// A turn whose agent is about to start.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// The session.
    pub session: &'a Session,
    /// The message.
    pub message_id: &'a MessageId,
    /// The delivery.
    pub submission: Submission,
    /// The message's content.
    pub intent: &'a Intent,
    /// The workspace.
    pub ready: Ready,
    /// The session's settings.
    pub spec: &'a Arc<Spec>,
    /// Interrupts it.
    pub cancel: &'a CancellationToken,
}

/// How a turn ended.
pub enum End {
    /// Everything was done.
    Completed {
        /// The branch that is checked out.
        branch: Option<String>,
        /// What the agent's gate said.
        gate_result: Option<GateResult>,
    },
    /// It was stopped.
    Interrupted,
    /// It failed.
    Failed(Failure),
}

impl End {
    /// The state that the turn is left in.
    pub fn state(&self) -> TurnState {
        match self {
            Self::Completed { .. } => TurnState::Completed,
            Self::Interrupted => TurnState::Interrupted,
            Self::Failed(_) => TurnState::Failed,
        }
    }

    /// The word for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Completed { .. } => "completed",
            Self::Interrupted => "interrupted",
            Self::Failed(failure) => failure.code.as_str(),
        }
    }

    /// The event that tells it.
    pub fn event(self, message_id: MessageId, submission: Submission) -> RuntimeEvent {
        match self {
            Self::Completed {
                branch,
                gate_result,
            } => RuntimeEvent::Complete {
                message_id,
                submission,
                branch,
                gate_result,
            },
            Self::Interrupted => RuntimeEvent::Interrupted {
                message_id,
                submission,
            },
            Self::Failed(failure) => RuntimeEvent::Error {
                message_id,
                submission,
                failure,
            },
        }
    }
}

impl Turn<'_> {
    /// Tells that the workspace is ready, runs the agent, and publishes its work if the message asks for that.
    pub async fn run(&self) -> End {
        let ready = self.session.journal.append(RuntimeEvent::Ready {
            message_id: self.message_id.clone(),
            submission: self.submission,
            generation: self.ready.generation,
            branch: self.branch(),
            cold: self.ready.cold,
        });
        if let Err(error) = ready {
            return self.journal_failed(&error);
        }
        if self.cancel.is_cancelled() {
            return End::Interrupted;
        }
        let gate_result = match agent::run(self).await {
            AgentEnd::Interrupted => return End::Interrupted,
            AgentEnd::Failed(failure) => return End::Failed(failure),
            AgentEnd::Done { gate_result } => gate_result,
        };
        if self.intent.finalization.auto_commit == Some(true) {
            let work = Work::begin(&self.session.paths);
            let published = publish::publish(self).await;
            drop(work);
            kill_session(&self.session.context, &self.session.paths).await;
            match published {
                Ok(()) => {}
                Err(StepError::Cancelled) => return End::Interrupted,
                Err(StepError::Failed(failure)) => {
                    return End::Failed(Failure {
                        stage: FailureStage::AgentActivity,
                        ..failure
                    });
                }
            }
        }
        End::Completed {
            branch: self.branch(),
            gate_result,
        }
    }

    /// The branch that is checked out. One whose name holds a secret is not told, and given to no command.
    pub fn branch(&self) -> Option<String> {
        let redactor = self.session.secrets().redactor();
        branch::current(&self.session.paths.repo()).filter(|name| redactor.text(name) == *name)
    }

    fn journal_failed(&self, error: &AppendError) -> End {
        self.session.take_back_start(self.message_id);
        tracing::error!(sessionId = %self.session.id, messageId = %self.message_id, error = ?error, "the journal takes no event");
        End::Failed(Failure {
            stage: FailureStage::PreDispatch,
            code: FailureCode::DeliveryFailureUnknown,
            subtype: None,
            generation: self.ready.generation,
            detail: Some("the journal could not be written".to_owned()),
        })
    }
}
