//! Reads and edits a git configuration file as data, never by running git: the file may be hostile.
//!
//! Editing keeps every byte that it does not have to change.

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
enum Piece {
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

/// What an edit does with an entry.
pub enum Change {
    /// Leaves it byte for byte.
    Keep,
    /// Takes it out.
    Drop,
    /// Gives it another value.
    Set(String),
}

/// A parsed file.
pub struct ConfigFile {
    pieces: Vec<Piece>,
}

impl ConfigFile {
    /// Parses a file.
    ///
    /// # Errors
    /// [`InvalidConfig`] when git would not read it either.
    pub fn parse(text: &str) -> Result<Self, InvalidConfig> {
        Parser::new(text).file().map(|pieces| Self { pieces })
    }

    /// Every key with its value, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, &str)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Entry { key, value, .. } => Some((key, value.as_str())),
            _ => None,
        })
    }

    /// Shows every entry to `change` and does what it says.
    pub fn edit(&mut self, mut change: impl FnMut(&Key, &str) -> Change) {
        for piece in &mut self.pieces {
            let Piece::Entry { raw, key, value } = piece else {
                continue;
            };
            match change(key, value) {
                Change::Keep => {}
                // The entry may share its line with a header, which must not swallow the next line.
                Change::Drop => *piece = Piece::Added { raw: String::new() },

                Change::Set(new) => {
                    *raw = format!("\t{} = {}\n", key.name, quote(&new));
                    *value = new;
                }
            }
        }
    }

    /// Takes out every section whose subsection `is_meant`, with all its entries.
    pub fn drop_sections(&mut self, is_meant: impl Fn(&str) -> bool) {
        let mut dropping = false;
        self.pieces.retain(|piece| {
            if let Piece::Header { subsection, .. } = piece {
                dropping = is_meant(subsection);
            }
            !dropping
        });
    }

    /// Takes out the headers of a section that have no entries, with the comments below them.
    pub fn drop_empty(&mut self, section: &str) {
        let is_header = |piece: &Piece| matches!(piece, Piece::Header { .. });
        let pieces = std::mem::take(&mut self.pieces);
        let mut rest = pieces.into_iter().peekable();
        while let Some(piece) = rest.next() {
            let is_candidate =
                matches!(&piece, Piece::Header { section: name, .. } if name == section);
            let start = self.pieces.len();
            self.pieces.push(piece);
            while let Some(piece) = rest.next_if(|piece| !is_header(piece)) {
                self.pieces.push(piece);
            }
            let has_entry = self
                .pieces
                .iter()
                .skip(start)
                .any(|piece| matches!(piece, Piece::Entry { .. }));
            if is_candidate && !has_entry {
                self.pieces.truncate(start);
            }
        }
    }

    /// Puts an entry right after the first header of its section, or in a new section at the end.
    pub fn add(&mut self, key: &Key, value: &str) {
        let line = format!("\t{} = {}\n", key.name, quote(value));
        let place = self.pieces.iter().position(|piece| {
            matches!(piece, Piece::Header { section, subsection, .. }
                if *section == key.section && *subsection == key.subsection)
        });
        match place {
            Some(index) => {
                // The rest of the header's line stays with it, unless an entry stands there.
                let is_rest =
                    |piece: &Piece| matches!(piece, Piece::Other { raw } if raw.ends_with('\n'));
                let rest = self.pieces.get(index + 1).is_some_and(is_rest);
                let place = index + 1 + usize::from(rest);
                self.pieces.insert(place, Piece::Added { raw: line });
            }
            None => self.append(key, value),
        }
    }

    /// Puts an entry into a new section at the end, where it beats and resets what stands before it.
    pub fn append(&mut self, key: &Key, value: &str) {
        let header = if key.subsection.is_empty() {
            format!("[{}]", key.section)
        } else {
            format!("[{} {}]", key.section, quote(&key.subsection))
        };
        let line = format!("\t{} = {}\n", key.name, quote(value));
        self.pieces.push(Piece::Added {
            raw: format!("{header}\n{line}"),
        });
    }
}

impl fmt::Display for ConfigFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Header { raw, .. } | Piece::Entry { raw, .. } | Piece::Other { raw } => {
                    text.push_str(raw);
                }
                Piece::Added { raw } => {
                    if !text.is_empty() && !text.ends_with('\n') {
                        text.push('\n');
                    }
                    text.push_str(raw);
                }
            }
        }
        formatter.write_str(&text)
    }
}

/// A value as git reads it back, whatever it contains.
fn quote(value: &str) -> String {
    let escaped = value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
        .replace('\t', r"\t");
    format!("\"{escaped}\"")
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
        loop {
            let Some(character) = self.next() else {
                break;
            };
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
                    continue;
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

#[cfg(test)]
mod tests {
    use super::{Change, ConfigFile, Key};

    fn key(section: &str, subsection: &str, name: &str) -> Key {
        Key {
            section: section.to_owned(),
            subsection: subsection.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn everything_that_is_not_changed_stays_byte_for_byte() {
        for text in [
            "",
            "[core]\n\tbare = false\n",
            "# comment\n\n[core] bare = true ; c\n[a \"b\\\"c\\\\\"]x=\"1 # no\" # yes\n",
            "[core]\n\tx = a\\\n b\n\tflag\n\tlast=no newline",
            "[remote.origin]\r\n\turl = x\r\n",
        ] {
            let config = ConfigFile::parse(text).expect("the row is valid");
            assert_eq!(config.to_string(), text, "{text:?}");
        }
    }

    #[test]
    fn values_are_read_as_git_reads_them() {
        let text = "[Core]\n\tA = x # c\n b = \" y \" z  \n\tc = a\\\n  d\n\te\n\tf = \"a\\\"b\\\\\\n\"\n[s \"Sub\\\"x\"] G = 1\n[s.Sub]\n\th=2";
        let config = ConfigFile::parse(text).expect("it is valid");
        let entries: Vec<(Key, &str)> = config
            .entries()
            .map(|(key, value)| (key.clone(), value))
            .collect();
        assert_eq!(
            entries,
            [
                (key("core", "", "a"), "x"),
                (key("core", "", "b"), " y  z"),
                (key("core", "", "c"), "a  d"),
                (key("core", "", "e"), "true"),
                (key("core", "", "f"), "a\"b\\\n"),
                (key("s", "Sub\"x", "g"), "1"),
                (key("s", "sub", "h"), "2"),
            ]
        );
    }

    #[test]
    fn what_git_refuses_is_refused() {
        for text in [
            "x = 1\n",
            "[core\n",
            "[core]\n\tx = \"open\n",
            "[core]\n\tx = \\q\n",
            "[a b]\n",
            "[a \"b]\n",
            "[core]\n\tx y = 1\n",
            "\u{0}",
        ] {
            assert!(ConfigFile::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn entries_are_dropped_set_and_added_wherever_they_stand() {
        let text = "[remote \"origin\"] url = a\n\tpushurl = b\n\tfetch = f\n[core]\n\tx = 1\n[remote \"origin\"]\n\turl = c";
        let mut config = ConfigFile::parse(text).expect("it is valid");
        config.edit(|key, _| match (key.section.as_str(), key.name.as_str()) {
            ("remote", "url" | "pushurl") => Change::Drop,
            ("core", "x") => Change::Set("a\"b\\c".to_owned()),
            _ => Change::Keep,
        });
        config.add(&key("remote", "origin", "url"), "https://h/#x");
        config.append(&key("credential", "https://h:1", "helper"), "/p q");
        let expected = "[remote \"origin\"]\n\turl = \"https://h/#x\"\n\tfetch = f\n[core]\n\tx = \"a\\\"b\\\\c\"\n[remote \"origin\"]\n[credential \"https://h:1\"]\n\thelper = \"/p q\"\n";
        assert_eq!(config.to_string(), expected);
        let again = ConfigFile::parse(expected).expect("the result is valid");
        assert_eq!(again.entries().count(), 4);
    }

    #[test]
    fn headers_without_entries_go_when_asked() {
        let text = "[credential]\n# c\n[core]\n\tx = 1\n[credential \"u\"]\n\ty = 2\n[core]\n[credential]\n";
        let mut config = ConfigFile::parse(text).expect("it is valid");
        config.drop_empty("credential");
        let expected = "[core]\n\tx = 1\n[credential \"u\"]\n\ty = 2\n[core]\n";
        assert_eq!(config.to_string(), expected);
    }

    #[test]
    fn sections_go_with_their_entries() {
        let text = "[url \"https://x:T@h/\"]\n\tinsteadOf = a\n[core]\n\tx = 1\n";
        let mut config = ConfigFile::parse(text).expect("it is valid");
        config.drop_sections(|subsection| subsection.contains("x:T@"));
        assert_eq!(config.to_string(), "[core]\n\tx = 1\n");
    }
}
