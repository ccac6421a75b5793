//! What stands in the `data` of the stream's events: one type for each `streamEventType`.
//!
//! Clients read these words; `client/index.d.ts` is generated from them.

use cloud_agent_wire::{GateResult, Generation, MessageId, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use super::admission::Delivery;
use super::outcome::{CompletionData, CompletionSource, EndStatus, PublicFailure};

/// What stands in the `data` of the events of one type.
pub trait EventData: Serialize {
    /// The `streamEventType`.
    const TYPE: &'static str;
}

/// Hands the table of the stream's events to a macro: the type of each, whether it is stored, and its data.
macro_rules! event_types {
    ($macro:ident) => {
        $macro! {
            "cloud.message.queued", true, QueuedData<'_>;
            "cloud.message.sent", true, SentData<'_>;
            "cloud.message.completed", true, CompletedData<'_>;
            "cloud.message.failed", true, FailedData<'_>;
            "cloud.credential.required", true, CredentialRequiredData<'_>;
            "kilocode", true, KilocodeData<'_>;
            "autocommit_started", true, AutocommitStartedData<'_>;
            "autocommit_completed", true, AutocommitCompletedData<'_>;
            "connected", false, ConnectedData<'_>;
            "preparing", false, PreparingData<'_>;
            "cloud.status", false, CloudStatusData<'_>;
            "output", false, OutputData<'_>;
        }
    };
}
// The declarations for clients are made from the same table.
#[cfg_attr(not(test), allow(unused_imports))]
pub(crate) use event_types;

macro_rules! implement {
    ($($type:literal, $is_stored:literal, $data:ty;)+) => {
        $(impl EventData for $data {
            const TYPE: &'static str = $type;
        })+

        /// The types of events, and whether events of that type are stored.
        pub const EVENT_TYPES: &[(&str, bool)] = &[$(($type, $is_stored)),+];
    };
}
event_types!(implement);

/// A message is in the queue.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct QueuedData<'a> {
    /// The message.
    pub message_id: &'a MessageId,
    /// What the user asked; a slash command as it is typed.
    pub content: String,
    /// Always `queued`.
    pub delivery: Delivery,
}

/// A message's agent was started.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct SentData<'a> {
    /// The message.
    pub message_id: &'a MessageId,
    /// Always `sent`.
    pub delivery: Delivery,
}

/// A message completed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct CompletedData<'a> {
    /// The message.
    pub message_id: &'a MessageId,
    /// Always `completed`.
    pub status: EndStatus,
    /// Always `sent`.
    pub delivery: Delivery,
    /// Always true.
    pub accepted: bool,
    /// What brought it about.
    pub completion_source: CompletionSource,
    /// The agent's own id of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assistant_message_id: Option<&'a str>,
    /// What the agent's gate said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_result: Option<GateResult>,
    /// What it came to.
    pub completion_data: &'a CompletionData<'a>,
}

/// A message failed or was stopped.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct FailedData<'a> {
    /// The message.
    pub message_id: &'a MessageId,
    /// `failed` or `interrupted`.
    pub status: EndStatus,
    /// `sent` when its agent was started.
    pub delivery: Delivery,
    /// Whether its agent was started.
    pub accepted: bool,
    /// What brought it about.
    pub completion_source: CompletionSource,
    /// Why, in a word.
    pub reason: FailureReason,
    /// How often it was delivered, where that is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u64>,
    /// The failure's sentence.
    pub error: &'a str,
    /// Why.
    pub failure: &'a PublicFailure,
}

/// Why a message did not complete, in a word.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum FailureReason {
    /// It could not be delivered, and is not tried again.
    Exhausted,
    /// Its agent or its runtime failed.
    Failed,
    /// It was stopped.
    Interrupted,
}

/// The remote refused the current credential: the session waits for a newer one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct CredentialRequiredData<'a> {
    /// The refused generation.
    pub generation: Generation,
    /// The message that could not be delivered with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<&'a MessageId>,
    /// When it was first refused.
    pub waiting_since: Timestamp,
    /// When the messages that would use it fail.
    pub waiting_until: Timestamp,
}

/// A line of JSON that the agent printed, as it came.
#[derive(Debug, Serialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct KilocodeData<'a>(#[cfg_attr(test, ts(type = "unknown"))] pub &'a RawValue);

/// The agent's changes are being committed and pushed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct AutocommitStartedData<'a> {
    /// The message.
    pub message_id: &'a MessageId,
}

/// The agent's changes were committed and pushed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct AutocommitCompletedData<'a> {
    /// The message.
    pub message_id: &'a MessageId,
    /// Always true: what does not go well ends the message.
    pub success: bool,
    /// The commit; absent when there was nothing to commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_hash: Option<&'a str>,
    /// Whether the branch was pushed.
    pub pushed: bool,
}

/// A connection has had everything that is stored.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct ConnectedData<'a> {
    /// The state of the workspace; absent before anything was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_status: Option<CloudStatus<'a>>,
    /// The newest stored event; 0 when there is none.
    pub latest_event_id: u64,
}

/// The preparation of the workspace went on.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct PreparingData<'a> {
    /// What is going on; the last step is `ready` or `failed`.
    pub step: &'a str,
    /// A sentence for people.
    pub message: &'a str,
    /// How far it is, 0 to 100, where git says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
}

/// The state of the workspace changed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct CloudStatusData<'a> {
    /// What it is now.
    pub cloud_status: CloudStatus<'a>,
}

/// The state of a session's workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum CloudStatus<'a> {
    /// It is being prepared, or will be.
    Preparing {
        /// What is going on.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(test, ts(optional))]
        step: Option<&'a str>,
        /// A sentence for people.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(test, ts(optional))]
        message: Option<&'a str>,
    },
    /// It is ready.
    Ready,
    /// The agent has ended and its work is being committed.
    Finalizing {
        /// What is going on.
        step: &'a str,
        /// A sentence for people.
        message: &'a str,
    },
    /// It could not be prepared.
    Error {
        /// A sentence for people.
        message: &'a str,
    },
}

/// A line that the agent printed and that is not JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct OutputData<'a> {
    /// The message.
    pub message_id: &'a MessageId,
    /// The line without its end.
    pub content: &'a str,
    /// Always `stdout`.
    pub source: &'static str,
    /// How many lines before it were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped_lines: Option<u64>,
}
