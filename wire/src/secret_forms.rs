//! Finds many texts, which may be long, in another at once.

use std::ops::Range;

use crate::redact::REDACTED_BYTES_MIN;

/// Lists that the texts are spread over.
const BUCKETS: usize = 1024;

/// A set of texts. Only the beginnings are indexed: what is kept and what building costs is in proportion to the texts
/// themselves, however many and long they are.
pub struct SecretForms {
    /// By a hash of their first bytes.
    buckets: Vec<Vec<String>>,
    /// A bit for every pair of bytes that a text begins with: most places of most lines need no further look.
    pairs: Vec<u64>,
    longest: usize,
}

impl Default for SecretForms {
    fn default() -> Self {
        Self {
            buckets: vec![Vec::new(); BUCKETS],
            pairs: vec![0; (1 << 16) / 64],
            longest: 0,
        }
    }
}

impl SecretForms {
    /// Adds a text, unless it is shorter than [`REDACTED_BYTES_MIN`].
    pub fn insert(&mut self, form: String) {
        let Some(beginning) = form.as_bytes().first_chunk() else {
            return;
        };
        self.longest = self.longest.max(form.len());
        let (word, bit) = place(*beginning);
        if let Some(word) = self.pairs.get_mut(word) {
            *word |= bit;
        }
        if let Some(bucket) = self.buckets.get_mut(hash(*beginning)) {
            bucket.push(form);
        }
    }

    /// Length of the longest text in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Where `text` holds any of the texts, in order. Places that overlap are one.
    pub fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if self.longest == 0 {
            return found;
        }
        let mut rest = text;
        let mut start = 0;
        while let Some(beginning) = rest.first_chunk() {
            if let Some(length) = self.longest_at(rest, *beginning) {
                let end = start + length;
                match found.last_mut() {
                    Some(last) if start < last.end => last.end = last.end.max(end),
                    _ => found.push(start..end),
                }
            }
            start += 1;
            rest = rest.get(1..).unwrap_or_default();
        }
        found
    }

    fn longest_at(&self, rest: &[u8], beginning: [u8; REDACTED_BYTES_MIN]) -> Option<usize> {
        let (word, bit) = place(beginning);
        if self.pairs.get(word).is_none_or(|word| word & bit == 0) {
            return None;
        }
        let forms = self.buckets.get(hash(beginning))?.iter();
        let found = forms.filter(|form| rest.starts_with(form.as_bytes()));
        found.map(String::len).max()
    }
}

fn hash(beginning: [u8; REDACTED_BYTES_MIN]) -> usize {
    let bytes = beginning.into_iter().map(usize::from);
    bytes.fold(0_usize, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte)
    }) % BUCKETS
}

fn place(beginning: [u8; REDACTED_BYTES_MIN]) -> (usize, u64) {
    let [first, second, ..] = beginning;
    let pair = usize::from(u16::from_be_bytes([first, second]));
    (pair / 64, 1 << (pair % 64))
}

#[cfg(test)]
mod tests {
    use super::SecretForms;

    #[test]
    fn the_longest_is_found_and_overlaps_are_one_place() {
        let forms = ["abcdef", "abcdefgh", "efghijkl", "short", "ünïcode"];
        let mut set = SecretForms::default();
        forms
            .map(str::to_owned)
            .into_iter()
            .for_each(|form| set.insert(form));
        assert_eq!(set.longest(), "ünïcode".len());
        for (text, expected) in [
            ("", vec![]),
            ("short", vec![]),
            ("abcdef", vec![(0, 6)]),
            ("xabcdefghx", vec![(1, 9)]),
            ("abcdefghijkl abcdef", vec![(0, 12), (13, 19)]),
            ("abcdefabcdef", vec![(0, 6), (6, 12)]),
            ("aünïcodeä", vec![(1, 10)]),
        ] {
            let found = set.find(text.as_bytes()).into_iter();
            let found: Vec<_> = found.map(|place| (place.start, place.end)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn many_long_texts_cost_little() {
        let forms = (0..400).map(|number| format!("{number:016}{}", "x".repeat(16_000)));
        let started = std::time::Instant::now();
        let mut set = SecretForms::default();
        forms.for_each(|form| set.insert(form));
        assert!(
            set.find("some ordinary output ".repeat(10_000).as_bytes())
                .is_empty()
        );
        // An automaton of all of them takes minutes and gigabytes.
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}
