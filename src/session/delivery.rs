//! What comes of a delivery: the runtime's answers and events, and the lack of them.
//!
//! Time passes outside between a claim and its result, and anything may have happened in between. So every function
//! here looks at freshly loaded state and applies a result only to the claim that it belongs to; anything else is
//! dropped. Events carry their position in the runtime's journal, which is stored in the same step as their effects:
//! a crash on either side repeats nothing and loses nothing.

use cloud_agent_wire::{
    EventSequence, Failure, FailureCode, FailureStage, FailureSubtype, Generation, JournalEvent,
    MessageId, RuntimeEvent, SessionId, StoreId, Submission, Timestamp, TurnReply,
};

use crate::telemetry::LogEvent;

use super::claim::{Claim, DeliveryView, EVENT_PULL_BACKSTOP_MILLIS, FLOOR_DELAY_MILLIS, Head};
use super::deadline::DeadlineKind;
use super::event;
use super::message::{DeliveryHistory, MessageRecord, MessageState};
use super::record::RuntimeLink;
use super::retry::next_delay_millis;
use super::step::{Decision, Draft, Write};

/// How long a runtime may be out of reach before what it was doing counts as lost.
pub const RUNTIME_LOST_MILLIS: u64 = 60_000;
/// From a failed read of events until the next.
pub const PULL_RETRY_MILLIS: u64 = 2_000;

/// Why a claim could not be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOverFault {
    /// The runtime did not answer, or not sensibly.
    Unreachable,
    /// The runtime's state moved on meanwhile: another disk, a newer generation. Costs no retry.
    Outdated,
    /// The request can never be delivered as it is.
    Refused,
    /// The workspace's secrets could not be opened.
    Unreadable,
    /// The repository's token comes from a service that is not bound.
    NoCredentialService,
}

/// Whether the claim is still the one in force.
fn claimed<'a>(
    view: &'a DeliveryView,
    claim: &Claim,
) -> Option<(&'a MessageRecord, &'a DeliveryHistory)> {
    let message = view
        .head_message()
        .filter(|message| message.position == claim.position)?;
    match &message.state {
        MessageState::Claimed { history, .. } if history.submission == claim.submission => {
            Some((message, history))
        }
        _ => None,
    }
}

/// The runtime answered with its store. A new store makes everything on the old one void.
#[must_use]
pub fn on_contact(view: &DeliveryView, store_id: &StoreId, now: Timestamp) -> Decision<()> {
    let mut draft = Draft::new(view.deadlines.clone());
    let link = &view.link;
    if link.store_id.as_ref() != Some(store_id) {
        if link.store_id.is_some() {
            draft.log(LogEvent::RuntimeReplaced {
                store_id: store_id.clone(),
            });
        }
        draft.write(Write::PutRuntimeLink(RuntimeLink {
            store_id: Some(store_id.clone()),
            cursor: EventSequence::default(),
            unreachable_since: None,
        }));
        lose_what_ran_elsewhere(view, store_id, now, &mut draft);
    } else if link.unreachable_since.is_some() {
        draft.write(Write::PutRuntimeLink(RuntimeLink {
            unreachable_since: None,
            ..link.clone()
        }));
    }
    draft.finish(())
}

fn lose_what_ran_elsewhere(
    view: &DeliveryView,
    store_id: &StoreId,
    now: Timestamp,
    draft: &mut Draft,
) {
    let Some(message) = view.head_message() else {
        return;
    };
    match &message.state {
        MessageState::Claimed {
            history,
            store_id: Some(old),
            ..
        } if old != store_id => {
            requeue(message, history.clone(), now, draft);
        }
        MessageState::Accepted { store_id: old, .. } if old != store_id => {
            fail_accepted(message, FailureCode::ContainerShutdown, now, draft);
        }
        _ => {}
    }
}

/// The runtime took the turn, perhaps under an earlier submission whose agent had been started.
#[must_use]
pub fn on_turn_taken(
    view: &DeliveryView,
    claim: &Claim,
    store_id: &StoreId,
    reply: TurnReply,
    now: Timestamp,
) -> Decision<()> {
    let mut draft = Draft::new(view.deadlines.clone());
    if let Some((message, history)) = claimed(view, claim) {
        let submission = reply.submission;
        draft.log(LogEvent::TurnSubmitted {
            message_id: message.message_id().clone(),
            submission,
            store_id: store_id.clone(),
        });
        let state = MessageState::Claimed {
            history: DeliveryHistory {
                submission,
                ..history.clone()
            },
            generation: claim.generation,
            claimed_at: now,
            store_id: Some(store_id.clone()),
        };
        draft.write(Write::PutMessageState {
            position: message.position,
            state,
        });
        draft.deadlines.set(
            DeadlineKind::EventPull,
            Some(now.plus_millis(EVENT_PULL_BACKSTOP_MILLIS)),
        );
    }
    draft.finish(())
}

/// The claim could not be handed over.
#[must_use]
pub fn on_hand_over_failed(
    view: &DeliveryView,
    claim: &Claim,
    fault: &HandOverFault,
    now: Timestamp,
) -> Decision<()> {
    let mut draft = Draft::new(view.deadlines.clone());
    if let Some((message, history)) = claimed(view, claim) {
        let code = match fault {
            HandOverFault::Outdated => {
                requeue(message, history.clone(), now, &mut draft);
                return draft.finish(());
            }
            HandOverFault::Unreachable => FailureCode::SandboxConnectFailed,
            HandOverFault::Refused => FailureCode::InvalidDeliveryRequest,
            HandOverFault::Unreadable => FailureCode::SessionMetadataMissing,
            HandOverFault::NoCredentialService => FailureCode::WorkspaceSetupFailed,
        };
        let failure = pre_dispatch(code, claim.generation);
        settle_failure(view, message, history, failure, now, &mut draft);
    }
    draft.finish(())
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
pub fn on_pull_started(view: &DeliveryView, now: Timestamp) -> Decision<Option<Reading>> {
    let mut draft = Draft::new(view.deadlines.clone());
    let reading = reading(view);
    if reading.is_some() {
        draft.deadlines.set(
            DeadlineKind::EventPull,
            Some(now.plus_millis(EVENT_PULL_BACKSTOP_MILLIS)),
        );
    }
    draft.finish(reading)
}

/// Reading events failed.
#[must_use]
pub fn on_pull_failed(view: &DeliveryView, now: Timestamp) -> Decision<()> {
    let mut draft = Draft::new(view.deadlines.clone());
    let Some(message) = view.head_message().filter(|message| message.is_delivered()) else {
        return draft.finish(());
    };
    let since = view.link.unreachable_since.unwrap_or(now);
    if now.millis_since(since) < RUNTIME_LOST_MILLIS {
        let link = RuntimeLink {
            unreachable_since: Some(since),
            ..view.link.clone()
        };
        draft.write(Write::PutRuntimeLink(link));
        draft.deadlines.set(
            DeadlineKind::EventPull,
            Some(now.plus_millis(PULL_RETRY_MILLIS)),
        );
        return draft.finish(());
    }
    draft.write(Write::PutRuntimeLink(RuntimeLink {
        unreachable_since: None,
        ..view.link.clone()
    }));
    match &message.state {
        MessageState::Claimed {
            history,
            generation,
            ..
        } => {
            let failure = pre_dispatch(FailureCode::SandboxConnectFailed, *generation);
            settle_failure(view, message, history, failure, now, &mut draft);
        }
        _ => fail_accepted(message, FailureCode::WrapperDisconnected, now, &mut draft),
    }
    draft.finish(())
}

/// The runtime's journal for this session is gone although its store is the same.
#[must_use]
pub fn on_journal_gone(view: &DeliveryView, now: Timestamp) -> Decision<()> {
    let mut draft = Draft::new(view.deadlines.clone());
    draft.write(Write::PutRuntimeLink(RuntimeLink::default()));
    if let Some(message) = view.head_message() {
        match &message.state {
            MessageState::Claimed {
                history,
                store_id: Some(_),
                ..
            } => {
                requeue(message, history.clone(), now, &mut draft);
            }
            MessageState::Accepted { .. } => {
                fail_accepted(message, FailureCode::WrapperDisconnected, now, &mut draft);
            }
            _ => {}
        }
    }
    draft.finish(())
}

/// Takes over events of the store's journal. Those at or before the cursor were taken over before.
#[must_use]
pub fn on_events(
    view: &DeliveryView,
    store_id: &StoreId,
    events: &[JournalEvent],
    now: Timestamp,
) -> Decision<()> {
    let mut draft = Draft::new(view.deadlines.clone());
    if view.link.store_id.as_ref() != Some(store_id) {
        return draft.finish(());
    }
    let mut follower = Follower {
        view: view.clone(),
        changed: false,
        now,
    };
    let mut cursor = view.link.cursor;
    for event in events.iter().filter(|event| event.seq > view.link.cursor) {
        follower.follow(&event.event, store_id, &mut draft);
        cursor = event.seq;
    }
    if cursor > view.link.cursor {
        let link = RuntimeLink {
            store_id: Some(store_id.clone()),
            cursor,
            unreachable_since: None,
        };
        draft.write(Write::PutRuntimeLink(link));
    }
    if follower.changed {
        draft.write(Write::PutRecord(Box::new(follower.view.record)));
    }
    draft.finish(())
}

/// Follows events through the state that earlier ones of the same read have changed already.
struct Follower {
    view: DeliveryView,
    changed: bool,
    now: Timestamp,
}

impl Follower {
    fn follow(&mut self, event: &RuntimeEvent, store_id: &StoreId, draft: &mut Draft) {
        let now = self.now;
        match event {
            RuntimeEvent::Ready {
                message_id,
                submission,
                generation,
                cold,
                ..
            } => {
                self.ready(message_id, *submission, *generation, *cold, store_id, draft);
            }
            RuntimeEvent::Output { message_id, .. } => self.activity(message_id, draft),
            RuntimeEvent::Kilocode { message_id, json } => {
                self.activity(message_id, draft);
                if let Some(event) = event::kilocode(json, now) {
                    draft.write(Write::AppendEvent(event));
                }
            }
            RuntimeEvent::AutocommitStarted { message_id } => {
                draft.write(Write::AppendEvent(event::autocommit_started(
                    message_id, now,
                )));
            }
            RuntimeEvent::AutocommitCompleted {
                message_id,
                commit,
                pushed,
            } => {
                let event =
                    event::autocommit_completed(message_id, commit.as_deref(), *pushed, now);
                draft.write(Write::AppendEvent(event));
            }
            RuntimeEvent::Complete {
                message_id,
                submission,
                branch,
            } => {
                self.complete(message_id, *submission, branch.as_deref(), draft);
            }
            RuntimeEvent::Interrupted {
                message_id,
                submission,
            } => {
                self.interrupted(message_id, *submission, draft);
            }
            RuntimeEvent::Error {
                message_id,
                submission,
                failure,
            } => {
                self.error(message_id, *submission, failure, draft);
            }
            RuntimeEvent::Preparing { .. } | RuntimeEvent::CredentialRefused { .. } => {}
        }
    }

    fn head(&self, message_id: &MessageId) -> Option<MessageRecord> {
        self.view
            .head_message()
            .filter(|head| head.message_id() == message_id)
            .cloned()
    }

    /// The agent was started: even under an earlier submission, that is the one that counts, since the agent is
    /// started once.
    fn ready(
        &mut self,
        message_id: &MessageId,
        submission: Submission,
        generation: Generation,
        cold: bool,
        store_id: &StoreId,
        draft: &mut Draft,
    ) {
        let Some(message) = self.head(message_id) else {
            return;
        };
        let MessageState::Claimed { history, .. } = message.state.clone() else {
            return;
        };
        if submission > history.submission {
            return;
        }
        let now = self.now;
        draft.log(LogEvent::MessageAccepted {
            message_id: message_id.clone(),
            submission,
            generation,
            cold,
        });
        draft.write(Write::AppendEvent(event::sent(message_id, now)));
        draft.deadlines.set(DeadlineKind::ClaimLease, None);
        let record = &mut self.view.record;
        if record.prepared_at.is_none() || record.initiated_at.is_none() {
            record.prepared_at.get_or_insert(now);
            record.initiated_at.get_or_insert(now);
            self.changed = true;
        }
        let state = MessageState::Accepted {
            history: DeliveryHistory {
                submission,
                ..history
            },
            generation,
            store_id: store_id.clone(),
            accepted_at: now,
            active: false,
        };
        self.put(message, state, draft);
    }

    fn activity(&mut self, message_id: &MessageId, draft: &mut Draft) {
        let Some(message) = self.head(message_id) else {
            return;
        };
        if let MessageState::Accepted {
            history,
            generation,
            store_id,
            accepted_at,
            active: false,
        } = message.state.clone()
        {
            let state = MessageState::Accepted {
                history,
                generation,
                store_id,
                accepted_at,
                active: true,
            };
            self.put(message, state, draft);
        }
    }

    fn complete(
        &mut self,
        message_id: &MessageId,
        submission: Submission,
        branch: Option<&str>,
        draft: &mut Draft,
    ) {
        let Some(message) = self.accepted(message_id, submission) else {
            return;
        };
        let Some(accepted_at) = message.state.accepted_at() else {
            return;
        };
        let record = &mut self.view.record;
        if let Some(branch) =
            branch.filter(|branch| record.upstream_branch.as_deref() != Some(branch))
        {
            record.upstream_branch = Some(branch.to_owned());
            self.changed = true;
        }
        draft.write(Write::AppendEvent(event::completed(message_id, self.now)));
        let state = MessageState::Completed {
            accepted_at,
            terminal_at: self.now,
        };
        end(&message, state, None, draft, self.now);
        self.view.head = None;
    }

    fn interrupted(&mut self, message_id: &MessageId, submission: Submission, draft: &mut Draft) {
        let Some(message) = self.head(message_id) else {
            return;
        };
        let (MessageState::Claimed { history, .. } | MessageState::Accepted { history, .. }) =
            &message.state
        else {
            return;
        };
        if history.submission != submission {
            return;
        }
        let accepted_at = message.state.accepted_at();
        let event = event::interrupted(message_id, accepted_at.is_some(), self.now);
        draft.write(Write::AppendEvent(event));
        let state = MessageState::Interrupted {
            accepted_at,
            terminal_at: self.now,
        };
        end(&message, state, None, draft, self.now);
        self.view.head = None;
    }

    fn error(
        &mut self,
        message_id: &MessageId,
        submission: Submission,
        failure: &Failure,
        draft: &mut Draft,
    ) {
        let Some(message) = self.head(message_id) else {
            return;
        };
        match &message.state {
            MessageState::Claimed { history, .. } if history.submission == submission => {
                let state = settle_failure(
                    &self.view,
                    &message,
                    history,
                    failure.clone(),
                    self.now,
                    draft,
                );
                self.view.head = (!state.phase().is_terminal()).then(|| {
                    Head::Message(Box::new(MessageRecord {
                        state,
                        ..message.clone()
                    }))
                });
            }
            MessageState::Accepted { history, .. } if history.submission == submission => {
                fail(
                    &message,
                    failure.clone(),
                    history.submission,
                    self.now,
                    draft,
                );
                self.view.head = None;
            }
            _ => {}
        }
    }

    /// The message, if its agent runs under that submission.
    fn accepted(&self, message_id: &MessageId, submission: Submission) -> Option<MessageRecord> {
        self.head(message_id).filter(|message| {
            matches!(&message.state, MessageState::Accepted { history, .. }
                if history.submission == submission)
        })
    }

    fn put(&mut self, mut message: MessageRecord, state: MessageState, draft: &mut Draft) {
        message.state = state.clone();
        draft.write(Write::PutMessageState {
            position: message.position,
            state,
        });
        self.view.head = Some(Head::Message(Box::new(message)));
    }
}

const fn pre_dispatch(code: FailureCode, generation: Generation) -> Failure {
    Failure {
        stage: FailureStage::PreDispatch,
        code,
        subtype: None,
        generation,
        detail: None,
    }
}

/// Decides what a failure before the agent's start means: at once again, later again, or the end.
pub(super) fn settle_failure(
    view: &DeliveryView,
    message: &MessageRecord,
    history: &DeliveryHistory,
    failure: Failure,
    now: Timestamp,
    draft: &mut Draft,
) -> MessageState {
    let mut history = history.clone();
    history.last_failure = Some(failure.clone());
    let refused_older_credential = failure.subtype == Some(FailureSubtype::GitAuthenticationFailed)
        && failure.generation < view.generation();
    let runtime_stopped = failure.code == FailureCode::ContainerShutdown;
    if refused_older_credential || runtime_stopped {
        return requeue(message, history, now, draft);
    }
    match next_delay_millis(&failure, history.retries_used) {
        Some(delay_millis) => {
            history.retries_used += 1;
            queue_again(message, history, delay_millis, now, draft)
        }
        None => fail(message, failure, history.submission, now, draft),
    }
}

/// Puts a message back at no cost: what stood in its way is over.
fn requeue(
    message: &MessageRecord,
    history: DeliveryHistory,
    now: Timestamp,
    draft: &mut Draft,
) -> MessageState {
    queue_again(message, history, FLOOR_DELAY_MILLIS, now, draft)
}

fn queue_again(
    message: &MessageRecord,
    history: DeliveryHistory,
    delay_millis: u64,
    now: Timestamp,
    draft: &mut Draft,
) -> MessageState {
    let failure = history.last_failure.as_ref();
    draft.log(LogEvent::DeliveryRetried {
        message_id: message.message_id().clone(),
        submission: history.submission,
        code: failure.map_or(FailureCode::ContainerShutdown, |failure| failure.code),
        subtype: failure.and_then(|failure| failure.subtype),
        delay_millis,
    });
    let not_before = now.plus_millis(delay_millis);
    let state = MessageState::Queued {
        history,
        not_before: Some(not_before),
    };
    draft.write(Write::PutMessageState {
        position: message.position,
        state: state.clone(),
    });
    draft.deadlines.set(DeadlineKind::ClaimLease, None);
    draft.deadlines.set(DeadlineKind::EventPull, None);
    draft.deadlines.set(DeadlineKind::Retry, Some(not_before));
    state
}

fn fail_accepted(message: &MessageRecord, code: FailureCode, now: Timestamp, draft: &mut Draft) {
    if let MessageState::Accepted {
        history,
        generation,
        active,
        ..
    } = &message.state
    {
        let stage = if *active {
            FailureStage::AgentActivity
        } else {
            FailureStage::PostDispatchNoActivity
        };
        let failure = Failure {
            stage,
            ..pre_dispatch(code, *generation)
        };
        fail(message, failure, history.submission, now, draft);
    }
}

fn fail(
    message: &MessageRecord,
    failure: Failure,
    attempts: Submission,
    now: Timestamp,
    draft: &mut Draft,
) -> MessageState {
    let accepted_at = message.state.accepted_at();
    let event = event::failed(
        message.message_id(),
        accepted_at.is_some(),
        &failure,
        attempts,
        now,
    );
    draft.write(Write::AppendEvent(event));
    let cause = Some((failure.code, failure.subtype));
    let state = MessageState::Failed {
        accepted_at,
        terminal_at: now,
        failure,
        attempts,
    };
    end(message, state.clone(), cause, draft, now);
    state
}

/// Writes a terminal state and lets the queue go on at once.
fn end(
    message: &MessageRecord,
    state: MessageState,
    cause: Option<(FailureCode, Option<FailureSubtype>)>,
    draft: &mut Draft,
    now: Timestamp,
) {
    draft.log(LogEvent::MessageEnded {
        message_id: message.message_id().clone(),
        phase: state.phase().as_str(),
        code: cause.map(|(code, _)| code),
        subtype: cause.and_then(|(_, subtype)| subtype),
    });
    draft.write(Write::PutMessageState {
        position: message.position,
        state,
    });
    for kind in [
        DeadlineKind::Retry,
        DeadlineKind::ClaimLease,
        DeadlineKind::EventPull,
    ] {
        draft.deadlines.set(kind, None);
    }
    draft.deadlines.set(DeadlineKind::Drain, Some(now));
}
