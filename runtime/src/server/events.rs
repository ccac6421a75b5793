//! `GET …/events`: the journal as a stream of lines.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{Response, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use cloud_agent_wire::EventSequence;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::App;
use super::errors::Error;
use crate::journal::Reader;
use crate::limits::EVENTS_WAIT_MAX;

/// Numbers above this do not fit into JSON numbers of every language.
const SEQUENCE_MAX: u64 = (1 << 53) - 1;

/// Streams what is there and then what comes. The position acknowledges everything before it.
pub async fn get(
    State(app): State<Arc<App>>,
    Path(session): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Error> {
    let session = app.find(&session).await?;
    let query = query.unwrap_or_default();
    let after = number(&query, "after")?;
    if after > SEQUENCE_MAX {
        return Err(Error::invalid("after must be at most 2^53 - 1"));
    }
    let wait = Duration::from_millis(number(&query, "waitMs")?).min(EVENTS_WAIT_MAX);
    let after = EventSequence::new(after);
    session
        .journal
        .acknowledge(after)
        .map_err(|error| Error::disk(&error))?;
    let reader = Reader::new(Arc::clone(&session.journal), after);
    let tail = Tail::new(reader, wait, app.drained.clone());
    let lines = futures_util::stream::unfold(tail, |mut tail| async {
        let lines = tail.next().await?;
        Some((Ok::<_, Infallible>(lines), tail))
    });
    let content_type = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((content_type, Body::from_stream(lines)).into_response())
}

struct Tail {
    reader: Reader,
    deadline: Instant,
    drained: CancellationToken,
    /// Ends once `owed` was sent.
    is_last: bool,
    /// Sent in any case: the newest event when the request came, or when the runtime had stopped.
    owed: EventSequence,
}

impl Tail {
    fn new(reader: Reader, wait: Duration, drained: CancellationToken) -> Self {
        Self {
            owed: reader.newest(),
            reader,
            deadline: Instant::now() + wait,
            drained,
            is_last: false,
        }
    }

    /// The next lines; `None` when the time is over and what was there at its beginning was sent, when the journal is
    /// closed, or when the runtime has stopped and everything was sent.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Whoever prints without a pause does not hold up the end.
            self.is_last |= Instant::now() >= self.deadline;
            if self.is_last && self.reader.has_read(self.owed) {
                return None;
            }
            match self.reader.read().await {
                Ok(Some(lines)) => return Some(lines),
                Ok(None) if self.is_last || self.reader.is_closed() => return None,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(error = %error, "the journal could not be read");
                    return None;
                }
            }
            tokio::select! {
                () = self.reader.changed() => {}
                () = tokio::time::sleep_until(self.deadline) => {}
                () = self.drained.cancelled() => {
                    self.is_last = true;
                    self.owed = self.reader.newest();
                }
            }
        }
    }
}

fn number(query: &str, name: &str) -> Result<u64, Error> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map_or(Ok(0), |(_, value)| value.parse())
        .map_err(|_| Error::invalid(format!("{name} must be a number")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use cloud_agent_wire::{EventSequence, Generation, RuntimeEvent};
    use tokio_util::sync::CancellationToken;

    use super::Tail;
    use crate::journal::{Journal, Reader};

    #[tokio::test]
    async fn what_comes_after_the_end_of_the_time_does_not_extend_it() {
        let folder = std::env::temp_dir().join(format!("events-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).expect("the folder is new");
        let journal = Journal::open(&folder.join("journal"), |_| {}).expect("it opens");
        let journal = Arc::new(journal);
        let append = || {
            let generation = Generation::new(1);
            let event = RuntimeEvent::CredentialRefused { generation };
            journal.append(event).expect("it is appended");
        };
        append();
        let reader = Reader::new(Arc::clone(&journal), EventSequence::new(0));
        let mut tail = Tail::new(reader, Duration::ZERO, CancellationToken::new());
        assert!(tail.next().await.is_some(), "what was there is sent");
        append();
        assert!(tail.next().await.is_none());
        // A runtime that stops sends everything.
        let drained = CancellationToken::new();
        let reader = Reader::new(Arc::clone(&journal), EventSequence::new(2));
        let mut tail = Tail::new(reader, Duration::from_mins(1), drained.clone());
        append();
        drained.cancel();
        assert!(tail.next().await.is_some());
        assert!(tail.next().await.is_none());
        std::fs::remove_dir_all(&folder).expect("the folder is there");
    }
}
