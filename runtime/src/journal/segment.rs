//! One file of a journal.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cloud_agent_wire::JournalEvent;

const EXTENSION: &str = "ndjson";

/// A run of events in one file.
pub struct Segment {
    /// Number of the first event; names the file.
    pub first: u64,
    /// Number of the event after the last.
    pub next: u64,
    /// Size of the file.
    pub bytes: u64,
    /// How much of the file is on the disk for good.
    pub synced: u64,
}

impl Segment {
    /// Makes an empty segment, also in the place of one that could not be begun.
    pub fn create(directory: &Path, first: u64) -> io::Result<Self> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path(directory, first))?;
        File::open(directory)?.sync_all()?;
        Ok(Self {
            first,
            next: first,
            bytes: 0,
            synced: 0,
        })
    }

    /// Reads the events of a segment that an earlier process left. Only the newest can end in a torn line: that
    /// line is cut off.
    pub fn load(
        &mut self,
        directory: &Path,
        mut seen: impl FnMut(&JournalEvent),
    ) -> io::Result<()> {
        let path = path(directory, self.first);
        let content = fs::read(&path)?;
        let (events, bytes) = decode(&content, self.next, &mut seen);
        self.next += events;
        self.bytes += bytes;
        if self.bytes < content.len() as u64 {
            tracing::warn!(
                bytes = content.len() as u64 - self.bytes,
                "cut a torn end off a journal segment"
            );
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(self.bytes)?;
            file.sync_all()?;
        }
        self.synced = self.bytes;
        Ok(())
    }
}

/// Shows every event of a segment's content, up to the first line that is torn, damaged or out of order. Returns how
/// many events there are, and the bytes that they take.
pub fn decode(content: &[u8], first: u64, mut seen: impl FnMut(&JournalEvent)) -> (u64, u64) {
    let (mut events, mut bytes) = (0, 0);
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let event = line
            .strip_suffix(b"\n")
            .and_then(|line| serde_json::from_slice::<JournalEvent>(line).ok())
            .filter(|event| Some(event.seq.get()) == first.checked_add(events));
        let Some(event) = event else {
            break;
        };
        seen(&event);
        events += 1;
        bytes += line.len() as u64;
    }
    (events, bytes)
}

/// The segments of a folder, oldest first, not loaded.
pub fn list(directory: &Path) -> io::Result<VecDeque<Segment>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == EXTENSION)
            && let Some(first) = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok())
        {
            firsts.push(first);
        }
    }
    firsts.sort_unstable();
    Ok(firsts
        .into_iter()
        .map(|first| Segment {
            first,
            next: first,
            bytes: 0,
            synced: 0,
        })
        .collect())
}

/// The file of a segment.
pub fn path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}.{EXTENSION}"))
}

/// Opens a segment's file for appending.
pub fn open_to_append(directory: &Path, first: u64) -> io::Result<File> {
    OpenOptions::new().append(true).open(path(directory, first))
}
