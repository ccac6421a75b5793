//! The procedures, their kinds and who may call them, in one table.

/// Whether a procedure only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reads; called with `GET`.
    Query,
    /// Changes something; called with `POST`.
    Mutation,
}

impl Kind {
    /// The word that tRPC uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
        }
    }

    /// The only HTTP method that it is called with.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::Query => "GET",
            Self::Mutation => "POST",
        }
    }
}

/// What a caller must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Public,
    /// A user's bearer token.
    User,
    /// A user's bearer token and the internal key.
    Internal,
}

macro_rules! procedures {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $kind:ident, $access:ident;)+) => {
        /// A procedure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Procedure {
            $($(#[$doc])* $variant,)+
        }

        impl Procedure {
            /// Every procedure, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The procedure of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The name, which is the path below `/trpc/`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Whether it only reads.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self {
                    $(Self::$variant => Kind::$kind,)+
                }
            }

            /// Whether it is there to admit a message: its errors then say whether to send it again.
            #[must_use]
            pub const fn admits(self) -> bool {
                matches!(self, Self::SendMessageV2 | Self::InitiateFromKilocodeSessionV2)
            }

            /// What a caller must show.
            #[must_use]
            pub const fn access(self) -> Access {
                match self {
                    $(Self::$variant => Access::$access,)+
                }
            }
        }
    };
}

procedures!(
    /// Registers a session.
    PrepareSession = "prepareSession", Mutation, Internal;
    /// Changes a session's callback or credential.
    UpdateSession = "updateSession", Mutation, Internal;
    /// Admits the message that a session was prepared with.
    InitiateFromKilocodeSessionV2 = "initiateFromKilocodeSessionV2", Mutation, User;
    /// Admits a follow-up message, with a fresh credential if there is one.
    SendMessageV2 = "sendMessageV2", Mutation, User;
    /// Reads a session.
    GetSession = "getSession", Query, User;
    /// Reads how far a message is.
    GetMessageResult = "getMessageResult", Query, User;
    /// Stops what runs and empties the queue.
    InterruptSession = "interruptSession", Mutation, User;
    /// Removes a session and everything it stored.
    DeleteSession = "deleteSession", Mutation, User;
    /// Says that the service is there.
    Health = "health", Query, Public;
);

#[cfg(test)]
mod tests {
    use super::{Access, Kind, Procedure};

    #[test]
    fn names_read_back() {
        for procedure in Procedure::ALL {
            assert_eq!(Procedure::from_name(procedure.name()), Some(*procedure));
        }
        assert_eq!(Procedure::from_name("SendMessageV2"), None);
        assert_eq!(Procedure::from_name(""), None);
    }

    #[test]
    fn kinds_and_access_are_those_that_clients_rely_on() {
        let of = |access, kind| {
            Procedure::ALL
                .iter()
                .filter(|procedure| procedure.access() == access && procedure.kind() == kind)
                .map(|procedure| procedure.name())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(Access::Public, Kind::Query), ["health"]);
        assert_eq!(of(Access::Public, Kind::Mutation), [""; 0]);
        assert_eq!(
            of(Access::User, Kind::Query),
            ["getSession", "getMessageResult"]
        );
        assert_eq!(
            of(Access::User, Kind::Mutation),
            [
                "initiateFromKilocodeSessionV2",
                "sendMessageV2",
                "interruptSession",
                "deleteSession"
            ]
        );
        assert_eq!(of(Access::Internal, Kind::Query), [""; 0]);
        assert_eq!(
            of(Access::Internal, Kind::Mutation),
            ["prepareSession", "updateSession"]
        );
    }
}
