//! The tokens of a text that is known to be JSON, with their places in it: for what changes or collects a few values and
//! is to leave everything else as it is.

/// A part of the text. All of them together are the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// The name of an object's member, quoted as it stands there.
    Name(&'a str),
    /// A string that is a value, quoted as it stands there.
    Text(&'a str),
    /// A number.
    Number(&'a str),
    /// An object or a list begins.
    Open(&'a str),
    /// An object or a list ends.
    Close(&'a str),
    /// One character of anything else.
    Other(&'a str),
}

/// Walks through the text. Of a text that is not JSON it makes something, and never more than the text.
pub struct Tokens<'a>(pub &'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let first = self.0.chars().next()?;
        let length = match first {
            '"' => string_length(self.0),
            '-' | '0'..='9' => self.0.find(is_behind_number).unwrap_or(self.0.len()),
            other => other.len_utf8(),
        };
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(match first {
            '"' if rest.trim_start().starts_with(':') => Token::Name(part),
            '"' => Token::Text(part),
            '-' | '0'..='9' => Token::Number(part),
            '{' | '[' => Token::Open(part),
            '}' | ']' => Token::Close(part),
            _ => Token::Other(part),
        })
    }
}

/// Bytes of the string that a text begins with.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 2)
}

fn is_behind_number(character: char) -> bool {
    !matches!(character, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')
}

/// What a quoted string means; `None` when it is none, or no text.
#[must_use]
pub fn unquoted(string: &str) -> Option<String> {
    serde_json::from_str(string).ok()
}

#[cfg(test)]
mod tests {
    use super::{Token, Tokens, unquoted};

    #[test]
    fn tokens_are_the_text() {
        let text = r#" {"a\"" : [-1.5e+3, "b\\", true,null], "é":{"":""}} "#;
        let tokens: Vec<_> = Tokens(text).collect();
        let parts = tokens.iter().map(|token| match token {
            Token::Name(part)
            | Token::Text(part)
            | Token::Number(part)
            | Token::Open(part)
            | Token::Close(part)
            | Token::Other(part) => *part,
        });
        assert_eq!(parts.collect::<String>(), text);
        let told: Vec<_> = tokens
            .iter()
            .filter(|token| !matches!(token, Token::Other(_) | Token::Open(_) | Token::Close(_)))
            .collect();
        assert_eq!(
            told,
            [
                &Token::Name(r#""a\"""#),
                &Token::Number("-1.5e+3"),
                &Token::Text(r#""b\\""#),
                &Token::Name("\"é\""),
                &Token::Name("\"\""),
                &Token::Text("\"\""),
            ]
        );
        assert_eq!(unquoted(r#""a\"""#).as_deref(), Some("a\""));
    }

    #[test]
    fn what_is_no_json_ends() {
        for text in ["\"", "\"a\\", "-", "é", "{]"] {
            assert!(Tokens(text).count() <= text.len(), "{text}");
        }
    }
}
