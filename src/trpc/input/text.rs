//! Texts that check themselves while they are read.

use cloud_agent_wire::Secret;
use cloud_agent_wire::branch_name::{self, BranchKind};
use cloud_agent_wire::ids::{InvalidId, is_uuid};
use serde::de::{Deserialize, Deserializer, Error};

use crate::limits;
use crate::session::admission::{BUILTIN_MODES, CUSTOM_MODE};
use crate::session::credential;
use crate::trpc::issue::{Issue, IssueCode, Violation};

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, owned.
            #[must_use]
            pub fn into_string(self) -> String {
                self.0
            }
        }

        #[cfg(test)]
        cloud_agent_wire::appears_as!($name => "string");

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let check: fn(&str) -> Result<(), Violation> = $check;
                check(&text).map_err(D::Error::custom)?;
                Ok(Self(text))
            }
        }
    };
}
pub(super) use checked_text;

checked_text!(
    /// What the user asks, and the arguments of a slash command: at most 100,000 characters.
    Prompt,
    |text| at_most(text, limits::PROMPT_CHARS_MAX)
);

checked_text!(
    /// The name of a slash command, without the slash.
    Command,
    |text| between_one_and(text, limits::COMMAND_CHARS_MAX)
);

checked_text!(
    /// The mode of an agent: a built-in one or the slug of a runtime agent.
    Mode,
    |text| {
        between_one_and(text, limits::MODE_CHARS_MAX)?;
        let is_slug = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(is_slug) {
            Ok(())
        } else {
            Err(Violation::format(
                "must be lowercase letters, digits and dashes, and start with a letter",
            ))
        }
    }
);

impl Mode {
    /// Whether every session has it.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        BUILTIN_MODES.contains(&self.as_str())
    }

    /// Whether it takes its instructions from `appendSystemPrompt`.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        self.as_str() == CUSTOM_MODE
    }
}

checked_text!(
    /// The name of a model.
    Model,
    |text| {
        between_one_and(text, limits::MODEL_CHARS_MAX)?;
        all_bytes(
            text,
            |byte| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte),
            "must be letters, digits, dots, underscores, dashes, slashes and colons",
        )
    }
);

checked_text!(
    /// A variant of a model.
    Variant,
    |text| {
        between_one_and(text, limits::VARIANT_CHARS_MAX)?;
        all_bytes(text, |byte| byte.is_ascii_alphabetic(), "must be letters")
    }
);

checked_text!(
    /// A branch, or the full name of a pull request's or merge request's head.
    BranchName,
    |text| match branch_name::classify(text) {
        Some(BranchKind::Branch | BranchKind::PullRequest) => Ok(()),
        None => Err(Violation::format(branch_name::EXPECTED)),
    }
);

checked_text!(
    /// `owner/name` of a GitHub repository.
    GithubRepo,
    |text| {
        let is_part = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        if text.len() > limits::GITHUB_REPO_BYTES_MAX {
            return Err(Violation::too_big(limits::GITHUB_REPO_BYTES_MAX, "characters"));
        }
        match text.split_once('/') {
            Some((owner, name)) if is_part(owner) && is_part(name) => Ok(()),
            _ => Err(Violation::format("must be owner/name")),
        }
    }
);

checked_text!(
    /// A UUID.
    Uuid,
    |text| {
        if is_uuid(text) {
            Ok(())
        } else {
            Err(Violation::format("must be a UUID"))
        }
    }
);

checked_text!(
    /// The platform that a session was created on.
    CreatedOnPlatform,
    |text| at_most(text, limits::CREATED_ON_PLATFORM_CHARS_MAX)
);

checked_text!(
    /// An additional system prompt.
    SystemPrompt,
    |text| at_most(text, limits::SYSTEM_PROMPT_CHARS_MAX)
);

checked_text!(
    /// A shell command that prepares a fresh workspace.
    SetupCommand,
    |text| {
        at_most(text, limits::SETUP_COMMAND_CHARS_MAX)?;
        all_bytes(text, |byte| byte != 0, "must not contain NUL")
    }
);

/// An identifier of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id<T>(pub T);

#[cfg(test)]
cloud_agent_wire::appears_as!(
    Id<cloud_agent_wire::SessionId> => "string",
    Id<cloud_agent_wire::MessageId> => "string",
);

impl<'de, T: TryFrom<String, Error = InvalidId>> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::try_from(text)
            .map(Self)
            .map_err(|invalid| D::Error::custom(Violation::format(invalid.expected)))
    }
}

/// Refuses a git token that cannot be one. Call it where the token would be used, and only there: a session whose
/// repository is not generic git ignores the field.
///
/// # Errors
/// An issue at `gitToken`.
pub fn check_git_token(token: &Secret) -> Result<(), Issue> {
    credential::check_git_token(token)
        .map_err(|expected| Issue::at("gitToken", Violation::format(expected)))
}

/// A git token as clients send it: an empty one is none.
pub(super) fn non_empty(token: Option<Secret>) -> Option<Secret> {
    token.filter(|token| !token.is_empty())
}

/// At most `max` characters as JavaScript counts them. No text has more of those than bytes.
pub(super) fn at_most(text: &str, max: usize) -> Result<(), Violation> {
    if text.len() <= max || text.encode_utf16().nth(max).is_none() {
        Ok(())
    } else {
        Err(Violation::too_big(max, "characters"))
    }
}

pub(super) fn between_one_and(text: &str, max: usize) -> Result<(), Violation> {
    if text.is_empty() {
        Err(Violation::empty())
    } else {
        at_most(text, max)
    }
}

pub(super) fn all_bytes(
    text: &str,
    is_allowed: fn(u8) -> bool,
    message: &'static str,
) -> Result<(), Violation> {
    if text.bytes().all(is_allowed) {
        Ok(())
    } else {
        Err(Violation::format(message))
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$word_doc])* $variant,)+
        }

        impl $name {
            /// The word as clients write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        #[cfg(test)]
        cloud_agent_wire::appears_as!($name => [$(concat!("\"", $word, "\"")),+].join(" | "));

        // serde's own enums also read objects, and quote a word that they do not know.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match String::deserialize(deserializer)?.as_str() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(D::Error::custom(crate::trpc::input::text::unknown_word(&[$($word),+]))),
                }
            }
        }
    };
}
pub(super) use words;

pub(super) fn unknown_word(words: &[&str]) -> Violation {
    Violation::new(
        IssueCode::InvalidValue,
        format!("must be one of {}", words.join(", ")),
    )
}
