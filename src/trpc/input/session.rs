//! Inputs that only name a session, or a session and a message.

use cloud_agent_wire::{MessageId, SessionId};
use serde::Deserialize;

use super::Input;
use super::text::{Id, Uuid};
use crate::trpc::issue::Issue;

macro_rules! plain_inputs {
    ($($name:ident),+) => {
        $(impl Input for $name {
            type Fields<'de> = Self;
            type Rules = ();

            fn check(fields: Self, (): &()) -> Result<Self, Vec<Issue>> {
                Ok(fields)
            }
        })+
    };
}

plain_inputs!(
    InitiateSession,
    GetSession,
    GetMessageResult,
    InterruptSession,
    DeleteSession,
    IssueTicket
);

/// The input of `initiateFromKilocodeSessionV2`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "InitiateSessionInput"))]
pub struct InitiateSession {
    /// The session.
    pub cloud_agent_session_id: Id<SessionId>,
}

/// The input of `getSession`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "GetSessionInput"))]
pub struct GetSession {
    /// The session.
    pub cloud_agent_session_id: Id<SessionId>,
}

/// The input of `getMessageResult`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "GetMessageResultInput"))]
pub struct GetMessageResult {
    /// The session.
    pub cloud_agent_session_id: Id<SessionId>,
    /// The message.
    pub message_id: Id<MessageId>,
}

/// The input of `interruptSession`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "InterruptSessionInput"))]
pub struct InterruptSession {
    /// The session.
    pub session_id: Id<SessionId>,
}

/// The input of `deleteSession`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "DeleteSessionInput"))]
pub struct DeleteSession {
    /// The session.
    pub session_id: Id<SessionId>,
}

/// The body of `POST /stream-ticket`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields, rename = "TicketRequest"))]
pub struct IssueTicket {
    /// The session.
    pub cloud_agent_session_id: Id<SessionId>,
    /// The organization that the user works in; noted in the ticket.
    #[serde(default)]
    pub organization_id: Option<Uuid>,
}
