//! Error replies: a code and a fixed sentence.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;
use cloud_agent_wire::{RuntimeError, RuntimeErrorCode};

use crate::session::RequestError;

/// A reply that is not a success.
#[derive(Debug)]
pub struct Error {
    code: RuntimeErrorCode,
    message: String,
}

impl Error {
    /// An error with a sentence that may name a field, never its value.
    pub fn new(code: RuntimeErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The sentence, without the code.
    pub fn into_message(self) -> String {
        self.message
    }

    /// A field is not allowed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(RuntimeErrorCode::InvalidRequest, message)
    }

    /// A fault of the runtime, which goes to the log.
    pub fn disk(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::new(RuntimeErrorCode::Unavailable, "the disk is full")
            }
            _ => {
                tracing::error!(error = %error, "a file operation failed");
                Self::new(RuntimeErrorCode::Internal, "a file operation failed")
            }
        }
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Invalid(message) => Self::invalid(message),
            RequestError::Stale => Self::new(
                RuntimeErrorCode::StaleGeneration,
                "generation is older than one seen before",
            ),
            RequestError::NoWorkspace => Self::new(
                RuntimeErrorCode::NotFound,
                "the session has no workspace yet",
            ),
            RequestError::Gone => gone(),
            RequestError::Stopping => stopping(),
            RequestError::JournalFull => Self::new(
                RuntimeErrorCode::Unavailable,
                "the journal is full until its events are acknowledged",
            ),
            RequestError::Disk(error) => Self::disk(&error),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response<Body> {
        let status =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        json(
            status,
            &RuntimeError {
                code: self.code,
                message: self.message,
            },
        )
    }
}

/// A reply with a JSON body.
pub fn json(status: StatusCode, body: &impl serde::Serialize) -> Response<Body> {
    // The wire's types have string keys only, so they always serialize.
    let body = serde_json::to_vec(body).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The session was deleted.
pub fn gone() -> Error {
    Error::new(RuntimeErrorCode::Gone, "the session was deleted")
}

/// The runtime takes nothing new any more.
pub fn stopping() -> Error {
    Error::new(RuntimeErrorCode::Unavailable, "the runtime is stopping")
}

/// The session is not there.
pub fn no_such_session() -> Error {
    Error::new(RuntimeErrorCode::NotFound, "there is no such session")
}

/// Nothing answers this method and path.
pub async fn no_such_route() -> Error {
    Error::new(RuntimeErrorCode::NotFound, "there is no such route")
}
