//! Texts as single words of a POSIX shell.

use std::fmt;

/// A text that a shell reads as one word, whatever is in it. Only this type is put into a command, so a text that was
/// not quoted cannot get there by mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellWord(String);

/// The text holds a NUL, which no argument of a program can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NulInWord;

impl fmt::Display for NulInWord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text for a shell holds a NUL")
    }
}

impl std::error::Error for NulInWord {}

impl From<NulInWord> for std::io::Error {
    fn from(error: NulInWord) -> Self {
        Self::new(std::io::ErrorKind::InvalidInput, error)
    }
}

impl ShellWord {
    /// Quotes a text, unless it is made of nothing but characters that mean themselves.
    ///
    /// # Errors
    /// [`NulInWord`].
    pub fn new(text: &str) -> Result<Self, NulInWord> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:=@%+,".contains(&byte);
        if text.contains('\0') {
            Err(NulInWord)
        } else if !text.is_empty() && text.bytes().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            let mut word = String::with_capacity(text.len() + 2);
            word.push('\'');
            for (number, part) in text.split('\'').enumerate() {
                word.push_str(if number > 0 { r"'\''" } else { "" });
                word.push_str(part);
            }
            word.push('\'');
            Ok(Self(word))
        }
    }

    /// The word as it stands in a command.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Several words with spaces between them.
    ///
    /// # Errors
    /// [`NulInWord`].
    pub fn line(texts: &[&str]) -> Result<String, NulInWord> {
        let words: Result<Vec<_>, _> = texts.iter().map(|text| Self::new(text)).collect();
        Ok(words?
            .iter()
            .map(Self::as_str)
            .collect::<Vec<_>>()
            .join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::{NulInWord, ShellWord};

    #[test]
    fn what_means_something_to_a_shell_is_quoted() {
        for (text, expected) in [
            ("", Ok("''")),
            ("/a-b_c.d:e=f@g%h+i,j", Ok("/a-b_c.d:e=f@g%h+i,j")),
            ("~", Ok("'~'")),
            ("a b", Ok("'a b'")),
            ("it's", Ok(r"'it'\''s'")),
            ("$(id)\n", Ok("'$(id)\n'")),
            ("a\0b", Err(NulInWord)),
        ] {
            let word = ShellWord::new(text);
            let word = word.as_ref().map(ShellWord::as_str).map_err(|error| *error);
            assert_eq!(word, expected, "{text:?}");
        }
    }
}
