//! What procedures answer. Absent fields are left out, except where `null` is part of the contract.

use cloud_agent_wire::{GateResult, Generation, MessageId, SessionId, Timestamp};
use serde::Serialize;

use super::input::RuntimeAgent;
use crate::session::admission::Delivery;
use crate::session::outcome::{CompletionSource, PublicFailure};

/// The answer to an admitted message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct Acknowledgement {
    /// The session.
    pub cloud_agent_session_id: SessionId,
    /// Always `started`, which does not mean that anything runs.
    pub status: Started,
    /// Path and query of the session's stream.
    pub stream_url: String,
    /// The message.
    pub message_id: MessageId,
    /// Whether it was delivered before, on a replay.
    pub delivery: Delivery,
    /// The message's id again, for older clients.
    pub execution_id: MessageId,
}

impl Acknowledgement {
    /// Acknowledges a message of that session.
    #[must_use]
    pub fn new(session_id: SessionId, message_id: MessageId, delivery: Delivery) -> Self {
        Self {
            stream_url: format!("/stream?cloudAgentSessionId={session_id}"),
            cloud_agent_session_id: session_id,
            status: Started::Started,
            execution_id: message_id.clone(),
            message_id,
            delivery,
        }
    }
}

/// The one status of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum Started {
    /// The message is durable.
    Started,
}

/// The answer of `prepareSession`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct PrepareSessionOutput {
    /// The new session.
    pub cloud_agent_session_id: SessionId,
    /// The agent's own id of the session.
    pub kilo_session_id: String,
}

/// The answer of `updateSession`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct UpdateSessionOutput {
    /// Always true.
    pub success: bool,
}

/// The answer of `getSession`. It never holds a token, an environment variable, a setup command or a callback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct GetSessionOutput {
    /// The session.
    pub session_id: SessionId,
    /// The agent's own id of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kilo_session_id: Option<String>,
    /// Whose it is.
    pub user_id: String,
    /// The organization that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// Where it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// `owner/name` of a repository on GitHub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub github_repo: Option<String>,
    /// The URL of any other repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_url: Option<String>,
    /// The service that hosts the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The first prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The agent's mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The agent's model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model's variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Commit and push the agent's changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_commit: Option<bool>,
    /// The branch that was asked for, or that the workspace is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_branch: Option<String>,
    /// Agents besides the built-in ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_agents: Option<Vec<RuntimeAgent>>,
    /// The message that is at work or comes next; `null` when there is none.
    #[cfg_attr(test, ts(optional = false))]
    pub execution: Option<ExecutionOutput>,
    /// The session's credential, if its repository is generic git and it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialOutput>,
    /// When the workspace was first ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepared_at: Option<Timestamp>,
    /// When the first message was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiated_at: Option<Timestamp>,
    /// The first message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_message_id: Option<MessageId>,
    /// When the session was prepared.
    pub timestamp: Timestamp,
    /// Counts the changes of what the session knows about itself.
    pub version: u64,
    /// The newest event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_event_id: Option<u64>,
}

/// The message that is at work or comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct ExecutionOutput {
    /// The message.
    pub id: MessageId,
    /// Whether it is at work.
    pub status: ExecutionStatus,
    /// The session's timestamp, which is not when it started.
    pub started_at: Timestamp,
    /// Always `null`.
    #[cfg_attr(test, ts(type = "null"))]
    pub last_heartbeat: (),
    /// Always `null`.
    #[cfg_attr(test, ts(type = "null"))]
    pub process_id: (),
    /// Always `null`.
    #[cfg_attr(test, ts(type = "null"))]
    pub error: (),
    /// Whether the runtime gives signs of life.
    pub health: ExecutionHealth,
}

/// Whether a message is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum ExecutionStatus {
    /// It comes next.
    Pending,
    /// It is at work.
    Running,
}

/// Whether the runtime gives signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum ExecutionHealth {
    /// It does, or nothing is expected of it.
    Healthy,
    /// A deadline has passed.
    Stale,
}

/// Which credential is current, without showing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct CredentialOutput {
    /// Counts the changes.
    pub generation: Generation,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The message that brought it; absent when it came otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// 8 hex digits that are the same for the same token; empty while the session waits for its first one.
    pub fingerprint: String,
    /// Since when the session waits for a newer one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Timestamp>,
}

/// The answer of `getMessageResult`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct GetMessageResultOutput {
    /// The session.
    pub cloud_agent_session_id: SessionId,
    /// The message.
    pub message_id: MessageId,
    /// How far it is.
    pub status: MessageStatus,
    /// When it was admitted.
    pub created_at: Timestamp,
    /// When it was queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<Timestamp>,
    /// When its agent was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal_at: Option<Timestamp>,
    /// What ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_source: Option<CompletionSource>,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<PublicFailure>,
    /// What the agent's gate said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_result: Option<GateResult>,
    /// The agent's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assistant: Option<AssistantOutput>,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum MessageStatus {
    /// It waits.
    Queued,
    /// Its agent was started.
    Running,
    /// It completed.
    Completed,
    /// It failed.
    Failed,
    /// It was stopped.
    Interrupted,
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct AssistantOutput {
    /// The agent's own id of it.
    pub message_id: String,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The answer of `interruptSession`, also for a session that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct InterruptSessionOutput {
    /// Whether there is such a session.
    pub success: bool,
    /// One sentence.
    pub message: &'static str,
    /// Always false.
    pub processes_found: bool,
}

/// The answer of `deleteSession`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct DeleteSessionOutput {
    /// Always true.
    pub success: bool,
    /// One sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'static str>,
}

/// The answer of `health`, and of `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct HealthOutput {
    /// Always `ok`.
    pub status: &'static str,
    /// The time, in ISO 8601.
    pub timestamp: String,
}

#[cfg(test)]
mod tests {
    use super::Acknowledgement;
    use crate::session::admission::Delivery;

    #[test]
    fn an_acknowledgement_has_the_fields_that_clients_read() {
        let session = "agent_0f8fad5b-d9cb-469f-a165-70867728950e"
            .parse()
            .unwrap();
        let message = "msg_0123456789abABCDEFGHIJKLMN".parse().unwrap();
        let text = serde_json::to_string(&Acknowledgement::new(session, message, Delivery::Queued));
        assert_eq!(
            text.unwrap(),
            concat!(
                r#"{"cloudAgentSessionId":"agent_0f8fad5b-d9cb-469f-a165-70867728950e","status":"started","#,
                r#""streamUrl":"/stream?cloudAgentSessionId=agent_0f8fad5b-d9cb-469f-a165-70867728950e","#,
                r#""messageId":"msg_0123456789abABCDEFGHIJKLMN","delivery":"queued","#,
                r#""executionId":"msg_0123456789abABCDEFGHIJKLMN"}"#
            )
        );
    }
}
