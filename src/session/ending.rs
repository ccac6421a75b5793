//! Interrupting what a session does, and deleting it.

use cloud_agent_wire::Timestamp;

use super::command::Settings;
use super::deadline::{DeadlineKind, Deadlines};
use super::message::MessageRecord;
use super::progress::Progress;
use super::record::SessionRecord;
use super::step::{Decision, Draft, Write};
use super::view::{DeliveryView, Head};

/// Stops every message that has not ended, and owes the runtime word of those that it may have.
///
/// `open` are all messages that have not ended, at most eleven. One step: either all of them are stopped or none.
#[must_use]
pub fn interrupt(
    view: &DeliveryView,
    open: &[Head],
    now: Timestamp,
    settings: &Settings,
) -> Decision<()> {
    let mut progress = Progress::new(view, now, settings);
    for message in open.iter().filter_map(readable) {
        progress.interrupt(message);
    }
    progress.finish(())
}

/// A message whose row cannot be read is set aside by the alarm.
fn readable(head: &Head) -> Option<&MessageRecord> {
    match head {
        Head::Message(message) => Some(message),
        Head::Unreadable { .. } => None,
    }
}

/// Fences a live session off and forgets its secrets; the alarm does the rest.
#[must_use]
pub fn delete(record: &SessionRecord, stored: &Deadlines, now: Timestamp) -> Decision<()> {
    let mut draft = Draft::new(stored.clone());
    let record = SessionRecord {
        deleting_since: Some(now),
        ..record.clone()
    };
    draft.write(Write::PutRecord(Box::new(record)));
    draft.write(Write::ForgetSecrets);
    for kind in DeadlineKind::ALL.iter().copied() {
        draft.deadlines.set(kind, None);
    }
    draft.deadlines.set(DeadlineKind::Deletion, Some(now));
    draft.finish(())
}
