//! Cuts what an agent prints into lines and turns lines into events.

use serde::Deserialize;

use crate::event::{GateResult, RuntimeEvent};
use crate::ids::MessageId;
use crate::redact::Redactor;

/// Longest line of JSON that the agent may print, in bytes; a longer one is shown as cut text.
pub const JSON_LINE_BYTES_MAX: usize = 256 * 1024;
/// Longest line of text that is shown, in bytes.
pub const TEXT_LINE_BYTES_MAX: usize = 8 * 1024;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Its bytes, as many as are kept.
    pub bytes: Vec<u8>,
    /// Whether it was longer.
    pub is_cut: bool,
}

/// Collects pieces into lines, keeping a bounded part of each.
#[derive(Default)]
pub struct LineSplitter {
    line: Vec<u8>,
    is_cut: bool,
}

impl LineSplitter {
    /// Takes a piece and returns the lines that it completes. At most `kept` bytes of a line are kept.
    pub fn feed(&mut self, piece: &[u8], kept: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut parts = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = kept.saturating_sub(self.line.len());
            self.is_cut |= part.len() > room;
            self.line.extend(part.iter().take(room));
            if parts.peek().is_some() {
                lines.push(self.take());
            }
        }
        lines
    }

    /// The last line, if it did not end.
    pub fn finish(&mut self) -> Option<Line> {
        (!self.line.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> Line {
        let mut bytes = std::mem::take(&mut self.line);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        Line {
            bytes,
            is_cut: std::mem::take(&mut self.is_cut),
        }
    }
}

/// Which pipe a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipe {
    /// Standard output: JSON objects are the agent's events.
    Stdout,
    /// Standard error: always text.
    Stderr,
}

/// The event of a line. Redacted before it is cut, so that no half of a secret is left at the cut.
#[must_use]
pub fn event(line: &Line, pipe: Pipe, redactor: &Redactor, message_id: &MessageId) -> RuntimeEvent {
    let text = String::from_utf8_lossy(&line.bytes);
    let may_be_json =
        pipe == Pipe::Stdout && !line.is_cut && line.bytes.len() <= JSON_LINE_BYTES_MAX;
    let json = may_be_json.then(|| redactor.json(&text)).flatten();
    if let Some(json) = json.filter(|json| json.len() <= JSON_LINE_BYTES_MAX) {
        return RuntimeEvent::Kilocode {
            message_id: message_id.clone(),
            json,
        };
    }
    let mut text = redactor.text(&text);
    let mut end = text.len().min(TEXT_LINE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    RuntimeEvent::Output {
        message_id: message_id.clone(),
        text,
    }
}

/// What the agent's gate says in a line of JSON: its field `gateResult`.
#[must_use]
pub fn gate_result(event: &RuntimeEvent) -> Option<GateResult> {
    #[derive(Deserialize)]
    struct Gate {
        #[serde(rename = "gateResult")]
        gate_result: GateResult,
    }
    let RuntimeEvent::Kilocode { json, .. } = event else {
        return None;
    };
    // Few lines have it, and only those are worth reading.
    if !json.contains("\"gateResult\"") {
        return None;
    }
    let gate: Gate = serde_json::from_str(json).ok()?;
    Some(gate.gate_result)
}

#[cfg(test)]
mod tests {
    use super::{Line, LineSplitter, Pipe, event, gate_result};
    use crate::event::{GateResult, RuntimeEvent};
    use crate::redact::Redactor;
    use crate::secret::Secret;

    fn line(text: &str) -> Line {
        Line {
            bytes: text.as_bytes().to_vec(),
            is_cut: false,
        }
    }

    #[test]
    fn lines_are_whole_whatever_the_pieces_are() {
        let mut splitter = LineSplitter::default();
        assert_eq!(splitter.feed(b"a", 8), []);
        assert_eq!(
            splitter.feed(b"b\r\nc\n\nd", 8),
            [line("ab"), line("c"), line("")]
        );
        assert_eq!(
            splitter.feed(b"efghijklm\nn", 8),
            [Line {
                bytes: b"defghijk".to_vec(),
                is_cut: true
            }]
        );
        assert_eq!(splitter.finish(), Some(line("n")));
        assert_eq!(splitter.finish(), None);
    }

    #[test]
    fn objects_of_standard_output_are_events_and_everything_else_is_text() {
        let value = Secret::new("canary-value".to_owned());
        let redactor = Redactor::new([], [&value]);
        let id = "msg_0123456789abABCDEFGHIJKLMN"
            .parse()
            .expect("the id is valid");
        for (pipe, text, expected) in [
            (
                Pipe::Stdout,
                r#"{"a":"canary-value"}"#,
                Ok(r#"{"a":"[redacted]"}"#),
            ),
            (Pipe::Stderr, r#"{"a":1}"#, Err(r#"{"a":1}"#)),
            (Pipe::Stdout, "{broken", Err("{broken")),
            (Pipe::Stdout, "plain canary-value", Err("plain [redacted]")),
        ] {
            match (event(&line(text), pipe, &redactor, &id), expected) {
                (RuntimeEvent::Kilocode { json, .. }, Ok(expected)) => assert_eq!(json, expected),
                (RuntimeEvent::Output { text, .. }, Err(expected)) => assert_eq!(text, expected),
                (event, _) => panic!("{text} became {event:?}"),
            }
        }
    }

    #[test]
    fn a_secret_across_the_cut_of_a_long_line_leaves_no_part() {
        let value = Secret::new("canary-value".to_owned());
        let redactor = Redactor::new([], [&value]);
        let id = "msg_0123456789abABCDEFGHIJKLMN"
            .parse()
            .expect("the id is valid");
        let long = format!("{}canary-value", "x".repeat(8 * 1024 - 6));
        let RuntimeEvent::Output { text, .. } = event(&line(&long), Pipe::Stderr, &redactor, &id)
        else {
            panic!("text is output");
        };
        assert_eq!(text.len(), 8 * 1024);
        assert!(!text.contains("canary"));
    }

    #[test]
    fn a_gate_speaks_in_a_field_of_its_own() {
        for (json, expected) in [
            (r#"{"gateResult":"pass"}"#, Some(GateResult::Pass)),
            (
                r#"{"type":"gate","gateResult":"fail","findings":2}"#,
                Some(GateResult::Fail),
            ),
            (r#"{"gateResult":"maybe"}"#, None),
            (r#"{"text":"\"gateResult\""}"#, None),
            (r#"{"inner":{"gateResult":"fail"}}"#, None),
        ] {
            let message_id = "msg_0123456789abABCDEFGHIJKLMN".parse();
            let message_id = message_id.expect("the id is canonical");
            let json = json.to_owned();
            let event = RuntimeEvent::Kilocode { message_id, json };
            assert_eq!(gate_result(&event), expected, "{event:?}");
        }
    }
}
