//! Why a call failed, as the client will read it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::codes::{AdmissionCode, ErrorKey};
use super::issue::{self, Issue};

/// A failed call: a key for programs and one safe sentence for people.
///
/// It can be sent from the session object to the Worker as JSON and is the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallError {
    /// The kind of error.
    pub key: ErrorKey,
    /// What is wrong. Never holds the value of a field.
    pub message: Cow<'static, str>,
    /// Why a message was not admitted, where that is what failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub admission: Option<AdmissionCode>,
}

impl CallError {
    /// An error that is not about admission.
    pub fn new(key: ErrorKey, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            key,
            message: message.into(),
            admission: None,
        }
    }

    /// A message that was not admitted.
    pub fn admission(code: AdmissionCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            key: code.key(),
            message: message.into(),
            admission: Some(code),
        }
    }

    /// The same error of a call that was to admit a message: after a fault of this service it may be sent again.
    #[must_use]
    pub fn of_admission(mut self) -> Self {
        if self.key == ErrorKey::InternalServerError {
            self.admission = Some(AdmissionCode::Internal);
        }
        self
    }

    /// A fault of this service; what happened goes to the log only.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(ErrorKey::InternalServerError, "Internal server error")
    }
}

/// Input that was refused. The message is the list of issues as JSON text, which clients parse.
impl From<Vec<Issue>> for CallError {
    fn from(issues: Vec<Issue>) -> Self {
        Self::new(ErrorKey::BadRequest, issue::to_json_text(&issues))
    }
}
