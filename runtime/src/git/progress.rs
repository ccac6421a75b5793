//! Progress as git prints it on standard error.

/// Phases whose percentage says something to a person.
const PHASES: &[&str] = &["Receiving objects", "Updating files"];

/// Finds percentages in a stream of pieces, which may end anywhere.
#[derive(Default)]
pub struct ProgressParser {
    line: Vec<u8>,
}

/// Longest progress line that is looked at, in bytes.
const LINE_BYTES_MAX: usize = 512;

impl ProgressParser {
    /// Takes the next piece and returns the newest percentage in it.
    pub fn feed(&mut self, piece: &[u8]) -> Option<u8> {
        let mut newest = None;
        for byte in piece {
            if matches!(byte, b'\r' | b'\n') {
                newest = parse_line(&self.line).or(newest);
                self.line.clear();
            } else if self.line.len() < LINE_BYTES_MAX {
                self.line.push(*byte);
            }
        }
        newest
    }
}

fn parse_line(line: &[u8]) -> Option<u8> {
    let line = std::str::from_utf8(line).ok()?;
    let (phase, rest) = line.split_once(':')?;
    if !PHASES.contains(&phase) {
        return None;
    }
    let (percent, _) = rest.trim_start().split_once('%')?;
    percent.parse().ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use super::ProgressParser;

    #[test]
    fn percentages_are_found_across_pieces() {
        let mut parser = ProgressParser::default();
        for (piece, expected) in [
            ("Cloning into 'repo'...\n", None),
            ("remote: Counting objects: 100% (3/3), done.\n", None),
            ("Receiving objects:   0% (1/200)\rReceiving obj", Some(0)),
            ("ects:  42% (84/200), 1.20 MiB | 2.00 MiB/s\r", Some(42)),
            ("Receiving objects: 43%\rReceiving objects: 44%\r", Some(44)),
            ("Receiving objects: 100% (200/200), done.\n", Some(100)),
            ("Receiving objects: 999%\rReceiving objects: x%\r", None),
            ("Updating files: 7% (1/14)\r", Some(7)),
            ("remote: Receiving objects: 50%\r", None),
        ] {
            assert_eq!(parser.feed(piece.as_bytes()), expected, "{piece:?}");
        }
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut parser = ProgressParser::default();
        for _ in 0..100 {
            assert_eq!(parser.feed(&[b'x'; 10_000]), None);
        }
        assert!(parser.line.capacity() <= 1024);
    }
}
