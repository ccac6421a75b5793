//! Log lines: one structured JSON line per step of a message's life, and per rotation, skip and replay.
//!
//! Lines are joined by session and message id. The fields are typed, and no type in here can hold a secret or text
//! that a client, git or an agent wrote, apart from the origin and the path of a callback's URL.

use cloud_agent_wire::{
    FailureCode, FailureSubtype, Generation, MessageId, SessionId, StoreId, Submission, Timestamp,
};
use serde::Serialize;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(
    tag = "event",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub enum LogEvent {
    /// A session was made.
    SessionPrepared {
        /// `github`, `gitlab` or `git`.
        repository: &'static str,
    },
    /// A message is in the queue.
    MessageAdmitted {
        /// The message.
        message_id: MessageId,
        /// How many messages wait, with this one.
        queued: u32,
    },
    /// A message that was admitted before was answered again; nothing was written.
    MessageReplayed {
        /// The message.
        message_id: MessageId,
        /// Where it is in its life.
        phase: &'static str,
    },
    /// A message was refused; nothing was written.
    MessageRejected {
        /// The message.
        message_id: MessageId,
        /// The error's code.
        code: &'static str,
    },
    /// A token became the credential, or was confirmed as it.
    CredentialRotated {
        /// The message that brought it; absent for preparation and updates.
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<MessageId>,
        /// The generation in force.
        generation: Generation,
        /// Whether the token differs from the one before.
        changed: bool,
        /// The fingerprint of the token.
        fingerprint: String,
    },
    /// A token was not applied.
    CredentialSkipped {
        /// The message that brought it.
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<MessageId>,
        /// Why.
        reason: &'static str,
        /// How many tokens the session has skipped so far.
        skips: u64,
    },
    /// A token came for a session whose credential the server resolves by itself.
    CredentialIgnored {
        /// The message that brought it.
        message_id: MessageId,
    },
    /// Markers of messages whose admission never finished became abandoned entries.
    MarkersExpired,
    /// The remote refused the current credential; the session waits for a newer one.
    CredentialRequired {
        /// The refused generation.
        generation: Generation,
    },
    /// The runtime has a newer credential while it works.
    CredentialPushed {
        /// The generation.
        generation: Generation,
    },
    /// A managed repository's token differs from the last one.
    ManagedCredentialChanged {
        /// The generation that it is handed over with.
        generation: Generation,
        /// The fingerprint of the token.
        fingerprint: String,
    },
    /// The remote refused a managed repository's token while a turn ran; another one is asked for.
    ManagedCredentialRefused {
        /// The refused generation.
        generation: Generation,
    },
    /// No token could be resolved for a managed repository.
    ManagedCredentialMissing {
        /// Why, such as `Unavailable`.
        reason: String,
    },
    /// A delivery began.
    MessageClaimed {
        /// The message.
        message_id: MessageId,
        /// The delivery.
        submission: Submission,
        /// The credential it uses.
        generation: Generation,
    },
    /// The runtime took the turn.
    TurnSubmitted {
        /// The message.
        message_id: MessageId,
        /// The delivery that the turn runs under.
        submission: Submission,
        /// The runtime's disk.
        store_id: StoreId,
    },
    /// The agent was started.
    MessageAccepted {
        /// The message.
        message_id: MessageId,
        /// The delivery.
        submission: Submission,
        /// The credential generation of the workspace.
        generation: Generation,
        /// Whether the workspace was made for it.
        cold: bool,
    },
    /// A delivery failed and will be tried again.
    DeliveryRetried {
        /// The message.
        message_id: MessageId,
        /// The delivery that failed.
        submission: Submission,
        /// Why.
        code: FailureCode,
        /// Why, in detail.
        #[serde(skip_serializing_if = "Option::is_none")]
        subtype: Option<FailureSubtype>,
        /// Milliseconds until the next one.
        delay_millis: u64,
    },
    /// A message ended.
    MessageEnded {
        /// The message.
        message_id: MessageId,
        /// `completed`, `failed` or `interrupted`.
        phase: &'static str,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<FailureCode>,
        /// Why it failed, in detail.
        #[serde(skip_serializing_if = "Option::is_none")]
        subtype: Option<FailureSubtype>,
    },
    /// A batch of messages was reported.
    CallbackDelivered {
        /// The message that was reported.
        message_id: MessageId,
        /// The receiver: origin and path of its URL.
        place: String,
        /// How many tries had failed.
        failures: u32,
    },
    /// A try to report a batch of messages failed; there will be another one.
    CallbackRetried {
        /// The message that is reported.
        message_id: MessageId,
        /// The receiver: origin and path of its URL.
        place: String,
        /// How many tries have failed.
        failures: u32,
        /// Why: a status, or that there was no answer.
        reason: String,
    },
    /// A batch of messages will not be reported any more.
    CallbackGivenUp {
        /// The message that was to be reported.
        message_id: MessageId,
        /// The receiver: origin and path of its URL.
        place: String,
        /// Why.
        reason: String,
    },
    /// Nobody used the session for so long that it is deleted.
    SessionExpired,
    /// The runtime has another disk than before; its workspaces and journals are gone.
    RuntimeReplaced {
        /// The new disk.
        store_id: StoreId,
    },
    /// The runtime did not answer as it should.
    RuntimeCallFailed {
        /// The call, such as `put_turn`.
        call: &'static str,
        /// What happened: a status, or `timeout` or `unreachable`.
        reason: String,
    },
    /// The owner of a container changed it, or learned that it has changed.
    ContainerChanged {
        /// What it is now, such as `started`.
        change: &'static str,
    },
    /// Something failed that should not; the text is the program's own.
    Fault {
        /// Where.
        place: &'static str,
        /// What.
        reason: String,
    },
}

/// One line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    at: Timestamp,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a SessionId>,
    #[serde(flatten)]
    event: &'a LogEvent,
}

impl LogEvent {
    /// How serious it is: `info`, `warn` or `error`.
    #[must_use]
    pub const fn level(&self) -> &'static str {
        match self {
            Self::Fault { .. } => "error",
            Self::CredentialSkipped { .. }
            | Self::DeliveryRetried { .. }
            | Self::RuntimeCallFailed { .. }
            | Self::CallbackRetried { .. }
            | Self::CallbackGivenUp { .. }
            | Self::RuntimeReplaced { .. }
            | Self::CredentialRequired { .. }
            | Self::ManagedCredentialRefused { .. }
            | Self::ManagedCredentialMissing { .. }
            | Self::MarkersExpired => "warn",
            _ => "info",
        }
    }

    /// The event as one line of JSON.
    #[must_use]
    pub fn to_line(&self, session_id: Option<&SessionId>, at: Timestamp) -> String {
        let line = Line {
            at,
            level: self.level(),
            session_id,
            event: self,
        };
        serde_json::to_string(&line).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::{Generation, Timestamp};

    use super::LogEvent;

    #[test]
    fn a_line_is_one_json_object_joined_by_session_and_message() {
        let event = LogEvent::CredentialRotated {
            message_id: Some("msg_0123456789abABCDEFGHIJKLMN".parse().unwrap()),
            generation: Generation::new(2),
            changed: true,
            fingerprint: "00ff00ff".to_owned(),
        };
        let session = "agent_0f8fad5b-d9cb-469f-a165-70867728950e"
            .parse()
            .unwrap();
        assert_eq!(
            event.to_line(Some(&session), Timestamp::from_millis(5)),
            r#"{"at":5,"level":"info","sessionId":"agent_0f8fad5b-d9cb-469f-a165-70867728950e","event":"credential_rotated","messageId":"msg_0123456789abABCDEFGHIJKLMN","generation":2,"changed":true,"fingerprint":"00ff00ff"}"#
        );
    }
}
