//! What delivery reads of a session, loaded afresh before every decision.

use cloud_agent_wire::{Generation, MessageId, Timestamp};

use super::callback::Callback;
use super::credential::CredentialRecord;
use super::deadline::Deadlines;
use super::message::{MessageRecord, QueuePosition};
use super::record::{CallbackTargetId, Refusal, RuntimeLink, SessionRecord};

/// What a new incarnation of the object looks at.
#[derive(Debug, Clone)]
pub struct WakeView {
    /// Whether a runtime has the oldest message that has not ended, readable or not.
    pub is_delivering: bool,
    /// The stored deadlines.
    pub deadlines: Deadlines,
}

/// The part of the state that delivery reads: of bounded size.
#[derive(Debug, Clone)]
pub struct DeliveryView {
    /// The session.
    pub record: SessionRecord,
    /// Its credential.
    pub credential: Option<CredentialRecord>,
    /// The oldest message that has not ended.
    pub head: Option<Head>,
    /// The batch of ended messages that is open, if one is.
    pub batch: Option<Callback>,
    /// What is known about the runtime.
    pub link: RuntimeLink,
    /// Whether the time of a marker is over.
    pub has_expired_marker: bool,
    /// When the next open marker expires, after those that have by now.
    pub next_marker_expiry: Option<Timestamp>,
    /// The stored deadlines.
    pub deadlines: Deadlines,
}

impl DeliveryView {
    /// What counts of a session that is being deleted: nothing is claimed, delivered or read for it any more.
    #[must_use]
    pub const fn of_deleted(
        record: SessionRecord,
        link: RuntimeLink,
        deadlines: Deadlines,
    ) -> Self {
        Self {
            record,
            credential: None,
            head: None,
            batch: None,
            link,
            has_expired_marker: false,
            next_marker_expiry: None,
            deadlines,
        }
    }

    /// The generation of the current credential, the session's own or the last one that was resolved; 0 when there is
    /// none.
    #[must_use]
    pub fn generation(&self) -> Generation {
        let own = self.credential.as_ref().map(|it| it.generation);
        let managed = self.record.managed.as_ref().map(|it| it.generation);
        own.or(managed).unwrap_or_default()
    }

    /// The readable head of the queue.
    #[must_use]
    pub fn head_message(&self) -> Option<&MessageRecord> {
        match &self.head {
            Some(Head::Message(message)) => Some(message),
            Some(Head::Unreadable { .. }) | None => None,
        }
    }

    /// The refusal of the current credential, while there is no newer one.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.record
            .refused
            .filter(|refused| refused.generation == self.generation())
    }
}

/// The oldest message that has not ended.
#[derive(Debug, Clone)]
pub enum Head {
    /// As it should be.
    Message(Box<MessageRecord>),
    /// Its row cannot be read. It must not block the messages behind it.
    Unreadable {
        /// Its place.
        position: QueuePosition,
        /// Its id.
        message_id: MessageId,
        /// Whether a delivery of it is under way, so that a runtime may have it.
        is_delivered: bool,
        /// Where it is reported to when it has ended.
        callback: Option<CallbackTargetId>,
    },
}
