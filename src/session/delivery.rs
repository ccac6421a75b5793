//! What comes of a delivery: the runtime's answers, and the lack of them. Its events are in [`super::journal`].
//!
//! Time passes outside between a claim and its result, and anything may have happened in between. So every function
//! here looks at freshly loaded state and applies a result only to the claim that it belongs to; anything else is
//! dropped.

use cloud_agent_wire::{
    EventSequence, Failure, FailureCode, Generation, MessageId, SessionId, StoreId, Timestamp,
    TurnReply, TurnState,
};

use crate::telemetry::LogEvent;

use super::attachment::FileFault;
use super::claim::Claim;
use super::command::Settings;
use super::deadline::DeadlineKind;
use super::encrypted_secret::DecryptionFault;
use super::managed::ManagedFault;
use super::message::{DeliveryHistory, MessageRecord, MessageState};
use super::progress::{Progress, pre_dispatch};
use super::record::RuntimeLink;
use super::step::Decision;
use super::timing::{
    EVENT_PULL_BACKSTOP_MILLIS, FLOOR_DELAY_MILLIS, OWED_RETRY_MILLIS, RUNTIME_LOST_MILLIS,
};
use super::view::DeliveryView;

/// Why a claim could not be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOverFault {
    /// The claim is not in force any more; nothing is to be done.
    Overtaken,
    /// The runtime did not answer, or not sensibly, before it was given the turn.
    Unreachable,
    /// The runtime did not say whether it took the turn.
    Unanswered,
    /// The runtime's state moved on meanwhile: another disk, a newer generation. Costs no retry.
    Outdated,
    /// The request can never be delivered as it is.
    Refused,
    /// The workspace's secrets could not be opened.
    Unreadable,
    /// The repository's token could not be resolved.
    NoManagedToken(ManagedFault),
    /// Something that the hand-over needs is still under way; it begins again soon.
    NotYet,
    /// The encrypted secrets could not be decrypted.
    NotDecrypted(DecryptionFault),
    /// An attached file cannot be brought.
    NoFile(FileFault),
}

/// Whether the claim is still the one in force.
#[must_use]
pub fn is_in_force(view: &DeliveryView, claim: &Claim) -> bool {
    claimed(view, claim).is_some()
}

fn claimed(view: &DeliveryView, claim: &Claim) -> Option<(MessageRecord, DeliveryHistory)> {
    let message = view
        .head_message()
        .filter(|message| message.position == claim.position)?;
    match &message.state {
        MessageState::Claimed { history, .. } if history.submission == claim.submission => {
            Some((message.clone(), history.clone()))
        }
        _ => None,
    }
}

/// The runtime answered with its store. A new store makes everything on the old one void.
#[must_use]
pub fn on_contact(
    view: &DeliveryView,
    store_id: &StoreId,
    now: Timestamp,
    settings: &Settings,
) -> Decision<()> {
    let mut progress = Progress::new(view, now, settings);
    if view.link.store_id.as_ref() == Some(store_id) {
        is_in_reach(&mut progress);
    } else {
        if view.link.store_id.is_some() {
            progress.draft.log(LogEvent::RuntimeReplaced {
                store_id: store_id.clone(),
            });
        }
        let link = RuntimeLink {
            store_id: Some(store_id.clone()),
            ..RuntimeLink::default()
        };
        replace_link(&mut progress, link);
        if view.link.store_id.is_some() {
            lose_what_ran_elsewhere(&mut progress);
        }
    }
    progress.finish(())
}

/// The runtime that was spoken to has answered: what it was told too often in vain is told again.
fn is_in_reach(progress: &mut Progress<'_>) {
    if progress.view.link.unreachable_since.is_some() {
        progress.link().unreachable_since = None;
    }
    let is_told = progress
        .draft
        .deadlines
        .get(DeadlineKind::InterruptOwed)
        .is_some();
    if !is_told && !progress.view.link.interrupts.is_empty() {
        progress.set_after(DeadlineKind::InterruptOwed, 0);
    }
}

/// What was owed to a runtime that is gone is owed no more, and the queue that waited for it goes on.
fn replace_link(progress: &mut Progress<'_>, link: RuntimeLink) {
    let owed = !progress.view.link.interrupts.is_empty();
    *progress.link() = link;
    progress
        .draft
        .deadlines
        .set(DeadlineKind::InterruptOwed, None);
    if owed {
        let now = progress.now;
        progress
            .draft
            .set_deadline_no_later(DeadlineKind::Drain, now);
    }
}

/// What is being delivered is on the store that is replaced, since every other one comes through here.
fn lose_what_ran_elsewhere(progress: &mut Progress<'_>) {
    let Some(message) = progress.view.head_message().cloned() else {
        return;
    };
    match &message.state {
        // Even a claim that the old runtime has not answered may have reached it.
        MessageState::Claimed { .. } => progress.settle_failure(&message, stopped(&message)),
        MessageState::Accepted { .. } => {
            progress.fail_accepted(&message, FailureCode::ContainerShutdown);
        }
        _ => {}
    }
}

/// A delivery that ended with the store or the journal that it was on.
fn stopped(message: &MessageRecord) -> Failure {
    let generation = match &message.state {
        MessageState::Claimed { generation, .. } => *generation,
        _ => Generation::default(),
    };
    pre_dispatch(FailureCode::ContainerShutdown, generation)
}

/// The runtime took the workspace at `generation` and the turn, perhaps under an earlier submission whose agent had
/// been started.
#[must_use]
pub fn on_turn_taken(
    view: &DeliveryView,
    claim: &Claim,
    (store_id, generation): (&StoreId, Generation),
    reply: TurnReply,
    now: Timestamp,
    settings: &Settings,
) -> Decision<()> {
    let mut progress = Progress::new(view, now, settings);
    if view.link.store_id.as_ref() == Some(store_id) && view.link.acknowledged < generation {
        progress.link().acknowledged = generation;
    }
    if let Some((message, history)) = claimed(view, claim) {
        let submission = reply.submission;
        progress.draft.log(LogEvent::TurnSubmitted {
            message_id: message.message_id().clone(),
            submission,
            store_id: store_id.clone(),
        });
        let state = MessageState::Claimed {
            history: DeliveryHistory {
                submission,
                may_be_out: true,
                ..history
            },
            generation,
            claimed_at: now,
            store_id: Some(store_id.clone()),
        };
        progress.put(message, state);
        progress.set_after(DeadlineKind::EventPull, EVENT_PULL_BACKSTOP_MILLIS);
        if !matches!(reply.state, TurnState::Waiting | TurnState::Running) {
            // It has ended already; if its journal does not say so soon, it never will.
            progress.set_after(DeadlineKind::ClaimLease, RUNTIME_LOST_MILLIS);
        }
        if view.generation() > generation {
            progress
                .draft
                .deadlines
                .set(DeadlineKind::PushOwed, Some(now));
        }
    }
    progress.finish(())
}

/// The claim could not be handed over.
#[must_use]
pub fn on_hand_over_failed(
    view: &DeliveryView,
    claim: &Claim,
    fault: &HandOverFault,
    now: Timestamp,
    settings: &Settings,
) -> Decision<()> {
    let mut progress = Progress::new(view, now, settings);
    if let Some((message, history)) = claimed(view, claim) {
        let code = match fault {
            HandOverFault::Overtaken => return progress.finish(()),
            HandOverFault::Outdated => {
                let failure = pre_dispatch(FailureCode::SandboxConnectFailed, claim.generation);
                progress.return_free(&message, history, failure);
                return progress.finish(());
            }
            HandOverFault::Unreachable | HandOverFault::Unanswered => {
                FailureCode::SandboxConnectFailed
            }
            HandOverFault::Refused => FailureCode::InvalidDeliveryRequest,
            HandOverFault::Unreadable => FailureCode::SessionMetadataMissing,
            HandOverFault::NoManagedToken(fault) => {
                let failure = fault.failure(&view.record.repository, claim.generation);
                progress.charge_or_end(&message, failure);
                return progress.finish(());
            }
            HandOverFault::NotYet => {
                let soon = now.plus_millis(FLOOR_DELAY_MILLIS);
                progress
                    .draft
                    .set_deadline_no_later(DeadlineKind::Drain, soon);
                return progress.finish(());
            }
            HandOverFault::NotDecrypted(fault) => {
                progress.refuse_delivery(&message, claim.generation, fault.detail());
                return progress.finish(());
            }
            HandOverFault::NoFile(fault) => {
                progress.refuse_delivery(&message, claim.generation, fault.detail());
                return progress.finish(());
            }
        };
        let message = match fault {
            HandOverFault::Unanswered => message.that_may_be_out(),
            _ => message,
        };
        progress.settle_failure(&message, pre_dispatch(code, claim.generation));
    }
    progress.finish(())
}

/// Where the next read of events begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The session.
    pub session_id: SessionId,
    /// The store whose journal is read.
    pub store_id: StoreId,
    /// The last event that was taken over.
    pub after: EventSequence,
}

/// What to read; `None` when no message is being delivered to a known store.
#[must_use]
pub fn reading(view: &DeliveryView) -> Option<Reading> {
    view.head_message()
        .filter(|message| message.is_delivered())?;
    Some(Reading {
        session_id: view.record.session_id.clone(),
        store_id: view.link.store_id.clone()?,
        after: view.link.cursor,
    })
}

/// The task that reads events begins a read: the alarm needs not for a while.
#[must_use]
pub fn on_pull_started(
    view: &DeliveryView,
    now: Timestamp,
    settings: &Settings,
) -> Decision<Option<Reading>> {
    let mut progress = Progress::new(view, now, settings);
    let reading = reading(view);
    if reading.is_some() {
        progress.set_after(DeadlineKind::EventPull, EVENT_PULL_BACKSTOP_MILLIS);
    }
    progress.finish(reading)
}

/// The runtime has begun to answer a read, perhaps without an event: it is in reach.
#[must_use]
pub fn on_pull_answered(
    view: &DeliveryView,
    store_id: &StoreId,
    now: Timestamp,
    settings: &Settings,
) -> Decision<()> {
    let mut progress = Progress::new(view, now, settings);
    if view.link.store_id.as_ref() == Some(store_id) {
        is_in_reach(&mut progress);
    }
    progress.finish(())
}

/// Reading events failed.
#[must_use]
pub fn on_pull_failed(view: &DeliveryView, now: Timestamp, settings: &Settings) -> Decision<()> {
    let mut progress = Progress::new(view, now, settings);
    let Some(message) = view.head_message().filter(|message| message.is_delivered()) else {
        return progress.finish(());
    };
    let since = view.link.unreachable_since.unwrap_or(now);
    if now.millis_since(since) < RUNTIME_LOST_MILLIS {
        if view.link.unreachable_since.is_none() {
            progress.link().unreachable_since = Some(since);
        }
        progress.set_after(DeadlineKind::EventPull, OWED_RETRY_MILLIS);
        return progress.finish(());
    }
    progress.link().unreachable_since = None;
    match &message.state {
        MessageState::Claimed { generation, .. } => {
            let failure = pre_dispatch(FailureCode::SandboxConnectFailed, *generation);
            progress.settle_failure(&message.that_may_be_out(), failure);
        }
        _ => progress.fail_accepted(message, FailureCode::WrapperDisconnected),
    }
    progress.finish(())
}

/// The runtime's journal for this session is gone although its store is the same.
#[must_use]
pub fn on_journal_gone(view: &DeliveryView, now: Timestamp, settings: &Settings) -> Decision<()> {
    let mut progress = Progress::new(view, now, settings);
    // Before the runtime has the turn it may not know the session at all: that says nothing about its journal.
    let Some(message) = view.head_message().filter(|message| message.is_taken()) else {
        return progress.finish(());
    };
    replace_link(&mut progress, RuntimeLink::default());
    if message.state.accepted_at().is_some() {
        progress.fail_accepted(message, FailureCode::WrapperDisconnected);
    } else {
        progress.settle_failure(message, stopped(message));
    }
    progress.finish(())
}

/// The runtime has taken that generation, or has a newer one, or no workspace to put it into.
#[must_use]
pub fn on_push_answered(
    view: &DeliveryView,
    store_id: &StoreId,
    generation: Generation,
    now: Timestamp,
    settings: &Settings,
) -> Decision<()> {
    let mut progress = Progress::new(view, now, settings);
    if view.link.store_id.as_ref() == Some(store_id) && view.link.acknowledged < generation {
        let link = progress.link();
        link.acknowledged = generation;
        link.unreachable_since = None;
        let next = (view.generation() > generation).then_some(now);
        progress.draft.deadlines.set(DeadlineKind::PushOwed, next);
        progress
            .draft
            .log(LogEvent::CredentialPushed { generation });
    }
    progress.finish(())
}

/// The runtime has taken the order to stop the turn, or never had it.
#[must_use]
pub fn on_interrupt_answered(
    view: &DeliveryView,
    message_id: &MessageId,
    now: Timestamp,
    settings: &Settings,
) -> Decision<()> {
    let mut progress = Progress::new(view, now, settings);
    if view
        .link
        .interrupts
        .iter()
        .any(|owed| owed.message_id == *message_id)
    {
        progress
            .link()
            .interrupts
            .retain(|owed| owed.message_id != *message_id);
        let more = !progress.view.link.interrupts.is_empty();
        progress
            .draft
            .deadlines
            .set(DeadlineKind::InterruptOwed, more.then_some(now));
        progress
            .draft
            .set_deadline_no_later(DeadlineKind::Drain, now);
    }
    progress.finish(())
}
