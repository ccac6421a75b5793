//! Error replies of the runtime.

use serde::{Deserialize, Serialize};

/// Body of every reply that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeError {
    /// What is wrong, for the program.
    pub code: RuntimeErrorCode,
    /// What is wrong, for people: a fixed sentence that may name a field, never its value.
    pub message: String,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $status:literal,)+) => {
        /// What is wrong with a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum RuntimeErrorCode {
            $($(#[$doc])* $variant,)+
        }

        impl RuntimeErrorCode {
            /// The HTTP status that it is sent with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)+
                }
            }
        }
    };
}

error_codes!(
    /// A field is missing, malformed or not allowed; the message names it.
    InvalidRequest = 400,
    /// The bearer token is missing or wrong.
    Unauthorized = 401,
    /// No such session, turn or route.
    NotFound = 404,
    /// The generation is older than one that the runtime has seen for the session.
    StaleGeneration = 409,
    /// The session was deleted and never comes back.
    Gone = 410,
    /// The `x-store-id` header names another store than this one.
    StoreChanged = 412,
    /// The body is larger than allowed.
    PayloadTooLarge = 413,
    /// The runtime cannot take it now: shutting down, or out of disk.
    Unavailable = 503,
    /// The runtime is being started: ask again soon.
    NotReady = 503,
    /// A fault of the runtime; the log has the details.
    Internal = 500,
);
