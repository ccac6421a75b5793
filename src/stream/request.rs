//! What a request for the stream asks for, read from its query.

use std::borrow::Cow;

use cloud_agent_wire::{SessionId, Timestamp};

use crate::limits::{FILTER_ENTRIES_MAX, FILTER_ENTRY_CHARS_MAX};

use super::error::StreamError;
use super::filter::Filter;

/// A request for the stream, as far as its query says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    /// The session.
    pub session_id: SessionId,
    /// The ticket, as it came.
    pub ticket: Option<String>,
    /// Where to begin.
    pub start: Start,
    /// What to leave out.
    pub filter: Filter,
}

/// Where a socket begins in the session's stored events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After the event with this id; 0 is the very beginning.
    After(u64),
    /// Nothing that is stored by now.
    Now,
}

impl Start {
    /// The cursor to begin with, when `latest` is the newest stored event.
    #[must_use]
    pub fn cursor(self, latest: u64) -> u64 {
        match self {
            // An id that was never given must not hide the events that will get the ids up to it.
            Self::After(id) => id.min(latest),
            Self::Now => latest,
        }
    }
}

impl StreamRequest {
    /// Reads a query. `parse_iso` reads a time that is not a number. The first of several equal names counts.
    ///
    /// # Errors
    /// The first parameter that is missing or malformed.
    pub fn parse(
        query: &str,
        parse_iso: impl Fn(&str) -> Option<Timestamp>,
    ) -> Result<Self, StreamError> {
        let find = |name: &str| {
            url::form_urlencoded::parse(query.as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value)
                .filter(|value| !value.is_empty())
        };
        let session_id = find("cloudAgentSessionId").ok_or(StreamError::MissingSession)?;
        let session_id = session_id
            .parse()
            .map_err(|_| StreamError::InvalidSession)?;
        let from_id = find("fromId")
            .map(|text| whole_number(&text).ok_or(StreamError::InvalidFromId))
            .transpose()?;
        let start = match find("replay").as_deref() {
            None | Some("true") => Start::After(from_id.unwrap_or(0)),
            Some("false") => Start::Now,
            Some(_) => return Err(StreamError::InvalidReplay),
        };
        let time = |name: &str| {
            find(name)
                .map(|text| {
                    whole_number(&text)
                        .map(Timestamp::from_millis)
                        .or_else(|| parse_iso(&text))
                        .ok_or(StreamError::InvalidTime)
                })
                .transpose()
        };
        Ok(Self {
            session_id,
            ticket: find("ticket").map(Cow::into_owned),
            start,
            filter: Filter {
                event_types: list(find("eventTypes"), StreamError::InvalidEventTypes)?,
                execution_ids: list(find("executionIds"), StreamError::InvalidExecutionIds)?,
                start_time: time("startTime")?,
                end_time: time("endTime")?,
            },
        })
    }
}

/// Digits only, and no number that JavaScript could not hold.
fn whole_number(text: &str) -> Option<u64> {
    let is_number = text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn list(text: Option<Cow<'_, str>>, error: StreamError) -> Result<Vec<String>, StreamError> {
    let text = text.unwrap_or_default();
    let entries: Vec<_> = text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .take(FILTER_ENTRIES_MAX + 1)
        .map(str::to_owned)
        .collect();
    let is_small = entries.len() <= FILTER_ENTRIES_MAX
        && entries
            .iter()
            .all(|entry| entry.len() <= FILTER_ENTRY_CHARS_MAX);
    if is_small { Ok(entries) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::Timestamp;

    use super::{Start, StreamRequest};
    use crate::stream::error::StreamError;

    const SESSION: &str = "agent_0f8fad5b-d9cb-469f-a165-70867728950e";

    fn parse(rest: &str) -> Result<StreamRequest, StreamError> {
        let query = format!("cloudAgentSessionId={SESSION}{rest}");
        StreamRequest::parse(&query, |text| {
            (text == "2024-01-01T00:00:00Z").then(|| Timestamp::from_millis(5))
        })
    }

    #[test]
    fn each_parameter_that_is_missing_or_malformed_is_named() {
        let none = |_: &str| None;
        for query in ["", "ticket=a", "cloudAgentSessionId="] {
            assert_eq!(
                StreamRequest::parse(query, none),
                Err(StreamError::MissingSession),
                "{query}"
            );
        }
        assert_eq!(
            StreamRequest::parse("cloudAgentSessionId=agent_1", none),
            Err(StreamError::InvalidSession)
        );
        let many = format!("&eventTypes={}", "a,".repeat(51));
        let long = format!("&executionIds={}", "a".repeat(65));
        for (rest, error) in [
            ("&fromId=-1", StreamError::InvalidFromId),
            ("&fromId=1.5", StreamError::InvalidFromId),
            ("&fromId=9999999999999999", StreamError::InvalidFromId),
            ("&replay=no", StreamError::InvalidReplay),
            ("&startTime=yesterday", StreamError::InvalidTime),
            (&many, StreamError::InvalidEventTypes),
            (&long, StreamError::InvalidExecutionIds),
        ] {
            assert_eq!(parse(rest).err(), Some(error), "{rest}");
        }
        assert_eq!(parse("&endTime=2024").err(), None);
    }

    #[test]
    fn everything_is_optional_but_the_session() {
        let request = parse("").unwrap();
        assert_eq!(request.session_id.as_str(), SESSION);
        assert_eq!(request.start, Start::After(0));
        assert_eq!(request.ticket, None);
        let request = parse(
            "&ticket=a.b&fromId=7&eventTypes=kilocode,%20output&executionIds=m&startTime=1&endTime=2024-01-01T00:00:00Z",
        )
        .unwrap();
        assert_eq!(request.ticket.as_deref(), Some("a.b"));
        assert_eq!(request.start, Start::After(7));
        assert_eq!(request.filter.event_types, ["kilocode", "output"]);
        assert_eq!(request.filter.execution_ids, ["m"]);
        assert_eq!(request.filter.start_time, Some(Timestamp::from_millis(1)));
        assert_eq!(request.filter.end_time, Some(Timestamp::from_millis(5)));
        assert_eq!(parse("&replay=false&fromId=7").unwrap().start, Start::Now);
    }

    #[test]
    fn a_cursor_never_lies_beyond_what_is_stored() {
        assert_eq!(Start::After(3).cursor(10), 3);
        assert_eq!(Start::After(30).cursor(10), 10);
        assert_eq!(Start::Now.cursor(10), 10);
    }
}
