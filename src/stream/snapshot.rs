//! What a client is told when it has had everything that is stored: what it could not know from events alone.

use cloud_agent_wire::Timestamp;

use crate::limits::SHOWN_FAILURES_MAX;
use crate::session::event::{self, EventDraft};
use crate::session::event_data::CloudStatus;
use crate::session::message::{MessageRecord, MessageState};
use crate::session::record::{RuntimeLink, SessionRecord};
use crate::session::view::Head;
use crate::session::volatile;

/// What the snapshot is taken of.
#[derive(Debug)]
pub struct Sources {
    /// The session.
    pub record: SessionRecord,
    /// What is known about its runtime.
    pub link: RuntimeLink,
    /// Every message that has not ended, from the head of the queue.
    pub open: Vec<Head>,
    /// Messages whose agent was never started, newest first; see [`has_never_started`].
    pub never_started: Vec<MessageRecord>,
    /// The newest stored event.
    pub latest_event_id: u64,
}

/// Whether a message ended without its agent having been started.
#[must_use]
pub const fn has_never_started(state: &MessageState) -> bool {
    state.phase().is_terminal() && state.accepted_at().is_none()
}

/// Picks the messages that never started and still matter from all messages, newest first: those behind the newest one
/// whose agent was started. Messages that wait are passed over.
#[must_use]
pub fn still_relevant(newest_first: impl Iterator<Item = MessageRecord>) -> Vec<MessageRecord> {
    newest_first
        .take_while(|message| message.state.accepted_at().is_none())
        .filter(|message| has_never_started(&message.state))
        .take(SHOWN_FAILURES_MAX)
        .collect()
}

impl Sources {
    /// The events, in the order in which clients expect them. All are volatile.
    #[must_use]
    pub fn events(&self, now: Timestamp) -> Vec<EventDraft> {
        let mut events = vec![];
        for message in self.never_started.iter().rev() {
            events.push(event::queued(&message.intent, message.created_at));
            events.extend(ending(message));
        }
        events.push(volatile::connected(
            self.cloud_status(),
            self.latest_event_id,
            now,
        ));
        let head = self.open.iter().find_map(readable);
        if let (Some(preparing), Some(head)) = (self.link.preparing, head)
            && matches!(head.state, MessageState::Claimed { .. })
        {
            let message_id = Some(head.message_id());
            events.push(volatile::preparing(preparing, message_id, now));
            let status = CloudStatus::preparing(Some(preparing));
            events.push(volatile::cloud_status(status, message_id, now));
        }
        let waiting = self.open.iter().filter_map(readable);
        events.extend(
            waiting
                .filter(|message| message.state.accepted_at().is_none())
                .map(|message| event::queued(&message.intent, message.created_at)),
        );
        events
    }

    fn cloud_status(&self) -> Option<CloudStatus<'static>> {
        if self.record.prepared_at.is_some() {
            return Some(CloudStatus::Ready);
        }
        (!self.open.is_empty()).then(|| CloudStatus::preparing(self.link.preparing))
    }
}

const fn readable(head: &Head) -> Option<&MessageRecord> {
    match head {
        Head::Message(message) => Some(message),
        Head::Unreadable { .. } => None,
    }
}

/// The event of how a message that was never started ended.
fn ending(message: &MessageRecord) -> Option<EventDraft> {
    match &message.state {
        MessageState::Failed {
            terminal_at,
            failure,
            attempts,
            ..
        } => Some(event::failed(
            message.message_id(),
            false,
            failure,
            *attempts,
            *terminal_at,
        )),
        MessageState::Interrupted { terminal_at, .. } => Some(event::interrupted(
            message.message_id(),
            false,
            *terminal_at,
        )),
        _ => None,
    }
}
