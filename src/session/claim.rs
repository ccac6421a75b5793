//! Claiming: what the alarm does with the head of the queue.
//!
//! Delivery is serial and first in, first out. Only the alarm claims, and an alarm never runs twice at once, so two
//! deliveries of one session cannot overlap. Everything outside happens after the claim is durable, and what comes
//! of it is applied only if the message is still claimed under the same submission (see [`super::delivery`]).

use cloud_agent_wire::{
    Failure, FailureCode, FailureStage, Generation, Intent, MessageId, Submission, Timestamp,
};

use crate::telemetry::LogEvent;

use super::credential::CredentialRecord;
use super::deadline::{DeadlineKind, Deadlines};
use super::delivery::settle_failure;
use super::event;
use super::message::{DeliveryHistory, MessageRecord, MessageState, QueuePosition};
use super::record::{RuntimeLink, SessionRecord};
use super::step::{Decision, Draft, Write};

/// From a claim until its agent must have been started: the runtime ends every preparation well before that.
pub const CLAIM_LEASE_MILLIS: u64 = 10 * 60 * 1_000;
/// From a sign of life of the task that reads events until the alarm reads them itself.
pub const EVENT_PULL_BACKSTOP_MILLIS: u64 = 40_000;
/// The least time between two alarms that find the same work, so that nothing can loop hot.
pub const FLOOR_DELAY_MILLIS: u64 = 1_000;

/// The part of the state that delivery reads: of bounded size.
#[derive(Debug, Clone)]
pub struct DeliveryView {
    /// The session.
    pub record: SessionRecord,
    /// Its credential.
    pub credential: Option<CredentialRecord>,
    /// The oldest message that has not ended.
    pub head: Option<Head>,
    /// What is known about the runtime.
    pub link: RuntimeLink,
    /// When the next open marker expires, after those that have by now.
    pub next_marker_expiry: Option<Timestamp>,
    /// The stored deadlines.
    pub deadlines: Deadlines,
}

impl DeliveryView {
    /// The generation of the current credential; 0 when there is none.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.credential
            .as_ref()
            .map_or(Generation::default(), |credential| credential.generation)
    }

    /// The readable head of the queue.
    #[must_use]
    pub fn head_message(&self) -> Option<&MessageRecord> {
        match &self.head {
            Some(Head::Message(message)) => Some(message),
            Some(Head::Unreadable { .. }) | None => None,
        }
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
    },
}

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
    Pull,
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
pub fn next_work(view: &DeliveryView, now: Timestamp) -> Decision<Work> {
    let mut draft = Draft::new(view.deadlines.clone());
    expire_markers(view, now, &mut draft);
    let work = match &view.head {
        None => {
            for kind in [
                DeadlineKind::Drain,
                DeadlineKind::Retry,
                DeadlineKind::ClaimLease,
                DeadlineKind::EventPull,
            ] {
                draft.deadlines.set(kind, None);
            }
            Work::Rest
        }
        Some(Head::Unreadable {
            position,
            message_id,
        }) => {
            set_aside(*position, message_id, now, &mut draft);
            Work::Again
        }
        Some(Head::Message(message)) => work_on_head(view, message, now, &mut draft),
    };
    draft.finish(work)
}

/// Brings the reading of events forward when the object was constructed anew while the runtime works.
#[must_use]
pub fn on_wake(view: &DeliveryView, now: Timestamp) -> Decision<()> {
    let mut draft = Draft::new(view.deadlines.clone());
    if view.head_message().is_some_and(MessageRecord::is_delivered) {
        draft.set_deadline_no_later(DeadlineKind::EventPull, now);
    }
    draft.finish(())
}

fn expire_markers(view: &DeliveryView, now: Timestamp, draft: &mut Draft) {
    if draft.deadlines.is_due(DeadlineKind::MarkerExpiry, now) {
        draft.write(Write::AbandonMarkers { expired_at: now });
        draft
            .deadlines
            .set(DeadlineKind::MarkerExpiry, view.next_marker_expiry);
    }
}

/// Ends a message whose row cannot be read, so that the queue goes on.
fn set_aside(position: QueuePosition, message_id: &MessageId, now: Timestamp, draft: &mut Draft) {
    let failure = Failure {
        stage: FailureStage::PreDispatch,
        code: FailureCode::SessionMetadataMissing,
        subtype: None,
        generation: Generation::default(),
        detail: None,
    };
    let attempts = Submission::default();
    draft.log(LogEvent::MessageEnded {
        message_id: message_id.clone(),
        phase: "failed",
        code: Some(failure.code),
        subtype: None,
    });
    draft.write(Write::AppendEvent(event::failed(
        message_id, false, &failure, attempts, now,
    )));
    let state = MessageState::Failed {
        accepted_at: None,
        terminal_at: now,
        failure,
        attempts,
    };
    draft.write(Write::PutMessageState { position, state });
}

fn work_on_head(
    view: &DeliveryView,
    message: &MessageRecord,
    now: Timestamp,
    draft: &mut Draft,
) -> Work {
    draft.deadlines.set(DeadlineKind::Drain, None);
    match &message.state {
        MessageState::Queued {
            not_before: Some(not_before),
            ..
        } if *not_before > now => {
            draft.deadlines.set(DeadlineKind::Retry, Some(*not_before));
            Work::Rest
        }
        MessageState::Queued { history, .. } => claim(view, message, history, now, draft),
        MessageState::Claimed {
            history,
            store_id: None,
            ..
        } => {
            // The object died between the claim and the runtime's answer: hand over the same submission again.
            draft.deadlines.set(
                DeadlineKind::EventPull,
                Some(now.plus_millis(FLOOR_DELAY_MILLIS)),
            );
            Work::Deliver(Box::new(Claim {
                position: message.position,
                submission: history.submission,
                generation: view.generation(),
                intent: message.intent.clone(),
            }))
        }
        MessageState::Claimed { history, .. }
            if draft.deadlines.is_due(DeadlineKind::ClaimLease, now) =>
        {
            let failure = Failure {
                stage: FailureStage::PreDispatch,
                code: FailureCode::WorkspaceSetupFailed,
                subtype: None,
                generation: view.generation(),
                detail: Some("the runtime did not finish preparing in time".to_owned()),
            };
            settle_failure(view, message, history, failure, now, draft);
            Work::Again
        }
        MessageState::Claimed { .. } | MessageState::Accepted { .. } => {
            // The task that reads events moves this deadline along; should it be gone, the alarm takes over.
            if draft
                .deadlines
                .get(DeadlineKind::EventPull)
                .is_none_or(|at| at <= now)
            {
                let backstop = now.plus_millis(EVENT_PULL_BACKSTOP_MILLIS);
                draft.deadlines.set(DeadlineKind::EventPull, Some(backstop));
            }
            Work::Pull
        }
        MessageState::Completed { .. }
        | MessageState::Failed { .. }
        | MessageState::Interrupted { .. } => Work::Rest,
    }
}

fn claim(
    view: &DeliveryView,
    message: &MessageRecord,
    history: &DeliveryHistory,
    now: Timestamp,
    draft: &mut Draft,
) -> Work {
    let submission = history.submission.next();
    let generation = view.generation();
    let message_id = message.message_id().clone();
    draft.log(LogEvent::MessageClaimed {
        message_id,
        submission,
        generation,
    });
    let history = DeliveryHistory {
        submission,
        ..history.clone()
    };
    let state = MessageState::Claimed {
        history,
        generation,
        claimed_at: now,
        store_id: None,
    };
    draft.write(Write::PutMessageState {
        position: message.position,
        state,
    });
    draft.deadlines.set(DeadlineKind::Retry, None);
    draft.deadlines.set(
        DeadlineKind::ClaimLease,
        Some(now.plus_millis(CLAIM_LEASE_MILLIS)),
    );
    // Should the object die before the runtime has answered, the alarm hands the claim over again.
    draft.deadlines.set(
        DeadlineKind::EventPull,
        Some(now.plus_millis(FLOOR_DELAY_MILLIS)),
    );
    Work::Deliver(Box::new(Claim {
        position: message.position,
        submission,
        generation,
        intent: message.intent.clone(),
    }))
}
