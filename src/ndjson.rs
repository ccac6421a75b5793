//! Splits a stream of bytes into lines, in bounded memory.

/// The longest line that is taken over: the longest event that the runtime writes, with room.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// A line was longer than any that the runtime writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineTooLong;

/// The bytes after the last complete line.
#[derive(Debug, Default)]
pub struct LineSplitter {
    rest: Vec<u8>,
}

impl LineSplitter {
    /// Takes the next bytes and returns the lines that they complete, without their ends.
    ///
    /// # Errors
    /// [`LineTooLong`], after which the stream makes no sense any more.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, LineTooLong> {
        let mut lines = Vec::new();
        let mut parts = bytes.split(|byte| *byte == b'\n');
        let first = parts.next().unwrap_or_default();
        self.extend(first)?;
        for part in parts {
            lines.push(std::mem::take(&mut self.rest));
            self.extend(part)?;
        }
        Ok(lines)
    }

    fn extend(&mut self, part: &[u8]) -> Result<(), LineTooLong> {
        if self.rest.len().saturating_add(part.len()) > LINE_BYTES_MAX {
            return Err(LineTooLong);
        }
        self.rest.extend_from_slice(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, LineSplitter, LineTooLong};

    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut() {
        let text = b"one\n\ntwo\nthree\nrest";
        for size in 1..=text.len() {
            let mut splitter = LineSplitter::default();
            let lines: Vec<_> = text
                .chunks(size)
                .flat_map(|chunk| splitter.push(chunk).unwrap())
                .collect();
            assert_eq!(
                lines,
                [
                    b"one".to_vec(),
                    b"".to_vec(),
                    b"two".to_vec(),
                    b"three".to_vec()
                ]
            );
        }
    }

    #[test]
    fn a_line_has_a_bound() {
        let mut splitter = LineSplitter::default();
        assert_eq!(splitter.push(&vec![b'a'; LINE_BYTES_MAX]), Ok(vec![]));
        assert_eq!(splitter.push(b"a"), Err(LineTooLong));
    }
}
