//! Retention: events go after ninety days, and so does a session that nobody has used for as long.
//!
//! What is swept in one go is bounded; the alarm comes back for the rest. Messages stay as long as their session, since
//! their ids must not be used twice.

use cloud_agent_wire::Timestamp;

use crate::telemetry::LogEvent;

use super::deadline::{DeadlineKind, Deadlines};
use super::ending;
use super::record::SessionRecord;
use super::step::{Decision, Draft, Write};
use super::timing::FLOOR_DELAY_MILLIS;

const DAY_MILLIS: u64 = 24 * 60 * 60 * 1_000;
/// How long events are kept, and sessions that nobody uses.
pub const RETENTION_MILLIS: u64 = 90 * DAY_MILLIS;
/// Most events that one alarm removes.
pub const SWEPT_EVENTS_MAX: u32 = 500;

/// What retention reads: of bounded size.
#[derive(Debug, Clone)]
pub struct RetentionView {
    /// The session.
    pub record: SessionRecord,
    /// Whether no message waits or runs.
    pub is_idle: bool,
    /// When the oldest event happened.
    pub oldest_event: Option<Timestamp>,
    /// When the newest event happened.
    pub newest_event: Option<Timestamp>,
    /// When the credential last changed.
    pub credential_updated_at: Option<Timestamp>,
    /// The stored deadlines.
    pub deadlines: Deadlines,
}

impl RetentionView {
    /// When somebody last did something with the session. Reading is not doing.
    fn last_activity(&self) -> Timestamp {
        let rest = [self.newest_event, self.credential_updated_at];
        rest.into_iter()
            .flatten()
            .fold(self.record.created_at, Timestamp::max)
    }
}

/// When retention first looks at a session that was made at that moment.
#[must_use]
pub fn first_look(created_at: Timestamp) -> Timestamp {
    created_at.plus_millis(RETENTION_MILLIS)
}

/// Decides what is swept: a session out of use as a whole, else a bounded number of events that are too old.
#[must_use]
pub fn sweep(view: &RetentionView, now: Timestamp) -> Decision<()> {
    let is_old = |at: Timestamp| now.millis_since(at) >= RETENTION_MILLIS;
    let last_activity = view.last_activity();
    if view.is_idle && is_old(last_activity) {
        let mut decision = ending::delete(&view.record, &view.deadlines, now);
        decision.log.push(LogEvent::SessionExpired);
        return decision;
    }
    let mut draft = Draft::new(view.deadlines.clone());
    let next = match view.oldest_event {
        Some(oldest) if is_old(oldest) => {
            draft.write(Write::SweepEvents {
                until: Timestamp::from_millis(now.as_millis().saturating_sub(RETENTION_MILLIS)),
            });
            now.plus_millis(FLOOR_DELAY_MILLIS)
        }
        oldest => {
            // The first moment at which something can be too old, but no more than once a day.
            let first = oldest.map_or(last_activity, |oldest| oldest.min(last_activity));
            first
                .plus_millis(RETENTION_MILLIS)
                .max(now.plus_millis(DAY_MILLIS))
        }
    };
    draft.deadlines.set(DeadlineKind::Retention, Some(next));
    draft.finish(())
}
