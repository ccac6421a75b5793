//! The readings of a text in which a secret may hide, each with the way back to the text itself.
//!
//! Whoever prints a secret may have quoted it for JSON, once or twice, percent-encoded some of its bytes, or coloured
//! a part of it. Instead of collecting every spelling of every secret, the spellings are undone.

use std::ops::Range;

/// A text with something undone.
pub struct Reading {
    /// What it reads.
    pub bytes: Vec<u8>,
    /// Where the source of every byte begins and ends in the text itself; `None` when this is the text itself.
    sources: Option<Vec<(usize, usize)>>,
}

/// What is undone, in this order. Escapes may be nested, as JSON inside a string of JSON is.
const STEPS: [fn(&[u8], &mut Undone); 5] = [
    drop_controls,
    undo_escapes,
    undo_escapes,
    undo_percent,
    undo_percent,
];

/// Longest spelling of one byte that a single step undoes: `\u0041`.
pub const SPELLING_BYTES_MAX: usize = 6;

/// Every reading of a text that differs from the one before, beginning with the text itself.
pub fn all(text: &str) -> Vec<Reading> {
    let mut readings = vec![Reading {
        bytes: text.as_bytes().to_vec(),
        sources: None,
    }];
    for step in STEPS {
        let Some(last) = readings.last() else {
            break;
        };
        let mut undone = Undone::default();
        step(&last.bytes, &mut undone);
        if undone.has_changed {
            readings.push(last.compose(undone));
        }
    }
    readings
}

impl Reading {
    /// The place in the text that a place in this reading comes from.
    pub fn source(&self, place: &Range<usize>) -> Range<usize> {
        let Some(sources) = &self.sources else {
            return place.clone();
        };
        let first = sources.get(place.start);
        let last = sources.get(place.end.saturating_sub(1));
        match (first, last) {
            (Some((start, _)), Some((_, end))) => *start..*end,
            _ => 0..0,
        }
    }

    fn compose(&self, undone: Undone) -> Self {
        let places = undone.sources.iter();
        let sources = places
            .map(|place| self.source(place))
            .map(|place| (place.start, place.end));
        Self {
            sources: Some(sources.collect()),
            bytes: undone.bytes,
        }
    }
}

/// A text without escape sequences and control characters other than the tab.
pub fn without_controls(text: &str) -> String {
    let mut undone = Undone::default();
    drop_controls(text.as_bytes(), &mut undone);
    String::from_utf8_lossy(&undone.bytes).into_owned()
}

/// What a step makes.
#[derive(Default)]
struct Undone {
    bytes: Vec<u8>,
    sources: Vec<Range<usize>>,
    has_changed: bool,
}

impl Undone {
    fn keep(&mut self, byte: u8, at: usize) {
        self.bytes.push(byte);
        self.sources.push(at..at + 1);
    }

    fn put(&mut self, bytes: &[u8], source: &Range<usize>) {
        self.bytes.extend(bytes);
        self.sources.extend(bytes.iter().map(|_| source.clone()));
        self.has_changed = true;
    }
}

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// Drops what steers a terminal.
fn drop_controls(text: &[u8], undone: &mut Undone) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let length = match byte {
            &ESCAPE => escape_sequence(text.get(at..).unwrap_or_default()),
            b'\t' => 0,
            0x00..0x20 | 0x7f => 1,
            // The control characters from U+0080 to U+009F.
            0xc2 if matches!(text.get(at + 1), Some(0x80..=0x9f)) => 2,
            _ => 0,
        };
        if length == 0 {
            undone.keep(*byte, at);
            at += 1;
        } else {
            undone.has_changed = true;
            at += length;
        }
    }
}

/// Length of the sequence that the text begins with.
fn escape_sequence(text: &[u8]) -> usize {
    let body = text.get(2..).unwrap_or_default();
    let up_to = |end: Option<usize>| end.map_or(text.len(), |end| end + 3);
    match text.get(1) {
        // A control sequence ends with a byte from @ to ~.
        Some(b'[') => up_to(body.iter().position(|byte| matches!(byte, b'@'..=b'~'))),
        // A command ends with BEL, or with an escape and a backslash.
        Some(b']' | b'P' | b'_' | b'^' | b'X') => {
            let end = body.iter().position(|byte| matches!(*byte, BELL | ESCAPE));
            let is_escape = end.is_some_and(|end| body.get(end..end + 2) == Some(b"\x1b\\"));
            up_to(end) + usize::from(is_escape)
        }
        Some(0x20..0x7f) => 2,
        _ => 1,
    }
}

/// Undoes the escapes of JSON, which most languages share.
fn undo_escapes(text: &[u8], undone: &mut Undone) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escape = (*byte == b'\\').then(|| escaped(text.get(at + 1..).unwrap_or_default()));
        if let Some((character, length)) = escape.flatten() {
            let source = at..at + 1 + length;
            undone.put(character.encode_utf8(&mut [0; 4]).as_bytes(), &source);
            at += 1 + length;
        } else {
            undone.keep(*byte, at);
            at += 1;
        }
    }
}

/// The character that stands after a backslash, and how many bytes spell it.
fn escaped(text: &[u8]) -> Option<(char, usize)> {
    let character = match text.first()? {
        byte @ (b'"' | b'\\' | b'/' | b'\'') => char::from(*byte),
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let digits = std::str::from_utf8(text.get(1..5)?).ok()?;
            let number = u32::from_str_radix(digits, 16).ok()?;
            return char::from_u32(number).map(|character| (character, 5));
        }
        b'x' => {
            let digits = std::str::from_utf8(text.get(1..3)?).ok()?;
            let number = u8::from_str_radix(digits, 16).ok()?;
            return number.is_ascii().then(|| (char::from(number), 3));
        }
        _ => return None,
    };
    Some((character, 1))
}

/// Undoes percent-encoding, in whatever case and of whichever bytes.
fn undo_percent(text: &[u8], undone: &mut Undone) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(decoded) = decoded {
            undone.put(&[decoded], &(at..at + 3));
            at += 3;
        } else {
            undone.keep(*byte, at);
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{all, without_controls};

    /// Where each reading of a text has `needle`, in the text itself.
    fn places(text: &str, needle: &str) -> Vec<String> {
        let found = all(text).into_iter().filter_map(|reading| {
            let is_there = |part: &[u8]| part == needle.as_bytes();
            let start = reading.bytes.windows(needle.len()).position(is_there)?;
            let place = reading.source(&(start..start + needle.len()));
            text.get(place).map(str::to_owned)
        });
        found.collect()
    }

    #[test]
    fn what_spells_a_text_is_found() {
        for (text, spelling) in [
            ("x a/\"b\\ y", r#"a/"b\"#),
            (r#"x a/\"b\\ y"#, r#"a/\"b\\"#),
            (r#"x a\/\\\"b\\\\ y"#, r#"a\/\\\"b\\\\"#),
            (r"x \u0061\x2f\u0022b\\ y", r"\u0061\x2f\u0022b\\"),
            ("x a%2F%22b%5c y", "a%2F%22b%5c"),
            ("x %61%252f%2522b%255C y", "%61%252f%2522b%255C"),
            ("x a/\x1b[1;31m\"b\x1b[0m\\ y", "a/\x1b[1;31m\"b\x1b[0m\\"),
            (
                "x a/\x1b]8;;u\x1b\\\"b\u{9b}\\ y",
                "a/\x1b]8;;u\x1b\\\"b\u{9b}\\",
            ),
        ] {
            let found = places(text, r#"a/"b\"#);
            assert_eq!(found.first().map(String::as_str), Some(spelling), "{text}");
        }
    }

    #[test]
    fn plain_text_has_one_reading() {
        assert_eq!(all("plain text, 100% \\ é\t").len(), 1);
        assert_eq!(all("").len(), 1);
    }

    #[test]
    fn nothing_is_left_that_steers_a_terminal() {
        for (text, expected) in [
            ("\x1b[31mred\x1b[0m \x1b]0;title\x07x\r\ty\0", "red x\ty"),
            ("a\x1b]8;;https://h/\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
            ("a\x1bMb\x1b", "ab"),
            ("a\x1b[31", "a"),
            ("a\x1bé\u{85}b", "aéb"),
        ] {
            assert_eq!(without_controls(text), expected, "{text:?}");
        }
    }
}
