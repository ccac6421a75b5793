//! `sendMessageV2`: a follow-up message, perhaps with a fresh git token.

use cloud_agent_wire::{Attachments, Finalization, MessageId, Secret, SessionId};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::attachments::{self, AttachmentFields, ImageFields};
use super::shape::{Object, present, present_object};
use super::text::{Id, Mode, Model, Prompt, Variant, non_empty};
use super::turn::{AgentInput, PayloadFields, PayloadKind, command_turn, prompt_turn};
use super::{Input, nested, required};
use crate::session::command::TurnContent;
use crate::trpc::issue::{Issue, Violation};

/// A follow-up message.
#[derive(Debug, Clone)]
pub struct SendMessage {
    /// The session.
    pub session_id: SessionId,
    /// The message's id, if the client made one.
    pub message_id: Option<MessageId>,
    /// What the user asks.
    pub turn: TurnContent,
    /// Whether its files came in the field `images`.
    pub files_in_images: bool,
    /// The agent that it is for. A slash command names none: the session's applies.
    pub agent: Option<AgentInput>,
    /// What happens afterwards; the session's settings apply where it says nothing.
    pub finalization: Finalization,
    /// A git token that is not empty. Its bytes are not checked, since only a session whose repository is generic
    /// git uses it: see [`super::check_git_token`].
    pub git_token: Option<Secret>,
}

/// The fields of `sendMessageV2`. Three forms are told apart by them: `prompt`, `mode` and `model` at top level; a
/// `payload` of type `prompt`; a `payload` of type `command`. Unknown keys are dropped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(
    test,
    derive(ts_rs::TS),
    ts(optional_fields, rename = "SendMessageFields")
)]
pub struct SendMessageFields<'a> {
    /// The session.
    pub cloud_agent_session_id: Id<SessionId>,
    /// The message's id; `null` is the same as none.
    #[serde(default)]
    #[cfg_attr(test, ts(optional = nullable))]
    pub message_id: Option<Id<MessageId>>,
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
    /// The turn, looked at only when the first form is not complete.
    #[serde(borrow, default, deserialize_with = "present")]
    #[cfg_attr(test, ts(as = "Option<PayloadFields>"))]
    pub payload: Option<&'a RawValue>,
    /// Files.
    #[serde(default, deserialize_with = "present_object")]
    pub attachments: Option<AttachmentFields>,
    /// Files, as older clients send them.
    #[serde(default, deserialize_with = "present_object")]
    pub images: Option<ImageFields>,
    /// Commit and push the agent's changes.
    #[serde(default, deserialize_with = "present")]
    pub auto_commit: Option<bool>,
    /// Ask the agent to condense its context.
    #[serde(default, deserialize_with = "present")]
    pub condense_on_complete: Option<bool>,
    /// A token for a generic git repository.
    #[serde(default, deserialize_with = "present")]
    pub git_token: Option<Secret>,
    /// Accepted and ignored.
    #[serde(default)]
    #[cfg_attr(test, ts(type = "unknown", optional))]
    pub github_token: Option<IgnoredAny>,
}

impl Input for SendMessage {
    type Fields<'de> = SendMessageFields<'de>;
    type Rules = ();

    fn check(fields: SendMessageFields<'_>, (): &()) -> Result<Self, Vec<Issue>> {
        let files_in_images = fields.images.is_some();
        let files = attachments::merge(fields.attachments, fields.images)?;
        let (agent, turn) = match (fields.prompt, fields.mode, fields.model, fields.payload) {
            (Some(prompt), Some(mode), Some(model), _) => (
                Some(agent(mode, model, fields.variant, &["mode"])?),
                prompt_turn(prompt, files, &["prompt"])?,
            ),
            (_, _, _, Some(payload)) => {
                let Object(payload) = nested(payload, PAYLOAD)?;
                from_payload(payload, files)?
            }
            (prompt, mode, model, None) => {
                let required = [prompt.is_none(), mode.is_none(), model.is_none()];
                return Err(missing(&[], required));
            }
        };
        Ok(Self {
            session_id: fields.cloud_agent_session_id.0,
            message_id: fields.message_id.map(|Id(id)| id),
            turn,
            files_in_images,
            agent,
            finalization: Finalization {
                auto_commit: fields.auto_commit,
                condense_on_complete: fields.condense_on_complete,
            },
            git_token: non_empty(fields.git_token),
        })
    }
}

const PAYLOAD: &str = "payload";

fn from_payload(
    payload: PayloadFields,
    files: Option<Attachments>,
) -> Result<(Option<AgentInput>, TurnContent), Vec<Issue>> {
    match payload.kind {
        PayloadKind::Prompt => match (payload.prompt, payload.mode, payload.model) {
            (Some(prompt), Some(mode), Some(model)) => Ok((
                Some(agent(mode, model, payload.variant, &[PAYLOAD, "mode"])?),
                prompt_turn(prompt, files, &[PAYLOAD, "prompt"])?,
            )),
            (prompt, mode, model) => {
                let required = [prompt.is_none(), mode.is_none(), model.is_none()];
                Err(missing(&[PAYLOAD], required))
            }
        },
        PayloadKind::Command => {
            let turn = command_turn(
                required(payload.command, &[PAYLOAD, "command"])?,
                payload.arguments,
                files.as_ref(),
            )?;
            Ok((None, turn))
        }
    }
}

/// The agent of a prompt. A custom one has instructions, which only preparing a session can give.
fn agent(
    mode: Mode,
    model: Model,
    variant: Option<Variant>,
    mode_path: &[&'static str],
) -> Result<AgentInput, Issue> {
    if mode.is_custom() {
        let violation = Violation::custom("custom can only be chosen when a session is prepared");
        return Err(Issue::within(mode_path, violation));
    }
    Ok(AgentInput {
        mode,
        model,
        variant,
    })
}

/// One issue for each field of a prompt that is not there.
fn missing(parent: &[&'static str], is_missing: [bool; 3]) -> Vec<Issue> {
    ["prompt", "mode", "model"]
        .into_iter()
        .zip(is_missing)
        .filter(|(_, is_missing)| *is_missing)
        .map(|(field, _)| Issue::within(&[parent, &[field]].concat(), Violation::missing()))
        .collect()
}
