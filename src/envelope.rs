//! What the Worker sends to a session's object: one versioned JSON object.

use cloud_agent_wire::secret::expose_in_body;
use cloud_agent_wire::{MessageId, Secret, SessionId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::auth::UserId;
use crate::session::attachment::AttachmentFault;
use crate::session::command::Arrival;
use crate::session::credential::Try;

/// The version that this code writes. A deploy can pair a newer Worker with an older object, so readers drop fields
/// that they do not know and refuse versions that they do not know.
pub const VERSION: u32 = 1;

/// One command for a session.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope<'a> {
    /// [`VERSION`].
    pub v: u32,
    /// The procedure's input as the client sent it; absent for tRPC's `undefined`.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    pub input: Option<&'a RawValue>,
    /// Who calls.
    pub user_id: UserId,
    /// When the request reached the Worker; the same on every try.
    pub received_at: Timestamp,
    /// Which try this is, from 1.
    #[serde(rename = "try")]
    pub attempt: u32,
    /// The id of the message when the client gave none; the same on every try.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message_id: Option<MessageId>,
    /// What the Worker found wrong with a file that the input names.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attachment_fault: Option<AttachmentFault>,
    /// The ids of a session to be made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new_session: Option<NewSessionIds>,
    /// The fault that an end-to-end test asks for.
    #[cfg(feature = "test-faults")]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<String>,
}

/// Ids that the Worker made for a new session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewSessionIds {
    /// The session.
    pub session_id: SessionId,
    /// The id under which the agent's side knows it.
    pub kilo_session_id: String,
    /// The caller's bearer token, with which the session's agent reaches its model.
    #[serde(serialize_with = "expose_in_body")]
    pub kilocode_token: Secret,
}

impl Envelope<'_> {
    /// When and how the request came.
    #[must_use]
    pub fn arrival(&self) -> Arrival {
        Arrival {
            received_at: self.received_at,
            attempt: Try::new(self.attempt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Envelope;

    #[test]
    fn an_envelope_reads_back_and_unknown_fields_are_dropped() {
        let text = r#"{"v":1,"input":{"a": [1]},"userId":"u","receivedAt":5,"try":2,"later":true}"#;
        let envelope: Envelope<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(envelope.input.unwrap().get(), r#"{"a": [1]}"#);
        assert_eq!(envelope.arrival().attempt.get(), 2);
        assert_eq!(
            serde_json::to_string(&envelope).unwrap(),
            r#"{"v":1,"input":{"a": [1]},"userId":"u","receivedAt":5,"try":2}"#
        );
    }
}
