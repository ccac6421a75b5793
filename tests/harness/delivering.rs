//! A session whose messages are delivered, one answer and one event of the runtime at a time.

use std::cell::Cell;

use cloud_agent_session::session::claim::{Claim, Owed, Round, Work};
use cloud_agent_session::session::delivery::{
    HandOverFault, on_contact, on_hand_over_failed, on_interrupt_answered, on_pull_failed,
    on_turn_taken,
};
use cloud_agent_session::session::journal::on_events;
use cloud_agent_session::session::message::{MessageState, Phase};
use cloud_agent_session::session::record::RepositoryRecord;
use cloud_agent_wire::{
    EventSequence, Failure, FailureCode, FailureStage, FailureSubtype, Generation, JournalEvent,
    RuntimeEvent, StoreId, Submission, TurnReply, TurnState,
};

use super::fixtures::{self, START, message_id, prompt};
use super::session::Session;
use super::shell::apply;

/// The session, and how far its runtime's journal is.
pub struct Delivering {
    pub session: Session,
    written: Cell<u64>,
}

pub fn disk(number: u32) -> StoreId {
    let name = format!("disk-{number}");
    name.parse().expect("the name is valid")
}

pub fn ready(digit: char, submission: u64) -> RuntimeEvent {
    RuntimeEvent::Ready {
        message_id: message_id(digit),
        submission: Submission::new(submission),
        generation: Generation::new(1),
        branch: Some("main".to_owned()),
        cold: true,
    }
}

pub fn complete(digit: char, submission: u64) -> RuntimeEvent {
    RuntimeEvent::Complete {
        message_id: message_id(digit),
        submission: Submission::new(submission),
        branch: Some("main".to_owned()),
        gate_result: None,
    }
}

pub fn interrupted(digit: char, submission: u64) -> RuntimeEvent {
    RuntimeEvent::Interrupted {
        message_id: message_id(digit),
        submission: Submission::new(submission),
    }
}

pub fn error(digit: char, submission: u64, failure: Failure) -> RuntimeEvent {
    RuntimeEvent::Error {
        message_id: message_id(digit),
        submission: Submission::new(submission),
        failure,
    }
}

pub fn line(digit: char, number: u32) -> RuntimeEvent {
    RuntimeEvent::Kilocode {
        message_id: message_id(digit),
        json: format!(r#"{{"line":{number}}}"#),
    }
}

/// A failure before the agent was started, with generation 1.
pub fn failure(code: FailureCode, subtype: Option<FailureSubtype>) -> Failure {
    Failure {
        stage: FailureStage::PreDispatch,
        code,
        subtype,
        generation: Generation::new(1),
        detail: None,
    }
}

/// A failure of preparing the workspace.
pub fn setup_failure(subtype: FailureSubtype) -> Failure {
    failure(FailureCode::WorkspaceSetupFailed, Some(subtype))
}

impl Delivering {
    /// A session with a token and these messages, when the first is to be delivered.
    pub fn new(messages: &[char]) -> Self {
        Self::of(fixtures::generic_git(), Some("1"), messages)
    }

    /// As [`Self::new`], of any kind of repository.
    pub fn of(repository: RepositoryRecord, token: Option<&str>, messages: &[char]) -> Self {
        let session = Session::prepared(repository, token.map(fixtures::token));
        Self::admitted(session, messages)
    }

    fn admitted(session: Session, messages: &[char]) -> Self {
        for digit in messages {
            session.send(prompt(*digit)).expect("it is admitted");
        }
        session.pass_millis(1_000);
        Self::of_session(session)
    }

    /// As [`Self::new`], with a callback.
    pub fn with_callback(messages: &[char]) -> Self {
        Self::admitted(Session::with_callback(Some("1")), messages)
    }

    /// A session of any kind, whose runtime has done nothing yet.
    pub const fn of_session(session: Session) -> Self {
        Self {
            session,
            written: Cell::new(0),
        }
    }

    /// As [`Self::new`], with the first message accepted on the first disk.
    pub fn accepted(messages: &[char]) -> Self {
        let delivering = Self::new(messages);
        let claim = delivering.claim();
        delivering.hand_over(&claim);
        delivering.happen([ready(messages[0], 1)]);
        delivering
    }

    /// The alarm rings.
    pub fn round(&self) -> Round {
        self.session.ring_alarm().expect("there is a session")
    }

    /// The alarm rings; its work on the queue.
    pub fn ring(&self) -> Work {
        self.round().work
    }

    /// The alarm rings; the call that the runtime is owed.
    pub fn ring_owed(&self) -> Option<Owed> {
        self.round().owed
    }

    /// The alarm rings and claims.
    #[track_caller]
    pub fn claim(&self) -> Claim {
        match self.ring() {
            Work::Deliver(claim) => *claim,
            other => panic!("nothing is claimed, but {other:?}"),
        }
    }

    /// The alarm rings when it is due; what it finds.
    #[track_caller]
    pub fn ring_when_due(&self) -> Work {
        self.round_when_due().work
    }

    /// The alarm rings when it is due; all that it finds.
    #[track_caller]
    pub fn round_when_due(&self) -> Round {
        let alarm = self.session.store.alarm().expect("an alarm is armed");
        self.session.set_now(alarm.max(self.session.now()));
        self.round()
    }

    pub fn contact(&self, store_id: &StoreId) {
        apply(&self.session, |view, now, settings| {
            on_contact(view, store_id, now, settings)
        })
        .expect("the store works");
    }

    /// The runtime has stopped a turn, or never had it.
    pub fn interrupt_answered(&self, digit: char) {
        apply(&self.session, |view, now, settings| {
            on_interrupt_answered(view, &message_id(digit), now, settings)
        })
        .expect("the store works");
    }

    /// The runtime on a disk answers the hand-over of the turn.
    pub fn answer(&self, claim: &Claim, store_id: &StoreId, submission: u64, state: TurnState) {
        let submission = Submission::new(submission);
        let reply = TurnReply { submission, state };
        apply(&self.session, |view, now, settings| {
            let taken = (store_id, claim.generation);
            on_turn_taken(view, claim, taken, reply, now, settings)
        })
        .expect("the store works");
    }

    /// The runtime on the first disk takes the turn.
    pub fn hand_over(&self, claim: &Claim) {
        self.contact(&disk(1));
        let submission = claim.submission.get();
        self.answer(claim, &disk(1), submission, TurnState::Waiting);
    }

    /// The head is delivered and completes.
    pub fn run(&self, digit: char) {
        self.hand_over(&self.claim());
        self.happen([ready(digit, 1), complete(digit, 1)]);
    }

    pub fn hand_over_fails(&self, claim: &Claim, fault: &HandOverFault) {
        apply(&self.session, |view, now, settings| {
            on_hand_over_failed(view, claim, fault, now, settings)
        })
        .expect("the store works");
    }

    /// The first disk's journal brings new events, in one piece.
    pub fn happen<const N: usize>(&self, events: [RuntimeEvent; N]) {
        let numbered: Vec<_> = events
            .into_iter()
            .map(|event| {
                self.written.set(self.written.get() + 1);
                (self.written.get(), event)
            })
            .collect();
        self.read(&disk(1), &numbered);
    }

    /// A read of events gets no answer.
    pub fn read_fails(&self) {
        apply(&self.session, on_pull_failed).expect("the store works");
    }

    /// Events are read from a disk, whatever their numbers.
    pub fn read(&self, store_id: &StoreId, events: &[(u64, RuntimeEvent)]) {
        let events: Vec<_> = events
            .iter()
            .map(|(seq, event)| JournalEvent {
                seq: EventSequence::new(*seq),
                at: START,
                event: event.clone(),
            })
            .collect();
        apply(&self.session, |view, now, settings| {
            on_events(view, store_id, &events, now, settings)
        })
        .expect("the store works");
    }

    #[track_caller]
    pub fn state(&self, digit: char) -> MessageState {
        let state = self.session.state(&message_id(digit));
        state.expect("the message is admitted")
    }

    #[track_caller]
    pub fn phase(&self, digit: char) -> Phase {
        self.state(digit).phase()
    }

    /// Why a message failed.
    #[track_caller]
    pub fn failure(&self, digit: char) -> Failure {
        match self.state(digit) {
            MessageState::Failed { failure, .. } => failure,
            other => panic!("{digit} has not failed: {other:?}"),
        }
    }

    /// The newest delivery's number.
    #[track_caller]
    pub fn submission(&self, digit: char) -> u64 {
        let state = self.state(digit);
        let history = state.history().expect("it has not ended");
        history.submission.get()
    }

    /// The kinds of the events that were appended, oldest first.
    pub fn kinds(&self) -> Vec<&'static str> {
        let tables = self.session.store.tables();
        tables.events.values().map(|row| row.kind).collect()
    }

    /// The events of a kind, as JSON.
    pub fn payloads(&self, kind: &str) -> Vec<serde_json::Value> {
        let tables = self.session.store.tables();
        let rows = tables.events.values().filter(|row| row.kind == kind);
        rows.map(|row| serde_json::from_str(&row.payload).expect("payloads are JSON"))
            .collect()
    }

    pub fn deadline(&self, name: &str) -> Option<u64> {
        let tables = self.session.store.tables();
        let at = tables.deadlines.get(name)?;
        Some(at.millis_since(self.session.now()))
    }

    /// Checks that the alarm is armed at the earliest deadline.
    #[track_caller]
    pub fn check_alarm(&self) {
        let tables = self.session.store.tables();
        let earliest = tables.deadlines.values().min().copied();
        assert_eq!(self.session.store.alarm(), earliest);
    }
}
