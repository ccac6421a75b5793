//! Events of a session's journal, as the object pulls them.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::ids::{EventSequence, Generation, MessageId, Submission, Timestamp};

/// One line of `GET …/events`.
///
/// The object appends it together with `(storeId, seq)` as its cursor, so a crash on either side repeats
/// nothing and loses nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalEvent {
    /// Its position; rises from event to event. By one where a runtime tells it.
    pub seq: EventSequence,
    /// When the runtime wrote it.
    pub at: Timestamp,
    /// What happened.
    pub event: RuntimeEvent,
}

/// What happened in a workspace.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub enum RuntimeEvent {
    /// The workspace is being prepared.
    Preparing {
        /// What is going on.
        step: PrepareStep,
        /// How far it is, 0 to 100, where git says so.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        percent: Option<u8>,
    },
    /// The workspace is prepared and the agent is about to start. At most once for a message.
    Ready {
        /// The message whose turn starts.
        message_id: MessageId,
        /// The delivery that it belongs to.
        submission: Submission,
        /// The credential generation that the workspace has.
        generation: Generation,
        /// The branch that is checked out.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        branch: Option<String>,
        /// Whether the workspace was made for this turn.
        cold: bool,
    },
    /// A line that the agent printed and that is not JSON, redacted and cut to a bound.
    Output {
        /// The turn.
        message_id: MessageId,
        /// The line without its end.
        text: String,
    },
    /// A line of JSON that the agent printed, redacted.
    Kilocode {
        /// The turn.
        message_id: MessageId,
        /// The line, JSON text.
        json: String,
    },
    /// Committing and pushing begins.
    AutocommitStarted {
        /// The turn.
        message_id: MessageId,
    },
    /// Committing and pushing ended well.
    AutocommitCompleted {
        /// The turn.
        message_id: MessageId,
        /// The commit's hash; absent when there was nothing to commit.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        commit: Option<String>,
        /// Whether the branch was pushed.
        pushed: bool,
    },
    /// The remote refused a pushed credential; the one before it stays in use.
    CredentialRefused {
        /// The refused generation.
        generation: Generation,
    },
    /// The agent ended well and everything after it is done. Terminal.
    Complete {
        /// The turn.
        message_id: MessageId,
        /// The delivery that it belongs to.
        submission: Submission,
        /// The branch that is checked out now.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        branch: Option<String>,
        /// What the agent's gate said, if it has one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        gate_result: Option<GateResult>,
    },
    /// The turn was stopped on request. Terminal.
    Interrupted {
        /// The turn.
        message_id: MessageId,
        /// The delivery that it belongs to.
        submission: Submission,
    },
    /// The turn failed, before or after its agent was started (see the stage). Terminal for the submission.
    Error {
        /// The turn.
        message_id: MessageId,
        /// The delivery that it belongs to.
        submission: Submission,
        /// Why.
        failure: Failure,
    },
    /// What a newer runtime tells and this version does not know. It is passed over.
    #[serde(other)]
    Unknown,
}

/// Whether what an agent found is within the session's `gateThreshold`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub enum GateResult {
    /// It is.
    Pass,
    /// It is not.
    Fail,
}

/// A step of preparing a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrepareStep {
    /// The credential is tried against the remote.
    ProveCredential,
    /// Objects are being received.
    Clone,
    /// The remote is being fetched.
    Fetch,
    /// The branch is being checked out.
    Checkout,
    /// `origin` is being rewritten for the new credential.
    RewriteOrigin,
    /// Setup commands are running.
    Setup,
}

#[cfg(test)]
mod tests {
    use super::{JournalEvent, RuntimeEvent};

    #[test]
    fn an_event_is_one_line_that_reads_back() {
        let line = r#"{"seq":7,"at":1700000000000,"event":{"type":"kilocode","messageId":"msg_0123456789abABCDEFGHIJKLMN","json":"{\"a\":1}"}}"#;
        let event: JournalEvent = serde_json::from_str(line).expect("the line is an event");
        assert!(
            matches!(&event.event, RuntimeEvent::Kilocode { json, .. } if json == r#"{"a":1}"#)
        );
        assert_eq!(
            serde_json::to_string(&event).expect("an event serializes"),
            line
        );
    }

    #[test]
    fn an_event_that_a_newer_runtime_tells_keeps_its_position() {
        let line = r#"{"seq":8,"at":1700000000000,"event":{"type":"dreamt","messageId":"m","of":[1]},"more":1}"#;
        let event: JournalEvent = serde_json::from_str(line).expect("the line is an event");
        assert!(matches!(event.event, RuntimeEvent::Unknown));
        assert_eq!(event.seq.get(), 8);
    }
}
