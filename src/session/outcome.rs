//! How a message ended, in the words that clients read: in events, results and callbacks.

use cloud_agent_wire::{
    Failure, FailureCode, FailureStage, FailureSubtype, GateResult, Submission, Timestamp,
};
use serde::Serialize;

use super::message::MessageState;
use super::retry::failure_policy;

/// The most of a failure's detail that is shown.
const DETAIL_CHARS_MAX: usize = 512;

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum EndStatus {
    /// It completed.
    Completed,
    /// It failed.
    Failed,
    /// It was stopped.
    Interrupted,
}

impl EndStatus {
    /// How a message ended; `None` while it has not.
    #[must_use]
    pub const fn of(state: &MessageState) -> Option<Self> {
        match state {
            MessageState::Completed { .. } => Some(Self::Completed),
            MessageState::Failed { .. } => Some(Self::Failed),
            MessageState::Interrupted { .. } => Some(Self::Interrupted),
            MessageState::Queued { .. }
            | MessageState::Claimed { .. }
            | MessageState::Accepted { .. } => None,
        }
    }
}

/// What brought a message to its end, as clients know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum CompletionSource {
    /// The agent answered and ended.
    #[serde(rename = "assistant_message_event")]
    Assistant,
    /// The agent ended without a message of its own.
    #[serde(rename = "idle_reconciliation")]
    Idle,
    /// The agent or its runtime failed after the agent was started.
    #[serde(rename = "wrapper_failure")]
    Wrapper,
    /// It was never started.
    #[serde(rename = "delivery_failure")]
    Delivery,
    /// It was stopped.
    #[serde(rename = "interrupt")]
    Interrupt,
}

impl CompletionSource {
    /// What ended a message; `None` while it has not ended.
    #[must_use]
    pub const fn of(state: &MessageState) -> Option<Self> {
        match state {
            MessageState::Completed { assistant, .. } => {
                Some(Self::of_completion(assistant.is_some()))
            }
            MessageState::Failed { accepted_at, .. } => {
                Some(Self::of_failure(accepted_at.is_some()))
            }
            MessageState::Interrupted { .. } => Some(Self::Interrupt),
            MessageState::Queued { .. }
            | MessageState::Claimed { .. }
            | MessageState::Accepted { .. } => None,
        }
    }

    /// The source of a completion, by whether the agent left a message.
    #[must_use]
    pub const fn of_completion(has_answered: bool) -> Self {
        if has_answered {
            Self::Assistant
        } else {
            Self::Idle
        }
    }

    /// The source of a failure, by whether the agent was started.
    #[must_use]
    pub const fn of_failure(accepted: bool) -> Self {
        if accepted {
            Self::Wrapper
        } else {
            Self::Delivery
        }
    }
}

/// A failure as clients see it: vocabulary and fixed sentences, no captured output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(
    test,
    derive(ts_rs::TS),
    ts(optional_fields, rename = "MessageFailure")
)]
pub struct PublicFailure {
    /// How far the message had come.
    pub stage: FailureStage,
    /// What failed.
    pub code: FailureCode,
    /// Which part of the workspace's preparation failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtype: Option<FailureSubtype>,
    /// How often it was delivered, where that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u64>,
    /// A fixed sentence, with facts such as an exit code.
    pub message: String,
    /// Whether sending the same content as a new message may succeed.
    pub retryable: bool,
}

impl PublicFailure {
    /// The safe projection of a failure.
    #[must_use]
    pub fn new(failure: &Failure, attempts: Submission) -> Self {
        let policy = failure_policy(failure.code, failure.subtype);
        let message = match &failure.detail {
            Some(detail) => format!("{}: {}", policy.sentence, shown(detail)),
            None => policy.sentence.to_owned(),
        };
        Self {
            stage: failure.stage,
            code: failure.code,
            subtype: failure.subtype,
            attempts: Some(attempts.get()),
            message,
            retryable: !policy.retry_delays_seconds.is_empty(),
        }
    }

    /// Why a message did not complete; `None` when it did, or has not ended.
    #[must_use]
    pub fn of(state: &MessageState) -> Option<Self> {
        match state {
            MessageState::Failed {
                failure, attempts, ..
            } => Some(Self::new(failure, *attempts)),
            MessageState::Interrupted { accepted_at, .. } => {
                Some(Self::interruption(accepted_at.is_some()))
            }
            _ => None,
        }
    }

    /// An interruption, by whether the agent was started.
    #[must_use]
    pub fn interruption(accepted: bool) -> Self {
        let message = if accepted {
            "Message interrupted by user"
        } else {
            "Pending queued message interrupted by user"
        };
        Self {
            stage: FailureStage::Interruption,
            code: FailureCode::UserInterrupt,
            subtype: None,
            attempts: None,
            message: message.to_owned(),
            retryable: false,
        }
    }
}

/// What a completed message came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct CompletionData<'a> {
    /// The agent's own id of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assistant_message_id: Option<&'a str>,
    /// What the agent's gate said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_result: Option<GateResult>,
    /// The branch that the workspace was on last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen_branch: Option<&'a str>,
    /// When it completed.
    pub completed_at: Timestamp,
    /// What brought it about.
    pub source: CompletionSource,
}

/// The runtime's facts, cut to a bound and without control characters.
fn shown(detail: &str) -> String {
    detail
        .chars()
        .filter(|character| !character.is_control())
        .take(DETAIL_CHARS_MAX)
        .collect()
}
