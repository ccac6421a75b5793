//! Paths, headers and query names of the runtime's HTTP interface.

use crate::ids::{EventSequence, MessageId, SessionId};

/// Carries the store id that the caller expects; every call but [`HEALTH`] and [`CLAIM`] sends it.
pub const STORE_ID_HEADER: &str = "x-store-id";

/// Says who is there. Needs neither the bearer token nor [`STORE_ID_HEADER`].
pub const HEALTH: &str = "/healthz";

/// `POST`: [`crate::Claim`]. Needs neither the bearer token, which it brings, nor [`STORE_ID_HEADER`].
pub const CLAIM: &str = "/v1/claim";

/// Route templates, with the parameters in braces.
pub mod template {
    /// `PUT`: [`crate::PutWorkspace`].
    pub const WORKSPACE: &str = "/v1/sessions/{session}/workspace";
    /// `PUT`: [`crate::PutCredential`].
    pub const CREDENTIAL: &str = "/v1/sessions/{session}/credential";
    /// `PUT`: [`crate::PutTurn`].
    pub const TURN: &str = "/v1/sessions/{session}/turns/{message}";
    /// `POST` without a body; 202 whether or not the turn still ran.
    pub const INTERRUPT: &str = "/v1/sessions/{session}/turns/{message}/interrupt";
    /// `GET ?after=N&waitMs=M`: [`crate::JournalEvent`] lines.
    pub const EVENTS: &str = "/v1/sessions/{session}/events";
    /// `PUT`: a file, streamed.
    pub const ATTACHMENT: &str = "/v1/sessions/{session}/attachments/{name}";
    /// `DELETE`: removes everything of the session.
    pub const SESSION: &str = "/v1/sessions/{session}";
}

/// Path of a session's workspace.
#[must_use]
pub fn workspace(session: &SessionId) -> String {
    format!("/v1/sessions/{session}/workspace")
}

/// Path of a session's credential.
#[must_use]
pub fn credential(session: &SessionId) -> String {
    format!("/v1/sessions/{session}/credential")
}

/// Path of a turn.
#[must_use]
pub fn turn(session: &SessionId, message: &MessageId) -> String {
    format!("/v1/sessions/{session}/turns/{message}")
}

/// Path of a turn's interrupt.
#[must_use]
pub fn interrupt(session: &SessionId, message: &MessageId) -> String {
    format!("/v1/sessions/{session}/turns/{message}/interrupt")
}

/// Path of an attached file.
#[must_use]
pub fn attachment(session: &SessionId, name: &str) -> String {
    format!("/v1/sessions/{session}/attachments/{name}")
}

/// Path and query that read the events after `after`.
///
/// `after` also acknowledges: the runtime may forget events up to it.
/// The reply streams what is there and then what comes, and ends `wait_ms` milliseconds after the request, or once what
/// was there has been sent.
#[must_use]
pub fn events(session: &SessionId, after: EventSequence, wait_ms: u64) -> String {
    format!("/v1/sessions/{session}/events?after={after}&waitMs={wait_ms}")
}

/// Path of a session.
#[must_use]
pub fn session(session: &SessionId) -> String {
    format!("/v1/sessions/{session}")
}
