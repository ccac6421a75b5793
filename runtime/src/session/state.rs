//! What a session is doing, and the decisions about what comes next. No I/O.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use cloud_agent_wire::{
    Failure, Generation, Intent, MessageId, PutTurn, Submission, TurnReply, TurnState,
};
use tokio_util::sync::CancellationToken;

use crate::store::records::TurnRecord;
use crate::workspace::prepare::Ready;
use crate::workspace::spec::Spec;

/// The state of a session in this process.
pub struct State {
    /// The newest generation that any request brought, in this process or before.
    pub seen: Generation,
    /// The newest workspace request, with the newest credential.
    pub spec: Option<Arc<Spec>>,
    /// The workspace as it can be used now.
    pub ready: Option<Ready>,
    /// Why the newest request could not be prepared.
    pub failed: Option<Failure>,
    /// The generation that came as a live rotation, so that a refusal is told.
    pub pushed: Option<Generation>,
    /// The preparation that runs.
    pub preparing: Option<(Generation, CancellationToken)>,
    /// Stops the live rotation to the newest credential.
    rotating: Option<CancellationToken>,
    /// The turn that runs.
    pub running: Option<(MessageId, CancellationToken)>,
    waiting: HashMap<MessageId, Waiting>,
    queue: VecDeque<MessageId>,
    open: HashMap<MessageId, TurnRecord>,
}

/// A turn that waits for the workspace.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The message.
    pub message_id: MessageId,
    /// The delivery.
    pub submission: Submission,
    /// The generation that the workspace must have.
    pub generation: Generation,
    /// The message's content.
    pub intent: Arc<Intent>,
}

/// What the session's task does next.
pub enum Step {
    /// Prepare the workspace.
    Prepare(Arc<Spec>, CancellationToken),
    /// Start this turn's agent.
    Run {
        /// The turn.
        turn: Waiting,
        /// The workspace.
        ready: Ready,
        /// The session's settings.
        spec: Arc<Spec>,
        /// What to write down before anything else happens.
        record: TurnRecord,
        /// Interrupts the turn.
        cancel: CancellationToken,
    },
    /// Fail this turn: its workspace cannot be prepared.
    Refuse(Waiting, Failure),
    /// Wait for a request.
    Idle,
}

/// What becomes of a turn request.
#[derive(Debug, PartialEq, Eq)]
pub enum TurnDecision {
    /// Nothing changes; this is the answer.
    Answer(TurnReply),
    /// The turn waits under this submission from now on.
    Wait,
    /// The turn was interrupted before its agent started, so this submission ends at once.
    Interrupted,
}

/// The request is older than one seen before.
#[derive(Debug, PartialEq, Eq)]
pub struct Stale;

impl State {
    /// The state after a start.
    pub fn new(seen: Generation) -> Self {
        Self {
            seen,
            spec: None,
            ready: None,
            failed: None,
            pushed: None,
            preparing: None,
            rotating: None,
            running: None,
            waiting: HashMap::new(),
            queue: VecDeque::new(),
            open: HashMap::new(),
        }
    }

    /// Takes a workspace request. A preparation with an older credential is abandoned, a failed one tried again.
    pub fn put_workspace(&mut self, spec: Spec) -> Result<(), Stale> {
        if spec.generation < self.seen {
            return Err(Stale);
        }
        self.seen = spec.generation;
        if let Some((generation, cancel)) = &self.preparing
            && *generation < spec.generation
        {
            cancel.cancel();
        }
        self.failed = None;
        self.spec = Some(Arc::new(spec));
        Ok(())
    }

    /// A live rotation to the newest credential begins, if a turn runs that needs it. Returns what stops it, and what
    /// stops the one before it.
    pub fn start_rotating(
        &mut self,
        stop: &CancellationToken,
    ) -> Option<(CancellationToken, Option<CancellationToken>)> {
        self.running.as_ref()?;
        let cancel = stop.child_token();
        let older = self.rotating.replace(cancel.clone());
        Some((cancel, older))
    }

    /// What comes next.
    pub fn next(&mut self, stop: &CancellationToken) -> Step {
        let Some(spec) = self.spec.clone() else {
            return Step::Idle;
        };
        let ready = self.ready.map(|ready| ready.generation);
        let failed = self.failed.as_ref().map(|failure| failure.generation);
        if ready.max(failed) < Some(spec.generation) {
            let cancel = stop.child_token();
            self.preparing = Some((spec.generation, cancel.clone()));
            return Step::Prepare(spec, cancel);
        }
        let outcome = |turn: &Waiting| match (self.ready, &self.failed) {
            (Some(ready), _) if ready.generation >= turn.generation => Some(Ok(ready)),
            (_, Some(failure)) if failure.generation >= turn.generation => {
                Some(Err(failure.clone()))
            }
            _ => None,
        };
        let next = self.queue.iter().find_map(|message| {
            let turn = self.waiting.get(message)?;
            Some((turn.clone(), outcome(turn)?))
        });
        let Some((turn, outcome)) = next else {
            return Step::Idle;
        };
        self.take_waiting(&turn.message_id);
        match outcome {
            Ok(ready) => {
                let cancel = stop.child_token();
                let record = self.start(&turn, cancel.clone());
                Step::Run {
                    turn,
                    ready,
                    spec,
                    record,
                    cancel,
                }
            }
            Err(failure) => Step::Refuse(turn, failure),
        }
    }

    /// Decides about a turn request. `stored` is the turn's record when it is not open in this process.
    pub fn decide_turn(
        &self,
        message: &MessageId,
        submission: Submission,
        stored: Option<&TurnRecord>,
    ) -> TurnDecision {
        let Some(record) = self.open.get(message).or(stored) else {
            return TurnDecision::Wait;
        };
        if submission > record.submission && record.may_run_again() {
            return TurnDecision::Wait;
        }
        let was_stopped = !record.started && record.state == TurnState::Interrupted;
        if submission > record.submission && was_stopped {
            return TurnDecision::Interrupted;
        }
        TurnDecision::Answer(TurnReply {
            submission: record.submission,
            state: record.state,
        })
    }

    /// Lets a turn wait, in the place of an older submission of it if there is one.
    pub fn wait(&mut self, message: &MessageId, request: PutTurn) -> TurnRecord {
        let record = TurnRecord {
            message_id: message.clone(),
            submission: request.submission,
            state: TurnState::Waiting,
            started: false,
        };
        let waiting = Waiting {
            message_id: message.clone(),
            submission: request.submission,
            generation: request.generation,
            intent: Arc::new(request.intent),
        };
        if self.waiting.insert(message.clone(), waiting).is_none() {
            self.queue.push_back(message.clone());
        }
        self.open.insert(message.clone(), record.clone());
        record
    }

    /// Takes back [`Self::wait`].
    pub fn forget(&mut self, message: &MessageId) {
        self.take_waiting(message);
        self.open.remove(message);
    }

    /// A turn's agent is about to start: from here on it can be interrupted, and is never started again.
    fn start(&mut self, turn: &Waiting, cancel: CancellationToken) -> TurnRecord {
        let record = TurnRecord {
            message_id: turn.message_id.clone(),
            submission: turn.submission,
            state: TurnState::Running,
            started: true,
        };
        self.running = Some((turn.message_id.clone(), cancel));
        self.open.insert(turn.message_id.clone(), record.clone());
        record
    }

    /// A turn's agent was not started after all.
    pub fn take_back_start(&mut self, message: &MessageId) {
        if let Some(record) = self.open.get_mut(message) {
            record.started = false;
        }
    }

    /// A turn is over, and its record written.
    pub fn end(&mut self, message: &MessageId) {
        self.open.remove(message);
        if self
            .running
            .as_ref()
            .is_some_and(|(running, _)| running == message)
        {
            self.running = None;
            // The next turn's preparation proves the newest credential.
            if let Some(rotating) = self.rotating.take() {
                rotating.cancel();
            }
        }
    }

    /// The record of a turn that is not over.
    pub fn open_turn(&self, message: &MessageId) -> Option<&TurnRecord> {
        self.open.get(message)
    }

    /// Takes a turn out of the queue, if it is still there.
    pub fn take_waiting(&mut self, message: &MessageId) -> Option<Waiting> {
        self.queue.retain(|queued| queued != message);
        self.waiting.remove(message)
    }

    /// Interrupts a turn that runs; `false` when it does not.
    pub fn interrupt_running(&self, message: &MessageId) -> bool {
        match &self.running {
            Some((running, cancel)) if running == message => {
                cancel.cancel();
                true
            }
            _ => false,
        }
    }

    /// Takes a turn out of the queue because it is to be stopped. A preparation that no other turn waits for is
    /// abandoned with it; the next workspace request begins another.
    pub fn interrupt_waiting(&mut self, message: &MessageId) -> Option<Waiting> {
        let turn = self.take_waiting(message)?;
        if let Some((_, cancel)) = &self.preparing
            && self.queue.is_empty()
        {
            cancel.cancel();
            self.spec = None;
        }
        Some(turn)
    }

    /// Takes any turn out of the queue.
    pub fn take_any_waiting(&mut self) -> Option<Waiting> {
        let message = self.queue.pop_front()?;
        self.waiting.remove(&message)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cloud_agent_wire::branch_name::BranchKind;
    use cloud_agent_wire::{
        AllowedHosts, Author, Failure, FailureSubtype, Generation, GitUrl, MessageId, PutTurn,
        Submission, TurnReply, TurnState,
    };
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::{Stale, State, Step, TurnDecision};
    use crate::git::run::setup_failure;
    use crate::store::records::TurnRecord;
    use crate::workspace::prepare::Ready;
    use crate::workspace::spec::Spec;

    fn spec(generation: u64) -> Spec {
        Spec {
            url: GitUrl::parse("https://h/r", &AllowedHosts::default()).expect("it is valid"),
            author: Author {
                name: "n".to_owned(),
                email: "e".to_owned(),
            },
            branch: "main".to_owned(),
            branch_kind: BranchKind::Branch,
            strict: false,
            shallow: false,
            setup_commands: Vec::new(),
            env: BTreeMap::new(),
            configuration: BTreeMap::new(),
            generation: Generation::new(generation),
            credential: None,
        }
    }

    fn message(number: u32) -> MessageId {
        format!("msg_0123456789ab{number:014}")
            .parse()
            .expect("it is valid")
    }

    fn turn(number: u32, submission: u64, generation: u64) -> PutTurn {
        serde_json::from_value(json!({
            "submission": submission,
            "generation": generation,
            "intent": {
                "turn": { "type": "prompt", "messageId": message(number), "prompt": "p" },
                "agent": { "mode": "code", "model": "m" },
                "finalization": {},
            },
        }))
        .expect("it is a turn")
    }

    fn ready(generation: u64) -> Ready {
        Ready {
            generation: Generation::new(generation),
            cold: false,
        }
    }

    fn failed(generation: u64) -> Failure {
        let subtype = FailureSubtype::GitAuthenticationFailed;
        setup_failure(subtype, Generation::new(generation), String::new())
    }

    /// What comes next, as a word and the message that it is about.
    fn next(state: &mut State) -> (&'static str, Option<MessageId>) {
        match state.next(&CancellationToken::new()) {
            Step::Prepare(..) => ("prepare", None),
            Step::Run { turn, .. } => ("run", Some(turn.message_id)),
            Step::Refuse(turn, _) => ("refuse", Some(turn.message_id)),
            Step::Idle => ("idle", None),
        }
    }

    #[test]
    fn the_newest_credential_is_prepared_before_any_turn_runs() {
        for (spec_generation, ready, failed, turn_generation, expected) in [
            (None, None, None, 1, "idle"),
            (Some(1), None, None, 1, "prepare"),
            (Some(2), Some(ready(1)), None, 1, "prepare"),
            (Some(2), Some(ready(1)), Some(failed(1)), 1, "prepare"),
            (Some(1), Some(ready(1)), None, 1, "run"),
            (Some(1), Some(ready(1)), None, 2, "idle"),
            (Some(2), Some(ready(1)), Some(failed(2)), 1, "run"),
            (Some(2), Some(ready(1)), Some(failed(2)), 2, "refuse"),
            (Some(1), None, Some(failed(1)), 1, "refuse"),
            (Some(1), None, Some(failed(1)), 2, "idle"),
        ] {
            let mut state = State::new(Generation::default());
            if let Some(generation) = spec_generation {
                state
                    .put_workspace(spec(generation))
                    .expect("it is not stale");
            }
            (state.ready, state.failed) = (ready, failed);
            state.wait(&message(1), turn(1, 1, turn_generation));
            let row = format!("{spec_generation:?} {ready:?} {turn_generation}");
            assert_eq!(next(&mut state).0, expected, "{row}");
        }
    }

    #[test]
    fn turns_run_in_the_order_they_came() {
        let mut state = State::new(Generation::default());
        state.put_workspace(spec(1)).expect("it is not stale");
        state.ready = Some(ready(1));
        for (number, generation) in [(1, 2), (2, 1), (3, 1)] {
            state.wait(&message(number), turn(number, 1, generation));
        }
        assert_eq!(next(&mut state), ("run", Some(message(2))));
        assert_eq!(next(&mut state), ("run", Some(message(3))));
        assert_eq!(next(&mut state), ("idle", None));
        state.put_workspace(spec(2)).expect("it is not stale");
        state.ready = Some(ready(2));
        assert_eq!(next(&mut state), ("run", Some(message(1))));
    }

    #[test]
    fn generations_only_rise_and_a_repeat_tries_a_failed_one_again() {
        let mut state = State::new(Generation::new(3));
        assert_eq!(state.put_workspace(spec(2)), Err(Stale));
        assert_eq!(state.put_workspace(spec(3)), Ok(()));
        state.failed = Some(failed(3));
        assert_eq!(next(&mut state).0, "idle");
        assert_eq!(state.put_workspace(spec(3)), Ok(()));
        assert_eq!(next(&mut state).0, "prepare");
        let preparing = state.preparing.clone().expect("it prepares").1;
        assert_eq!(state.put_workspace(spec(3)), Ok(()));
        assert!(!preparing.is_cancelled());
        assert_eq!(state.put_workspace(spec(4)), Ok(()));
        assert!(preparing.is_cancelled());
    }

    #[test]
    fn an_interrupt_abandons_a_preparation_that_nobody_else_waits_for() {
        let mut state = State::new(Generation::default());
        state.put_workspace(spec(1)).expect("it is not stale");
        for number in [1, 2] {
            state.wait(&message(number), turn(number, 1, 1));
        }
        assert_eq!(next(&mut state).0, "prepare");
        let preparing = state.preparing.clone().expect("it prepares").1;
        assert!(state.interrupt_waiting(&message(1)).is_some());
        assert!(!preparing.is_cancelled());
        assert!(state.interrupt_waiting(&message(2)).is_some());
        assert!(preparing.is_cancelled());
        state.preparing = None;
        assert_eq!(next(&mut state).0, "idle");
        assert_eq!(state.put_workspace(spec(1)), Ok(()));
        assert_eq!(next(&mut state).0, "prepare");
    }

    #[test]
    fn a_started_agent_decides_for_every_later_submission() {
        for (recorded, state, started, submission, expected) in [
            (2, TurnState::Waiting, false, 1, None),
            (2, TurnState::Waiting, false, 2, None),
            (2, TurnState::Waiting, false, 3, Some(TurnDecision::Wait)),
            (2, TurnState::Running, true, 3, None),
            (2, TurnState::Completed, true, 3, None),
            (2, TurnState::Failed, true, 3, None),
            (2, TurnState::Failed, false, 2, None),
            (2, TurnState::Failed, false, 3, Some(TurnDecision::Wait)),
            (2, TurnState::Interrupted, true, 3, None),
            (2, TurnState::Interrupted, false, 2, None),
            (
                2,
                TurnState::Interrupted,
                false,
                3,
                Some(TurnDecision::Interrupted),
            ),
        ] {
            let record = TurnRecord {
                message_id: message(1),
                submission: Submission::new(recorded),
                state,
                started,
            };
            let decision = State::new(Generation::default()).decide_turn(
                &message(1),
                Submission::new(submission),
                Some(&record),
            );
            let answer = TurnDecision::Answer(TurnReply {
                submission: Submission::new(recorded),
                state,
            });
            let expected = expected.unwrap_or(answer);
            assert_eq!(decision, expected, "{state:?} {started} {submission}");
        }
    }
}
