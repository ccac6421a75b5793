//! Turns as clients write them: free text, or a slash command.

use cloud_agent_wire::{Agent, Attachments};
use serde::de::{Deserialize, Deserializer, Error};

use super::shape::present;
use super::text::{Command, Mode, Model, Prompt, Variant, words};
use crate::session::command::TurnContent;
use crate::trpc::issue::{Issue, Violation};

/// A turn of free text, unless there is nothing in it. `path` is where the text stands in the input.
pub(super) fn prompt_turn(
    prompt: Prompt,
    attachments: Option<Attachments>,
    path: &[&'static str],
) -> Result<TurnContent, Issue> {
    if attachments.is_none() && prompt.as_str().trim().is_empty() {
        return Err(Issue::within(path, Violation::custom("No prompt provided")));
    }
    Ok(TurnContent::Prompt {
        prompt: prompt.into_string(),
        attachments,
    })
}

/// A slash command, which cannot have attachments.
pub(super) fn command_turn(
    command: Command,
    arguments: Option<Prompt>,
    attachments: Option<&Attachments>,
) -> Result<TurnContent, Issue> {
    if attachments.is_some() {
        return Err(Issue::at(
            "attachments",
            Violation::custom("Attachments cannot be attached to slash commands"),
        ));
    }
    Ok(TurnContent::Command {
        command: command.into_string(),
        arguments: arguments.map(Prompt::into_string).unwrap_or_default(),
    })
}

/// The agent that a prompt names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentInput {
    /// Its mode.
    pub mode: Mode,
    /// Its model.
    pub model: Model,
    /// The model's variant.
    pub variant: Option<Variant>,
}

impl From<AgentInput> for Agent {
    fn from(agent: AgentInput) -> Self {
        Self {
            mode: agent.mode.into_string(),
            model: agent.model.into_string(),
            variant: agent.variant.map(Variant::into_string),
        }
    }
}

words!(
    /// What a payload is.
    PayloadKind {
        /// Free text.
        Prompt = "prompt",
        /// A slash command.
        Command = "command",
    }
);

/// A turn in the field `payload` or `initialPayload`. Which fields must be there depends on the kind.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields, rename = "TurnPayload"))]
pub struct PayloadFields {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: PayloadKind,
    /// The text.
    #[serde(default, deserialize_with = "present")]
    pub prompt: Option<Prompt>,
    /// The agent's mode.
    #[serde(default, deserialize_with = "present")]
    pub mode: Option<Mode>,
    /// The agent's model.
    #[serde(default, deserialize_with = "present")]
    pub model: Option<Model>,
    /// The model's variant.
    #[serde(default, deserialize_with = "present")]
    pub variant: Option<Variant>,
    /// The name of the slash command.
    #[serde(default, deserialize_with = "present")]
    pub command: Option<Command>,
    /// Its arguments.
    #[serde(default, deserialize_with = "present")]
    pub arguments: Option<Prompt>,
}
