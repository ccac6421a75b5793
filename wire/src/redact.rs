//! Removes secrets from what processes print, by value.

use std::borrow::Cow;
use std::ops::Range;

use crate::json_tokens::{Token, Tokens, unquoted};
use crate::readings::{self, SPELLING_BYTES_MAX, without_controls};
use crate::secret::Secret;
use crate::secret_forms::SecretForms;
use crate::url_encoding::push_hexadecimal;
use crate::workspace::Credential;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shortest value that is redacted: shorter ones are ordinary words.
pub const REDACTED_BYTES_MIN: usize = 6;
/// Shortest value of a variable that is redacted although it consists of letters only: shorter ones are ordinary words.
const REDACTED_LETTERS_MIN: usize = 12;

/// Stands where a secret stood.
const REDACTED: &str = "[redacted]";

/// Lines of a secret of several lines that are shorter than this are left alone: `}` is no secret.
const SECRET_LINE_BYTES_MIN: usize = 16;

/// Values that are longer than this are looked for as they are, but not in base64 and hexadecimal: they are documents,
/// and every further form costs their size again.
const ENCODED_BYTES_MAX: usize = 4 * 1024;

/// Knows the secrets of a session in every form in which they may turn up.
pub struct Redactor {
    /// Forms of the credentials, which are never shown.
    credentials: Forms,
    /// Forms of the credentials and of the values of variables.
    all: Forms,
}

/// How secrets look in a text.
#[derive(Default)]
struct Forms {
    /// Themselves, and as hexadecimal digits.
    plain: SecretForms,
    /// As base64 in both alphabets, at each of the three places that a secret can have among what else is encoded,
    /// without the characters at both ends that depend on that.
    base64: SecretForms,
}

impl Redactor {
    /// Collects the forms of the given credentials and of the values of environment variables.
    #[must_use]
    pub fn new<'a>(
        credentials: impl IntoIterator<Item = &'a Credential>,
        values: impl IntoIterator<Item = &'a Secret>,
    ) -> Self {
        let mut secrets: Vec<String> = Vec::new();
        for credential in credentials {
            secrets.push(credential.token.expose().to_owned());
        }
        let credentials = Forms::new(&secrets);
        for value in values {
            add_value(&mut secrets, value.expose());
        }
        Self {
            credentials,
            all: Forms::new(&secrets),
        }
    }

    /// Length in bytes of the longest form: so much more of a line must be read than is kept.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.all.longest() * SPELLING_BYTES_MAX
    }

    /// A line of text without secrets and without anything that steers a terminal.
    #[must_use]
    pub fn text(&self, line: &str) -> String {
        let replaced = replace(&self.all, line);
        replace(&self.all, &without_controls(&replaced)).into_owned()
    }

    /// A line that is a JSON object, without secrets; `None` when it is not one.
    ///
    /// Its `type` and the names of fields decide how it is read, so they lose credentials only.
    #[must_use]
    pub fn json(&self, line: &str) -> Option<String> {
        if !line.trim_start().starts_with('{') || !is_json(line) {
            return None;
        }
        let line = line.trim();
        let escapes_hide_nothing = !line.contains('\\');
        if escapes_hide_nothing && matches!(replace(&self.all, line), Cow::Borrowed(_)) {
            return Some(line.to_owned());
        }
        self.without_secrets(line)
    }

    /// The text of an object, with what its strings and numbers hold replaced.
    fn without_secrets(&self, object: &str) -> Option<String> {
        let mut result = String::with_capacity(object.len());
        let mut depth = 0_usize;
        let mut is_type = false;
        for token in Tokens(object) {
            let (part, text, forms) = match token {
                Token::Name(part) => (part, unquoted(part)?, &self.credentials),
                Token::Text(part) if is_type && depth == 1 => {
                    (part, unquoted(part)?, &self.credentials)
                }
                Token::Text(part) => (part, unquoted(part)?, &self.all),
                Token::Number(part) => (part, part.to_owned(), &self.all),
                Token::Open(part) => {
                    depth += 1;
                    result.push_str(part);
                    continue;
                }
                Token::Close(part) => {
                    depth = depth.saturating_sub(1);
                    result.push_str(part);
                    continue;
                }
                Token::Other(part) => {
                    result.push_str(part);
                    continue;
                }
            };
            is_type = matches!(token, Token::Name(_)) && text == "type";
            match replace(forms, &text) {
                Cow::Borrowed(_) => result.push_str(part),
                Cow::Owned(text) => result.push_str(&serde_json::to_string(&text).ok()?),
            }
        }
        Some(result)
    }
}

impl Forms {
    fn new(secrets: &[String]) -> Self {
        let mut forms = Self::default();
        for secret in secrets {
            if secret.len() < REDACTED_BYTES_MIN {
                continue;
            }
            forms.plain.insert(secret.clone());
            if secret.len() > ENCODED_BYTES_MAX {
                continue;
            }
            for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
                let mut form = String::with_capacity(2 * secret.len());
                for byte in secret.bytes() {
                    push_hexadecimal(&mut form, byte, digits);
                }
                forms.plain.insert(form);
            }
            for encoding in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                for offset in 0..3 {
                    let padded = [&vec![0; offset], secret.as_bytes()].concat();
                    let encoded = encoding.encode(&padded);
                    let begin = if offset == 0 { 0 } else { BASE64_QUANTUM };
                    let end = padded.len() / 3 * BASE64_QUANTUM;
                    let whole = encoded.get(begin..end).unwrap_or_default();
                    forms.base64.insert(whole.to_owned());
                }
            }
        }
        forms
    }

    fn longest(&self) -> usize {
        self.plain.longest().max(self.base64.longest())
    }

    /// Where a text holds a form, in whatever reading, in order. Places that overlap are one.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut places = Vec::new();
        for reading in readings::all(text) {
            let source = |place: &Range<usize>| reading.source(place);
            let plain = self.plain.find(&reading.bytes);
            places = united(&places, &plain.iter().map(source).collect::<Vec<_>>());
            let base64 = self.base64.find(&reading.bytes);
            let base64 = base64.iter().map(|place| with_ends(&reading.bytes, place));
            places = united(
                &places,
                &base64.map(|place| source(&place)).collect::<Vec<_>>(),
            );
        }
        places
    }
}

/// The places of two lists that are in order, in order. Places that overlap are one.
fn united(one: &[Range<usize>], other: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut united: Vec<Range<usize>> = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    loop {
        let is_next = match (one.peek(), other.peek()) {
            (Some(first), Some(second)) => first.start <= second.start,
            (first, _) => first.is_some(),
        };
        let Some(place) = (if is_next { one.next() } else { other.next() }) else {
            return united;
        };
        match united.last_mut() {
            Some(last) if place.start < last.end => {
                last.start = last.start.min(place.start);
                last.end = last.end.max(place.end);
            }
            _ => united.push(place.clone()),
        }
    }
}

/// Characters that base64 makes of three bytes.
const BASE64_QUANTUM: usize = 4;

/// A place of base64 with the characters at both ends that also hold bits of the secret.
fn with_ends(text: &[u8], place: &Range<usize>) -> Range<usize> {
    let is_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    let before = text.get(..place.start).unwrap_or_default();
    let before = before.iter().rev().take(BASE64_QUANTUM);
    let after = text.get(place.end..).unwrap_or_default();
    let after = after.iter().take(BASE64_QUANTUM);
    let start = place.start - before.take_while(is_base64).count();
    start..place.end + after.take_while(is_base64).count()
}

fn replace<'t>(forms: &Forms, text: &'t str) -> Cow<'t, str> {
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

/// Adds the value of a variable, unless it could be an ordinary word.
fn add_value(secrets: &mut Vec<String>, value: &str) {
    let is_word = value.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_word && value.len() < REDACTED_LETTERS_MIN {
        return;
    }
    secrets.push(value.to_owned());
    if value.contains('\n') {
        let lines = value.lines().map(str::trim);
        secrets.extend(
            lines
                .filter(|line| line.len() >= SECRET_LINE_BYTES_MIN)
                .map(str::to_owned),
        );
    }
}

/// Replaces the userinfo of every URL in the text; `None` when there is none.
fn strip_userinfo(text: &str) -> Option<String> {
    const MARK: &str = "://";
    let mut result = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some((before, after)) = rest.split_once(MARK) {
        result.push_str(before);
        result.push_str(MARK);
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
            result.push_str(REDACTED);
            result.push('@');
            rest = behind;
            found = true;
        }
    }
    result.push_str(rest);
    found.then_some(result)
}

#[cfg(test)]
mod tests {
    use super::Redactor;
    use crate::secret::Secret;
    use crate::workspace::Credential;

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
                "eC1hY2Nlc3MtdG9r[redacted]",
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
                Some(r#"{"type":"[redacted]","[redacted]":1}"#),
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
            // White space, but none of JSON.
            ("{}\u{c}".to_owned(), None),
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
