//! Files that a user attached to a message: where they are stored, and what may be wrong with them.
//!
//! They are uploaded before the message is sent. Whether they are there is looked at twice: before the message is
//! admitted, so that its sender learns of it, and when it is delivered, since they may be gone by then.

use cloud_agent_wire::{Attachments, Intent, Turn};
use serde::{Deserialize, Serialize};

use crate::auth::UserId;
use crate::limits::ATTACHMENT_BYTES_MAX;

/// The name of a file's object in the bucket.
#[must_use]
pub fn object_key(user_id: &UserId, folder: &str, file: &str) -> String {
    format!("{}/cloud-agent/{folder}/{file}", user_id.as_str())
}

/// The files of a message.
#[must_use]
pub fn attachments(intent: &Intent) -> Option<&Attachments> {
    match &intent.turn {
        Turn::Prompt { attachments, .. } => attachments.as_ref(),
        Turn::Command { .. } => None,
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFault {
    /// It was not uploaded, or it is gone.
    Missing,
    /// It is larger than allowed.
    TooLarge,
}

impl FileFault {
    /// What is wrong with a file of that size; `None` stands for one that is not there.
    ///
    /// # Errors
    /// The fault.
    pub const fn check(bytes: Option<u64>) -> Result<(), Self> {
        match bytes {
            None => Err(Self::Missing),
            Some(bytes) if bytes > ATTACHMENT_BYTES_MAX => Err(Self::TooLarge),
            Some(_) => Ok(()),
        }
    }

    /// What must be true of a file instead; follows its name.
    #[must_use]
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Missing => "must name an uploaded file",
            Self::TooLarge => "must name a file of at most 5 MiB",
        }
    }

    /// The fact for the failure of a delivery.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Missing => "an attached file is not there any more",
            Self::TooLarge => "an attached file is larger than 5 MiB",
        }
    }
}

/// Which of the files that came with a request is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentFault {
    /// Whether the older field `images` names it; else `attachments` does.
    pub in_images: bool,
    /// Its position in the list, from 0.
    pub position: usize,
    /// What is wrong with it.
    pub fault: FileFault,
}

impl AttachmentFault {
    /// The field that names the file.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        if self.in_images {
            "images"
        } else {
            "attachments"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FileFault, object_key};

    #[test]
    fn files_are_kept_by_user_and_upload() {
        let user = "user-1".to_owned().try_into().unwrap();
        assert_eq!(
            object_key(&user, "folder", "file.png"),
            "user-1/cloud-agent/folder/file.png"
        );
    }

    #[test]
    fn five_mebibytes_are_the_most() {
        for (bytes, expected) in [
            (Some(0), Ok(())),
            (Some(5 * 1024 * 1024), Ok(())),
            (Some(5 * 1024 * 1024 + 1), Err(FileFault::TooLarge)),
            (None, Err(FileFault::Missing)),
        ] {
            assert_eq!(FileFault::check(bytes), expected, "{bytes:?}");
        }
    }
}
