//! Events of the session's log, as clients read them.

use cloud_agent_wire::{Failure, GateResult, Generation, Intent, MessageId, Submission, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use super::outcome::{CompletionData, CompletionSource, PublicFailure};

/// An event that is about to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDraft {
    /// The `streamEventType`.
    pub kind: &'static str,
    /// What it is about, and so which events of the log it has to do with.
    pub entity: Entity,
    /// The message that it belongs to.
    pub message_id: Option<MessageId>,
    /// The data, JSON text.
    pub payload: String,
    /// When it happened.
    pub at: Timestamp,
}

/// What an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Entity {
    /// Nothing that another event is about.
    #[default]
    None,
    /// Something that happens once: appending another one of this name changes nothing.
    Once(String),
    /// Something that changes: it takes the place of the older version, under a new id, and of the pieces of it.
    Newest(String),
    /// A piece of what will have a newest version.
    Piece {
        /// The name of that.
        of: String,
        /// Tells the pieces apart.
        number: u64,
    },
}

impl Entity {
    /// The name in the log; no two events have the same.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Once(name) | Self::Newest(name) => Some(name.clone()),
            Self::Piece { of, number } => Some(format!("{of}#{number}")),
        }
    }

    /// The names of the pieces that a newest version takes the place of lie between these two.
    #[must_use]
    pub fn pieces(name: &str) -> (String, String) {
        // `$` is what follows `#` in ASCII.
        (format!("{name}#"), format!("{name}$"))
    }
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

/// An event with that data.
pub(super) fn draft(
    kind: &'static str,
    entity: Entity,
    message_id: Option<&MessageId>,
    payload: &impl Serialize,
    at: Timestamp,
) -> EventDraft {
    // The payloads are structs of text and numbers; serializing them cannot fail.
    let payload = serde_json::to_string(payload).unwrap_or_default();
    EventDraft {
        kind,
        entity,
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
        Entity::Once(format!("queued-message/{message_id}")),
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
        Entity::Once(format!("sent-message/{message_id}")),
        Some(message_id),
        &payload,
        at,
    )
}

/// The message completed.
#[must_use]
pub fn completed(message_id: &MessageId, completion: &CompletionData<'_>) -> EventDraft {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        message_id: &'a MessageId,
        status: &'static str,
        delivery: &'static str,
        accepted: bool,
        completion_source: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        assistant_message_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        gate_result: Option<GateResult>,
        completion_data: &'a CompletionData<'a>,
    }
    let payload = Payload {
        message_id,
        status: "completed",
        delivery: "sent",
        accepted: true,
        completion_source: completion.source,
        assistant_message_id: completion.assistant_message_id,
        gate_result: completion.gate_result,
        completion_data: completion,
    };
    let at = completion.completed_at;
    ending(MESSAGE_COMPLETED, message_id, &payload, at)
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
    let source = CompletionSource::of_failure(accepted);
    let reason = if accepted { "failed" } else { "exhausted" };
    not_completed(message_id, accepted, "failed", source, reason, &failure, at)
}

/// The message was stopped.
#[must_use]
pub fn interrupted(message_id: &MessageId, accepted: bool, at: Timestamp) -> EventDraft {
    let failure = PublicFailure::interruption(accepted);
    let source = CompletionSource::Interrupt;
    not_completed(
        message_id,
        accepted,
        "interrupted",
        source,
        "interrupted",
        &failure,
        at,
    )
}

fn not_completed(
    message_id: &MessageId,
    accepted: bool,
    status: &'static str,
    source: CompletionSource,
    reason: &'static str,
    failure: &PublicFailure,
    at: Timestamp,
) -> EventDraft {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        message_id: &'a MessageId,
        status: &'static str,
        delivery: &'static str,
        accepted: bool,
        completion_source: &'static str,
        reason: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        attempts: Option<u64>,
        error: &'a str,
        failure: &'a PublicFailure,
    }
    let payload = Payload {
        message_id,
        status,
        delivery: if accepted { "sent" } else { "queued" },
        accepted,
        completion_source: source.as_str(),
        reason,
        attempts: failure.attempts,
        error: &failure.message,
        failure,
    };
    ending(MESSAGE_FAILED, message_id, &payload, at)
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
        Entity::Once(format!("credential-required/{generation}")),
        message_id,
        &payload,
        since,
    )
}

/// The end of a message, which comes once.
fn ending(
    kind: &'static str,
    message_id: &MessageId,
    payload: &impl Serialize,
    at: Timestamp,
) -> EventDraft {
    let entity = Entity::Once(format!("terminal-message/{message_id}"));
    draft(kind, entity, Some(message_id), payload, at)
}

/// A line of JSON from the agent about that entity. `None` when the runtime sent something that is not JSON.
#[must_use]
pub fn kilocode(
    message_id: &MessageId,
    json: &str,
    entity: Entity,
    at: Timestamp,
) -> Option<EventDraft> {
    let line: &RawValue = serde_json::from_str(json).ok()?;
    Some(EventDraft {
        kind: "kilocode",
        entity,
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
        Entity::Once(format!("autocommit-started/{message_id}")),
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
        Entity::Once(format!("autocommit-completed/{message_id}")),
        Some(message_id),
        &payload,
        at,
    )
}
