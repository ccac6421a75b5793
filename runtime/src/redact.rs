//! Removes secrets from what children print, by value.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use cloud_agent_wire::{Credential, Secret};
use serde_json::Value;

use crate::git::url_encoding::encode_userinfo;
use crate::limits::{REDACTED_BYTES_MIN, REDACTED_LETTERS_MIN};
use crate::secret_forms::SecretForms;

/// Stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

/// Lines of a secret of several lines that are shorter than this are left alone: `}` is no secret.
const SECRET_LINE_BYTES_MIN: usize = 16;

/// Knows the secrets of a session in every form in which they may turn up.
pub struct Redactor {
    /// Forms of the credentials, which are never shown.
    credentials: SecretForms,
    /// Forms of the credentials and of the values of variables.
    all: SecretForms,
}

impl Redactor {
    /// Collects the forms of the given credentials and of the values of environment variables.
    pub fn new<'a>(
        credentials: impl IntoIterator<Item = &'a Credential>,
        values: impl IntoIterator<Item = &'a Secret>,
    ) -> Self {
        let mut forms = Vec::new();
        for credential in credentials {
            let token = credential.token.expose();
            add_forms(&mut forms, token);
            if token.len() >= REDACTED_BYTES_MIN {
                let pair = format!("{}:{token}", credential.username);
                let encodings = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
                forms.extend(encodings.iter().map(|encoding| encoding.encode(&pair)));
            }
        }
        let credentials = SecretForms::new(forms.iter().cloned());
        for value in values {
            add_value(&mut forms, value.expose());
        }
        Self {
            credentials,
            all: SecretForms::new(forms),
        }
    }

    /// Length in bytes of the longest form: so much more of a line must be read than is kept.
    pub fn longest(&self) -> usize {
        self.all.longest()
    }

    /// A line of text without secrets and without anything that steers a terminal.
    pub fn text(&self, line: &str) -> String {
        let replaced = replace(&self.all, line);
        replace(&self.all, &strip_controls(&replaced)).into_owned()
    }

    /// A line that is a JSON object, without secrets; `None` when it is not one.
    ///
    /// Its `type` and the names of fields decide how it is read, so they lose credentials only.
    pub fn json(&self, line: &str) -> Option<String> {
        if !line.trim_start().starts_with('{') || !is_json(line) {
            return None;
        }
        let escapes_hide_nothing = !line.contains('\\');
        if escapes_hide_nothing && matches!(replace(&self.all, line), Cow::Borrowed(_)) {
            return Some(line.trim().to_owned());
        }
        let mut value: Value = serde_json::from_str(line).ok()?;
        let kind = value.get("type").and_then(Value::as_str);
        let kind = kind.map(|kind| replace(&self.credentials, kind).into_owned());
        self.replace_in(&mut value);
        if let (Some(kind), Some(field)) = (kind, value.get_mut("type")) {
            *field = Value::String(kind);
        }
        Some(value.to_string())
    }

    fn replace_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.string(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace_in(item)),
            Value::Object(fields) => {
                let old = std::mem::take(fields);
                for (key, mut item) in old {
                    self.replace_in(&mut item);
                    fields.insert(replace(&self.credentials, &key).into_owned(), item);
                }
            }
            Value::Number(number) => {
                let text = number.to_string();
                if let Cow::Owned(text) = replace(&self.all, &text) {
                    *value = Value::String(text);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// A string keeps its control characters, unless they hide a secret.
    fn string(&self, text: &str) -> String {
        let replaced = replace(&self.all, text);
        if text.contains(char::is_control) {
            let stripped = strip_controls(&replaced);
            if let Cow::Owned(revealed) = replace(&self.all, &stripped) {
                return revealed;
            }
        }
        replaced.into_owned()
    }
}

fn replace<'t>(forms: &SecretForms, text: &'t str) -> Cow<'t, str> {
    let places = forms.find(text);
    let replaced = if places.is_empty() {
        Cow::Borrowed(text)
    } else {
        let mut result = String::with_capacity(text.len());
        let mut done = 0;
        for place in places {
            // Forms are text, so they begin and end between characters.
            result.push_str(text.get(done..place.start).unwrap_or_default());
            result.push_str(REDACTED);
            done = place.end;
        }
        result.push_str(text.get(done..).unwrap_or_default());
        Cow::Owned(result)
    };
    match strip_userinfo(&replaced) {
        Some(stripped) => Cow::Owned(stripped),
        None => replaced,
    }
}

fn is_json(line: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok()
}

fn add_forms(forms: &mut Vec<String>, secret: &str) {
    if secret.len() < REDACTED_BYTES_MIN {
        return;
    }
    forms.push(secret.to_owned());
    forms.push(encode_userinfo(secret));
    let quoted = Value::from(secret).to_string();
    if let Some(escaped) = quoted.get(1..quoted.len().saturating_sub(1)) {
        forms.push(escaped.to_owned());
    }
}

/// Adds the value of a variable, unless it could be an ordinary word.
fn add_value(forms: &mut Vec<String>, value: &str) {
    let is_word = value.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_word && value.len() < REDACTED_LETTERS_MIN {
        return;
    }
    add_forms(forms, value);
    if value.contains('\n') {
        for line in value.lines().map(str::trim) {
            if line.len() >= SECRET_LINE_BYTES_MIN {
                add_forms(forms, line);
            }
        }
    }
}

/// Replaces the userinfo of every URL in the text; `None` when there is none.
fn strip_userinfo(text: &str) -> Option<String> {
    const MARK: &str = "://";
    let mut result = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some((before, after)) = rest.split_once(MARK) {
        let _ = write!(result, "{before}{MARK}");
        let ends = |character: char| {
            character.is_whitespace()
                || matches!(character, '/' | '@' | '"' | '\'' | '\\' | '<' | '>')
        };
        rest = after;
        if let Some((userinfo, behind)) = after.split_once(ends)
            && !userinfo.is_empty()
            && userinfo != REDACTED
            && after
                .get(userinfo.len()..)
                .is_some_and(|end| end.starts_with('@'))
        {
            let _ = write!(result, "{REDACTED}@");
            rest = behind;
            found = true;
        }
    }
    result.push_str(rest);
    found.then_some(result)
}

/// Removes escape sequences and control characters except the tab.
fn strip_controls(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            match characters.next() {
                // A control sequence ends with a byte from @ to ~, an operating system command with BEL or ESC.
                Some('[') => {
                    while characters
                        .next()
                        .is_some_and(|next| !matches!(next, '@'..='~'))
                    {}
                }
                Some(']') => {
                    while characters
                        .next()
                        .is_some_and(|next| !matches!(next, '\u{7}' | '\u{1b}'))
                    {
                    }
                }
                _ => {}
            }
        } else if character == '\t' || !character.is_control() {
            result.push(character);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::{Credential, Secret};

    use super::Redactor;

    const TOKEN: &str = r#"t0k/n"\q@1"#;

    fn redactor() -> Redactor {
        let credential = Credential {
            username: "x-access-token".to_owned(),
            token: Secret::new(TOKEN.to_owned()),
        };
        let values = [
            Secret::new("value-of-a-variable".to_owned()),
            Secret::new("main".to_owned()),
            Secret::new("production".to_owned()),
            Secret::new("-----BEGIN KEY-----\nMIIabcdefghijklmnopqrstuvwxyz\n}\n".to_owned()),
        ];
        Redactor::new([&credential], &values)
    }

    #[test]
    fn every_form_of_a_secret_goes_from_text() {
        let redactor = redactor();
        for (line, expected) in [
            (format!("a {TOKEN} b"), "a [redacted] b"),
            ("a t0k%2Fn%22%5Cq%401 b".to_owned(), "a [redacted] b"),
            (
                "eC1hY2Nlc3MtdG9rZW46dDBrL24iXHFAMQ==".to_owned(),
                "[redacted]",
            ),
            ("value-of-a-variable".to_owned(), "[redacted]"),
            ("MIIabcdefghijklmnopqrstuvwxyz".to_owned(), "[redacted]"),
            ("main }".to_owned(), "main }"),
            (
                "x https://u:p@host/r http://t@h https://host/a@b".to_owned(),
                "x https://[redacted]@host/r http://[redacted]@h https://host/a@b",
            ),
            (
                "\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7}x\r\ty\u{0}".to_owned(),
                "red x\ty",
            ),
            ("value-of\u{1b}[1m-a-variable".to_owned(), "[redacted]"),
        ] {
            assert_eq!(redactor.text(&line), expected);
        }
    }

    #[test]
    fn json_stays_json() {
        let redactor = redactor();
        let escaped = serde_json::to_string(TOKEN).expect("text serializes");
        for (line, expected) in [
            (
                r#"{"a":"value-of-a-variable"}"#.to_owned(),
                Some(r#"{"a":"[redacted]"}"#),
            ),
            (
                format!(r#"{{"a":{escaped}}}"#),
                Some(r#"{"a":"[redacted]"}"#),
            ),
            (
                r#"{"a":"value\u002dof-a-variable"}"#.to_owned(),
                Some(r#"{"a":"[redacted]"}"#),
            ),
            (
                r#"{"type":"value-of-a-variable","value-of-a-variable":"value-of-a-variable"}"#
                    .to_owned(),
                Some(r#"{"type":"value-of-a-variable","value-of-a-variable":"[redacted]"}"#),
            ),
            (
                format!(r#"{{"type":{escaped},{escaped}:1}}"#),
                Some(r#"{"[redacted]":1,"type":"[redacted]"}"#),
            ),
            (
                r#"{"a":"value-of\u001b[1m-a-variable","b":"\u001b[1mbold"}"#.to_owned(),
                Some(r#"{"a":"[redacted]","b":"\u001b[1mbold"}"#),
            ),
            (
                r#"{"status":"production"}"#.to_owned(),
                Some(r#"{"status":"production"}"#),
            ),
            (
                r#"{"u":"https://u:p@h/"}"#.to_owned(),
                Some(r#"{"u":"https://[redacted]@h/"}"#),
            ),
            (
                r#"{"big":12345678901234567890123,"f":1.0}"#.to_owned(),
                Some(r#"{"big":12345678901234567890123,"f":1.0}"#),
            ),
            ("{not json}".to_owned(), None),
            ("[1]".to_owned(), None),
            ("text".to_owned(), None),
        ] {
            assert_eq!(redactor.json(&line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_secret_that_looks_like_json_does_not_break_a_line() {
        let value = Secret::new(r#""type":"#.to_owned());
        let redactor = Redactor::new([], [&value]);
        let line = r#"{"type":"text","a":1}"#;
        let redacted = redactor.json(line).expect("it stays an object");
        let read: serde_json::Value = serde_json::from_str(&redacted).expect("it stays JSON");
        assert_eq!(read["a"], 1);
    }
}
