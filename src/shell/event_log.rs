//! What those who follow a session read of its storage: stored events by cursor, and what a snapshot is taken of.

use cloud_agent_wire::Timestamp;

use crate::limits::USED_TICKETS_MAX;
use crate::session::deadline::DeadlineKind;
use crate::session::engine::Store;
use crate::session::error::StoreError;
use crate::session::message::MessageRecord;
use crate::session::step::Write;
use crate::session::view::Head;
use crate::stream::error::StreamError;
use crate::stream::frame::Event;
use crate::stream::snapshot::{Sources, still_relevant};
use crate::stream::ticket::Ticket;
use crate::telemetry::LogEvent;

use super::records::{MESSAGES, head};
use super::rows::{self, Row, Value, integer, one, text};
use super::store::SqlStore;
use super::write;

const TABLE: &str = "event";

/// A stored event.
pub struct StoredEvent {
    pub id: u64,
    kind: String,
    message_id: Option<String>,
    payload: String,
    at: Timestamp,
}

impl StoredEvent {
    fn read(mut row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.integer(TABLE)?,
            kind: row.text(TABLE)?,
            message_id: row.optional_text(TABLE)?,
            payload: row.text(TABLE)?,
            at: row.time(TABLE)?,
        })
    }

    pub fn as_event(&self) -> Event<'_> {
        Event {
            id: self.id,
            kind: &self.kind,
            message_id: self.message_id.as_deref(),
            payload: &self.payload,
            at: self.at,
        }
    }
}

impl SqlStore {
    /// The stored events behind a cursor, in order, read as they are asked for. To be dropped before any await.
    pub fn events_after(
        &self,
        cursor: u64,
    ) -> Result<impl Iterator<Item = Result<StoredEvent, StoreError>>, StoreError> {
        let query = "SELECT id, kind, message_id, payload, at FROM event WHERE id > ? ORDER BY id";
        let events = rows::cursor(self.sql(), query, vec![integer(cursor)])?
            .map(|row| StoredEvent::read(row?));
        // What cannot be read is passed over: it must not hide the others.
        Ok(events.filter(|event| !matches!(event, Err(StoreError::Unreadable(_)))))
    }

    /// The id of the newest stored event.
    pub fn latest_event_id(&self) -> Result<Option<u64>, StoreError> {
        let newest = one(self.sql(), "SELECT MAX(id) FROM event", &[])?;
        let id = newest
            .map(|mut row| row.optional_integer(TABLE))
            .transpose()?;
        Ok(id.flatten())
    }

    /// What a client is told when it has had everything that is stored; `None` when the session is gone.
    pub fn snapshot_sources(&self, now: Timestamp) -> Result<Option<Sources>, StoreError> {
        let Some(view) = self.delivery_view(now)? else {
            return Ok(None);
        };
        Ok(Some(Sources {
            record: view.record,
            link: view.link,
            open: self.open_messages()?,
            never_started: self.never_started()?,
            latest_event_id: self.latest_event_id()?.unwrap_or(0),
        }))
    }

    /// Messages that ended without having been started and still matter, newest first.
    fn never_started(&self) -> Result<Vec<MessageRecord>, StoreError> {
        let query = format!("{MESSAGES} ORDER BY position DESC");
        let rows = rows::cursor(self.sql(), &query, vec![])?;
        let messages = rows.filter_map(|row| {
            // What cannot be read is passed over: it must not hide the others.
            match row.and_then(head) {
                Ok(Head::Message(message)) => Some(*message),
                Ok(Head::Unreadable { .. }) | Err(_) => None,
            }
        });
        Ok(still_relevant(messages))
    }

    /// Notes when the alarm is to send followers what they have not had; `None` when there is nothing left to send.
    pub fn owe_replay(&self, at: Option<Timestamp>) {
        // A decision that is being performed does not know of it, so the alarm's next arming looks here as well.
        self.followers.owed_at.set(at);
        if !matches!(self.live_record(), Ok(Some(_))) {
            return;
        }
        let noted = write::statements(&[Write::PutDeadline(DeadlineKind::Replay, at)])
            .and_then(|statements| self.write(&statements));
        match noted.and_then(|()| self.deadlines()) {
            Ok(deadlines) => self.arm(&deadlines),
            Err(error) => self.log(&LogEvent::Fault {
                place: "replay",
                reason: error.to_string(),
            }),
        }
    }

    /// Remembers that a ticket opens a socket now.
    ///
    /// # Errors
    /// It has opened one before, or so many were used within a minute that it cannot be remembered.
    pub fn use_ticket(&self, ticket: &Ticket, now: Timestamp) -> Result<(), StreamError> {
        let count = |query: &str, value: Value| -> Result<u64, StoreError> {
            one(self.sql(), query, &[value])?.map_or(Ok(0), |mut row| row.integer("ticket"))
        };
        let used = || -> Result<Option<StreamError>, StoreError> {
            let used = "SELECT COUNT(*) FROM ticket WHERE nonce = ?";
            if count(used, text(&ticket.nonce))? > 0 {
                return Ok(Some(StreamError::UsedTicket));
            }
            let unexpired = "SELECT COUNT(*) FROM ticket WHERE expires_at > ?";
            let unexpired = count(unexpired, integer(now.as_millis()))?;
            Ok((unexpired >= USED_TICKETS_MAX).then_some(StreamError::TooManySockets))
        };
        if let Some(refusal) = used().map_err(|_| StreamError::Internal)? {
            return Err(refusal);
        }
        self.write(&[
            (
                "DELETE FROM ticket WHERE expires_at <= ?",
                vec![integer(now.as_millis())],
            ),
            (
                "INSERT INTO ticket (nonce, expires_at) VALUES (?, ?)",
                vec![text(&ticket.nonce), integer(ticket.expires_at.as_millis())],
            ),
        ])
        .map_err(|_| StreamError::Internal)
    }
}
