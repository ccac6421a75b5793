//! Identifiers, counters and times as types, so that one can never stand in for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// Why a text is not the identifier it should be. The text itself is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidId {
    /// One sentence that says what the text must look like.
    pub expected: &'static str,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }
}

impl std::error::Error for InvalidId {}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $is_valid:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The sentence that an invalid text is answered with.
            pub const EXPECTED: &'static str = $expected;

            /// The identifier as it is written on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                if $is_valid(&text) {
                    Ok(Self(text))
                } else {
                    Err(InvalidId { expected: Self::EXPECTED })
                }
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(text.to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({})", stringify!($name), self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::try_from(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a stored or received number.
            #[must_use]
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The number itself.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

text_id!(
    /// A session, `agent_` and a UUID.
    SessionId,
    "must be agent_ followed by a UUID",
    is_session_id
);
text_id!(
    /// A message, `msg_` and 26 characters. Ids are not ordered by time: never compare them to decide age.
    MessageId,
    "messageId must match msg_ followed by 12 lowercase hex characters and 14 base62 characters",
    is_message_id
);
text_id!(
    /// Names the disk that holds a runtime's workspaces and journals.
    StoreId,
    "must be 1 to 64 letters, digits or dashes",
    is_machine_id
);
text_id!(
    /// Names one process of a runtime.
    BootId,
    "must be 1 to 64 letters, digits or dashes",
    is_machine_id
);

counter!(
    /// Counts the changes of a session's credential. 0 is "none yet"; it only rises.
    Generation
);
counter!(
    /// Counts the deliveries of one message; keys the runtime's idempotency.
    Submission
);
counter!(
    /// Position of an event in a session's journal on one store; the first is 1.
    EventSequence
);

/// A moment in milliseconds since the Unix epoch.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Wraps milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment `millis` later.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` to this moment, 0 when it is not earlier.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

fn is_session_id(text: &str) -> bool {
    text.strip_prefix("agent_").is_some_and(is_uuid)
}

/// A UUID in its 36-character form, in either case.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_message_id(text: &str) -> bool {
    text.strip_prefix("msg_").is_some_and(|rest| {
        rest.len() == 26
            && rest.bytes().enumerate().all(|(index, byte)| match index {
                0..12 => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
                _ => byte.is_ascii_alphanumeric(),
            })
    })
}

fn is_machine_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::{MessageId, SessionId};

    #[test]
    fn session_ids_are_agent_and_a_uuid_in_either_case() {
        for (text, valid) in [
            ("agent_0f8fad5b-d9cb-469f-a165-70867728950e", true),
            ("agent_0F8FAD5B-D9CB-469F-A165-70867728950E", true),
            ("agent_0f8fad5b-d9cb-469f-a165-70867728950", false),
            ("agent_0f8fad5bd9cb-469f-a165-70867728950ee", false),
            ("workspace_0f8fad5b-d9cb-469f-a165-70867728950e", false),
            ("agent_../../../etc/passwd-aaaa-bbbb-cccccccccc", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<SessionId>().is_ok(), valid, "{text}");
        }
    }

    #[test]
    fn message_ids_have_twelve_lowercase_hex_digits_and_fourteen_base62() {
        for (text, valid) in [
            ("msg_0123456789abABCDEFGHIJKLMN", true),
            ("msg_0123456789aBABCDEFGHIJKLMN", false),
            ("msg_0123456789abABCDEFGHIJKLM", false),
            ("msg_0123456789abABCDEFGHIJKL-N", false),
            ("0123456789abABCDEFGHIJKLMN", false),
        ] {
            assert_eq!(text.parse::<MessageId>().is_ok(), valid, "{text}");
        }
    }
}
