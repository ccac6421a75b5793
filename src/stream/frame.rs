//! Frames as clients read them. An event's data is JSON text already, and is put into its frame as it is.

use std::fmt::Write as _;

use cloud_agent_wire::{MessageId, SessionId, Timestamp};

use crate::session::event::EventDraft;

/// The id of events that are not stored.
pub const VOLATILE_ID: u64 = 0;

/// An event, as it is stored or about to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Its id; [`VOLATILE_ID`] when it is not stored.
    pub id: u64,
    /// Its type.
    pub kind: &'a str,
    /// The message that it belongs to.
    pub message_id: Option<&'a str>,
    /// Its data, JSON text.
    pub payload: &'a str,
    /// When it happened.
    pub at: Timestamp,
}

impl<'a> Event<'a> {
    /// An event that is not stored.
    #[must_use]
    pub fn volatile(draft: &'a EventDraft) -> Self {
        Self {
            id: VOLATILE_ID,
            kind: draft.kind,
            message_id: draft.message_id.as_ref().map(MessageId::as_str),
            payload: &draft.payload,
            at: draft.at,
        }
    }

    /// The frame of the event.
    #[must_use]
    pub fn to_frame(&self, session_id: &SessionId) -> String {
        let mut frame = String::with_capacity(self.payload.len() + 256);
        // Types and ids consist of letters, digits and a few signs that JSON leaves alone.
        let _ = write!(frame, r#"{{"eventId":{}"#, self.id);
        if let Some(message_id) = self.message_id {
            frame.push_str(r#","executionId":""#);
            frame.push_str(message_id);
            frame.push('"');
        }
        frame.push_str(r#","sessionId":""#);
        frame.push_str(session_id.as_str());
        frame.push_str(r#"","streamEventType":""#);
        frame.push_str(self.kind);
        frame.push_str(r#"","timestamp":""#);
        push_iso(&mut frame, self.at);
        frame.push_str(r#"","data":"#);
        frame.push_str(self.payload);
        frame.push('}');
        frame
    }
}

/// An error frame. Both texts are constants without quotes.
#[must_use]
pub fn error(code: &str, message: &str) -> String {
    format!(r#"{{"type":"error","code":"{code}","message":"{message}"}}"#)
}

/// Appends a moment as JavaScript's `toISOString` writes it.
fn push_iso(text: &mut String, at: Timestamp) {
    let millis = at.as_millis();
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (days, seconds) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
    );
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last: then a month's first day is linear in its
/// number. 719,468 days lie between 0000-03-01 and 1970-01-01, and 146,097 are a cycle of 400 years.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let is_next_year = month_from_march >= 10;
    let month = if is_next_year {
        month_from_march - 9
    } else {
        month_from_march + 3
    };
    (
        cycle * 400 + year_of_cycle + is_next_year as u64,
        month,
        day,
    )
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::Timestamp;

    use super::{Event, error, push_iso};

    const SESSION: &str = "agent_0f8fad5b-d9cb-469f-a165-70867728950e";

    fn iso(millis: u64) -> String {
        let mut text = String::new();
        push_iso(&mut text, Timestamp::from_millis(millis));
        text
    }

    #[test]
    fn moments_are_written_as_javascript_writes_them() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(iso(millis), expected);
        }
    }

    #[test]
    fn a_frame_holds_the_data_as_it_is_and_leaves_out_a_message_that_is_not_there() {
        let event = Event {
            id: 7,
            kind: "kilocode",
            message_id: None,
            payload: r#"{"a": "\u007b"}"#,
            at: Timestamp::from_millis(0),
        };
        let session = SESSION.parse().unwrap();
        assert_eq!(
            event.to_frame(&session),
            format!(
                r#"{{"eventId":7,"sessionId":"{SESSION}","streamEventType":"kilocode","timestamp":"1970-01-01T00:00:00.000Z","data":{{"a": "\u007b"}}}}"#
            )
        );
        let event = Event {
            message_id: Some("msg_1"),
            ..event
        };
        let frame: serde_json::Value = serde_json::from_str(&event.to_frame(&session)).unwrap();
        assert_eq!(frame["executionId"], "msg_1");
    }

    #[test]
    fn an_error_frame_is_json() {
        let frame: serde_json::Value = serde_json::from_str(&error("WS_X", "Why.")).unwrap();
        assert_eq!(
            frame,
            serde_json::json!({"type": "error", "code": "WS_X", "message": "Why."})
        );
    }
}
