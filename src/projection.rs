//! What clients read of a session: projections of its state, without anything secret.

use cloud_agent_wire::{MessageId, SessionId, Timestamp, Turn};

use crate::session::admission::Acknowledgement as Admitted;
use crate::session::credential::CredentialRecord;
use crate::session::deadline::{DeadlineKind, Deadlines};
use crate::session::message::{MessageState, Phase};
use crate::session::outcome::{CompletionSource, PublicFailure};
use crate::session::record::{
    InitialMessage, Profile, Refusal, RepositoryRecord, RuntimeLink, SessionRecord,
};
use crate::session::view::Head;
use crate::trpc::output::{
    Acknowledgement, AssistantOutput, CredentialOutput, ExecutionHealth, ExecutionOutput,
    ExecutionStatus, GetMessageResultOutput, GetSessionOutput, MessageStatus,
};

/// Everything that `getSession` shows a part of.
#[derive(Debug)]
pub struct SessionSources {
    /// The record.
    pub record: SessionRecord,
    /// The first message.
    pub initial: InitialMessage,
    /// What deliveries need.
    pub profile: Profile,
    /// The credential.
    pub credential: Option<CredentialRecord>,
    /// The oldest message that has not ended.
    pub head: Option<Head>,
    /// Whether the runtime has given no sign of life for too long.
    pub is_stale: bool,
    /// The newest event.
    pub latest_event_id: Option<u64>,
}

/// Whether the runtime has given no sign of life for too long: it cannot be reached, or a running agent's time to show
/// something has passed.
#[must_use]
pub fn is_stale(link: &RuntimeLink, deadlines: &Deadlines, now: Timestamp) -> bool {
    link.unreachable_since.is_some() || deadlines.is_due(DeadlineKind::TurnWatch, now)
}

/// The answer of `getSession`.
#[must_use]
pub fn session(sources: SessionSources) -> GetSessionOutput {
    let SessionSources {
        record,
        initial,
        profile,
        credential,
        head,
        is_stale,
        latest_event_id,
    } = sources;
    let (github_repo, git_url, platform) = match record.repository {
        RepositoryRecord::Github { repo } => (Some(repo), None, Some("github")),
        RepositoryRecord::Gitlab { url } => (None, Some(url), Some("gitlab")),
        RepositoryRecord::Git { url } => (None, Some(url), None),
    };
    let prompt = match initial.intent.turn {
        Turn::Prompt { prompt, .. } => Some(prompt),
        Turn::Command { .. } => None,
    };
    let runtime_agents = profile
        .runtime_agents
        .and_then(|agents| serde_json::from_str(agents.get()).ok());
    let refused = record.refused;
    let sandbox_id = sandbox_id(&record.session_id);
    GetSessionOutput {
        session_id: record.session_id,
        kilo_session_id: Some(record.kilo_session_id),
        user_id: record.user_id.into(),
        org_id: record.organization_id,
        sandbox_id: Some(sandbox_id),
        github_repo,
        git_url,
        platform: platform.map(str::to_owned),
        prompt,
        mode: Some(record.agent.mode),
        model: Some(record.agent.model),
        variant: record.agent.variant,
        auto_commit: record.finalization.auto_commit,
        upstream_branch: record.upstream_branch,
        runtime_agents,
        execution: head.and_then(|head| execution(&head, record.created_at, is_stale)),
        credential: credential_output(credential, refused),
        prepared_at: record.prepared_at,
        initiated_at: record.initiated_at,
        initial_message_id: Some(record.initial_message_id),
        timestamp: record.created_at,
        version: record.version,
        latest_event_id,
    }
}

fn execution(head: &Head, started_at: Timestamp, is_stale: bool) -> Option<ExecutionOutput> {
    let Head::Message(message) = head else {
        return None;
    };
    let status = match message.state.phase() {
        Phase::Queued | Phase::Claimed => ExecutionStatus::Pending,
        Phase::Accepted => ExecutionStatus::Running,
        Phase::Completed | Phase::Failed | Phase::Interrupted => return None,
    };
    let health = match status {
        ExecutionStatus::Running if is_stale => ExecutionHealth::Stale,
        ExecutionStatus::Running | ExecutionStatus::Pending => ExecutionHealth::Healthy,
    };
    Some(ExecutionOutput {
        id: message.message_id().clone(),
        status,
        started_at,
        last_heartbeat: (),
        process_id: (),
        error: (),
        health,
    })
}

/// The name of the session's sandbox: one for each session, made of the same UUID.
#[must_use]
pub fn sandbox_id(session_id: &SessionId) -> String {
    let uuid = session_id.as_str().trim_start_matches("agent_");
    format!("ses-{}", uuid.replace('-', "").to_ascii_lowercase())
}

/// The credential, or the wait for one: a session without any can wait as well, with an empty fingerprint.
fn credential_output(
    credential: Option<CredentialRecord>,
    refused: Option<Refusal>,
) -> Option<CredentialOutput> {
    let Some(credential) = credential else {
        return refused.map(|refused| CredentialOutput {
            generation: refused.generation,
            updated_at: refused.since,
            message_id: None,
            fingerprint: String::new(),
            waiting_since: Some(refused.since),
        });
    };
    let refused = refused.filter(|refused| refused.generation == credential.generation);
    Some(CredentialOutput {
        generation: credential.generation,
        updated_at: credential.updated_at,
        message_id: credential.pointer.message_id,
        fingerprint: credential.fingerprint,
        waiting_since: refused.map(|refused| refused.since),
    })
}

/// The answer to an admitted message.
#[must_use]
pub fn acknowledgement(session_id: SessionId, admitted: Admitted) -> Acknowledgement {
    Acknowledgement::new(session_id, admitted.message_id, admitted.delivery)
}

/// What is known of a message whose content may be unreadable.
#[derive(Debug)]
pub struct MessageFacts {
    /// Its id.
    pub message_id: MessageId,
    /// When it was admitted.
    pub created_at: Timestamp,
    /// Where it is in its life.
    pub state: MessageState,
    /// The text of the agent's answer.
    pub answer: Option<String>,
}

/// The answer of `getMessageResult`.
#[must_use]
pub fn message_result(session_id: SessionId, message: MessageFacts) -> GetMessageResultOutput {
    let MessageFacts {
        message_id,
        created_at,
        state,
        answer,
    } = message;
    let accepted_at = state.accepted_at();
    let (gate_result, assistant) = match &state {
        MessageState::Completed {
            assistant,
            gate_result,
            ..
        } => (*gate_result, assistant.clone()),
        _ => (None, None),
    };
    GetMessageResultOutput {
        cloud_agent_session_id: session_id,
        message_id,
        status: status(state.phase()),
        created_at,
        queued_at: Some(created_at),
        accepted_at,
        terminal_at: state.terminal_at(),
        completion_source: CompletionSource::of(&state),
        failure: PublicFailure::of(&state),
        gate_result,
        assistant: assistant.map(|message_id| AssistantOutput {
            message_id,
            text: answer,
        }),
    }
}

/// How far a message is, as clients know it: a claim is no more to them than a place in the queue.
const fn status(phase: Phase) -> MessageStatus {
    match phase {
        Phase::Queued | Phase::Claimed => MessageStatus::Queued,
        Phase::Accepted => MessageStatus::Running,
        Phase::Completed => MessageStatus::Completed,
        Phase::Failed => MessageStatus::Failed,
        Phase::Interrupted => MessageStatus::Interrupted,
    }
}
