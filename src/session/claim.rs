//! Claiming: what the alarm does next.
//!
//! Delivery is serial and first in, first out. Only the alarm claims, and an alarm never runs twice at once, so two
//! deliveries of one session cannot overlap. Everything outside happens after the claim is durable, and what comes
//! of it is applied only if the message is still claimed under the same submission (see [`super::delivery`]).

use cloud_agent_wire::{
    Failure, FailureCode, FailureSubtype, Generation, Intent, MessageId, Submission, Timestamp,
};

use crate::telemetry::LogEvent;

use super::command::Settings;
use super::deadline::DeadlineKind;
use super::event;
use super::message::{DeliveryHistory, MessageRecord, MessageState, QueuePosition};
use super::progress::{Progress, pre_dispatch};
use super::step::{Decision, Draft, Write};
use super::timing::{
    CLAIM_LEASE_MILLIS, DELETION_MILLIS_MAX, EVENT_PULL_BACKSTOP_MILLIS, FLOOR_DELAY_MILLIS,
    INTERRUPT_MILLIS_MAX, OWED_RETRY_MILLIS, RUNTIME_LOST_MILLIS, TURN_MILLIS_MAX,
    WAKE_GRACE_MILLIS,
};
use super::view::{DeliveryView, Head, WakeView};

/// What the alarm does: its work on the queue, and then a call that the runtime is owed.
///
/// Neither waits for the other's success: a runtime that never answers what it is owed must not keep the head of the
/// queue from being watched, and so from being given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The work on the queue.
    pub work: Work,
    /// The call.
    pub owed: Option<Owed>,
}

/// A call that the runtime is owed beside deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owed {
    /// Push the current credential, of this generation.
    Push(Generation),
    /// Tell it to stop the turn of this message.
    Interrupt(MessageId),
}

/// What the alarm does about the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Nothing until the next deadline.
    Rest,
    /// Look again at once: a message was set aside.
    Again,
    /// Hand this claim to the runtime.
    Deliver(Box<Claim>),
    /// See to it that the runtime's events are being read.
    Pull {
        /// Whether the task that reads them has shown no sign of life for so long that another is to take its place.
        overdue: bool,
    },
    /// Have the runtime remove the session, then remove it from storage.
    Delete,
    /// Remove the session from storage; the runtime was asked long enough.
    Erase,
}

/// A delivery, complete enough to be handed to the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its place in the queue.
    pub position: QueuePosition,
    /// The delivery's number.
    pub submission: Submission,
    /// The credential generation that it needs.
    pub generation: Generation,
    /// The message's content.
    pub intent: Intent,
}

/// Decides what the alarm does. Call it again after [`Work::Again`].
#[must_use]
pub fn next_work(view: &DeliveryView, now: Timestamp, settings: &Settings) -> Decision<Round> {
    let mut progress = Progress::new(view, now, settings);
    let work = progress.choose_work();
    let owed = match work {
        Work::Again | Work::Delete | Work::Erase => None,
        Work::Rest | Work::Deliver(_) | Work::Pull { .. } => progress.choose_owed(),
    };
    if work != Work::Again {
        progress.leave_nothing_due();
    }
    progress.finish(Round { work, owed })
}

/// Brings the reading of events forward when the object was constructed anew while the runtime works.
#[must_use]
pub fn on_wake(view: WakeView, now: Timestamp) -> Decision<()> {
    let mut draft = Draft::new(view.deadlines);
    // Of a session that is being deleted nothing is read any more.
    let is_deleted = draft.deadlines.get(DeadlineKind::Deletion).is_some();
    if view.is_delivering && !is_deleted {
        draft.set_deadline_no_later(DeadlineKind::EventPull, now);
        let grace = now.plus_millis(WAKE_GRACE_MILLIS);
        let watch = draft.deadlines.get(DeadlineKind::TurnWatch);
        if watch.is_some_and(|at| at < grace) {
            draft.deadlines.set(DeadlineKind::TurnWatch, Some(grace));
        }
    }
    draft.finish(())
}

/// From a try to tell a runtime to stop a turn until the next one, longer the longer it is owed; `None` when it was
/// told often enough. What is owed stays noted, and is told to the same store when it answers again.
fn interrupt_retry_millis(age_millis: u64) -> Option<u64> {
    let millis = OWED_RETRY_MILLIS.max(age_millis / 8);
    (age_millis < INTERRUPT_MILLIS_MAX).then_some(millis)
}

impl Progress<'_> {
    fn choose_work(&mut self) -> Work {
        if let Some(since) = self.view.record.deleting_since {
            for kind in DeadlineKind::ALL.iter().copied() {
                self.draft.deadlines.set(kind, None);
            }
            self.set_after(DeadlineKind::Deletion, OWED_RETRY_MILLIS);
            let overdue = self.now.millis_since(since) >= DELETION_MILLIS_MAX;
            return if overdue { Work::Erase } else { Work::Delete };
        }
        self.expire_markers();
        if self.waits_for_interrupt() {
            return Work::Rest;
        }
        match self.view.head.clone() {
            None => {
                self.clear_delivery_deadlines();
                self.draft.deadlines.set(DeadlineKind::Drain, None);
                self.draft.deadlines.set(DeadlineKind::CredentialWait, None);
                Work::Rest
            }
            Some(Head::Unreadable {
                position,
                message_id,
                is_delivered,
                callback,
            }) => {
                if is_delivered {
                    self.owe_interrupt(&message_id);
                }
                self.clear_delivery();
                self.set_aside(position, &message_id);
                self.report(position, &message_id, callback);
                Work::Again
            }
            Some(Head::Message(message)) => self.work_on_head(&message),
        }
    }

    /// Nothing new is delivered before the runtime has stopped what it was told to stop. One that is lost holds the
    /// queue up for a minute only.
    fn waits_for_interrupt(&self) -> bool {
        let owed = self.view.link.interrupts.first();
        owed.is_some_and(|owed| self.now.millis_since(owed.since) < RUNTIME_LOST_MILLIS)
    }

    /// The call whose next try is due: an interrupt before a push, since what is to be stopped needs no credential.
    fn choose_owed(&mut self) -> Option<Owed> {
        let due = |progress: &Self, kind| progress.draft.deadlines.is_due(kind, progress.now);
        if let Some(owed) = self.view.link.interrupts.first().cloned()
            && due(self, DeadlineKind::InterruptOwed)
        {
            let age_millis = self.now.millis_since(owed.since);
            let next =
                interrupt_retry_millis(age_millis).map(|millis| self.now.plus_millis(millis));
            self.draft.deadlines.set(DeadlineKind::InterruptOwed, next);
            return Some(Owed::Interrupt(owed.message_id));
        }
        if !self.owes_push() {
            self.draft.deadlines.set(DeadlineKind::PushOwed, None);
            return None;
        }
        // A stored moment is that of the next try, which nothing brings forward.
        let at = self.draft.deadlines.get(DeadlineKind::PushOwed);
        if at.is_some_and(|at| at > self.now) {
            return None;
        }
        self.set_after(DeadlineKind::PushOwed, OWED_RETRY_MILLIS);
        Some(Owed::Push(self.view.generation()))
    }

    /// Whatever is still due waits for something that has a deadline of its own; ringing for it at once would loop.
    fn leave_nothing_due(&mut self) {
        let floor = self.now.plus_millis(FLOOR_DELAY_MILLIS);
        for kind in DeadlineKind::ALL.iter().copied() {
            // The same alarm looks at these after the deliveries.
            let is_next = matches!(
                kind,
                DeadlineKind::Callback | DeadlineKind::Replay | DeadlineKind::Retention
            );
            if !is_next && self.draft.deadlines.is_due(kind, self.now) {
                self.draft.deadlines.set(kind, Some(floor));
            }
        }
    }

    fn expire_markers(&mut self) {
        if self
            .draft
            .deadlines
            .is_due(DeadlineKind::MarkerExpiry, self.now)
        {
            if self.view.has_expired_marker {
                self.draft.write(Write::AbandonMarkers {
                    expired_at: self.now,
                });
                self.draft.log(LogEvent::MarkersExpired);
            }
            let next = self.view.next_marker_expiry;
            self.draft.deadlines.set(DeadlineKind::MarkerExpiry, next);
        }
    }

    /// Whether the runtime works with an older credential than the current one, or with one that was refused.
    fn owes_push(&self) -> bool {
        let has_turn = self
            .view
            .head_message()
            .is_some_and(MessageRecord::is_taken);
        let is_behind = has_turn
            && self.view.credential.is_some()
            && self.view.record.repository.uses_session_credential()
            && self.view.generation() > self.view.link.acknowledged;
        is_behind || self.view.needs_managed_token()
    }

    /// Ends a message whose row cannot be read, so that the queue goes on.
    fn set_aside(&mut self, position: QueuePosition, message_id: &MessageId) {
        let failure = pre_dispatch(FailureCode::SessionMetadataMissing, Generation::default());
        let attempts = Submission::default();
        self.draft.log(LogEvent::MessageEnded {
            message_id: message_id.clone(),
            phase: "failed",
            code: Some(failure.code),
            subtype: None,
        });
        let event = event::failed(message_id, false, &failure, attempts, self.now);
        self.draft.write(Write::AppendEvent(event));
        let state = MessageState::Failed {
            accepted_at: None,
            terminal_at: self.now,
            failure,
            attempts,
        };
        self.draft.write(Write::PutMessageState { position, state });
    }

    fn work_on_head(&mut self, message: &MessageRecord) -> Work {
        self.draft.deadlines.set(DeadlineKind::Drain, None);
        match &message.state {
            MessageState::Queued { .. } if self.view.refusal().is_some() => {
                self.wait_for_credential(message)
            }
            MessageState::Queued {
                not_before: Some(not_before),
                ..
            } if *not_before > self.now => {
                self.draft
                    .deadlines
                    .set(DeadlineKind::Retry, Some(*not_before));
                Work::Rest
            }
            MessageState::Queued { history, .. } => self.claim(message, history),
            MessageState::Claimed { generation, .. }
                if self
                    .draft
                    .deadlines
                    .is_due(DeadlineKind::ClaimLease, self.now) =>
            {
                let failure = Failure {
                    detail: Some("the runtime did not finish preparing in time".to_owned()),
                    ..pre_dispatch(FailureCode::WorkspaceSetupFailed, *generation)
                };
                self.settle_failure(&message.that_may_be_out(), failure);
                Work::Again
            }
            MessageState::Claimed { store_id: None, .. } => self.deliver_again(message),
            MessageState::Accepted { accepted_at, .. }
                if self
                    .draft
                    .deadlines
                    .is_due(DeadlineKind::TurnWatch, self.now) =>
            {
                self.watch_turn(message, *accepted_at)
            }
            MessageState::Claimed { .. } | MessageState::Accepted { .. } => self.pull(),
            MessageState::Completed { .. }
            | MessageState::Failed { .. }
            | MessageState::Interrupted { .. } => Work::Rest,
        }
    }

    /// The remote refused the current credential: nothing is tried with it again, and after the wait the messages
    /// that would use it fail.
    fn wait_for_credential(&mut self, message: &MessageRecord) -> Work {
        let Some(refusal) = self.view.refusal() else {
            return Work::Again;
        };
        let until = refusal
            .since
            .plus_millis(self.settings.credential_wait_millis);
        self.draft.deadlines.set(DeadlineKind::Retry, None);
        if self.now < until {
            self.draft
                .deadlines
                .set(DeadlineKind::CredentialWait, Some(until));
            return Work::Rest;
        }
        self.draft.deadlines.set(DeadlineKind::CredentialWait, None);
        let failure = Failure {
            subtype: Some(FailureSubtype::GitAuthenticationFailed),
            ..pre_dispatch(FailureCode::WorkspaceSetupFailed, refusal.generation)
        };
        self.fail(message, failure);
        Work::Again
    }

    fn claim(&mut self, message: &MessageRecord, history: &DeliveryHistory) -> Work {
        let submission = history.submission.next();
        let generation = self.view.generation();
        let message_id = message.message_id().clone();
        self.draft.log(LogEvent::MessageClaimed {
            message_id,
            submission,
            generation,
        });
        let history = DeliveryHistory {
            submission,
            ..history.clone()
        };
        let claimed_at = self.now;
        let state = MessageState::Claimed {
            history,
            generation,
            claimed_at,
            store_id: None,
        };
        self.put(message.clone(), state);
        self.draft.deadlines.set(DeadlineKind::Retry, None);
        self.draft.deadlines.set(DeadlineKind::CredentialWait, None);
        self.set_after(DeadlineKind::ClaimLease, CLAIM_LEASE_MILLIS);
        // Should the object die before the runtime has answered, the alarm hands the claim over again.
        self.set_after(DeadlineKind::EventPull, FLOOR_DELAY_MILLIS);
        self.deliver(message, submission)
    }

    /// The object died between the claim and the runtime's answer: the same submission is handed over again, and may
    /// have reached the runtime before.
    fn deliver_again(&mut self, message: &MessageRecord) -> Work {
        self.set_after(DeadlineKind::EventPull, FLOOR_DELAY_MILLIS);
        let noted = message.that_may_be_out();
        if noted != *message {
            self.put(message.clone(), noted.state);
        }
        let history = message.state.history();
        let submission = history.map(|history| history.submission);
        self.deliver(message, submission.unwrap_or_default())
    }

    fn deliver(&self, message: &MessageRecord, submission: Submission) -> Work {
        Work::Deliver(Box::new(Claim {
            position: message.position,
            submission,
            generation: self.view.generation(),
            intent: message.intent.clone(),
        }))
    }

    /// An agent that shows nothing for too long, or never ends, is stopped and its message fails.
    fn watch_turn(&mut self, message: &MessageRecord, accepted_at: Timestamp) -> Work {
        let waited_until = self.waited_for_credential_until();
        let last_sign = [self.view.link.last_event_at, waited_until]
            .into_iter()
            .flatten()
            .fold(accepted_at, Timestamp::max);
        let silent_until = last_sign.plus_millis(self.settings.no_output_millis);
        let ends_at = accepted_at.plus_millis(TURN_MILLIS_MAX);
        let code = if ends_at <= self.now {
            FailureCode::SystemInterrupt
        } else if silent_until <= self.now {
            FailureCode::WrapperNoOutput
        } else {
            self.draft
                .deadlines
                .set(DeadlineKind::TurnWatch, Some(silent_until.min(ends_at)));
            return self.pull();
        };
        self.fail_accepted(message, code);
        Work::Again
    }

    /// Until when the runtime may have waited for a credential, with nothing to show: the wait has an end, since the
    /// refused one may also have been pushed beside a turn that goes on with the one before.
    fn waited_for_credential_until(&self) -> Option<Timestamp> {
        let wait_millis = self.settings.credential_wait_millis;
        let ends = |since: Timestamp| self.now.min(since.plus_millis(wait_millis));
        if let Some(refusal) = self.view.refusal() {
            return Some(ends(refusal.since));
        }
        if self.view.needs_managed_token() {
            // The refusal is the last that the runtime has told.
            return self.view.link.last_event_at.map(ends);
        }
        let is_newer = self.view.record.refused.is_some();
        let credential = self.view.credential.as_ref().filter(|_| is_newer);
        credential.map(|credential| credential.updated_at)
    }

    fn pull(&mut self) -> Work {
        self.draft.deadlines.set(DeadlineKind::CredentialWait, None);
        // The task that reads events moves this deadline along; should it be gone, the alarm takes over.
        let at = self.draft.deadlines.get(DeadlineKind::EventPull);
        let overdue = at.is_none_or(|at| at <= self.now);
        if overdue {
            self.set_after(DeadlineKind::EventPull, EVENT_PULL_BACKSTOP_MILLIS);
        }
        Work::Pull { overdue }
    }
}
