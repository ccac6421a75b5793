//! `updateSession`: another callback, or a fresh git token without a message.

use cloud_agent_wire::{AllowedHosts, Secret, SessionId};
use serde::Deserialize;

use super::Input;
use super::callback::{CallbackFields, CallbackTarget};
use super::shape::{Nullable, present};
use super::text::{Id, non_empty};
use crate::trpc::issue::Issue;

/// A change of a session.
#[derive(Debug, Clone)]
pub struct UpdateSession {
    /// The session.
    pub session_id: SessionId,
    /// What becomes of its callback.
    pub callback: CallbackChange,
    /// A git token that is not empty; see [`super::check_git_token`].
    pub git_token: Option<Secret>,
}

/// What becomes of a session's callback.
#[derive(Debug, Clone)]
pub enum CallbackChange {
    /// It stays.
    Keep,
    /// There is none any more.
    Clear,
    /// There is this one from now on.
    Set(CallbackTarget),
}

/// The input of `updateSession`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(
    test,
    derive(ts_rs::TS),
    ts(optional_fields, rename = "UpdateSessionInput")
)]
pub struct UpdateSessionFields {
    /// The session.
    pub cloud_agent_session_id: Id<SessionId>,
    /// The new callback; `null` clears it.
    #[serde(default)]
    #[cfg_attr(test, ts(as = "Option<CallbackFields>", optional = nullable))]
    pub callback_target: Nullable<CallbackFields>,
    /// A token for a generic git repository.
    #[serde(default, deserialize_with = "present")]
    pub git_token: Option<Secret>,
}

impl Input for UpdateSession {
    type Fields<'de> = UpdateSessionFields;
    type Rules = AllowedHosts;

    fn check(fields: UpdateSessionFields, hosts: &AllowedHosts) -> Result<Self, Vec<Issue>> {
        Ok(Self {
            session_id: fields.cloud_agent_session_id.0,
            callback: match fields.callback_target {
                Nullable::Absent => CallbackChange::Keep,
                Nullable::Null => CallbackChange::Clear,
                Nullable::Object(target) => {
                    CallbackChange::Set(CallbackTarget::check(target, hosts)?)
                }
            },
            git_token: non_empty(fields.git_token),
        })
    }
}
