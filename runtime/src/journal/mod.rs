//! The journal of a session: events on disk, appended, numbered without a gap, and forgotten once acknowledged.
//!
//! It is a folder of segments named after the number of their first event, each a file of JSON lines.
//! An event is on the disk for good before a reader sees it, so a number that was shown is never given twice.

mod reader;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use cloud_agent_wire::{EventSequence, JournalEvent, RuntimeEvent};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::limits::{JOURNAL_BYTES_MAX, JOURNAL_BYTES_RESERVED, JOURNAL_SEGMENT_BYTES};
use crate::store::files::{self, lock};

pub use reader::Reader;
use segment::Segment;
pub use segment::decode;

/// Wait between two tries to append output to a disk that refuses it.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// Why an event was not appended.
#[derive(Debug)]
pub enum AppendError {
    /// There is no room for this kind of event now.
    Full,
    /// The journal was closed, since the session is deleted, or nobody waits for the event any more.
    Closed,
    /// The disk refused it.
    Disk(io::Error),
}

impl From<AppendError> for io::Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full => Self::new(io::ErrorKind::StorageFull, "the journal is full"),
            AppendError::Closed => Self::new(io::ErrorKind::BrokenPipe, "the journal is closed"),
            AppendError::Disk(error) => error,
        }
    }
}

/// The journal of one session.
pub struct Journal {
    directory: PathBuf,
    inner: Mutex<Inner>,
    newest: watch::Sender<u64>,
    freed: Notify,
}

struct Inner {
    /// Oldest first; the last one is appended to. Never empty.
    segments: VecDeque<Segment>,
    active: File,
    next: u64,
    closed: bool,
}

impl Journal {
    /// Opens a journal, or makes an empty one. A torn last line is cut off; every event that was left is shown
    /// to `seen`, oldest first.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(directory: &Path, mut seen: impl FnMut(&JournalEvent)) -> io::Result<Self> {
        files::private_directory(directory)?;
        let mut segments: VecDeque<Segment> = VecDeque::new();
        for mut segment in segment::list(directory)? {
            segment.load(directory, &mut seen)?;
            let next = segments.back().map_or(1, |before| before.next);
            if segment.bytes == 0 && segment.first < next {
                // It could not be begun, and its number was given in the one before.
                files::remove_file(&segment::path(directory, segment.first))?;
            } else {
                segments.push_back(segment);
            }
        }
        if segments.is_empty() {
            segments.push_back(Segment::create(directory, 1)?);
        }
        let (first, next) = segments
            .back()
            .map_or((1, 1), |newest| (newest.first, newest.next));
        Ok(Self {
            directory: directory.to_owned(),
            inner: Mutex::new(Inner {
                segments,
                active: segment::open_to_append(directory, first)?,
                next,
                closed: false,
            }),
            newest: watch::Sender::new(next - 1),
            freed: Notify::new(),
        })
    }

    /// Appends an event of a turn's life, for which there always is room.
    ///
    /// # Errors
    /// [`AppendError::Closed`] and [`AppendError::Disk`]; never [`AppendError::Full`].
    pub fn append(&self, event: RuntimeEvent) -> Result<EventSequence, AppendError> {
        self.append_within(event, u64::MAX)
    }

    /// Appends an event that may be lost when the journal is full.
    pub fn append_if_room(&self, event: RuntimeEvent) {
        // Progress is worth nothing by itself: whatever prevents it is reported by the next event that counts.
        let _ = self.append_within(event, JOURNAL_BYTES_MAX - JOURNAL_BYTES_RESERVED);
    }

    /// Appends output once there is room for it: the reader must acknowledge first when the journal is full, and
    /// somebody make room when the disk is.
    ///
    /// # Errors
    /// [`AppendError::Closed`], also when `cancel` fires while it waits.
    pub async fn append_output(
        &self,
        event: RuntimeEvent,
        cancel: &CancellationToken,
    ) -> Result<EventSequence, AppendError> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.append_within(event.clone(), JOURNAL_BYTES_MAX - JOURNAL_BYTES_RESERVED) {
                Err(AppendError::Full) => {}
                Err(AppendError::Disk(error)) => {
                    tracing::error!(error = %error, "output waits for the disk");
                }
                result => return result,
            }
            tokio::select! {
                () = freed => {}
                // A disk does not tell when it takes something again.
                () = tokio::time::sleep(DISK_RETRY) => {}
                () = cancel.cancelled() => return Err(AppendError::Closed),
            }
        }
    }

    /// Brings everything that was appended onto the disk for good: what is written down elsewhere from here on comes
    /// after it. Blocks.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sync(&self) -> io::Result<()> {
        lock(&self.inner).sync()
    }

    /// Whether a new turn is sure to find room for its end.
    pub fn has_room_for_a_turn(&self) -> bool {
        lock(&self.inner).bytes() < JOURNAL_BYTES_MAX - JOURNAL_BYTES_RESERVED / 2
    }

    /// Takes note that the reader has every event up to `sequence`, and forgets them.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn acknowledge(&self, sequence: EventSequence) -> io::Result<()> {
        let acknowledged = sequence.get();
        let mut inner = lock(&self.inner);
        if inner.closed {
            return Ok(());
        }
        // A reader that is ahead has seen events that this disk lost. Their numbers are taken.
        let ahead = acknowledged >= inner.next;
        let active_is_done = inner.segments.back().is_some_and(|active| {
            active.next > active.first
                && active.next <= acknowledged + 1
                && active.bytes >= JOURNAL_SEGMENT_BYTES / 4
        });
        if ahead {
            tracing::warn!("the reader's position is ahead of the journal");
            inner.roll(&self.directory, acknowledged.saturating_add(1))?;
            self.newest.send_replace(acknowledged);
        } else if active_is_done {
            let next = inner.next;
            inner.roll(&self.directory, next)?;
        }
        let mut removed = false;
        while inner.segments.len() > 1 {
            let Some(oldest) = inner.segments.front() else {
                break;
            };
            if oldest.next > acknowledged.saturating_add(1) {
                break;
            }
            files::remove_file(&segment::path(&self.directory, oldest.first))?;
            inner.segments.pop_front();
            removed = true;
        }
        if removed {
            self.freed.notify_waiters();
        }
        Ok(())
    }

    /// Ends the journal: nothing is appended from now on, and readers end.
    pub fn close(&self) {
        lock(&self.inner).closed = true;
        self.freed.notify_waiters();
        self.newest.send_modify(|_| {});
    }

    fn append_within(
        &self,
        event: RuntimeEvent,
        bytes_max: u64,
    ) -> Result<EventSequence, AppendError> {
        let mut inner = lock(&self.inner);
        if inner.closed {
            return Err(AppendError::Closed);
        }
        let sequence = inner.next;
        let event = JournalEvent {
            seq: EventSequence::new(sequence),
            at: clock::now(),
            event,
        };
        let mut line =
            serde_json::to_vec(&event).map_err(|error| AppendError::Disk(error.into()))?;
        line.push(b'\n');
        if inner.bytes() + line.len() as u64 > bytes_max {
            return Err(AppendError::Full);
        }
        inner
            .write(&self.directory, &line)
            .map_err(AppendError::Disk)?;
        self.newest.send_replace(sequence);
        Ok(event.seq)
    }
}

impl Inner {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Appends a line whole, or leaves the file as it was.
    fn write(&mut self, directory: &Path, line: &[u8]) -> io::Result<()> {
        if self
            .segments
            .back()
            .is_some_and(|active| active.bytes >= JOURNAL_SEGMENT_BYTES)
        {
            self.roll(directory, self.next)?;
        }
        let Some(active) = self.segments.back_mut() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Err(error) = self.active.write_all(line) {
            self.active.set_len(active.bytes)?;
            return Err(error);
        }
        active.bytes += line.len() as u64;
        active.next = self.next + 1;
        self.next += 1;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(active) = self.segments.back_mut()
            && active.synced < active.bytes
        {
            self.active.sync_data()?;
            active.synced = active.bytes;
        }
        Ok(())
    }

    /// Begins a new segment at `next`, which becomes the next number. The one before is then complete and on the disk.
    /// A roll that fails changes nothing here, and may be repeated.
    fn roll(&mut self, directory: &Path, next: u64) -> io::Result<()> {
        self.sync()?;
        let segment = Segment::create(directory, next)?;
        self.active = segment::open_to_append(directory, next)?;
        self.segments.push_back(segment);
        self.next = next;
        Ok(())
    }
}
