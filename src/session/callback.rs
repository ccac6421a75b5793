//! Callbacks: what became of a batch of messages is reported once to the target that was set when they were admitted.
//!
//! A batch opens with the first message that ends and has a target, and is due when the session is idle. Its
//! representative is the message that ended last. Storage says what is owed: a try is noted before it is made, so that
//! after a crash it is made again, and what comes of it is applied only to the try that it belongs to.

use cloud_agent_wire::{MessageId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::telemetry::LogEvent;

use super::deadline::{DeadlineKind, Deadlines};
use super::message::QueuePosition;
use super::record::CallbackTargetId;
use super::step::{Decision, Draft, Write};

/// Seconds from each failed try until the next; after the last one the callback is given up.
pub const RETRY_DELAYS_SECONDS: &[u64] = &[60, 120, 240, 480];
/// Longest that a receiver may take to answer.
pub const ANSWER_MILLIS_MAX: u64 = 10_000;
/// From the beginning of a try until it counts as lost: longer than any takes.
const TRY_LEASE_MILLIS: u64 = 2 * ANSWER_MILLIS_MAX;

/// Names a batch: the place in the queue of the message that opened it.
pub type BatchId = QueuePosition;

/// A batch of messages that is reported once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// Its name.
    pub id: BatchId,
    /// The message that is reported.
    pub message_id: MessageId,
    /// When that message ended.
    pub terminal_at: Timestamp,
    /// Where it is reported to.
    pub target: CallbackTargetId,
    /// Where the batch is in its life.
    pub state: CallbackState,
}

/// Where a batch is in its life. One that was reported, or given up, is not stored any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "phase",
    rename_all = "lowercase",
    rename_all_fields = "camelCase"
)]
pub enum CallbackState {
    /// Messages have ended and the session has not been idle since.
    Open,
    /// It is to be reported.
    Due {
        /// How many tries have failed.
        failures: u32,
        /// When it is.
        at: Timestamp,
    },
    /// A try is under way, or was when the object died.
    Sending {
        /// How many tries have failed before this one.
        failures: u32,
        /// When it counts as lost.
        until: Timestamp,
    },
}

impl CallbackState {
    /// When something is to be done about it.
    #[must_use]
    pub const fn at(self) -> Option<Timestamp> {
        match self {
            Self::Open => None,
            Self::Due { at, .. } => Some(at),
            Self::Sending { until, .. } => Some(until),
        }
    }
}

/// What decisions about callbacks read: of bounded size.
#[derive(Debug, Clone)]
pub struct CallbackView {
    /// Whether no message waits or runs.
    pub is_idle: bool,
    /// The batch that is open, if one is.
    pub open: Option<Callback>,
    /// The two that are to be looked at first.
    pub owed: Vec<Callback>,
    /// The target of messages that are admitted from now on.
    pub target: Option<CallbackTargetId>,
    /// The stored deadlines.
    pub deadlines: Deadlines,
}

impl CallbackView {
    /// When the open batch becomes due, if the session is idle.
    fn closes_at(&self, now: Timestamp) -> Option<Timestamp> {
        (self.is_idle && self.open.is_some()).then_some(now)
    }
}

/// A try to report a batch, noted in storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The batch.
    pub id: BatchId,
    /// The message that is reported.
    pub message_id: MessageId,
    /// Where to.
    pub target: CallbackTargetId,
    /// How many tries have failed before.
    pub failures: u32,
}

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The receiver answered with this status.
    Status(u16),
    /// The receiver could not be reached, or did not answer in time.
    None,
    /// It may not be reported there: the target's address, or its stored form, does not pass.
    Refused(&'static str),
}

/// What a try comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Delivered,
    Retry,
    GiveUp,
}

impl Answer {
    const fn verdict(self) -> Verdict {
        match self {
            Self::Status(200..=299) => Verdict::Delivered,
            Self::Status(429 | 500..) | Self::None => Verdict::Retry,
            Self::Status(_) | Self::Refused(_) => Verdict::GiveUp,
        }
    }

    /// The answer in a log line.
    fn reason(self) -> String {
        match self {
            Self::Status(status) => format!("status {status}"),
            Self::None => "no answer".to_owned(),
            Self::Refused(reason) => reason.to_owned(),
        }
    }
}

/// Takes a message that has ended into the open batch, or opens one with it.
#[must_use]
pub fn with_candidate(open: Option<&Callback>, candidate: Callback) -> Callback {
    match open {
        // Of two that ended at the same moment the later one counts.
        Some(open) if open.terminal_at > candidate.terminal_at => open.clone(),
        Some(open) => Callback {
            id: open.id,
            ..candidate
        },
        None => candidate,
    }
}

/// Decides what the alarm does about callbacks: at most one try at a time begins.
#[must_use]
pub fn next(view: &CallbackView, now: Timestamp) -> Decision<Option<Attempt>> {
    let mut draft = Draft::new(view.deadlines.clone());
    let mut owed = view.owed.clone();
    if view.is_idle
        && let Some(open) = &view.open
    {
        let state = CallbackState::Due {
            failures: 0,
            at: now,
        };
        let closed = Callback {
            state,
            ..open.clone()
        };
        draft.write(Write::PutCallback(closed.clone()));
        owed.insert(0, closed);
    }
    let mut attempt = None;
    if let Some(first) = owed.first_mut().filter(|first| is_due(first, now)) {
        let failures = match first.state {
            CallbackState::Due { failures, .. } => Some(failures),
            // Its object died, or it would have ended: whether it was received is not known.
            CallbackState::Sending { failures, .. } => next_failures(failures),
            CallbackState::Open => None,
        };
        if let Some(failures) = failures {
            first.state = CallbackState::Sending {
                failures,
                until: now.plus_millis(TRY_LEASE_MILLIS),
            };
            draft.write(Write::PutCallback(first.clone()));
            attempt = Some(Attempt {
                id: first.id,
                message_id: first.message_id.clone(),
                target: first.target,
                failures,
            });
        } else {
            give_up(&mut draft, view, first, "", "lost".to_owned());
            owed.remove(0);
        }
    }
    set_deadline(&mut draft, owed.iter(), None);
    draft.finish(attempt)
}

/// Applies what came of a try; `place` is what may be shown of the target. Nothing changes when it counts as lost by now.
#[must_use]
pub fn on_answered(
    view: &CallbackView,
    attempt: &Attempt,
    stored: Option<&Callback>,
    (answer, place): (Answer, &str),
    now: Timestamp,
) -> Decision<()> {
    let mut draft = Draft::new(view.deadlines.clone());
    let is_current = |callback: &&Callback| matches!(callback.state, CallbackState::Sending { failures, .. } if failures == attempt.failures);
    let Some(stored) = stored.filter(is_current) else {
        return draft.finish(());
    };
    let mut again = None;
    match answer.verdict() {
        Verdict::Delivered => {
            draft.log(LogEvent::CallbackDelivered {
                message_id: stored.message_id.clone(),
                place: place.to_owned(),
                failures: attempt.failures,
            });
            remove(&mut draft, view, stored.id);
        }
        Verdict::Retry => match retry_at(attempt.failures, now) {
            Some((failures, at)) => {
                draft.log(LogEvent::CallbackRetried {
                    message_id: stored.message_id.clone(),
                    place: place.to_owned(),
                    failures,
                    reason: answer.reason(),
                });
                let state = CallbackState::Due { failures, at };
                let callback = Callback {
                    state,
                    ..stored.clone()
                };
                draft.write(Write::PutCallback(callback.clone()));
                again = Some(callback);
            }
            None => give_up(&mut draft, view, stored, place, answer.reason()),
        },
        Verdict::GiveUp => give_up(&mut draft, view, stored, place, answer.reason()),
    }
    let others = view.owed.iter().filter(|other| other.id != stored.id);
    set_deadline(&mut draft, others.chain(&again), view.closes_at(now));
    draft.finish(())
}

/// After a crash, what was under way is under way no more: the next try comes at once.
#[must_use]
pub fn on_wake(view: &CallbackView, now: Timestamp) -> Decision<()> {
    let mut draft = Draft::new(view.deadlines.clone());
    let mut owed = view.owed.clone();
    for callback in &mut owed {
        if let CallbackState::Sending { failures, until } = callback.state
            && until > now
        {
            callback.state = CallbackState::Sending {
                failures,
                until: now,
            };
            draft.write(Write::PutCallback(callback.clone()));
        }
    }
    if !owed.is_empty() {
        set_deadline(&mut draft, owed.iter(), view.closes_at(now));
    }
    draft.finish(())
}

fn is_due(callback: &Callback, now: Timestamp) -> bool {
    callback.state.at().is_some_and(|at| at <= now)
}

/// One failure more; `None` when that makes as many as there may be.
fn next_failures(failures: u32) -> Option<u32> {
    let next = failures.saturating_add(1);
    (usize::try_from(next).ok()? <= RETRY_DELAYS_SECONDS.len()).then_some(next)
}

/// How many tries have failed and when the next one comes, after one more has failed.
fn retry_at(failures: u32, now: Timestamp) -> Option<(u32, Timestamp)> {
    let index = usize::try_from(failures).ok()?;
    let seconds = RETRY_DELAYS_SECONDS.get(index)?;
    Some((next_failures(failures)?, now.plus_millis(seconds * 1_000)))
}

fn give_up(
    draft: &mut Draft,
    view: &CallbackView,
    callback: &Callback,
    place: &str,
    reason: String,
) {
    draft.log(LogEvent::CallbackGivenUp {
        message_id: callback.message_id.clone(),
        place: place.to_owned(),
        reason,
    });
    remove(draft, view, callback.id);
}

fn remove(draft: &mut Draft, view: &CallbackView, id: BatchId) {
    draft.write(Write::RemoveCallback(id));
    draft.write(Write::ForgetCallbackTargets {
        except: view.target,
    });
}

/// `closes_at` is when an open batch becomes due, so that what is known of the others does not hide it.
fn set_deadline<'a>(
    draft: &mut Draft,
    owed: impl Iterator<Item = &'a Callback>,
    closes_at: Option<Timestamp>,
) {
    let times = owed.filter_map(|callback| callback.state.at());
    let at = times.chain(closes_at).min();
    draft.deadlines.set(DeadlineKind::Callback, at);
}
