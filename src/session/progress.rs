//! A session's state while one decision changes it: every change goes through here, and becomes writes once.

use cloud_agent_wire::{
    Failure, FailureCode, FailureStage, FailureSubtype, Generation, MessageId, Timestamp,
};

use crate::telemetry::LogEvent;

use super::callback::{self, Callback, CallbackState};
use super::command::Settings;
use super::deadline::DeadlineKind;
use super::event;
use super::message::{DeliveryHistory, MessageRecord, MessageState, QueuePosition};
use super::record::{CallbackTargetId, OwedInterrupt, Refusal, RuntimeLink};
use super::retry::{failure_policy, next_delay_millis, retries_spent};
use super::step::{Decision, Draft, Write};
use super::timing::{FLOOR_DELAY_MILLIS, MANAGED_REFUSAL_DELAY_MILLIS};
use super::view::{DeliveryView, Head};
use super::volatile;

/// How often a message is put back at no cost.
const FREE_RETURNS_MAX: u32 = 5;
/// How many interrupts are owed at most.
const OWED_INTERRUPTS_MAX: usize = 10;

/// The deadlines that exist only while a message is being delivered.
const DELIVERY_DEADLINES: [DeadlineKind; 4] = [
    DeadlineKind::Retry,
    DeadlineKind::ClaimLease,
    DeadlineKind::EventPull,
    DeadlineKind::TurnWatch,
];

/// The state as the decision has changed it so far, and the writes that make it durable.
pub(super) struct Progress<'a> {
    pub(super) view: DeliveryView,
    pub(super) draft: Draft,
    pub(super) now: Timestamp,
    pub(super) settings: &'a Settings,
    /// Whether the runtime itself reports what is being applied.
    pub(super) told_by_runtime: bool,
    record_changed: bool,
    link_changed: bool,
}

impl<'a> Progress<'a> {
    pub(super) fn new(view: &DeliveryView, now: Timestamp, settings: &'a Settings) -> Self {
        Self {
            view: view.clone(),
            draft: Draft::new(view.deadlines.clone()),
            now,
            settings,
            told_by_runtime: false,
            record_changed: false,
            link_changed: false,
        }
    }

    pub(super) fn finish<T>(mut self, outcome: T) -> Decision<T> {
        if self.record_changed {
            self.view.record.version += 1;
            self.draft
                .write(Write::PutRecord(Box::new(self.view.record)));
        }
        if self.link_changed {
            self.draft.write(Write::PutRuntimeLink(self.view.link));
        }
        self.draft.finish(outcome)
    }

    /// Changes the session's record.
    pub(super) fn record(&mut self) -> &mut super::record::SessionRecord {
        self.record_changed = true;
        &mut self.view.record
    }

    /// Changes what is known about the runtime.
    pub(super) fn link(&mut self) -> &mut RuntimeLink {
        self.link_changed = true;
        &mut self.view.link
    }

    /// Sets a deadline that long from now.
    pub(super) fn set_after(&mut self, kind: DeadlineKind, millis: u64) {
        self.draft
            .deadlines
            .set(kind, Some(self.now.plus_millis(millis)));
    }

    /// The head of the queue, if it is that message.
    pub(super) fn head(&self, message_id: &MessageId) -> Option<MessageRecord> {
        self.view
            .head_message()
            .filter(|head| head.message_id() == message_id)
            .cloned()
    }

    /// Changes the head's state to another that is not terminal.
    pub(super) fn put(&mut self, mut message: MessageRecord, state: MessageState) {
        message.state = state.clone();
        self.draft.write(Write::PutMessageState {
            position: message.position,
            state,
        });
        self.view.head = Some(Head::Message(Box::new(message)));
    }

    /// Decides what a failure before the agent's start means: at once again, later again, a wait, or the end.
    pub(super) fn settle_failure(&mut self, message: &MessageRecord, failure: Failure) {
        let Some(history) = message.state.history() else {
            return;
        };
        let mut history = history.clone();
        history.last_failure = Some(failure.clone());
        if failure.code == FailureCode::ContainerShutdown {
            return self.return_free(message, history, failure);
        }
        if failure.subtype == Some(FailureSubtype::GitAuthenticationFailed)
            && self.view.record.repository.uses_session_credential()
        {
            self.refuse_credential(failure.generation, Some(message.message_id()));
            return self.queue_again(message, history, FLOOR_DELAY_MILLIS);
        }
        if failure.subtype == Some(FailureSubtype::GitAuthenticationFailed)
            && history.retries_used == 0
        {
            // A managed token may have died on its way, and the next delivery brings another one.
            history.retries_used += 1;
            return self.queue_again(message, history, MANAGED_REFUSAL_DELAY_MILLIS);
        }
        self.charge(message, history, failure);
    }

    /// As the retry table says, whatever the kind of failure.
    pub(super) fn charge_or_end(&mut self, message: &MessageRecord, failure: Failure) {
        if let Some(history) = message.state.history() {
            let mut history = history.clone();
            history.last_failure = Some(failure.clone());
            self.charge(message, history, failure);
        }
    }

    /// Ends a message that can never be delivered, for this reason.
    pub(super) fn refuse_delivery(
        &mut self,
        message: &MessageRecord,
        generation: Generation,
        detail: &'static str,
    ) {
        let failure = Failure {
            detail: Some(detail.to_owned()),
            ..pre_dispatch(FailureCode::InvalidDeliveryRequest, generation)
        };
        self.charge_or_end(message, failure);
    }

    /// Puts a message back at no cost, since what stood in its way is over: so often, then the retry table is charged.
    pub(super) fn return_free(
        &mut self,
        message: &MessageRecord,
        mut history: DeliveryHistory,
        failure: Failure,
    ) {
        history.last_failure = Some(failure.clone());
        if history.free_returns >= FREE_RETURNS_MAX {
            return self.charge(message, history, failure);
        }
        history.free_returns += 1;
        self.queue_again(message, history, FLOOR_DELAY_MILLIS);
    }

    /// Tries again when the table says so, and else ends the message.
    fn charge(&mut self, message: &MessageRecord, mut history: DeliveryHistory, failure: Failure) {
        let previous = message.state.history();
        let previous = previous.and_then(|history| history.last_failure.as_ref());
        let spent = retries_spent(&failure, previous, history.retries_used);
        match next_delay_millis(&failure, spent) {
            Some(delay_millis) => {
                history.retries_used = spent + 1;
                self.queue_again(message, history, delay_millis);
            }
            None => self.fail(message, failure),
        }
    }

    /// Notes that the remote refused a generation. When it is the current one, the session waits for a newer.
    pub(super) fn refuse_credential(
        &mut self,
        generation: Generation,
        message_id: Option<&MessageId>,
    ) {
        if generation < self.view.generation() || self.view.refusal().is_some() {
            return;
        }
        let since = self.now;
        self.record().refused = Some(Refusal { generation, since });
        let until = since.plus_millis(self.settings.credential_wait_millis);
        self.draft
            .deadlines
            .set(DeadlineKind::CredentialWait, Some(until));
        self.draft.log(LogEvent::CredentialRequired { generation });
        let event = event::credential_required(generation, message_id, since, until);
        self.draft.write(Write::AppendEvent(event));
    }

    fn queue_again(
        &mut self,
        message: &MessageRecord,
        history: DeliveryHistory,
        delay_millis: u64,
    ) {
        let failure = history.last_failure.as_ref();
        self.draft.log(LogEvent::DeliveryRetried {
            message_id: message.message_id().clone(),
            submission: history.submission,
            code: failure.map_or(FailureCode::ContainerShutdown, |failure| failure.code),
            subtype: failure.and_then(|failure| failure.subtype),
            delay_millis,
        });
        let not_before = self.now.plus_millis(delay_millis);
        self.clear_delivery();
        self.draft
            .deadlines
            .set(DeadlineKind::Retry, Some(not_before));
        self.put(
            message.clone(),
            MessageState::Queued {
                history,
                not_before: Some(not_before),
            },
        );
    }

    /// Fails a message whose agent was started, for a reason that the runtime did not give.
    pub(super) fn fail_accepted(&mut self, message: &MessageRecord, code: FailureCode) {
        if let MessageState::Accepted {
            generation, active, ..
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
            self.fail(message, failure);
        }
    }

    /// Fails a message for good. A runtime that may still work on it is told to stop, unless it said so itself.
    pub(super) fn fail(&mut self, message: &MessageRecord, failure: Failure) {
        if !self.told_by_runtime {
            self.stop_if_out(message);
        }
        let accepted_at = message.state.accepted_at();
        let attempts = message
            .state
            .history()
            .map(|history| history.submission)
            .unwrap_or_default();
        let event = event::failed(
            message.message_id(),
            accepted_at.is_some(),
            &failure,
            attempts,
            self.now,
        );
        self.draft.write(Write::AppendEvent(event));
        if accepted_at.is_none() {
            let sentence = failure_policy(failure.code, failure.subtype).sentence;
            let message_id = message.message_id();
            self.draft
                .tell(volatile::not_prepared(sentence, message_id, self.now));
        }
        self.end(
            message,
            MessageState::Failed {
                accepted_at,
                terminal_at: self.now,
                failure,
                attempts,
            },
        );
    }

    /// Stops a message, queued or delivered. A runtime that may work on it is told, unless it said so itself.
    pub(super) fn interrupt(&mut self, message: &MessageRecord) {
        if !self.told_by_runtime {
            self.stop_if_out(message);
        }
        let accepted_at = message.state.accepted_at();
        let event = event::interrupted(message.message_id(), accepted_at.is_some(), self.now);
        self.draft.write(Write::AppendEvent(event));
        self.end(
            message,
            MessageState::Interrupted {
                accepted_at,
                terminal_at: self.now,
            },
        );
    }

    /// Owes the runtime word that a turn is to be stopped, if it may have it.
    fn stop_if_out(&mut self, message: &MessageRecord) {
        let may_be_out = message
            .state
            .history()
            .is_some_and(|history| history.may_be_out);
        if may_be_out || message.is_delivered() {
            self.owe_interrupt(message.message_id());
        }
    }

    /// Owes the runtime word that a turn is to be stopped.
    pub(super) fn owe_interrupt(&mut self, message_id: &MessageId) {
        let owed = OwedInterrupt {
            message_id: message_id.clone(),
            since: self.now,
        };
        let interrupts = &mut self.link().interrupts;
        interrupts.push(owed);
        // A session that is interrupted again and again while its runtime is away remembers the newest only.
        let surplus = interrupts.len().saturating_sub(OWED_INTERRUPTS_MAX);
        interrupts.drain(..surplus);
        self.draft
            .deadlines
            .set(DeadlineKind::InterruptOwed, Some(self.now));
    }

    /// Takes a message that has ended into the batch that is reported once the session is idle.
    pub(super) fn report(
        &mut self,
        position: QueuePosition,
        message_id: &MessageId,
        target: Option<CallbackTargetId>,
    ) {
        let now = self.now;
        let Some(target) = target else {
            // The session may be idle now, which is when the batch of those that ended before is due.
            if self.view.batch.is_some() {
                self.draft
                    .set_deadline_no_later(DeadlineKind::Callback, now);
            }
            return;
        };
        let candidate = Callback {
            id: position,
            message_id: message_id.clone(),
            terminal_at: self.now,
            target,
            state: CallbackState::Open,
        };
        let batch = callback::with_candidate(self.view.batch.as_ref(), candidate);
        self.draft.write(Write::PutCallback(batch.clone()));
        self.view.batch = Some(batch);
        self.draft
            .set_deadline_no_later(DeadlineKind::Callback, now);
    }

    /// Writes a terminal state and lets the queue go on at once.
    pub(super) fn end(&mut self, message: &MessageRecord, state: MessageState) {
        let (code, subtype) = match &state {
            MessageState::Failed { failure, .. } => (Some(failure.code), failure.subtype),
            _ => (None, None),
        };
        self.draft.log(LogEvent::MessageEnded {
            message_id: message.message_id().clone(),
            phase: state.phase().as_str(),
            code,
            subtype,
        });
        self.draft.write(Write::PutMessageState {
            position: message.position,
            state,
        });
        self.report(message.position, message.message_id(), message.callback);
        self.clear_delivery();
        self.draft
            .deadlines
            .set(DeadlineKind::Drain, Some(self.now));
        if self
            .view
            .head_message()
            .is_some_and(|head| head.position == message.position)
        {
            self.view.head = None;
        }
    }

    /// No delivery is under way any more.
    pub(super) fn clear_delivery(&mut self) {
        self.clear_delivery_deadlines();
        if self.view.link.preparing.is_some() {
            self.link().preparing = None;
        }
    }

    pub(super) fn clear_delivery_deadlines(&mut self) {
        for kind in DELIVERY_DEADLINES {
            self.draft.deadlines.set(kind, None);
        }
    }
}

/// A failure before the agent's start.
pub(super) const fn pre_dispatch(code: FailureCode, generation: Generation) -> Failure {
    Failure {
        stage: FailureStage::PreDispatch,
        code,
        subtype: None,
        generation,
        detail: None,
    }
}
