//! Why a socket is not opened, or does not get on: a status for the upgrade, a code for clients, a sentence for people.

use super::frame;

macro_rules! stream_errors {
    ($($(#[$doc:meta])* $variant:ident = $status:literal, $code:literal, $message:literal;)+) => {
        /// What is wrong with a request for the stream.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum StreamError {
            $($(#[$doc])* $variant,)+
        }

        impl StreamError {
            /// Every error, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The HTTP status that the request is answered with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)+
                }
            }

            /// The code in the error frame.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            /// The sentence in the error frame.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => $message,)+
                }
            }
        }
    };
}

stream_errors!(
    /// The request does not ask for a WebSocket.
    NotAnUpgrade = 426, "WS_PROTOCOL_ERROR", "Expected a WebSocket upgrade";
    /// The session is not named.
    MissingSession = 400, "WS_PROTOCOL_ERROR", "cloudAgentSessionId is missing";
    /// The session's name is malformed.
    InvalidSession = 400, "WS_PROTOCOL_ERROR", "cloudAgentSessionId must be agent_ followed by a UUID";
    /// `fromId` is malformed.
    InvalidFromId = 400, "WS_PROTOCOL_ERROR", "fromId must be a whole number that is not negative";
    /// `replay` is malformed.
    InvalidReplay = 400, "WS_PROTOCOL_ERROR", "replay must be true or false";
    /// `eventTypes` is malformed.
    InvalidEventTypes = 400, "WS_PROTOCOL_ERROR", "eventTypes must be at most 50 names of at most 64 characters, separated by commas";
    /// `executionIds` is malformed.
    InvalidExecutionIds = 400, "WS_PROTOCOL_ERROR", "executionIds must be at most 50 ids of at most 64 characters, separated by commas";
    /// A time bound is malformed.
    InvalidTime = 400, "WS_PROTOCOL_ERROR", "startTime and endTime must be milliseconds since 1970 or ISO 8601 times";
    /// There is no ticket.
    MissingTicket = 401, "WS_AUTH_ERROR", "Missing ticket";
    /// The ticket is not one of ours.
    InvalidTicket = 401, "WS_AUTH_ERROR", "Invalid ticket";
    /// The ticket's time is over.
    ExpiredTicket = 401, "WS_AUTH_ERROR", "Ticket expired";
    /// The ticket has opened a socket before.
    UsedTicket = 401, "WS_AUTH_ERROR", "Ticket was already used";
    /// The ticket is for something else than the stream.
    WrongPurpose = 403, "WS_AUTH_ERROR", "Ticket is not for the stream";
    /// The ticket is for another session.
    WrongSession = 403, "WS_AUTH_ERROR", "Ticket is for another session";
    /// Pages of that origin may not connect.
    ForbiddenOrigin = 403, "WS_AUTH_ERROR", "Origin not allowed";
    /// There is no such session, or not any more.
    SessionNotFound = 404, "WS_SESSION_NOT_FOUND", "Session not found";
    /// The session has as many sockets as it may.
    TooManySockets = 429, "WS_DUPLICATE_CONNECTION", "Too many connections to this session";
    /// The connection's budget or its time is spent.
    BudgetSpent = 503, "WS_RECONNECT", "Connect again with fromId";
    /// A fault of this service.
    Internal = 500, "WS_INTERNAL_ERROR", "Internal server error";
);

impl StreamError {
    /// The error as a frame, which is also the body of a refused upgrade.
    #[must_use]
    pub fn to_frame(self) -> String {
        frame::error(self.code(), self.message())
    }
}
