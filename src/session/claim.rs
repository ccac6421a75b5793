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
use super::step::{Decision, Write};
use super::timing::{
    CLAIM_LEASE_MILLIS, DELETION_MILLIS_MAX, EVENT_PULL_BACKSTOP_MILLIS, FLOOR_DELAY_MILLIS,
    OWED_RETRY_MILLIS, RUNTIME_LOST_MILLIS, TURN_MILLIS_MAX, WAKE_GRACE_MILLIS,
};
use super::view::{DeliveryView, Head};

/// What the alarm does next.
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
    /// Push the current credential, of this generation, to the runtime.
    Push(Generation),
    /// Tell the runtime to stop the turn of this message.
    Interrupt(MessageId),
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
pub fn next_work(view: &DeliveryView, now: Timestamp, settings: &Settings) -> Decision<Work> {
    let mut progress = Progress::new(view, now, settings);
    let work = progress.choose_work();
    if work != Work::Again {
        progress.leave_nothing_due();
    }
    progress.finish(work)
}

/// Brings the reading of events forward when the object was constructed anew while the runtime works.
#[must_use]
pub fn on_wake(view: &DeliveryView, now: Timestamp, settings: &Settings) -> Decision<()> {
    let mut progress = Progress::new(view, now, settings);
    let delivering = view.head_message().is_some_and(MessageRecord::is_delivered);
    if delivering && view.record.deleting_since.is_none() {
        progress
            .draft
            .set_deadline_no_later(DeadlineKind::EventPull, now);
        let grace = now.plus_millis(WAKE_GRACE_MILLIS);
        if view
            .deadlines
            .get(DeadlineKind::TurnWatch)
            .is_some_and(|at| at < grace)
        {
            progress
                .draft
                .deadlines
                .set(DeadlineKind::TurnWatch, Some(grace));
        }
    }
    progress.finish(())
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
        if let Some(owed) = self.view.link.interrupts.first().cloned() {
            let due = self
                .draft
                .deadlines
                .is_due(DeadlineKind::InterruptOwed, self.now);
            if due {
                self.set_after(DeadlineKind::InterruptOwed, OWED_RETRY_MILLIS);
                return Work::Interrupt(owed.message_id);
            }
            if self.now.millis_since(owed.since) < RUNTIME_LOST_MILLIS {
                // Nothing new is delivered before the runtime has stopped what it was told to stop. One that is lost
                // does not hold the queue up.
                return Work::Rest;
            }
        }
        if self.push_is_due() {
            self.set_after(DeadlineKind::PushOwed, OWED_RETRY_MILLIS);
            return Work::Push(self.view.generation());
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
                callback,
            }) => {
                self.set_aside(position, &message_id);
                self.report(position, &message_id, callback);
                Work::Again
            }
            Some(Head::Message(message)) => self.work_on_head(&message),
        }
    }

    /// Whatever is still due waits for something that has a deadline of its own; ringing for it at once would loop.
    fn leave_nothing_due(&mut self) {
        let floor = self.now.plus_millis(FLOOR_DELAY_MILLIS);
        for kind in DeadlineKind::ALL.iter().copied() {
            // The same alarm looks at these after the deliveries.
            let is_next = matches!(kind, DeadlineKind::Callback | DeadlineKind::Retention);
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
            self.draft.write(Write::AbandonMarkers {
                expired_at: self.now,
            });
            self.draft.log(LogEvent::MarkersExpired);
            let next = self.view.next_marker_expiry;
            self.draft.deadlines.set(DeadlineKind::MarkerExpiry, next);
        }
    }

    /// Whether the runtime works with an older credential than the current one, and the next try to push is due.
    fn push_is_due(&mut self) -> bool {
        let has_turn = self
            .view
            .head_message()
            .is_some_and(MessageRecord::is_taken);
        let owed = has_turn
            && self.view.credential.is_some()
            && self.view.record.repository.uses_session_credential()
            && self.view.generation() > self.view.link.acknowledged;
        if !owed && !self.view.needs_managed_token() {
            self.draft.deadlines.set(DeadlineKind::PushOwed, None);
            return false;
        }
        self.draft
            .set_deadline_no_later(DeadlineKind::PushOwed, self.now);
        self.draft
            .deadlines
            .is_due(DeadlineKind::PushOwed, self.now)
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
            // While the runtime waits for a credential its agent has nothing to show.
            MessageState::Accepted { accepted_at, .. }
                if self.view.refusal().is_none()
                    && !self.view.needs_managed_token()
                    && self
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
        // A runtime that waited for a credential had nothing to show until there was a newer one.
        let waited_until = self
            .view
            .record
            .refused
            .and(self.view.credential.as_ref())
            .map(|credential| credential.updated_at);
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
