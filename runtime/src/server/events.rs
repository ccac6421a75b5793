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
    let tail = Tail {
        reader: Reader::new(Arc::clone(&session.journal), after),
        deadline: Instant::now() + wait,
        drained: app.drained.clone(),
        is_last: false,
    };
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
    is_last: bool,
}

impl Tail {
    /// The next lines; `None` at the deadline, when the journal is closed, or when the runtime has stopped and
    /// everything was sent.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
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
                () = tokio::time::sleep_until(self.deadline) => self.is_last = true,
                () = self.drained.cancelled() => self.is_last = true,
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
