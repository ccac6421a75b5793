//! Commands to a session: what a client wants, decoded and well-formed, before the session's own rules are applied.

use cloud_agent_wire::{Attachments, Finalization, Intent, MessageId, Secret, Timestamp, Turn};

use super::attachment::AttachmentFault;
use super::credential::Try;
use super::sealing::{KeyRing, NonceBytes};

/// A follow-up message.
#[derive(Debug, Clone)]
pub struct SendMessage {
    /// Its id; made by the Worker when the client gave none.
    pub message_id: MessageId,
    /// What the user asked.
    pub turn: TurnContent,
    /// Agent settings that the client gave.
    pub agent: AgentChoice,
    /// Finalization that the client gave; each absent field falls back by itself.
    pub finalization: Finalization,
    /// A token, not empty.
    pub git_token: Option<Secret>,
    /// What is wrong with a file that came with it; matters only for a message that is new.
    pub attachment_fault: Option<AttachmentFault>,
    /// When and how the request came.
    pub arrival: Arrival,
}

/// The content of a turn, apart from its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnContent {
    /// Free text with files.
    Prompt {
        /// The text.
        prompt: String,
        /// The files.
        attachments: Option<Attachments>,
    },
    /// A slash command.
    Command {
        /// Its name without the slash.
        command: String,
        /// Its arguments, verbatim.
        arguments: String,
    },
}

impl TurnContent {
    /// The files that come with it.
    #[must_use]
    pub const fn attachments(&self) -> Option<&Attachments> {
        match self {
            Self::Prompt { attachments, .. } => attachments.as_ref(),
            Self::Command { .. } => None,
        }
    }

    /// The turn of a message.
    #[must_use]
    pub fn into_turn(self, message_id: MessageId) -> Turn {
        match self {
            Self::Prompt {
                prompt,
                attachments,
            } => Turn::Prompt {
                message_id,
                prompt,
                attachments,
            },
            Self::Command { command, arguments } => Turn::Command {
                message_id,
                command,
                arguments,
            },
        }
    }
}

/// Agent settings of a request; the session's defaults fill what is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentChoice {
    /// The mode.
    pub mode: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The model's variant.
    pub variant: Option<String>,
}

/// When and how a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it reached the Worker, by the Worker's clock.
    pub received_at: Timestamp,
    /// Which try of the Worker it is.
    pub attempt: Try,
}

impl Arrival {
    /// The stamp that rotation goes by: never in the object's future, so that one fast clock cannot lock a
    /// credential against everybody else.
    #[must_use]
    pub fn stamp(self, now: Timestamp) -> Timestamp {
        self.received_at.min(now)
    }
}

impl SendMessage {
    /// The command that admits a session's first message, whose content was settled at preparation.
    #[must_use]
    pub fn initial(intent: Intent, arrival: Arrival) -> Self {
        let agent = AgentChoice {
            mode: Some(intent.agent.mode),
            model: Some(intent.agent.model),
            variant: intent.agent.variant,
        };
        let (message_id, turn) = match intent.turn {
            Turn::Prompt {
                message_id,
                prompt,
                attachments,
            } => (
                message_id,
                TurnContent::Prompt {
                    prompt,
                    attachments,
                },
            ),
            Turn::Command {
                message_id,
                command,
                arguments,
            } => (message_id, TurnContent::Command { command, arguments }),
        };
        Self {
            message_id,
            turn,
            agent,
            finalization: intent.finalization,
            git_token: None,
            attachment_fault: None,
            arrival,
        }
    }
}

/// What a decision needs beside state, command and time.
#[derive(Debug, Clone, Copy)]
pub struct Ingredients<'a> {
    /// The keys that secrets are sealed with.
    pub ring: &'a KeyRing,
    /// Fresh randomness, for one sealing.
    pub nonce: NonceBytes,
    /// The configured times.
    pub settings: Settings,
}

/// Times that can be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `DRAIN_DELAY_MS`: from a message's admission until the queue is looked at.
    pub drain_delay_millis: u64,
    /// `MARKER_TTL_MS`: from a rotation until an admission that never finished is given up.
    pub marker_ttl_millis: u64,
    /// `CREDENTIAL_WAIT_MS`: from the first refusal of a credential until the messages that would use it fail.
    pub credential_wait_millis: u64,
    /// `NO_OUTPUT_MS`: how long a running agent may show nothing.
    pub no_output_millis: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            drain_delay_millis: 1_000,
            marker_ttl_millis: 15 * 60 * 1_000,
            credential_wait_millis: 10 * 60 * 1_000,
            no_output_millis: 330 * 1_000,
        }
    }
}
