//! Reads the syntax of git's configuration files.

use std::fmt;

/// The file is not a git configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidConfig;

impl fmt::Display for InvalidConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not a git configuration file")
    }
}

impl std::error::Error for InvalidConfig {}

/// A key with its section, both as git compares them: section and name in lower case, the subsection verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The section.
    pub section: String,
    /// The subsection; empty when there is none.
    pub subsection: String,
    /// The name inside the section.
    pub name: String,
}

/// A piece of the file. The pieces of a parsed file, one after the other, are the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// `[section "subsection"]` and what stands before it on its line.
    Header {
        raw: String,
        section: String,
        subsection: String,
    },
    /// `name = value` to the end of its last line, comments included.
    Entry {
        raw: String,
        key: Key,
        value: String,
    },
    /// Blank lines and comments.
    Other { raw: String },
    /// Lines that an edit put in; they begin on a line of their own.
    Added { raw: String },
}

/// Cuts a file into its pieces.
///
/// # Errors
/// [`InvalidConfig`] when git would not read it either.
pub fn parse(text: &str) -> Result<Vec<Piece>, InvalidConfig> {
    Parser::new(text).file()
}

struct Parser<'t> {
    rest: &'t str,
    /// What was read since the last piece ended.
    raw: String,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Self {
        let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self {
            rest,
            raw: String::new(),
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.rest = self.rest.get(character.len_utf8()..).unwrap_or_default();
        self.raw.push(character);
        Some(character)
    }

    fn take_raw(&mut self) -> String {
        std::mem::take(&mut self.raw)
    }

    fn file(mut self) -> Result<Vec<Piece>, InvalidConfig> {
        let mut pieces = Vec::new();
        let (mut section, mut subsection) = (String::new(), String::new());
        loop {
            match self.peek() {
                None => {
                    let raw = self.take_raw();
                    if !raw.is_empty() {
                        pieces.push(Piece::Other { raw });
                    }
                    return Ok(pieces);
                }
                Some('\n') => {
                    self.next();
                    let raw = self.take_raw();
                    pieces.push(Piece::Other { raw });
                }
                Some('#' | ';') => self.comment(),
                Some('[') => {
                    (section, subsection) = self.header()?;
                    pieces.push(Piece::Header {
                        raw: self.take_raw(),
                        section: section.clone(),
                        subsection: subsection.clone(),
                    });
                }
                Some(character) if character.is_ascii_whitespace() => {
                    self.next();
                }
                Some(character) if character.is_ascii_alphabetic() && !section.is_empty() => {
                    let (name, value) = self.entry()?;
                    let key = Key {
                        section: section.clone(),
                        subsection: subsection.clone(),
                        name,
                    };
                    pieces.push(Piece::Entry {
                        raw: self.take_raw(),
                        key,
                        value,
                    });
                }
                Some(_) => return Err(InvalidConfig),
            }
        }
    }

    /// Reads up to the end of the line, but not the line feed.
    fn comment(&mut self) {
        while self.peek().is_some_and(|character| character != '\n') {
            self.next();
        }
    }

    fn header(&mut self) -> Result<(String, String), InvalidConfig> {
        self.next();
        let mut name = String::new();
        loop {
            match self.next() {
                Some(']') => {
                    // `[section.sub]` is an old spelling whose subsection is in lower case.
                    let (section, subsection) = name.split_once('.').unwrap_or((&name, ""));
                    return Ok((section.to_owned(), subsection.to_owned()));
                }
                Some(' ' | '\t') => {
                    let subsection = self.subsection()?;
                    return Ok((name, subsection));
                }
                Some(character)
                    if character.is_ascii_alphanumeric() || ".-".contains(character) =>
                {
                    name.push(character.to_ascii_lowercase());
                }
                _ => return Err(InvalidConfig),
            }
        }
    }

    fn subsection(&mut self) -> Result<String, InvalidConfig> {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.next();
        }
        if self.next() != Some('"') {
            return Err(InvalidConfig);
        }
        let mut subsection = String::new();
        loop {
            match self.next() {
                Some('"') => break,
                Some('\\') => subsection.push(self.next().ok_or(InvalidConfig)?),
                Some('\n') | None => return Err(InvalidConfig),
                Some(character) => subsection.push(character),
            }
        }
        if self.next() == Some(']') {
            Ok(subsection)
        } else {
            Err(InvalidConfig)
        }
    }

    fn entry(&mut self) -> Result<(String, String), InvalidConfig> {
        let mut name = String::new();
        while let Some(character) = self.peek() {
            if !character.is_ascii_alphanumeric() && character != '-' {
                break;
            }
            name.push(character.to_ascii_lowercase());
            self.next();
        }
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.next();
        }
        match self.peek() {
            Some('=') => {
                self.next();
                self.value().map(|value| (name, value))
            }
            // A name alone is a switch that is on.
            Some('\n' | '#' | ';' | '\r') | None => {
                self.comment();
                self.next();
                Ok((name, "true".to_owned()))
            }
            Some(_) => Err(InvalidConfig),
        }
    }

    fn value(&mut self) -> Result<String, InvalidConfig> {
        let mut value = String::new();
        let mut quoted = false;
        // White space counts only once something follows it.
        let mut pending = String::new();
        while let Some(character) = self.next() {
            match character {
                '\n' if quoted => return Err(InvalidConfig),
                '\n' => return Ok(value),
                '"' => quoted = !quoted,
                '#' | ';' if !quoted => {
                    self.comment();
                    self.next();
                    return Ok(value);
                }
                ' ' | '\t' | '\r' if !quoted => {
                    if !value.is_empty() {
                        pending.push(character);
                    }
                }
                '\\' => {
                    value.push_str(&std::mem::take(&mut pending));
                    match self.next() {
                        Some('\n') => {}
                        Some('n') => value.push('\n'),
                        Some('t') => value.push('\t'),
                        Some('b') => value.push('\u{8}'),
                        Some(escaped @ ('\\' | '"')) => value.push(escaped),
                        Some('\r') if self.peek() == Some('\n') => {
                            self.next();
                        }
                        _ => return Err(InvalidConfig),
                    }
                }
                _ => {
                    value.push_str(&std::mem::take(&mut pending));
                    value.push(character);
                }
            }
        }
        if quoted {
            Err(InvalidConfig)
        } else {
            Ok(value)
        }
    }
}
