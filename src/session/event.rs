//! Events of the session's log, as clients read them.

use cloud_agent_wire::{Failure, Generation, Intent, MessageId, Submission, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use super::retry::failure_policy;

/// An event that is about to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDraft {
    /// The `streamEventType`.
    pub kind: &'static str,
    /// Makes the event unique in the log: appending another one with the same name changes nothing.
    pub entity: Option<String>,
    /// The message that it belongs to.
    pub message_id: Option<MessageId>,
    /// The data, JSON text.
    pub payload: String,
    /// When it happened.
    pub at: Timestamp,
}

/// Type of the event that a message is in the queue.
pub const MESSAGE_QUEUED: &str = "cloud.message.queued";
/// Type of the event that a message's agent was started.
pub const MESSAGE_SENT: &str = "cloud.message.sent";
/// Type of the event that a message completed.
pub const MESSAGE_COMPLETED: &str = "cloud.message.completed";
/// Type of the event that the session waits for a newer credential.
pub const CREDENTIAL_REQUIRED: &str = "cloud.credential.required";
/// Type of the event that a message failed or was interrupted.
pub const MESSAGE_FAILED: &str = "cloud.message.failed";

/// The most of a failure's detail that is shown.
const DETAIL_CHARS_MAX: usize = 512;

/// What brought a message to its end, as clients know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionSource {
    /// The agent ended.
    Assistant,
    /// The agent or its runtime failed after the agent was started.
    Wrapper,
    /// It was never started.
    Delivery,
    /// It was stopped.
    Interrupt,
}

impl CompletionSource {
    /// The word in events and results.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assistant => "assistant_message_event",
            Self::Wrapper => "wrapper_failure",
            Self::Delivery => "delivery_failure",
            Self::Interrupt => "interrupt",
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
    pub stage: &'static str,
    /// What failed.
    pub code: &'static str,
    /// Which part of the workspace's preparation failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtype: Option<&'static str>,
    /// How often it was delivered.
    pub attempts: u64,
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
            stage: failure.stage.as_str(),
            code: failure.code.as_str(),
            subtype: failure
                .subtype
                .map(cloud_agent_wire::FailureSubtype::as_str),
            attempts: attempts.get(),
            message,
            retryable: !policy.retry_delays_seconds.is_empty(),
        }
    }
}

/// The runtime's facts, cut to a bound and without control characters.
fn shown(detail: &str) -> String {
    detail
        .chars()
        .filter(|character| !character.is_control())
        .take(DETAIL_CHARS_MAX)
        .collect()
}

fn draft(
    kind: &'static str,
    entity: String,
    message_id: Option<&MessageId>,
    payload: &impl Serialize,
    at: Timestamp,
) -> EventDraft {
    // The payloads are structs of this module; serializing them cannot fail.
    let payload = serde_json::to_string(payload).unwrap_or_default();
    EventDraft {
        kind,
        entity: Some(entity),
        message_id: message_id.cloned(),
        payload,
        at,
    }
}

/// The message is in the queue.
#[must_use]
pub fn queued(intent: &Intent, at: Timestamp) -> EventDraft {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        message_id: &'a MessageId,
        content: String,
        delivery: &'static str,
    }
    let message_id = intent.message_id();
    let payload = Payload {
        message_id,
        content: intent.rendered(),
        delivery: "queued",
    };
    draft(
        MESSAGE_QUEUED,
        format!("queued-message/{message_id}"),
        Some(message_id),
        &payload,
        at,
    )
}

/// The message's agent was started.
#[must_use]
pub fn sent(message_id: &MessageId, at: Timestamp) -> EventDraft {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        message_id: &'a MessageId,
        delivery: &'static str,
    }
    let payload = Payload {
        message_id,
        delivery: "sent",
    };
    draft(
        MESSAGE_SENT,
        format!("sent-message/{message_id}"),
        Some(message_id),
        &payload,
        at,
    )
}

/// The message completed.
#[must_use]
pub fn completed(message_id: &MessageId, at: Timestamp) -> EventDraft {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        message_id: &'a MessageId,
        status: &'static str,
        delivery: &'static str,
        accepted: bool,
        completion_source: &'static str,
    }
    let payload = Payload {
        message_id,
        status: "completed",
        delivery: "sent",
        accepted: true,
        completion_source: CompletionSource::Assistant.as_str(),
    };
    draft(
        MESSAGE_COMPLETED,
        terminal_entity(message_id),
        Some(message_id),
        &payload,
        at,
    )
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FailedPayload<'a> {
    message_id: &'a MessageId,
    status: &'static str,
    delivery: &'static str,
    accepted: bool,
    completion_source: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<PublicFailure>,
}

/// The message failed for good.
#[must_use]
pub fn failed(
    message_id: &MessageId,
    accepted: bool,
    failure: &Failure,
    attempts: Submission,
    at: Timestamp,
) -> EventDraft {
    let failure = PublicFailure::new(failure, attempts);
    let payload = FailedPayload {
        message_id,
        status: "failed",
        delivery: if accepted { "sent" } else { "queued" },
        accepted,
        completion_source: CompletionSource::of_failure(accepted).as_str(),
        reason: if accepted { "failed" } else { "exhausted" },
        attempts: Some(attempts.get()),
        error: Some(failure.message.clone()),
        failure: Some(failure),
    };
    draft(
        MESSAGE_FAILED,
        terminal_entity(message_id),
        Some(message_id),
        &payload,
        at,
    )
}

/// The message was stopped.
#[must_use]
pub fn interrupted(message_id: &MessageId, accepted: bool, at: Timestamp) -> EventDraft {
    let payload = FailedPayload {
        message_id,
        status: "interrupted",
        delivery: if accepted { "sent" } else { "queued" },
        accepted,
        completion_source: CompletionSource::Interrupt.as_str(),
        reason: "interrupted",
        attempts: None,
        error: None,
        failure: None,
    };
    draft(
        MESSAGE_FAILED,
        terminal_entity(message_id),
        Some(message_id),
        &payload,
        at,
    )
}

/// The remote refused the current credential: the session waits for a newer one.
#[must_use]
pub fn credential_required(
    generation: Generation,
    message_id: Option<&MessageId>,
    since: Timestamp,
    until: Timestamp,
) -> EventDraft {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        generation: Generation,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<&'a MessageId>,
        waiting_since: Timestamp,
        waiting_until: Timestamp,
    }
    let payload = Payload {
        generation,
        message_id,
        waiting_since: since,
        waiting_until: until,
    };
    draft(
        CREDENTIAL_REQUIRED,
        format!("credential-required/{generation}"),
        message_id,
        &payload,
        since,
    )
}

fn terminal_entity(message_id: &MessageId) -> String {
    format!("terminal-message/{message_id}")
}

/// A line of JSON from the agent. `None` when the runtime sent something that is not JSON.
#[must_use]
pub fn kilocode(message_id: &MessageId, json: &str, at: Timestamp) -> Option<EventDraft> {
    let line: &RawValue = serde_json::from_str(json).ok()?;
    Some(EventDraft {
        kind: "kilocode",
        entity: None,
        message_id: Some(message_id.clone()),
        payload: line.get().to_owned(),
        at,
    })
}

/// Committing and pushing begins.
#[must_use]
pub fn autocommit_started(message_id: &MessageId, at: Timestamp) -> EventDraft {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        message_id: &'a MessageId,
    }
    draft(
        "autocommit_started",
        format!("autocommit-started/{message_id}"),
        Some(message_id),
        &Payload { message_id },
        at,
    )
}

/// Committing and pushing ended well.
#[must_use]
pub fn autocommit_completed(
    message_id: &MessageId,
    commit: Option<&str>,
    pushed: bool,
    at: Timestamp,
) -> EventDraft {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        message_id: &'a MessageId,
        success: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        commit_hash: Option<&'a str>,
        pushed: bool,
    }
    let payload = Payload {
        message_id,
        success: true,
        commit_hash: commit,
        pushed,
    };
    draft(
        "autocommit_completed",
        format!("autocommit-completed/{message_id}"),
        Some(message_id),
        &payload,
        at,
    )
}
