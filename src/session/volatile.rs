//! Events that tell what is going on now: sent to whoever follows the session, neither stored nor repeated.

use std::fmt::Write as _;

use cloud_agent_wire::{MessageId, PrepareStep, Timestamp};
use serde::{Deserialize, Serialize};

use super::event::{self, Entity, EventDraft};

/// Type of the event that an agent printed a line that is not JSON.
pub const OUTPUT: &str = "output";
/// Type of the event that the workspace's preparation went on.
pub const PREPARING: &str = "preparing";
/// Type of the event that the state of the session's workspace changed.
pub const CLOUD_STATUS: &str = "cloud.status";
/// Type of the event that a socket has had everything that is stored.
pub const CONNECTED: &str = "connected";

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
fn draft(
    kind: &'static str,
    message_id: Option<&MessageId>,
    payload: &impl Serialize,
    at: Timestamp,
) -> EventDraft {
    event::draft(kind, Entity::None, message_id, payload, at)
}

#[derive(Serialize)]
struct PreparingPayload<'a> {
    step: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<u8>,
}

/// The state of the session's workspace, as clients know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum CloudStatus<'a> {
    /// It is being prepared.
    Preparing {
        /// What is going on, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        step: Option<&'a str>,
        /// A sentence for people.
        #[serde(skip_serializing_if = "Option::is_none")]
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
    status: CloudStatus<'_>,
    message_id: Option<&MessageId>,
    at: Timestamp,
) -> EventDraft {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        cloud_status: CloudStatus<'a>,
    }
    let payload = Payload {
        cloud_status: status,
    };
    draft(CLOUD_STATUS, message_id, &payload, at)
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
    let payload = PreparingPayload {
        step,
        message,
        percent,
    };
    draft(PREPARING, message_id, &payload, at)
}

/// The workspace is ready.
#[must_use]
pub fn prepared(message_id: &MessageId, at: Timestamp) -> [EventDraft; 2] {
    let payload = PreparingPayload {
        step: "ready",
        message: "The workspace is ready",
        percent: None,
    };
    [
        draft(PREPARING, Some(message_id), &payload, at),
        cloud_status(CloudStatus::Ready, Some(message_id), at),
    ]
}

/// A message failed before its agent was started; `sentence` is what clients read.
#[must_use]
pub fn not_prepared(sentence: &str, message_id: &MessageId, at: Timestamp) -> [EventDraft; 2] {
    let payload = PreparingPayload {
        step: "failed",
        message: sentence,
        percent: None,
    };
    let status = CloudStatus::Error { message: sentence };
    [
        draft(PREPARING, Some(message_id), &payload, at),
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

/// Adds to a line of output how many lines before it were left out.
pub fn tell_skipped(output: &mut EventDraft, lines: u64) {
    if output.payload.pop() == Some('}') {
        // Writing to a string cannot fail.
        let _ = write!(output.payload, r#","skippedLines":{lines}}}"#);
    }
}

/// A line that the agent printed and that is not JSON.
#[must_use]
pub fn output(text: &str, message_id: &MessageId, at: Timestamp) -> EventDraft {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        message_id: &'a MessageId,
        content: &'a str,
        source: &'static str,
    }
    let payload = Payload {
        message_id,
        content: text,
        source: "stdout",
    };
    draft(OUTPUT, Some(message_id), &payload, at)
}

/// A socket has had everything that is stored, the newest of which is `latest_event_id`.
#[must_use]
pub fn connected(
    cloud_status: Option<CloudStatus<'_>>,
    latest_event_id: u64,
    at: Timestamp,
) -> EventDraft {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        cloud_status: Option<CloudStatus<'a>>,
        latest_event_id: u64,
    }
    let payload = Payload {
        cloud_status,
        latest_event_id,
    };
    draft(CONNECTED, None, &payload, at)
}
