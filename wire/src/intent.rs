//! The immutable content of a message: what the user asked, of which agent, and how the turn ends.

use serde::{Deserialize, Serialize};

use crate::ids::MessageId;

/// Longest first line of a commit message in characters.
const SUBJECT_CHARACTERS_MAX: usize = 72;

/// A message's content as it is stored, compared on replay and handed to the agent as one JSON line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// What the user asked.
    pub turn: Turn,
    /// Which agent works on it.
    pub agent: Agent,
    /// What happens when the agent is done.
    pub finalization: Finalization,
}

impl Intent {
    /// The id of the message that this is the content of.
    #[must_use]
    pub fn message_id(&self) -> &MessageId {
        match &self.turn {
            Turn::Prompt { message_id, .. } | Turn::Command { message_id, .. } => message_id,
        }
    }

    /// The content as one line for people: the prompt, or `/command arguments`.
    #[must_use]
    pub fn rendered(&self) -> String {
        match &self.turn {
            Turn::Prompt { prompt, .. } => prompt.clone(),
            Turn::Command {
                command, arguments, ..
            } if arguments.is_empty() => {
                format!("/{command}")
            }
            Turn::Command {
                command, arguments, ..
            } => format!("/{command} {arguments}"),
        }
    }

    /// The message of a commit of what the agent did: the content's first line that has something to show, cut to a
    /// subject's length.
    #[must_use]
    pub fn commit_message(&self) -> String {
        let rendered = self.rendered();
        let subjects = rendered.lines().map(|line| {
            let shown = line.chars().filter(|character| !character.is_control());
            let shown: String = shown.collect();
            let subject: String = shown.trim().chars().take(SUBJECT_CHARACTERS_MAX).collect();
            subject
        });
        let subject = subjects.into_iter().find(|subject| !subject.is_empty());
        subject.unwrap_or_else(|| "Update files".to_owned())
    }
}

/// One user turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "lowercase",
    rename_all_fields = "camelCase"
)]
pub enum Turn {
    /// Free text.
    Prompt {
        /// The message.
        message_id: MessageId,
        /// The text, at most 100,000 characters.
        prompt: String,
        /// Files that come with it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        attachments: Option<Attachments>,
    },
    /// A slash command of the agent.
    Command {
        /// The message.
        message_id: MessageId,
        /// Its name without the slash.
        command: String,
        /// Its arguments, verbatim.
        #[serde(default)]
        arguments: String,
    },
}

/// Files that the user attached, by the folder they were uploaded to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachments {
    /// The upload folder, a UUID.
    pub path: String,
    /// File names, 1 to 5.
    pub files: Vec<String>,
}

/// The agent's settings for one turn, after the session's defaults were applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// The agent's mode, such as `code`.
    pub mode: String,
    /// The model's name.
    pub model: String,
    /// The model's variant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub variant: Option<String>,
}

/// What the runtime does after the agent. An absent field is not the same as `false`: replays compare both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finalization {
    /// Commit and push the agent's changes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub auto_commit: Option<bool>,
    /// Ask the agent to condense its context.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub condense_on_complete: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::{Agent, Finalization, Intent, Turn};

    #[test]
    fn a_commit_message_is_the_first_line_of_the_prompt() {
        let long = "x".repeat(100);
        for (prompt, expected) in [
            ("Fix the tests\nand more", "Fix the tests"),
            ("\n \n  Fix\u{1b}[1m\n", "Fix[1m"),
            ("\u{1b}\u{7}\n \u{0} \nSecond", "Second"),
            ("", "Update files"),
            ("\u{1b}\n", "Update files"),
            (&*long, &"x".repeat(72)),
        ] {
            let message_id = "msg_0123456789abABCDEFGHIJKLMN".parse();
            let intent = Intent {
                turn: Turn::Prompt {
                    message_id: message_id.expect("the id is canonical"),
                    prompt: prompt.to_owned(),
                    attachments: None,
                },
                agent: Agent {
                    mode: "code".to_owned(),
                    model: "m".to_owned(),
                    variant: None,
                },
                finalization: Finalization::default(),
            };
            assert_eq!(intent.commit_message(), expected);
        }
    }
}
