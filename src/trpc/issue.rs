//! What is wrong with an input, without ever repeating it.
//!
//! serde's own messages quote the offending text (`invalid type: string "…"`, `unknown field …`), so none of them
//! is passed on. A message is either written here, or it is the part of serde's message that says what was
//! expected, which is text of this program.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde_json::error::Category;
use serde_path_to_error::Segment;

macro_rules! issue_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal;)+) => {
        /// The kind of an issue; zod's word where it has one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub enum IssueCode {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)+
        }

        impl IssueCode {
            /// The word as clients read it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }

            fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

issue_codes!(
    /// The input is not JSON.
    InvalidJson = "invalid_json";
    /// The field is missing or has another type.
    InvalidType = "invalid_type";
    /// The field is none of the words that are allowed.
    InvalidValue = "invalid_value";
    /// The text has another form.
    InvalidFormat = "invalid_format";
    /// Too short or too few.
    TooSmall = "too_small";
    /// Too long or too many.
    TooBig = "too_big";
    /// The object has a key that it must not have.
    UnrecognizedKeys = "unrecognized_keys";
    /// Fields do not go together, or something is not supported.
    Custom = "custom";
);

/// One thing that is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// The kind.
    pub code: IssueCode,
    /// Where: names of fields and positions in lists.
    pub path: Vec<PathSegment>,
    /// What must be there instead.
    pub message: Cow<'static, str>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PathSegment {
    /// A field of an object, by the name that this service gives it.
    Field(Cow<'static, str>),
    /// A position in a list.
    Position(usize),
}

impl Issue {
    /// An issue with a field of the input's outermost object.
    #[must_use]
    pub fn at(field: &'static str, violation: Violation) -> Self {
        Self::within(&[field], violation)
    }

    /// An issue with a field deeper in the input.
    #[must_use]
    pub fn within(path: &[&'static str], violation: Violation) -> Self {
        let field = |name: &&'static str| PathSegment::Field(Cow::Borrowed(name));
        Self {
            code: violation.code,
            path: path.iter().map(field).collect(),
            message: violation.message,
        }
    }

    /// The same issue, seen from the object that has the issue's object in `field`.
    #[must_use]
    pub fn nested_in(mut self, field: &'static str) -> Self {
        self.path
            .insert(0, PathSegment::Field(Cow::Borrowed(field)));
        self
    }
}

/// A list of one, so that `?` does for functions that return all issues.
impl From<Issue> for Vec<Issue> {
    fn from(issue: Issue) -> Self {
        vec![issue]
    }
}

/// A broken rule, not yet placed.
///
/// As a serde error its text is `code: message`; [`describe`] reads it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The kind.
    pub code: IssueCode,
    /// What must be there instead. Never made from input.
    pub message: Cow<'static, str>,
}

impl Violation {
    /// A rule of this kind, in words.
    pub fn new(code: IssueCode, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    /// Longer or more than allowed; `unit` is such as `characters`.
    #[must_use]
    pub fn too_big(max: usize, unit: &str) -> Self {
        Self::new(IssueCode::TooBig, format!("must have at most {max} {unit}"))
    }

    /// Empty although it must not be.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(IssueCode::TooSmall, "must not be empty")
    }

    /// A text of another form.
    #[must_use]
    pub fn format(message: &'static str) -> Self {
        Self::new(IssueCode::InvalidFormat, message)
    }

    /// Fields that do not go together, or something that is not supported.
    #[must_use]
    pub fn custom(message: &'static str) -> Self {
        Self::new(IssueCode::Custom, message)
    }

    /// A field that is not there.
    #[must_use]
    pub fn missing() -> Self {
        Self::new(IssueCode::InvalidType, "is required")
    }

    /// The same rule for one entry of a map; the entry is told by its position, since its name is input.
    #[must_use]
    pub fn of_entry(self, position: usize) -> Self {
        Self::new(self.code, format!("entry {position}: {}", self.message))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.message)
    }
}

/// The list of issues as clients read it in an error's message.
#[must_use]
pub fn to_json_text(issues: &[Issue]) -> String {
    // Texts and numbers always serialize.
    serde_json::to_string(issues).unwrap_or_default()
}

/// Places what serde found wrong.
#[must_use]
pub fn from_serde(error: &serde_path_to_error::Error<serde_json::Error>) -> Issue {
    let Description { violation, field } = describe(error.inner());
    let mut path: Vec<PathSegment> = match violation.code {
        // An unknown key, or whatever stands where the text stops being JSON, is input.
        IssueCode::InvalidJson => Vec::new(),
        _ => error.path().iter().filter_map(segment).collect(),
    };
    if violation.code == IssueCode::UnrecognizedKeys {
        path.pop();
    }
    path.extend(field.map(|name| PathSegment::Field(Cow::Owned(name))));
    Issue {
        code: violation.code,
        path,
        message: violation.message,
    }
}

fn segment(segment: &Segment) -> Option<PathSegment> {
    match segment {
        Segment::Seq { index } => Some(PathSegment::Position(*index)),
        Segment::Map { key } => Some(PathSegment::Field(Cow::Owned(key.clone()))),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// What a serde error says, without what it quotes.
#[derive(Debug, PartialEq, Eq)]
pub struct Description {
    /// The broken rule.
    pub violation: Violation,
    /// The field that is missing or doubled; its name is from this program.
    pub field: Option<String>,
}

/// Translates an error of `serde_json`.
#[must_use]
pub fn describe(error: &serde_json::Error) -> Description {
    if error.classify() != Category::Data {
        let place = format!(
            "is not valid JSON (line {}, column {})",
            error.line(),
            error.column()
        );
        return Description {
            violation: Violation::new(IssueCode::InvalidJson, place),
            field: None,
        };
    }
    let text = error.to_string();
    // serde_json appends the place; what it appends to may quote input, but the last such words are its own.
    let text = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(text, _)| text);
    describe_data(text)
}

fn describe_data(text: &str) -> Description {
    if let Some(name) = quoted_after(text, "missing field `") {
        return Description {
            violation: Violation::missing(),
            field: Some(name.to_owned()),
        };
    }
    if let Some(name) = quoted_after(text, "duplicate field `") {
        return Description {
            violation: Violation::custom("must not be given twice"),
            field: Some(name.to_owned()),
        };
    }
    // The quoted input stands before these words, never after them.
    let expected = text
        .rsplit_once(", expected ")
        .map(|(_, expected)| expected);
    let violation = match (text.split_once(' ').map(|(word, _)| word), expected) {
        (Some("invalid"), Some(expected)) => {
            Violation::new(IssueCode::InvalidType, format!("must be {expected}"))
        }
        (Some("unknown"), Some(expected)) => Violation::new(
            IssueCode::UnrecognizedKeys,
            format!("must have no other keys; expected {expected}"),
        ),
        _ => text
            .split_once(": ")
            .and_then(|(word, message)| {
                let code = IssueCode::from_word(word)?;
                Some(Violation::new(code, message.to_owned()))
            })
            .unwrap_or_else(|| Violation::custom("is not valid")),
    };
    Description {
        violation,
        field: None,
    }
}

fn quoted_after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.strip_prefix(start)?.strip_suffix('`')
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{IssueCode, Violation, describe, describe_data};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[serde(rename = "name")]
        _name: String,
        #[serde(rename = "count", default)]
        _count: u8,
    }

    fn said(text: &str) -> (IssueCode, String, Option<String>) {
        let error = serde_json::from_str::<Strict>(text).unwrap_err();
        let description = describe(&error);
        (
            description.violation.code,
            description.violation.message.into_owned(),
            description.field,
        )
    }

    #[test]
    fn what_serde_quotes_is_dropped_whatever_it_says() {
        for canary in [
            "canary",
            "x, expected canary at line 1 column 1",
            "missing field `canary`",
            "custom: canary",
            " at line ",
        ] {
            let quoted = serde_json::to_string(canary).unwrap();
            assert_eq!(
                said(&format!(r#"{{"name":"a","count":{quoted}}}"#)),
                (IssueCode::InvalidType, "must be u8".to_owned(), None)
            );
            assert_eq!(
                said(&format!(r#"{{"name":"a",{quoted}:1}}"#)),
                (
                    IssueCode::UnrecognizedKeys,
                    "must have no other keys; expected `name` or `count`".to_owned(),
                    None
                )
            );
        }
    }

    #[test]
    fn missing_and_doubled_fields_are_named() {
        assert_eq!(said("{}").2.as_deref(), Some("name"));
        assert_eq!(
            said(r#"{"name":"a","name":"b"}"#).2.as_deref(),
            Some("name")
        );
    }

    #[test]
    fn text_that_is_not_json_is_told_by_its_place() {
        let (code, message, _) = said("{\n\"name\": canary}");
        assert_eq!(code, IssueCode::InvalidJson);
        assert_eq!(message, "is not valid JSON (line 2, column 9)");
    }

    #[test]
    fn a_violation_survives_serde() {
        let violation = Violation::too_big(3, "characters").of_entry(2);
        let error = <serde_json::Error as serde::de::Error>::custom(&violation);
        assert_eq!(describe(&error).violation, violation);
    }

    #[test]
    fn an_unforeseen_message_is_not_passed_on() {
        let violation = describe_data("canary: something").violation;
        assert_eq!(violation, Violation::custom("is not valid"));
    }
}
