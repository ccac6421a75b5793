//! The agent's JSON lines, as far as the session reads them: which of them are versions of the same thing, and what the
//! agent answered.
//!
//! A line names what happened in `event` or `type` and says more in `properties`. Everything else passes through as it
//! is. Ids come from the agent, so only short ones of plain characters count.

use cloud_agent_wire::{EventSequence, MessageId};
use serde::Deserialize;

use super::event::Entity;

/// Longest id of the agent's that counts.
const ID_BYTES_MAX: usize = 128;
/// Most text of an answer that is shown.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    event: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    properties: Properties,
}

#[derive(Deserialize)]
struct Properties {
    #[serde(default)]
    info: Option<Info>,
    #[serde(default)]
    part: Option<Part>,
    #[serde(default, rename = "messageID")]
    message_id: Option<String>,
    #[serde(default, rename = "partID")]
    part_id: Option<String>,
}

#[derive(Deserialize)]
struct Info {
    id: String,
    #[serde(default)]
    role: Option<String>,
    #[serde(default, rename = "parentID")]
    parent_id: Option<String>,
}

#[derive(Deserialize)]
struct Part {
    id: String,
    #[serde(rename = "messageID")]
    message_id: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

/// What a line is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// What it is a version of.
    pub entity: Entity,
    /// The agent's message that answers the turn, when the line is a version of it.
    pub answer: Option<String>,
}

/// What a line of that turn is about; `seq` is its place in the runtime's journal.
#[must_use]
pub fn subject(json: &str, turn: &MessageId, seq: EventSequence) -> Subject {
    let Ok(line) = serde_json::from_str::<Line>(json) else {
        return Subject::default();
    };
    let Properties {
        info,
        part,
        message_id,
        part_id,
    } = line.properties;
    let name = line.event.or(line.kind).unwrap_or_default();
    let newest = |name: Option<String>| name.map_or(Entity::None, Entity::Newest);
    let entity = match (name.as_str(), &info, &part) {
        ("message.updated", Some(info), _) => newest(message_entity(&info.id)),
        ("message.removed", ..) => newest(message_id.as_deref().and_then(message_entity)),
        ("message.part.updated", _, Some(part)) => newest(part_entity(&part.message_id, &part.id)),
        ("message.part.removed" | "message.part.delta", ..) => {
            let part = message_id
                .zip(part_id)
                .and_then(|(message, part)| part_entity(&message, &part));
            match part {
                Some(of) if name == "message.part.delta" => Entity::Piece {
                    of,
                    number: seq.get(),
                },
                part => newest(part),
            }
        }
        _ => Entity::None,
    };
    let answers = |info: &Info| {
        name == "message.updated"
            && info.role.as_deref() == Some("assistant")
            && entity != Entity::None
            && info
                .parent_id
                .as_deref()
                .is_none_or(|parent| parent == turn.as_str())
    };
    Subject {
        answer: info.filter(answers).map(|info| info.id),
        entity,
    }
}

/// The text of a stored version of a part; `None` when the line is no text.
#[must_use]
pub fn part_text(json: &str) -> Option<String> {
    let line: Line = serde_json::from_str(json).ok()?;
    let name = line.event.or(line.kind)?;
    let part = line.properties.part?;
    (name == "message.part.updated" && part.kind.as_deref() == Some("text"))
        .then_some(part.text)
        .flatten()
}

/// Joins the texts of an answer's parts, in order; `None` when there is none. Cut to [`ANSWER_BYTES_MAX`]: what comes
/// after is not asked for.
///
/// # Errors
/// The first part's that cannot be had.
pub fn answer_text<E>(
    parts: impl IntoIterator<Item = Result<String, E>>,
) -> Result<Option<String>, E> {
    let mut text = String::new();
    for part in parts {
        if let Some(part) = part_text(&part?) {
            text.push_str(&part);
        }
        if text.len() >= ANSWER_BYTES_MAX {
            let mut end = ANSWER_BYTES_MAX;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            break;
        }
    }
    let trimmed = text.trim();
    Ok((!trimmed.is_empty()).then(|| trimmed.to_owned()))
}

/// The names of all parts of an agent's message lie between these two.
#[must_use]
pub fn parts_of(message: &str) -> (String, String) {
    // `0` is what follows `/` in ASCII.
    (format!("part/{message}/"), format!("part/{message}0"))
}

fn message_entity(id: &str) -> Option<String> {
    is_plain(id).then(|| format!("message/{id}"))
}

fn part_entity(message: &str, part: &str) -> Option<String> {
    (is_plain(message) && is_plain(part)).then(|| format!("part/{message}/{part}"))
}

fn is_plain(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::{EventSequence, MessageId};

    use super::{ANSWER_BYTES_MAX, Entity, Subject, answer_text, parts_of, subject};

    const TURN: &str = "msg_0123456789abABCDEFGHIJKLMN";

    fn about(json: &str) -> Subject {
        let turn: MessageId = TURN.parse().unwrap();
        subject(json, &turn, EventSequence::new(7))
    }

    fn newest(name: &str) -> Entity {
        Entity::Newest(name.to_owned())
    }

    #[test]
    fn versions_of_messages_and_parts_are_known_by_their_ids() {
        let long = "x".repeat(129);
        for (json, entity) in [
            (
                r#"{"event":"message.updated","properties":{"info":{"id":"msg_1","role":"user"}}}"#,
                newest("message/msg_1"),
            ),
            (
                r#"{"type":"message.updated","properties":{"info":{"id":"msg_1"}}}"#,
                newest("message/msg_1"),
            ),
            (
                r#"{"event":"message.removed","properties":{"sessionID":"s","messageID":"msg_1"}}"#,
                newest("message/msg_1"),
            ),
            (
                r#"{"event":"message.part.updated","properties":{"part":{"id":"prt_1","messageID":"msg_1","type":"tool"}}}"#,
                newest("part/msg_1/prt_1"),
            ),
            (
                r#"{"event":"message.part.removed","properties":{"messageID":"msg_1","partID":"prt_1"}}"#,
                newest("part/msg_1/prt_1"),
            ),
            (
                r#"{"event":"message.part.delta","properties":{"messageID":"msg_1","partID":"prt_1","delta":"a"}}"#,
                Entity::Piece {
                    of: "part/msg_1/prt_1".to_owned(),
                    number: 7,
                },
            ),
            (
                r#"{"event":"message.part.removed","properties":{"messageID":"a/b","partID":"prt_1"}}"#,
                Entity::None,
            ),
            (
                r#"{"event":"message.part.removed","properties":{"messageID":"msg_1","partID":"a/b"}}"#,
                Entity::None,
            ),
            (r#"{"event":"session.idle","properties":{}}"#, Entity::None),
            (r#"{"type":"working"}"#, Entity::None),
            (r#"["message.updated"]"#, Entity::None),
            (
                r#"{"event":"message.updated","properties":{"info":{"id":"a/b"}}}"#,
                Entity::None,
            ),
            (
                r#"{"event":"message.updated","properties":{"info":{"id":""}}}"#,
                Entity::None,
            ),
            (
                r#"{"event":"message.updated","properties":{"info":{"id":5}}}"#,
                Entity::None,
            ),
            (
                &format!(
                    r#"{{"event":"message.updated","properties":{{"info":{{"id":"{long}"}}}}}}"#
                ),
                Entity::None,
            ),
        ] {
            assert_eq!(about(json).entity, entity, "{json}");
        }
    }

    #[test]
    fn an_answer_is_the_assistants_message_to_this_turn() {
        for (info, answer) in [
            (
                format!(r#""role":"assistant","parentID":"{TURN}""#),
                Some("m"),
            ),
            (r#""role":"assistant""#.to_owned(), Some("m")),
            (r#""role":"assistant","parentID":"other""#.to_owned(), None),
            (r#""role":"user""#.to_owned(), None),
        ] {
            let json = format!(
                r#"{{"event":"message.updated","properties":{{"info":{{"id":"m",{info}}}}}}}"#
            );
            assert_eq!(about(&json).answer.as_deref(), answer, "{json}");
        }
    }

    fn part(kind: &str, text: &str) -> String {
        format!(
            r#"{{"event":"message.part.updated","properties":{{"part":{{"id":"p","messageID":"m","type":"{kind}","text":"{text}"}}}}}}"#
        )
    }

    #[test]
    fn an_answers_text_is_that_of_its_text_parts() {
        let parts = [
            part("reasoning", "hm"),
            part("text", " one,"),
            part("tool", "x"),
            part("text", " two\\n"),
            r#"{"event":"message.part.delta","properties":{"messageID":"m","partID":"p","delta":"three"}}"#.to_owned(),
        ];
        let text = |parts: Vec<String>| answer_text(parts.into_iter().map(Ok::<_, ()>)).unwrap();
        assert_eq!(text(parts.into()).as_deref(), Some("one, two"));
        assert_eq!(text(vec![part("text", " ")]), None);
        assert_eq!(text(vec![]), None);
    }

    #[test]
    fn no_more_parts_are_asked_for_than_the_answer_shows() {
        for bytes in [ANSWER_BYTES_MAX, ANSWER_BYTES_MAX + 1] {
            let whole = part("text", &"a".repeat(bytes));
            let parts = [Ok(whole), Err("another part was read")];
            let text = answer_text(parts).unwrap().unwrap();
            assert_eq!(text.len(), ANSWER_BYTES_MAX);
        }
        let parts = [Ok(part("text", "a")), Err("unreadable")];
        assert_eq!(answer_text(parts), Err("unreadable"));
    }

    #[test]
    fn an_answers_text_is_cut_between_characters() {
        let half = part("text", &"ä".repeat(ANSWER_BYTES_MAX / 3));
        for (first, bytes) in [("aa", ANSWER_BYTES_MAX), ("a", ANSWER_BYTES_MAX - 1)] {
            let parts = [part("text", first), half.clone(), half.clone()];
            let text = answer_text(parts.map(Ok::<_, ()>)).unwrap().unwrap();
            assert_eq!(text.len(), bytes);
        }
    }

    #[test]
    fn the_names_of_parts_lie_in_a_range() {
        let (from, to) = parts_of("m");
        for (name, lies) in [
            ("part/m/p", true),
            ("part/m/p#7", true),
            ("part/m2/p", false),
            ("part/m", false),
            ("part/l/p", false),
        ] {
            assert_eq!(from.as_str() <= name && name < to.as_str(), lies, "{name}");
        }
    }
}
