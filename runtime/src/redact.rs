//! Removes secrets from what children print, by value.

use std::borrow::Cow;
use std::fmt::Write as _;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use cloud_agent_wire::{Credential, Secret};
use serde_json::Value;

use crate::git::url_encoding::encode_userinfo;
use crate::limits::REDACTED_BYTES_MIN;

/// Stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

/// Lines of a secret of several lines that are shorter than this are left alone: `}` is no secret.
const SECRET_LINE_BYTES_MIN: usize = 16;

/// Knows the secrets of a session in every form in which they may turn up.
pub struct Redactor {
    values: Option<AhoCorasick>,
    longest: usize,
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
        for value in values {
            add_forms(&mut forms, value.expose());
            if value.expose().contains('\n') {
                for line in value.expose().lines().map(str::trim) {
                    if line.len() >= SECRET_LINE_BYTES_MIN {
                        add_forms(&mut forms, line);
                    }
                }
            }
        }
        forms.sort_unstable();
        forms.dedup();
        let longest = forms.iter().map(String::len).max().unwrap_or(0);
        // Building fails only for patterns of several gigabytes, which the request limits exclude.
        let values = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&forms)
            .ok()
            .filter(|_| !forms.is_empty());
        Self { values, longest }
    }

    /// Length in bytes of the longest form: so much more of a line must be read than is kept.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// A line of text without secrets and without anything that steers a terminal.
    pub fn text(&self, line: &str) -> String {
        self.replace(&strip_controls(&self.replace(line)))
            .into_owned()
    }

    /// A line that is a JSON object, without secrets; `None` when it is not one.
    pub fn json(&self, line: &str) -> Option<String> {
        if !line.trim_start().starts_with('{') || !is_json(line) {
            return None;
        }
        let replaced = self.replace(line);
        let escapes_hide_nothing = !line.contains('\\');
        if escapes_hide_nothing && is_json(&replaced) {
            return Some(replaced.trim().to_owned());
        }
        let mut value: Value = serde_json::from_str(line).ok()?;
        self.replace_in(&mut value);
        Some(value.to_string())
    }

    fn replace<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let replaced = match &self.values {
            Some(values) if values.is_match(text) => {
                let mut result = String::with_capacity(text.len());
                values.replace_all_with(text, &mut result, |_, _, result| {
                    result.push_str(REDACTED);
                    true
                });
                Cow::Owned(result)
            }
            _ => Cow::Borrowed(text),
        };
        match strip_userinfo(&replaced) {
            Some(stripped) => Cow::Owned(stripped),
            None => replaced,
        }
    }

    fn replace_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.replace(text).into_owned(),
            Value::Array(items) => items.iter_mut().for_each(|item| self.replace_in(item)),
            Value::Object(fields) => {
                let old = std::mem::take(fields);
                for (key, mut item) in old {
                    self.replace_in(&mut item);
                    fields.insert(self.replace(&key).into_owned(), item);
                }
            }
            Value::Number(number) => {
                let text = number.to_string();
                if let Cow::Owned(text) = self.replace(&text) {
                    *value = Value::String(text);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
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
                r#"{"value-of-a-variable":1}"#.to_owned(),
                Some(r#"{"[redacted]":1}"#),
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
