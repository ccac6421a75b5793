//! What a session knows about itself. No secret is in here: those are sealed in rows of their own.

use cloud_agent_wire::{
    Branch, EventSequence, Finalization, Generation, Intent, MessageId, SessionId, StoreId,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::auth::UserId;

use super::managed::ManagedCredential;
use super::sealing::SealingContext;
use super::volatile::Preparing;

/// The session's record, read on every request. Small and of bounded size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRecord {
    /// The session.
    pub session_id: SessionId,
    /// Its owner.
    pub user_id: UserId,
    /// The owner's organization.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub organization_id: Option<String>,
    /// The id under which the agent's side knows the session.
    pub kilo_session_id: String,
    /// Where the session was made, such as `cloud-agent-web`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_on_platform: Option<String>,
    /// The repository.
    pub repository: RepositoryRecord,
    /// The branch that the user asked for, and later the one that the last turn ended on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream_branch: Option<String>,
    /// Clone without history.
    #[serde(default)]
    pub shallow: bool,
    /// The id of the first message.
    pub initial_message_id: MessageId,
    /// The agent's settings for messages that bring none.
    pub agent: AgentDefaults,
    /// Slugs of the agents that the session was prepared with; a message may name one as its mode.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub agent_slugs: Vec<String>,
    /// Finalization for messages that bring none.
    pub finalization: Finalization,
    /// When the session was prepared by its user.
    pub created_at: Timestamp,
    /// When a workspace was ready for the first time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prepared_at: Option<Timestamp>,
    /// When an agent was started for the first time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub initiated_at: Option<Timestamp>,
    /// Counts the changes of this record.
    pub version: u64,
    /// Where messages that are admitted from now on are reported to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub callback: Option<CallbackTargetId>,
    /// The last credential that the remote refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<Refusal>,
    /// What is remembered of the tokens of a managed repository.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub managed: Option<ManagedCredential>,
    /// Since when the session is being deleted. For clients it is gone from that moment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deleting_since: Option<Timestamp>,
}

/// Names a callback's target, which never changes: another one has another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallbackTargetId(pub u64);

/// A credential that the remote refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Its generation. The refusal means nothing once there is a newer one.
    pub generation: Generation,
    /// When it was first refused.
    pub since: Timestamp,
}

impl SessionRecord {
    /// What the session's sealed values are bound to.
    #[must_use]
    pub fn sealing_context(&self) -> SealingContext<'_> {
        SealingContext {
            user_id: self.user_id.as_str(),
            session_id: &self.session_id,
            repository: self.repository.identity(),
        }
    }

    /// The branch that the workspace is to be on.
    ///
    /// Only a branch that the user named, and only before the first workspace was ready, must exist on the remote:
    /// later it may be one that the session itself made and has not pushed.
    #[must_use]
    pub fn branch(&self) -> Branch {
        Branch {
            name: self
                .upstream_branch
                .clone()
                .unwrap_or_else(|| format!("session/{}", self.session_id)),
            strict: self.upstream_branch.is_some() && self.prepared_at.is_none(),
        }
    }
}

/// The repository and where its token comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RepositoryRecord {
    /// A GitHub repository; its token is resolved by the server at every delivery.
    Github {
        /// `owner/name`.
        repo: String,
    },
    /// A repository on a managed GitLab; its token is resolved by the server at every delivery.
    Gitlab {
        /// Its URL.
        url: String,
    },
    /// Any other git repository; its token is the session's credential.
    Git {
        /// Its URL.
        url: String,
    },
}

impl RepositoryRecord {
    /// Whether a client's `gitToken` is the credential of this repository.
    #[must_use]
    pub const fn uses_session_credential(&self) -> bool {
        matches!(self, Self::Git { .. })
    }

    /// What names the repository: its URL or `owner/name`.
    #[must_use]
    pub fn identity(&self) -> &str {
        match self {
            Self::Github { repo } => repo,
            Self::Gitlab { url } | Self::Git { url } => url,
        }
    }

    /// The URL to clone from.
    #[must_use]
    pub fn clone_url(&self) -> String {
        match self {
            Self::Github { repo } => format!("https://github.com/{repo}.git"),
            Self::Gitlab { url } | Self::Git { url } => url.clone(),
        }
    }

    /// The user name that the remote expects beside a token.
    #[must_use]
    pub const fn username(&self) -> &'static str {
        match self {
            Self::Github { .. } | Self::Git { .. } => "x-access-token",
            Self::Gitlab { .. } => "oauth2",
        }
    }
}

/// The agent's settings for messages that bring none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentDefaults {
    /// The mode.
    pub mode: String,
    /// The model.
    pub model: String,
    /// The model's variant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub variant: Option<String>,
}

/// What only deliveries need; read once a delivery, so that admission does not pay for its size.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Shell commands for a fresh workspace.
    #[serde(default)]
    pub setup_commands: Vec<String>,
    /// Text appended to the agent's system prompt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub append_system_prompt: Option<String>,
    /// The runtime agents as they were given, for `getSession` and for the agent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub runtime_agents: Option<Box<RawValue>>,
}

/// The first message, kept until it is initiated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitialMessage {
    /// Its content, complete.
    pub intent: Intent,
}

/// A turn that the runtime is to be told to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwedInterrupt {
    /// The message.
    pub message_id: MessageId,
    /// Since when it is owed.
    pub since: Timestamp,
}

/// What the object knows about the runtime that it speaks to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeLink {
    /// The store that the cursor belongs to; `None` before the first contact.
    pub store_id: Option<StoreId>,
    /// The last event that was taken over from that store.
    pub cursor: EventSequence,
    /// Since when reading events has failed without a success.
    pub unreachable_since: Option<Timestamp>,
    /// The newest credential that the runtime has said it has.
    pub acknowledged: Generation,
    /// When an event was last taken over.
    pub last_event_at: Option<Timestamp>,
    /// Turns that the runtime is still to be told to stop.
    pub interrupts: Vec<OwedInterrupt>,
    /// How far the preparation of the workspace is, while one is under way.
    pub preparing: Option<Preparing>,
}
