//! Reads a journal from a position on.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use cloud_agent_wire::EventSequence;
use tokio::sync::watch;

use super::{Journal, segment};
use crate::store::files::lock;

/// A position in a journal that moves forward.
pub struct Reader {
    journal: Arc<Journal>,
    newest: watch::Receiver<u64>,
    /// Number of the next event to read.
    next: u64,
    /// Segment and offset where reading stopped.
    place: Option<(u64, u64)>,
}

/// A stretch of a segment's file that holds whole lines.
struct Stretch {
    first: u64,
    offset: u64,
    end: u64,
    next: u64,
    needs_sync: bool,
}

impl Reader {
    /// Starts after an event.
    pub fn new(journal: Arc<Journal>, after: EventSequence) -> Self {
        Self {
            newest: journal.newest.subscribe(),
            journal,
            next: after.next().get(),
            place: None,
        }
    }

    /// The lines that are there, at most one segment of them; `None` when there are none yet.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn read(&mut self) -> io::Result<Option<Bytes>> {
        self.newest.mark_unchanged();
        loop {
            let Some(stretch) = self.stretch() else {
                return Ok(None);
            };
            let journal = Arc::clone(&self.journal);
            let skip_before = self.next;
            let (first, end, next) = (stretch.first, stretch.end, stretch.next);
            let lines = tokio::task::spawn_blocking(move || journal.lines(&stretch, skip_before))
                .await
                .map_err(io::Error::other)??;
            self.place = Some((first, end));
            self.next = next.max(self.next);
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
    }

    /// The newest event that there is.
    pub fn newest(&self) -> EventSequence {
        EventSequence::new(*self.newest.borrow())
    }

    /// Whether everything up to an event was read.
    pub fn has_read(&self, sequence: EventSequence) -> bool {
        self.next > sequence.get()
    }

    /// Waits until there may be something to read.
    pub async fn changed(&mut self) {
        // The sender lives as long as the journal that this reader holds.
        let _ = self.newest.changed().await;
    }

    /// Whether the journal has ended for good.
    pub fn is_closed(&self) -> bool {
        lock(&self.journal.inner).closed
    }

    fn stretch(&mut self) -> Option<Stretch> {
        let inner = lock(&self.journal.inner);
        if inner.closed {
            return None;
        }
        let oldest = inner.segments.front()?.first;
        // Acknowledged events are gone: a reader that asks for them again gets what is left.
        self.next = self.next.max(oldest);
        let segment = inner
            .segments
            .iter()
            .find(|segment| segment.next > self.next)?;
        let offset = match self.place {
            Some((first, offset)) if first == segment.first => offset,
            _ => 0,
        };
        Some(Stretch {
            first: segment.first,
            offset,
            end: segment.bytes,
            next: segment.next,
            needs_sync: segment.synced < segment.bytes,
        })
    }
}

impl Journal {
    /// The lines of a stretch from the event `skip_before` on.
    fn lines(&self, stretch: &Stretch, skip_before: u64) -> io::Result<Bytes> {
        let mut file = match File::open(segment::path(&self.directory, stretch.first)) {
            // Acknowledged by somebody else in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Bytes::new()),
            file => file?,
        };
        if stretch.needs_sync {
            file.sync_data()?;
            let mut inner = lock(&self.inner);
            let segment = inner
                .segments
                .iter_mut()
                .find(|segment| segment.first == stretch.first);
            if let Some(segment) = segment {
                segment.synced = segment.synced.max(stretch.end);
            }
        }
        file.seek(SeekFrom::Start(stretch.offset))?;
        let length = stretch.end.saturating_sub(stretch.offset);
        let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.take(length).read_to_end(&mut content)?;
        let content = Bytes::from(content);
        let mut skipped = 0;
        if stretch.offset == 0 {
            let known = skip_before.saturating_sub(stretch.first);
            let lines = content.split_inclusive(|byte| *byte == b'\n');
            skipped = lines
                .take(usize::try_from(known).unwrap_or(usize::MAX))
                .map(<[u8]>::len)
                .sum();
        }
        Ok(content.slice(skipped..))
    }
}
