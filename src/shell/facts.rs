//! What is read for clients and for callbacks: the session, its messages and how they ended.

use cloud_agent_wire::{MessageId, SessionId};

use crate::projection::{MessageFacts, SessionSources, is_stale};
use crate::session::engine::Store;
use crate::session::error::StoreError;
use crate::session::kilocode;
use crate::session::message::MessageState;
use crate::session::record::{CallbackTargetId, SessionRecord};
use crate::session::sealing::Sealed;

use super::platform;
use super::rows::{cursor, integer, one, text};
use super::store::SqlStore;

/// Most parts of an answer that are looked at.
const ANSWER_PARTS_MAX: usize = 1_000;

impl SqlStore {
    /// A message, wherever it is in its life; `None` when there is no session, or no such message in it.
    pub fn message(
        &self,
        message_id: &MessageId,
    ) -> Result<Option<(SessionId, Option<MessageFacts>)>, StoreError> {
        let Some(record) = self.live_record()? else {
            return Ok(None);
        };
        let query = "SELECT created_at, state FROM message WHERE message_id = ?";
        let message = one(self.sql(), query, &[text(message_id.as_str())])?
            .map(|mut row| {
                let created_at = row.time("message")?;
                let state = row.json("message")?;
                Ok::<_, StoreError>(MessageFacts {
                    message_id: message_id.clone(),
                    created_at,
                    answer: self.answer(&state)?,
                    state,
                })
            })
            .transpose()?;
        Ok(Some((record.session_id, message)))
    }

    /// The sealed target of a callback, with the record that it is bound to.
    pub fn callback_target(
        &self,
        id: CallbackTargetId,
    ) -> Result<Option<(SessionRecord, Sealed)>, StoreError> {
        let Some(record) = self.live_record()? else {
            return Ok(None);
        };
        let query = "SELECT sealed FROM callback_target WHERE id = ?";
        let Some(mut row) = one(self.sql(), query, &[integer(id.0)])? else {
            return Ok(None);
        };
        let sealed = Sealed::from_stored(row.text("callback_target")?);
        Ok(Some((record, sealed)))
    }

    /// The text of the agent's answer to a completed message.
    fn answer(&self, state: &MessageState) -> Result<Option<String>, StoreError> {
        let MessageState::Completed {
            assistant: Some(assistant),
            ..
        } = state
        else {
            return Ok(None);
        };
        let (from, to) = kilocode::parts_of(assistant);
        // The newest version of a part that was finished earlier has the lower id.
        let query = "SELECT payload FROM event WHERE entity >= ? AND entity < ? ORDER BY id";
        // Parts are large: each is read when the one before was looked at and is gone.
        let parts = cursor(self.sql(), query, vec![text(&from), text(&to)])?
            .map(|row| row?.text("event"))
            .take(ANSWER_PARTS_MAX);
        kilocode::answer_text(parts)
    }

    /// Everything that `getSession` shows a part of; `None` when there is no session.
    pub fn session_sources(&self) -> Result<Option<SessionSources>, StoreError> {
        let (Some(record), Some(initial), Some(profile)) = (
            self.live_record()?,
            self.initial_message()?,
            self.profile()?,
        ) else {
            return Ok(None);
        };
        Ok(Some(SessionSources {
            record,
            initial,
            profile,
            credential: self.credential()?,
            head: self.head()?,
            is_stale: is_stale(&self.link()?, &self.deadlines()?, platform::now()),
            latest_event_id: self.latest_event_id()?,
        }))
    }
}
