//! Events that tell what is going on now: sent to whoever follows the session, neither stored nor repeated.

use std::fmt::Write as _;

use cloud_agent_wire::{MessageId, PrepareStep, Timestamp};
use serde::{Deserialize, Serialize};

use super::event::{self, Entity, EventDraft};
use super::event_data::{
    CloudStatus, CloudStatusData, ConnectedData, EventData, OutputData, PreparingData,
};

/// Type of the event that an agent printed a line that is not JSON.
pub const OUTPUT: &str = OutputData::TYPE;
/// Type of the event that a socket has had everything that is stored.
pub const CONNECTED: &str = ConnectedData::TYPE;

/// How far the preparation of a workspace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparing {
    /// What is going on.
    pub step: PrepareStep,
    /// How far it is, 0 to 100, where git says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub percent: Option<u8>,
}

/// The step as clients know it, and a sentence for people.
const fn words(step: PrepareStep) -> (&'static str, &'static str) {
    match step {
        PrepareStep::ProveCredential => ("workspace_setup", "Checking the credential"),
        PrepareStep::Clone => ("cloning", "Cloning the repository"),
        PrepareStep::Fetch => ("workspace_setup", "Fetching from the repository"),
        PrepareStep::Checkout => ("branch", "Checking out the branch"),
        PrepareStep::RewriteOrigin => ("workspace_setup", "Updating the remote"),
        PrepareStep::Setup => ("setup_commands", "Running setup commands"),
    }
}

/// An event that nothing else in the log has to do with.
fn draft(message_id: Option<&MessageId>, data: &impl EventData, at: Timestamp) -> EventDraft {
    event::draft(Entity::None, message_id, data, at)
}

impl CloudStatus<'_> {
    /// The status of a workspace that is being prepared.
    #[must_use]
    pub fn preparing(preparing: Option<Preparing>) -> Self {
        let words = preparing.map(|preparing| words(preparing.step));
        Self::Preparing {
            step: words.map(|words| words.0),
            message: words.map(|words| words.1),
        }
    }
}

/// The state of the session's workspace changed.
#[must_use]
pub fn cloud_status(
    cloud_status: CloudStatus<'_>,
    message_id: Option<&MessageId>,
    at: Timestamp,
) -> EventDraft {
    draft(message_id, &CloudStatusData { cloud_status }, at)
}

/// The preparation went on.
#[must_use]
pub fn preparing(
    preparing: Preparing,
    message_id: Option<&MessageId>,
    at: Timestamp,
) -> EventDraft {
    let (step, message) = words(preparing.step);
    let percent = preparing.percent;
    let data = PreparingData {
        step,
        message,
        percent,
    };
    draft(message_id, &data, at)
}

/// The workspace is ready.
#[must_use]
pub fn prepared(message_id: &MessageId, at: Timestamp) -> [EventDraft; 2] {
    let data = PreparingData {
        step: "ready",
        message: "The workspace is ready",
        percent: None,
    };
    [
        draft(Some(message_id), &data, at),
        cloud_status(CloudStatus::Ready, Some(message_id), at),
    ]
}

/// A message failed before its agent was started; `sentence` is what clients read.
#[must_use]
pub fn not_prepared(sentence: &str, message_id: &MessageId, at: Timestamp) -> [EventDraft; 2] {
    let data = PreparingData {
        step: "failed",
        message: sentence,
        percent: None,
    };
    let status = CloudStatus::Error { message: sentence };
    [
        draft(Some(message_id), &data, at),
        cloud_status(status, Some(message_id), at),
    ]
}

/// The agent's work is being committed and pushed.
#[must_use]
pub fn finalizing(message_id: &MessageId, at: Timestamp) -> EventDraft {
    let status = CloudStatus::Finalizing {
        step: "committing",
        message: "Committing changes",
    };
    cloud_status(status, Some(message_id), at)
}

/// Adds to a line of output how many lines before it were left out, which is known when it is sent.
pub fn tell_skipped(output: &mut EventDraft, lines: u64) {
    if output.payload.pop() == Some('}') {
        // Writing to a string cannot fail.
        let _ = write!(output.payload, r#","skippedLines":{lines}}}"#);
    }
}

/// A line that the agent printed and that is not JSON.
#[must_use]
pub fn output(text: &str, message_id: &MessageId, at: Timestamp) -> EventDraft {
    let data = OutputData {
        message_id,
        content: text,
        source: "stdout",
        skipped_lines: None,
    };
    draft(Some(message_id), &data, at)
}

/// A socket has had everything that is stored, the newest of which is `latest_event_id`.
#[must_use]
pub fn connected(
    cloud_status: Option<CloudStatus<'_>>,
    latest_event_id: u64,
    at: Timestamp,
) -> EventDraft {
    let data = ConnectedData {
        cloud_status,
        latest_event_id,
    };
    draft(None, &data, at)
}
