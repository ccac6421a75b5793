//! Why a command was refused, in the session's own words; the edge turns them into HTTP.

use std::fmt;

use super::attachment::AttachmentFault;

/// Why a command was refused. The text is safe to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// There is no such session for this user, or it is being deleted.
    SessionNotFound,
    /// There is no such message.
    MessageNotFound,
    /// The command contradicts what the session knows; the sentence says how.
    Refused(&'static str),
    /// A field is not allowed for this session.
    InvalidField {
        /// The field.
        field: &'static str,
        /// What is expected of it.
        expected: &'static str,
    },
    /// A file that came with the message is not as it must be.
    Attachment(AttachmentFault),
    /// Ten messages wait already.
    QueueFull,
    /// Something failed that is not the caller's fault; the sentence gives away nothing.
    Internal(&'static str),
}

impl CommandError {
    /// The word in log lines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SessionNotFound | Self::MessageNotFound => "NOT_FOUND",
            Self::Refused(_) | Self::InvalidField { .. } | Self::Attachment(_) => "BAD_REQUEST",
            Self::QueueFull => "PENDING_QUEUE_FULL",
            Self::Internal(_) => "INTERNAL",
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionNotFound => formatter.write_str("Session not found"),
            Self::MessageNotFound => formatter.write_str("Message not found"),
            Self::Refused(sentence) | Self::Internal(sentence) => formatter.write_str(sentence),
            Self::InvalidField { field, expected } => write!(formatter, "{field} {expected}"),
            Self::Attachment(fault) => {
                write!(formatter, "{} {}", fault.field(), fault.fault.expected())
            }
            Self::QueueFull => {
                write!(
                    formatter,
                    "Pending message queue is full ({})",
                    crate::limits::QUEUE_MESSAGES_MAX
                )
            }
        }
    }
}

impl std::error::Error for CommandError {}

/// Why storage did not do what it was asked. The text is for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// A row is not what this version, or any before, writes.
    Unreadable(&'static str),
    /// Storage itself failed.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(row) => write!(formatter, "the stored {row} cannot be read"),
            Self::Failed(reason) => write!(formatter, "storage failed: {reason}"),
        }
    }
}

impl std::error::Error for StoreError {}
