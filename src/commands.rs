//! From what clients send to what the session is asked: decoded inputs become commands.

use std::collections::BTreeMap;

use cloud_agent_wire::secret::expose_map_in_body;
use cloud_agent_wire::{Agent, Intent, MessageId, Secret, SessionId, Timestamp};
use serde::Serialize;

use crate::auth::UserId;
use crate::session::attachment::AttachmentFault;
use crate::session::command::{AgentChoice, Arrival, SendMessage};
use crate::session::error::CommandError;
use crate::session::preparation::{
    ENCRYPTED_SECRETS, KILOCODE_TOKEN, PrepareSession, ProfileSecrets,
};
use crate::session::record::{
    AgentDefaults, InitialMessage, Profile, RepositoryRecord, SessionRecord,
};
use crate::trpc::input::profile::EncryptedValue;
use crate::trpc::input::{self, CallbackTarget, RepositoryInput};
use crate::trpc::issue::{PathSegment, Violation, to_json_text};
use crate::trpc::{AdmissionCode, CallError, Issue};

/// The command of a follow-up message. `fallback_id` is its id when the client gave none.
#[must_use]
pub fn send_message(
    input: input::SendMessage,
    fallback_id: MessageId,
    attachment_fault: Option<AttachmentFault>,
    arrival: Arrival,
) -> SendMessage {
    let agent = input
        .agent
        .map_or_else(AgentChoice::default, |agent| AgentChoice {
            mode: Some(agent.mode.into_string()),
            model: Some(agent.model.into_string()),
            variant: agent.variant.map(input::text::Variant::into_string),
        });
    SendMessage {
        message_id: input.message_id.unwrap_or(fallback_id),
        turn: input.turn,
        agent,
        finalization: input.finalization,
        git_token: input.git_token,
        attachment_fault,
        arrival,
    }
}

/// Ids that the Worker made for a new session.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The session.
    pub session_id: SessionId,
    /// Its owner.
    pub user_id: UserId,
    /// The id under which the agent's side knows it.
    pub kilo_session_id: String,
    /// The caller's bearer token.
    pub kilocode_token: Secret,
    /// The id of the first message when the client gave none.
    pub fallback_message_id: MessageId,
}

/// The command of a preparation.
#[must_use]
pub fn prepare_session(
    input: input::PrepareSession,
    ids: NewSession,
    arrival: Arrival,
    now: Timestamp,
) -> PrepareSession {
    let message_id = input
        .initial_message_id
        .clone()
        .unwrap_or(ids.fallback_message_id);
    let secrets = secrets(&input, ids.kilocode_token);
    let callback = input.callback_target.as_ref().and_then(callback_target);
    let agent = Agent::from(input.agent);
    let (repository, git_token) = repository(input.repository);
    let intent = Intent {
        turn: input.turn.into_turn(message_id.clone()),
        agent: agent.clone(),
        finalization: input.finalization.clone(),
    };
    let agent_slugs = input
        .runtime_agents
        .iter()
        .map(|agent| agent.slug.as_str().to_owned())
        .collect();
    let runtime_agents = (!input.runtime_agents.is_empty())
        .then(|| serde_json::value::to_raw_value(&input.runtime_agents).ok())
        .flatten();
    PrepareSession {
        record: SessionRecord {
            session_id: ids.session_id,
            user_id: ids.user_id,
            organization_id: input.organization_id.map(input::text::Uuid::into_string),
            kilo_session_id: ids.kilo_session_id,
            created_on_platform: input
                .created_on_platform
                .map(input::text::CreatedOnPlatform::into_string),
            repository,
            upstream_branch: input
                .upstream_branch
                .map(input::text::BranchName::into_string),
            shallow: input.shallow,
            initial_message_id: message_id,
            agent: AgentDefaults {
                mode: agent.mode,
                model: agent.model,
                variant: agent.variant,
            },
            agent_slugs,
            finalization: input.finalization,
            created_at: now,
            prepared_at: None,
            initiated_at: None,
            version: 1,
            callback: None,
            refused: None,
            managed: None,
            deleting_since: None,
        },
        profile: Profile {
            setup_commands: input.setup_commands,
            append_system_prompt: input
                .append_system_prompt
                .map(input::text::SystemPrompt::into_string),
            runtime_agents,
        },
        secrets,
        callback,
        initial: InitialMessage { intent },
        git_token,
        arrival,
    }
}

fn repository(input: RepositoryInput) -> (RepositoryRecord, Option<Secret>) {
    match input {
        RepositoryInput::Github { repo } => (
            RepositoryRecord::Github {
                repo: repo.into_string(),
            },
            None,
        ),
        RepositoryInput::Gitlab { url } => (
            RepositoryRecord::Gitlab {
                url: url.as_str().to_owned(),
            },
            None,
        ),
        RepositoryInput::Git { url, token } => (
            RepositoryRecord::Git {
                url: url.as_str().to_owned(),
            },
            token,
        ),
    }
}

fn secrets(input: &input::PrepareSession, kilocode_token: Secret) -> ProfileSecrets {
    let configuration = &input.agent_configuration;
    let quoted = |text: &str| Secret::new(format!("\"{text}\""));
    let settings = [
        (KILOCODE_TOKEN, Some(kilocode_token)),
        // Both are words that need no escape.
        (
            "gateThreshold",
            input.gate_threshold.map(|word| quoted(word.as_str())),
        ),
        (
            "profileId",
            input.profile_id.as_ref().map(|id| quoted(id.as_str())),
        ),
        ("mcpServers", configuration.mcp_servers.clone()),
        ("runtimeSkills", configuration.runtime_skills.clone()),
        ("runtimeAgents", configuration.runtime_agents.clone()),
        ("kiloCommands", configuration.kilo_commands.clone()),
        (
            ENCRYPTED_SECRETS,
            encrypted_secrets(&input.encrypted_secrets),
        ),
    ];
    ProfileSecrets {
        env: input.env_vars.clone(),
        settings: settings
            .into_iter()
            .filter_map(|(name, setting)| Some((name.to_owned(), setting?)))
            .collect(),
    }
}

fn encrypted_secrets(secrets: &BTreeMap<String, EncryptedValue>) -> Option<Secret> {
    (!secrets.is_empty())
        .then(|| serde_json::to_string(secrets).ok().map(Secret::new))
        .flatten()
}

/// A callback as it is sealed: JSON text of its URL and headers.
#[must_use]
pub fn callback_target(target: &CallbackTarget) -> Option<Secret> {
    #[derive(Serialize)]
    struct Exposed<'a> {
        url: &'a str,
        #[serde(serialize_with = "expose_map_in_body")]
        headers: &'a BTreeMap<String, Secret>,
    }
    let exposed = Exposed {
        url: target.url.as_str(),
        headers: &target.headers,
    };
    serde_json::to_string(&exposed).ok().map(Secret::new)
}

/// A refusal as the client reads it. `admission` says whether a message was refused, which has codes of its own.
#[must_use]
pub fn call_error(error: &CommandError, admission: bool) -> CallError {
    let message = match error {
        CommandError::InvalidField { field, expected } => {
            to_json_text(&[Issue::at(field, Violation::format(expected))])
        }
        CommandError::Attachment(fault) => {
            let mut issue = Issue::within(
                &[fault.field(), "files"],
                Violation::custom(fault.fault.expected()),
            );
            issue.path.push(PathSegment::Position(fault.position));
            to_json_text(&[issue])
        }
        _ => error.to_string(),
    };
    let code = match error {
        CommandError::SessionNotFound | CommandError::MessageNotFound => AdmissionCode::NotFound,
        CommandError::Refused(_)
        | CommandError::InvalidField { .. }
        | CommandError::Attachment(_) => AdmissionCode::BadRequest,
        CommandError::QueueFull => AdmissionCode::PendingQueueFull,
        CommandError::Internal(_) => AdmissionCode::Internal,
    };
    if admission {
        CallError::admission(code, message)
    } else {
        CallError::new(code.key(), message)
    }
}
