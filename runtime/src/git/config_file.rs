//! Reads and edits a git configuration file as data, never by running git: the file may be hostile.
//!
//! Editing keeps every byte that it does not have to change.

use std::fmt;

use super::config_parser::{self, Piece};
pub use super::config_parser::{InvalidConfig, Key};

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
        config_parser::parse(text).map(|pieces| Self { pieces })
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

    /// Takes out every entry and every comment whose text `is_meant`.
    pub fn drop_texts(&mut self, is_meant: impl Fn(&str) -> bool) {
        for piece in &mut self.pieces {
            if let Piece::Entry { raw, .. } | Piece::Other { raw } = piece
                && is_meant(raw)
            {
                *piece = Piece::Added { raw: String::new() };
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
        // Whether the line before ends in a backslash that would take an added line for its continuation.
        let mut continues = false;
        for piece in &self.pieces {
            match piece {
                Piece::Header { raw, .. } | Piece::Entry { raw, .. } | Piece::Other { raw } => {
                    let is_entry = matches!(piece, Piece::Entry { .. });
                    continues = is_entry && (raw.ends_with("\\\n") || raw.ends_with("\\\r\n"));
                    text.push_str(raw);
                }
                Piece::Added { raw } => {
                    if continues || !(text.is_empty() || text.ends_with('\n')) {
                        text.push('\n');
                    }
                    continues = false;
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
