//! `prepareSession`: everything that a session is made of.

use std::collections::BTreeMap;

use cloud_agent_wire::{AllowedHosts, Finalization, MessageId, Secret};
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::attachments::{self, AttachmentFields, ImageFields};
use super::callback::{CallbackFields, CallbackTarget};
use super::profile::{
    AgentConfiguration, EncryptedSecret, EncryptedValue, EnvVar, RawConfiguration, RuntimeAgent,
};
use super::repository::{Platform, RepositoryInput};
use super::shape::{Entries, List, Object, present, present_object};
use super::text::{
    BranchName, CreatedOnPlatform, GithubRepo, Id, Mode, Model, Prompt, SetupCommand, SystemPrompt,
    Uuid, Variant, words,
};
use super::turn::{AgentInput, PayloadFields, PayloadKind, command_turn, prompt_turn};
use super::{Input, nested, required};
use crate::limits;
use crate::session::command::TurnContent;
use crate::trpc::issue::{Issue, Violation};

words!(
    /// Which findings the agent's gate fails for.
    GateThreshold {
        /// None.
        Off = "off",
        /// Any.
        All = "all",
        /// Warnings and worse.
        Warning = "warning",
        /// Critical ones.
        Critical = "critical",
    }
);

/// A session to be made.
#[derive(Debug, Clone)]
pub struct PrepareSession {
    /// The first turn.
    pub turn: TurnContent,
    /// Whether its files came in the field `images`.
    pub files_in_images: bool,
    /// The id of its message, if the client made one.
    pub initial_message_id: Option<MessageId>,
    /// Admit the first message at once.
    pub auto_initiate: bool,
    /// The session's agent.
    pub agent: AgentInput,
    /// What to add to the agent's instructions.
    pub append_system_prompt: Option<SystemPrompt>,
    /// The repository.
    pub repository: RepositoryInput,
    /// The branch to work on; one of the session's own when absent.
    pub upstream_branch: Option<BranchName>,
    /// Clone without history.
    pub shallow: bool,
    /// What happens after each turn unless its message says otherwise.
    pub finalization: Finalization,
    /// Which findings the agent's gate is to fail for.
    pub gate_threshold: Option<GateThreshold>,
    /// Environment variables.
    pub env_vars: BTreeMap<String, Secret>,
    /// Encrypted environment variables.
    pub encrypted_secrets: BTreeMap<String, EncryptedValue>,
    /// Shell commands that prepare a fresh workspace, in order.
    pub setup_commands: Vec<String>,
    /// What is passed through to the agent.
    pub agent_configuration: AgentConfiguration,
    /// The agents besides the built-in ones.
    pub runtime_agents: Vec<RuntimeAgent>,
    /// Where to report what became of messages.
    pub callback_target: Option<CallbackTarget>,
    /// The organization that the session belongs to.
    pub organization_id: Option<Uuid>,
    /// The profile that the caller took settings from.
    pub profile_id: Option<Uuid>,
    /// The platform that the session was created on.
    pub created_on_platform: Option<CreatedOnPlatform>,
}

/// The input of `prepareSession`. Unknown keys are dropped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(
    test,
    derive(ts_rs::TS),
    ts(optional_fields, rename = "PrepareSessionInput")
)]
pub struct PrepareSessionFields<'a> {
    /// What the user asks; the first turn unless there is an `initialPayload`.
    pub prompt: Prompt,
    /// The agent's mode.
    pub mode: Mode,
    /// The agent's model.
    pub model: Model,
    /// The model's variant.
    #[serde(default, deserialize_with = "present")]
    pub variant: Option<Variant>,
    /// Files that come with the prompt.
    #[serde(default, deserialize_with = "present_object")]
    pub attachments: Option<AttachmentFields>,
    /// Files, as older clients send them.
    #[serde(default, deserialize_with = "present_object")]
    pub images: Option<ImageFields>,
    /// The first turn, in place of the prompt.
    #[serde(borrow, default, deserialize_with = "present")]
    #[cfg_attr(test, ts(as = "Option<PayloadFields>"))]
    pub initial_payload: Option<&'a RawValue>,
    /// The id of the first message.
    #[serde(default, deserialize_with = "present")]
    pub initial_message_id: Option<Id<MessageId>>,
    /// Admit the first message at once.
    #[serde(default, deserialize_with = "present")]
    pub auto_initiate: Option<bool>,
    /// What to add to the agent's instructions; needed for the mode `custom`.
    #[serde(default, deserialize_with = "present")]
    pub append_system_prompt: Option<SystemPrompt>,
    /// A repository on GitHub.
    #[serde(default, deserialize_with = "present")]
    pub github_repo: Option<GithubRepo>,
    /// The https URL of any other repository.
    #[serde(default, deserialize_with = "present")]
    pub git_url: Option<String>,
    /// Accepted and ignored.
    #[serde(default)]
    #[cfg_attr(test, ts(type = "unknown", optional))]
    pub github_token: Option<IgnoredAny>,
    /// A token for a generic git repository.
    #[serde(default, deserialize_with = "present")]
    pub git_token: Option<Secret>,
    /// The service that hosts the repository.
    #[serde(default, deserialize_with = "present")]
    pub platform: Option<Platform>,
    /// The branch to work on.
    #[serde(default, deserialize_with = "present")]
    pub upstream_branch: Option<BranchName>,
    /// Clone without history.
    #[serde(default, deserialize_with = "present")]
    pub shallow: Option<bool>,
    /// Commit and push the agent's changes after each turn.
    #[serde(default, deserialize_with = "present")]
    pub auto_commit: Option<bool>,
    /// Ask the agent to condense its context after each turn.
    #[serde(default, deserialize_with = "present")]
    pub condense_on_complete: Option<bool>,
    /// Which findings the agent's gate is to fail for.
    #[serde(default, deserialize_with = "present")]
    pub gate_threshold: Option<GateThreshold>,
    /// Environment variables.
    #[serde(default, deserialize_with = "present")]
    #[cfg_attr(test, ts(type = "Record<string, string>", optional))]
    pub env_vars: Option<Entries<EnvVar>>,
    /// Encrypted environment variables.
    #[serde(default, deserialize_with = "present")]
    #[cfg_attr(test, ts(as = "Option<BTreeMap<String, EncryptedValue>>"))]
    pub encrypted_secrets: Option<Entries<EncryptedSecret>>,
    /// Shell commands that prepare a fresh workspace.
    #[serde(default, deserialize_with = "present")]
    #[cfg_attr(test, ts(type = "Array<string>", optional))]
    pub setup_commands: Option<List<SetupCommand, { limits::SETUP_COMMANDS_MAX }>>,
    /// MCP servers, passed through.
    #[serde(borrow, default, deserialize_with = "present")]
    #[cfg_attr(test, ts(type = "Record<string, unknown>", optional))]
    pub mcp_servers: Option<&'a RawValue>,
    /// Skills, passed through.
    #[serde(borrow, default, deserialize_with = "present")]
    #[cfg_attr(test, ts(type = "unknown", optional))]
    pub runtime_skills: Option<&'a RawValue>,
    /// Agents, passed through.
    #[serde(borrow, default, deserialize_with = "present")]
    #[cfg_attr(
        test,
        ts(type = "Array<RuntimeAgent & Record<string, unknown>>", optional)
    )]
    pub runtime_agents: Option<&'a RawValue>,
    /// Slash commands, passed through.
    #[serde(borrow, default, deserialize_with = "present")]
    #[cfg_attr(test, ts(type = "unknown", optional))]
    pub kilo_commands: Option<&'a RawValue>,
    /// Where to report what became of messages.
    #[serde(default, deserialize_with = "present_object")]
    pub callback_target: Option<CallbackFields>,
    /// The organization that the session belongs to.
    #[serde(default, deserialize_with = "present")]
    pub kilocode_organization_id: Option<Uuid>,
    /// The profile that the caller took settings from.
    #[serde(default, deserialize_with = "present")]
    pub profile_id: Option<Uuid>,
    /// The platform that the session was created on.
    #[serde(default, deserialize_with = "present")]
    pub created_on_platform: Option<CreatedOnPlatform>,
    /// Work in a devcontainer, which is not supported.
    #[serde(default, deserialize_with = "present")]
    pub devcontainer: Option<bool>,
}

impl Input for PrepareSession {
    type Fields<'de> = PrepareSessionFields<'de>;
    type Rules = AllowedHosts;

    fn check(fields: PrepareSessionFields<'_>, hosts: &AllowedHosts) -> Result<Self, Vec<Issue>> {
        let mut issues = Issues::default();
        if fields.devcontainer == Some(true) {
            let violation = Violation::custom("devcontainers are not supported");
            issues.0.push(Issue::at("devcontainer", violation));
        }
        let files_in_images = fields.images.is_some();
        let turn = issues.of(
            attachments::merge(fields.attachments, fields.images).and_then(|files| {
                match fields.initial_payload {
                    Some(payload) => initial_turn(payload, files),
                    None => prompt_turn(fields.prompt, files, &["prompt"]),
                }
            }),
        );
        let repository = issues.of(RepositoryInput::check(
            fields.github_repo,
            fields.git_url.as_deref(),
            fields.platform,
            fields.git_token,
            hosts,
        ));
        let callback_target = issues.of(fields
            .callback_target
            .map(|target| CallbackTarget::check(target, hosts))
            .transpose());
        let configuration = RawConfiguration {
            mcp_servers: fields.mcp_servers,
            runtime_skills: fields.runtime_skills,
            runtime_agents: fields.runtime_agents,
            kilo_commands: fields.kilo_commands,
        };
        let configuration = issues.of(configuration.check().and_then(|configuration| {
            let prompt = fields.append_system_prompt.as_ref();
            check_mode(&fields.mode, prompt, &configuration.1)?;
            Ok(configuration)
        }));
        let (Some(turn), Some(repository), Some(callback_target), Some(configuration), []) = (
            turn,
            repository,
            callback_target,
            configuration,
            issues.0.as_slice(),
        ) else {
            return Err(issues.0);
        };
        let (agent_configuration, runtime_agents) = configuration;
        Ok(Self {
            turn,
            files_in_images,
            initial_message_id: fields.initial_message_id.map(|Id(id)| id),
            auto_initiate: fields.auto_initiate.unwrap_or(false),
            agent: AgentInput {
                mode: fields.mode,
                model: fields.model,
                variant: fields.variant,
            },
            append_system_prompt: fields.append_system_prompt,
            repository,
            upstream_branch: fields.upstream_branch,
            shallow: fields.shallow.unwrap_or(false),
            finalization: Finalization {
                auto_commit: fields.auto_commit,
                condense_on_complete: fields.condense_on_complete,
            },
            gate_threshold: fields.gate_threshold,
            env_vars: collect(fields.env_vars, |EnvVar { name, value }| (name, value)),
            encrypted_secrets: collect(fields.encrypted_secrets, |secret| {
                (secret.name, secret.value)
            }),
            setup_commands: fields
                .setup_commands
                .into_iter()
                .flat_map(|List(commands)| commands)
                .map(SetupCommand::into_string)
                .collect(),
            agent_configuration,
            runtime_agents,
            callback_target,
            organization_id: fields.kilocode_organization_id,
            profile_id: fields.profile_id,
            created_on_platform: fields.created_on_platform,
        })
    }
}

/// Collects the issues of checks that do not depend on each other.
#[derive(Default)]
struct Issues(Vec<Issue>);

impl Issues {
    fn of<T>(&mut self, result: Result<T, Issue>) -> Option<T> {
        result.map_err(|issue| self.0.push(issue)).ok()
    }
}

fn collect<E, V>(
    entries: Option<Entries<E>>,
    pair: impl Fn(E) -> (String, V),
) -> BTreeMap<String, V> {
    entries
        .into_iter()
        .flat_map(|Entries(entries)| entries)
        .map(pair)
        .collect()
}

const INITIAL_PAYLOAD: &str = "initialPayload";

fn initial_turn(
    payload: &RawValue,
    files: Option<cloud_agent_wire::Attachments>,
) -> Result<TurnContent, Issue> {
    let Object::<PayloadFields>(payload) = nested(payload, INITIAL_PAYLOAD)?;
    match payload.kind {
        PayloadKind::Prompt => {
            let path = [INITIAL_PAYLOAD, "prompt"];
            prompt_turn(required(payload.prompt, &path)?, files, &path)
        }
        PayloadKind::Command => command_turn(
            required(payload.command, &[INITIAL_PAYLOAD, "command"])?,
            payload.arguments,
            files.as_ref(),
        ),
    }
}

/// A mode is built in or the slug of an agent; `custom` needs instructions.
fn check_mode(
    mode: &Mode,
    append_system_prompt: Option<&SystemPrompt>,
    agents: &[RuntimeAgent],
) -> Result<(), Issue> {
    if mode.is_custom() {
        let has_prompt =
            append_system_prompt.is_some_and(|prompt| !prompt.as_str().trim().is_empty());
        return if has_prompt {
            Ok(())
        } else {
            let violation = Violation::custom("is required with the mode custom");
            Err(Issue::at("appendSystemPrompt", violation))
        };
    }
    if mode.is_built_in() || agents.iter().any(|agent| agent.slug == *mode) {
        Ok(())
    } else {
        let violation = Violation::custom("must be a built-in mode or the slug of a runtime agent");
        Err(Issue::at("mode", violation))
    }
}
