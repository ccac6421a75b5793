//! Error codes: one table of tRPC's keys, one of the reasons for which a message is not admitted.

use serde::{Deserialize, Serialize};

macro_rules! error_keys {
    ($($(#[$doc:meta])* $variant:ident = $key:literal, $json_rpc:literal, $status:literal;)+) => {
        /// The kind of an error as tRPC names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum ErrorKey {
            $($(#[$doc])* #[serde(rename = $key)] $variant,)+
        }

        impl ErrorKey {
            /// Every key, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The key as clients read it in `error.data.code`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $key,)+
                }
            }

            /// The JSON-RPC number that stands in `error.code`.
            #[must_use]
            pub const fn json_rpc_code(self) -> i32 {
                match self {
                    $(Self::$variant => $json_rpc,)+
                }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)+
                }
            }
        }
    };
}

error_keys!(
    /// The input is malformed or not allowed.
    BadRequest = "BAD_REQUEST", -32600, 400;
    /// The bearer token or the internal key is missing or wrong.
    Unauthorized = "UNAUTHORIZED", -32001, 401;
    /// The caller may not do this.
    Forbidden = "FORBIDDEN", -32003, 403;
    /// No such procedure, session or message.
    NotFound = "NOT_FOUND", -32004, 404;
    /// The procedure is not called with this HTTP method.
    MethodNotSupported = "METHOD_NOT_SUPPORTED", -32005, 405;
    /// The state does not allow it now.
    Conflict = "CONFLICT", -32009, 409;
    /// The body is too large.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", -32013, 413;
    /// The body is not JSON by its content type.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", -32015, 415;
    /// A queue is full.
    TooManyRequests = "TOO_MANY_REQUESTS", -32029, 429;
    /// A fault of this service or of its configuration.
    InternalServerError = "INTERNAL_SERVER_ERROR", -32603, 500;
    /// The runtime is not there or not ready.
    ServiceUnavailable = "SERVICE_UNAVAILABLE", -32603, 503;
);

macro_rules! admission_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $key:ident, $retryable:literal;)+) => {
        /// Why a message was not admitted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum AdmissionCode {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)+
        }

        impl AdmissionCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as clients read it in `error.data.error`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// The tRPC key that it is sent under.
            #[must_use]
            pub const fn key(self) -> ErrorKey {
                match self {
                    $(Self::$variant => ErrorKey::$key,)+
                }
            }

            /// Whether the same request may succeed later, as `error.data.retryable` says.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self {
                    $(Self::$variant => $retryable,)+
                }
            }
        }
    };
}

admission_codes!(
    /// No such session, or it is being deleted.
    NotFound = "NOT_FOUND", NotFound, false;
    /// The message is not allowed as it is.
    BadRequest = "BAD_REQUEST", BadRequest, false;
    /// The session's queue is full.
    PendingQueueFull = "PENDING_QUEUE_FULL", TooManyRequests, true;
    /// A fault of this service.
    Internal = "INTERNAL", InternalServerError, true;
    /// The runtime could not be reached.
    SandboxConnectFailed = "SANDBOX_CONNECT_FAILED", ServiceUnavailable, true;
    /// The workspace could not be prepared.
    WorkspaceSetupFailed = "WORKSPACE_SETUP_FAILED", ServiceUnavailable, true;
    /// The agent's server did not come up.
    KiloServerFailed = "KILO_SERVER_FAILED", ServiceUnavailable, true;
    /// The agent's process could not be started.
    WrapperStartFailed = "WRAPPER_START_FAILED", ServiceUnavailable, true;
    /// The agent's last turn is being finished.
    WrapperFinalizing = "WRAPPER_FINALIZING", ServiceUnavailable, true;
);

#[cfg(test)]
mod tests {
    use super::{AdmissionCode, ErrorKey};

    #[test]
    fn keys_have_the_numbers_and_statuses_that_clients_know() {
        let table: Vec<_> = ErrorKey::ALL
            .iter()
            .map(|key| (key.as_str(), key.json_rpc_code(), key.http_status()))
            .collect();
        assert_eq!(
            table,
            [
                ("BAD_REQUEST", -32600, 400),
                ("UNAUTHORIZED", -32001, 401),
                ("FORBIDDEN", -32003, 403),
                ("NOT_FOUND", -32004, 404),
                ("METHOD_NOT_SUPPORTED", -32005, 405),
                ("CONFLICT", -32009, 409),
                ("PAYLOAD_TOO_LARGE", -32013, 413),
                ("UNSUPPORTED_MEDIA_TYPE", -32015, 415),
                ("TOO_MANY_REQUESTS", -32029, 429),
                ("INTERNAL_SERVER_ERROR", -32603, 500),
                ("SERVICE_UNAVAILABLE", -32603, 503),
            ]
        );
    }

    #[test]
    fn admission_codes_say_whether_a_retry_can_help() {
        for (code, status, retryable) in [
            (AdmissionCode::NotFound, 404, false),
            (AdmissionCode::BadRequest, 400, false),
            (AdmissionCode::PendingQueueFull, 429, true),
            (AdmissionCode::Internal, 500, true),
            (AdmissionCode::SandboxConnectFailed, 503, true),
            (AdmissionCode::WorkspaceSetupFailed, 503, true),
            (AdmissionCode::KiloServerFailed, 503, true),
            (AdmissionCode::WrapperStartFailed, 503, true),
            (AdmissionCode::WrapperFinalizing, 503, true),
        ] {
            assert_eq!(code.key().http_status(), status, "{code:?}");
            assert_eq!(code.is_retryable(), retryable, "{code:?}");
        }
    }

    #[test]
    fn codes_read_back_from_their_names() {
        for code in AdmissionCode::ALL {
            let text = serde_json::to_string(code).unwrap();
            assert_eq!(text, format!("\"{}\"", code.as_str()));
            assert_eq!(serde_json::from_str::<AdmissionCode>(&text).unwrap(), *code);
        }
    }
}
