//! Events of the session's log, as clients read them.

use cloud_agent_wire::{Failure, Generation, Intent, MessageId, Submission, Timestamp};

use super::admission::Delivery;
use super::event_data::{
    AutocommitCompletedData, AutocommitStartedData, CompletedData, CredentialRequiredData,
    EventData, FailedData, FailureReason, KilocodeData, QueuedData, SentData,
};
use super::outcome::{CompletionData, CompletionSource, EndStatus, PublicFailure};

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

/// The name that all endings of a message share, since it has only one.
const ENDING: &str = "terminal-message";

/// An event with that data.
pub(super) fn draft<D: EventData>(
    entity: Entity,
    message_id: Option<&MessageId>,
    data: &D,
    at: Timestamp,
) -> EventDraft {
    // The data are structs of text and numbers; serializing them cannot fail.
    let payload = serde_json::to_string(data).unwrap_or_default();
    EventDraft {
        kind: D::TYPE,
        entity,
        message_id: message_id.cloned(),
        payload,
        at,
    }
}

/// An event of that message which comes once; `name` tells it from the message's others.
fn once<D: EventData>(name: &str, message_id: &MessageId, data: &D, at: Timestamp) -> EventDraft {
    let entity = Entity::Once(format!("{name}/{message_id}"));
    draft(entity, Some(message_id), data, at)
}

/// The message is in the queue.
#[must_use]
pub fn queued(intent: &Intent, at: Timestamp) -> EventDraft {
    let message_id = intent.message_id();
    let data = QueuedData {
        message_id,
        content: intent.rendered(),
        delivery: Delivery::Queued,
    };
    once("queued-message", message_id, &data, at)
}

/// The message's agent was started.
#[must_use]
pub fn sent(message_id: &MessageId, at: Timestamp) -> EventDraft {
    let data = SentData {
        message_id,
        delivery: Delivery::Sent,
    };
    once("sent-message", message_id, &data, at)
}

/// The message completed.
#[must_use]
pub fn completed(message_id: &MessageId, completion: &CompletionData<'_>) -> EventDraft {
    let data = CompletedData {
        message_id,
        status: EndStatus::Completed,
        delivery: Delivery::Sent,
        accepted: true,
        completion_source: completion.source,
        assistant_message_id: completion.assistant_message_id,
        gate_result: completion.gate_result,
        completion_data: completion,
    };
    once(ENDING, message_id, &data, completion.completed_at)
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
    let reason = if accepted {
        FailureReason::Failed
    } else {
        FailureReason::Exhausted
    };
    not_completed(
        message_id,
        accepted,
        EndStatus::Failed,
        source,
        reason,
        &failure,
        at,
    )
}

/// The message was stopped.
#[must_use]
pub fn interrupted(message_id: &MessageId, accepted: bool, at: Timestamp) -> EventDraft {
    let failure = PublicFailure::interruption(accepted);
    not_completed(
        message_id,
        accepted,
        EndStatus::Interrupted,
        CompletionSource::Interrupt,
        FailureReason::Interrupted,
        &failure,
        at,
    )
}

fn not_completed(
    message_id: &MessageId,
    accepted: bool,
    status: EndStatus,
    completion_source: CompletionSource,
    reason: FailureReason,
    failure: &PublicFailure,
    at: Timestamp,
) -> EventDraft {
    let delivery = if accepted {
        Delivery::Sent
    } else {
        Delivery::Queued
    };
    let data = FailedData {
        message_id,
        status,
        delivery,
        accepted,
        completion_source,
        reason,
        attempts: failure.attempts,
        error: &failure.message,
        failure,
    };
    once(ENDING, message_id, &data, at)
}

/// The remote refused the current credential: the session waits for a newer one.
#[must_use]
pub fn credential_required(
    generation: Generation,
    message_id: Option<&MessageId>,
    since: Timestamp,
    until: Timestamp,
) -> EventDraft {
    let data = CredentialRequiredData {
        generation,
        message_id,
        waiting_since: since,
        waiting_until: until,
    };
    let entity = Entity::Once(format!("credential-required/{generation}"));
    draft(entity, message_id, &data, since)
}

/// A line of JSON from the agent about that entity. `None` when the runtime sent something that is not JSON.
#[must_use]
pub fn kilocode(
    message_id: &MessageId,
    json: &str,
    entity: Entity,
    at: Timestamp,
) -> Option<EventDraft> {
    let data = KilocodeData(serde_json::from_str(json).ok()?);
    Some(draft(entity, Some(message_id), &data, at))
}

/// Committing and pushing begins.
#[must_use]
pub fn autocommit_started(message_id: &MessageId, at: Timestamp) -> EventDraft {
    let data = AutocommitStartedData { message_id };
    once("autocommit-started", message_id, &data, at)
}

/// Committing and pushing ended well.
#[must_use]
pub fn autocommit_completed(
    message_id: &MessageId,
    commit_hash: Option<&str>,
    pushed: bool,
    at: Timestamp,
) -> EventDraft {
    let data = AutocommitCompletedData {
        message_id,
        success: true,
        commit_hash,
        pushed,
    };
    once("autocommit-completed", message_id, &data, at)
}
