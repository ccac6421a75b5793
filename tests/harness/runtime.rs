//! A runtime that keeps the contract: generations only rise, a turn's agent is started once on a disk, the journal
//! is numbered without gaps. It can restart, get another disk, refuse calls, and be out of reach.

use cloud_agent_wire::{
    EventSequence, Failure, FailureCode, FailureStage, FailureSubtype, Generation, JournalEvent,
    MessageId, PutTurn, RuntimeErrorCode, RuntimeEvent, StoreId, Submission, TurnReply, TurnState,
};

use super::fixtures::START;
use super::workspace::{Turn, Workspace};

/// Why a call gave no answer, as the object's client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFault {
    Unreachable,
    Refused(RuntimeErrorCode),
}

/// An agent that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub message_id: MessageId,
    pub submission: Submission,
    /// The disk, counted from 1.
    pub disk: u32,
}

/// What the runtime does next, where it has a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Luck {
    /// Everything goes well; a running agent ends.
    Good,
    /// A running agent prints a line; else as good.
    Chatty,
    /// Preparing fails with this subtype; a running agent fails.
    Bad(FailureSubtype),
}

/// The runtime.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub is_reachable: bool,
    /// Does what the next call asks and loses the reply.
    pub loses_reply: bool,
    /// Answers the next call with this refusal.
    pub refusal: Option<RuntimeErrorCode>,
    /// Forgets to say that an agent was started and dies, once.
    pub dies_at_start: bool,
    /// The session was deleted: its tombstone answers.
    is_deleted: bool,
    disk: u32,
    boot: u32,
    workspace: Option<Workspace>,
    journal: Vec<JournalEvent>,
    pub starts: Vec<Start>,
    /// Numbers the lines of agents, so that each is unlike any other.
    lines: u64,
    /// What the object did that it must never do.
    violation: Option<String>,
}

impl Runtime {
    pub fn new() -> Self {
        Self {
            is_reachable: true,
            loses_reply: false,
            refusal: None,
            dies_at_start: false,
            is_deleted: false,
            disk: 1,
            boot: 1,
            workspace: None,
            journal: Vec::new(),
            starts: Vec::new(),
            lines: 0,
            violation: None,
        }
    }

    pub fn store_id(&self) -> StoreId {
        let name = format!("disk-{}", self.disk);
        name.parse().expect("the name is valid")
    }

    pub const fn disk(&self) -> u32 {
        self.disk
    }

    /// Names the process; streams of another one are broken.
    pub const fn boot(&self) -> u32 {
        self.boot
    }

    pub fn journal(&self) -> &[JournalEvent] {
        &self.journal
    }

    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Whether there is something to do without a request.
    pub fn is_busy(&self) -> bool {
        self.workspace.as_ref().is_some_and(|workspace| {
            workspace.running.is_some() || workspace.must_prepare() || workspace.next().is_some()
        })
    }

    fn answer(&mut self) -> Result<(), CallFault> {
        if !self.is_reachable {
            return Err(CallFault::Unreachable);
        }
        self.refusal
            .take()
            .map_or(Ok(()), |code| Err(CallFault::Refused(code)))
    }

    fn reply<T>(&mut self, reply: T) -> Result<T, CallFault> {
        if std::mem::take(&mut self.loses_reply) {
            Err(CallFault::Unreachable)
        } else {
            Ok(reply)
        }
    }

    fn on_store(&mut self, store_id: &StoreId) -> Result<(), CallFault> {
        self.answer()?;
        if *store_id != self.store_id() {
            Err(CallFault::Refused(RuntimeErrorCode::StoreChanged))
        } else if self.is_deleted {
            Err(CallFault::Refused(RuntimeErrorCode::Gone))
        } else {
            Ok(())
        }
    }

    pub fn health(&mut self) -> Result<StoreId, CallFault> {
        self.answer()?;
        self.reply(self.store_id())
    }

    pub fn put_workspace(
        &mut self,
        store_id: &StoreId,
        generation: Generation,
    ) -> Result<(), CallFault> {
        self.on_store(store_id)?;
        let workspace = self.workspace.get_or_insert_default();
        if generation < workspace.seen {
            self.violation = Some(format!(
                "the runtime has seen generation {} and is given {generation}",
                workspace.seen
            ));
            return Err(CallFault::Refused(RuntimeErrorCode::StaleGeneration));
        }
        workspace.seen = generation;
        workspace.wanted = Some(generation);
        workspace.failed = None;
        self.reply(())
    }

    pub fn put_turn(
        &mut self,
        store_id: &StoreId,
        message_id: &MessageId,
        request: &PutTurn,
    ) -> Result<TurnReply, CallFault> {
        self.on_store(store_id)?;
        let Some(workspace) = &mut self.workspace else {
            return Err(CallFault::Refused(RuntimeErrorCode::NotFound));
        };
        if let Some(turn) = workspace.turns.get(message_id) {
            let may_run_again =
                !turn.started && matches!(turn.state, TurnState::Waiting | TurnState::Failed);
            if request.submission <= turn.submission || !may_run_again {
                let reply = TurnReply {
                    submission: turn.submission,
                    state: turn.state,
                };
                return self.reply(reply);
            }
        }
        let turn = Turn {
            submission: request.submission,
            generation: request.generation,
            state: TurnState::Waiting,
            started: false,
        };
        workspace.turns.insert(message_id.clone(), turn);
        if !workspace.queue.contains(message_id) {
            workspace.queue.push(message_id.clone());
        }
        self.reply(TurnReply {
            submission: request.submission,
            state: TurnState::Waiting,
        })
    }

    /// Live rotation.
    pub fn put_credential(
        &mut self,
        store_id: &StoreId,
        generation: Generation,
    ) -> Result<(), CallFault> {
        self.on_store(store_id)?;
        let workspace = self.workspace.as_mut();
        let Some(workspace) = workspace.filter(|workspace| workspace.wanted.is_some()) else {
            return Err(CallFault::Refused(RuntimeErrorCode::NotFound));
        };
        if generation < workspace.seen {
            return Err(CallFault::Refused(RuntimeErrorCode::StaleGeneration));
        }
        if generation > workspace.seen {
            workspace.seen = generation;
            workspace.wanted = Some(generation);
            workspace.failed = None;
            workspace.pushed = Some(generation);
        }
        self.reply(())
    }

    /// Stops a turn on request.
    pub fn interrupt_turn(
        &mut self,
        store_id: &StoreId,
        message_id: &MessageId,
    ) -> Result<(), CallFault> {
        self.on_store(store_id)?;
        if self.workspace.is_none() {
            return Err(CallFault::Refused(RuntimeErrorCode::NotFound));
        }
        self.interrupt(message_id);
        self.reply(())
    }

    /// Removes the session and leaves a tombstone.
    pub fn delete(&mut self, store_id: &StoreId) -> Result<(), CallFault> {
        self.on_store(store_id)?;
        self.is_deleted = true;
        self.workspace = None;
        self.journal.clear();
        self.reply(())
    }

    pub const fn is_deleted(&self) -> bool {
        self.is_deleted
    }

    /// Opens the stream of events.
    pub fn events(&mut self, store_id: &StoreId) -> Result<(), CallFault> {
        self.on_store(store_id)?;
        match &self.workspace {
            Some(_) => Ok(()),
            None => Err(CallFault::Refused(RuntimeErrorCode::NotFound)),
        }
    }

    /// Does the next thing that is to be done.
    pub fn progress(&mut self, luck: Luck) {
        let Some(workspace) = &mut self.workspace else {
            return;
        };
        if workspace.must_prepare() {
            if let Some(generation) = workspace.prepare(luck) {
                self.append(RuntimeEvent::CredentialRefused { generation });
            }
        } else if let Some(message_id) = workspace.running.clone() {
            self.run(&message_id, luck);
        } else if let Some((message_id, outcome)) = workspace.next() {
            workspace.queue.retain(|waiting| *waiting != message_id);
            match outcome {
                Ok(generation) => self.start(&message_id, generation),
                Err(failure) => self.end(&message_id, TurnState::Failed, Some(failure)),
            }
        }
    }

    fn start(&mut self, message_id: &MessageId, generation: Generation) {
        let Some(workspace) = &mut self.workspace else {
            return;
        };
        let cold = std::mem::take(&mut workspace.is_cold);
        workspace.running = Some(message_id.clone());
        let Some(turn) = workspace.turns.get_mut(message_id) else {
            return;
        };
        turn.started = true;
        turn.state = TurnState::Running;
        let submission = turn.submission;
        if std::mem::take(&mut self.dies_at_start) {
            // The record is written, the event and the agent's process are not to come.
            self.restart();
            return;
        }
        self.starts.push(Start {
            message_id: message_id.clone(),
            submission,
            disk: self.disk,
        });
        self.append(RuntimeEvent::Ready {
            message_id: message_id.clone(),
            submission,
            generation,
            branch: None,
            cold,
        });
    }

    fn run(&mut self, message_id: &MessageId, luck: Luck) {
        match luck {
            Luck::Good => self.end(message_id, TurnState::Completed, None),
            Luck::Chatty => {
                self.lines += 1;
                let json = format!(r#"{{"line":{}}}"#, self.lines);
                let message_id = message_id.clone();
                self.append(RuntimeEvent::Kilocode { message_id, json });
            }
            Luck::Bad(_) => {
                let generation = self.workspace.as_ref().map(|workspace| workspace.seen);
                let failure = Failure {
                    stage: FailureStage::AgentActivity,
                    code: FailureCode::WrapperErrorAfterActivity,
                    subtype: None,
                    generation: generation.unwrap_or_default(),
                    detail: None,
                };
                self.end(message_id, TurnState::Failed, Some(failure));
            }
        }
    }

    /// Stops a turn, whether it waits or runs.
    pub fn interrupt(&mut self, message_id: &MessageId) {
        let Some(workspace) = &mut self.workspace else {
            return;
        };
        let is_open = workspace.turns.get(message_id).is_some_and(Turn::is_open);
        if is_open {
            workspace.queue.retain(|waiting| waiting != message_id);
            self.end(message_id, TurnState::Interrupted, None);
        }
    }

    fn end(&mut self, message_id: &MessageId, state: TurnState, failure: Option<Failure>) {
        let Some(workspace) = &mut self.workspace else {
            return;
        };
        if workspace.running.as_ref() == Some(message_id) {
            workspace.running = None;
        }
        let Some(turn) = workspace.turns.get_mut(message_id) else {
            return;
        };
        turn.state = state;
        let (message_id, submission) = (message_id.clone(), turn.submission);
        self.append(match (state, failure) {
            (TurnState::Failed, Some(failure)) => RuntimeEvent::Error {
                message_id,
                submission,
                failure,
            },
            (TurnState::Interrupted, _) => RuntimeEvent::Interrupted {
                message_id,
                submission,
            },
            _ => RuntimeEvent::Complete {
                message_id,
                submission,
                branch: Some("main".to_owned()),
            },
        });
    }

    fn append(&mut self, event: RuntimeEvent) {
        let seq = EventSequence::new(self.journal.len() as u64 + 1);
        let at = START;
        self.journal.push(JournalEvent { seq, at, event });
    }

    /// The process ends and another one starts on the same disk: turns that were not over fail.
    pub fn restart(&mut self) {
        self.boot += 1;
        let Some(workspace) = &mut self.workspace else {
            return;
        };
        workspace.wanted = None;
        workspace.failed = None;
        workspace.running = None;
        workspace.queue.clear();
        let generation = workspace.seen;
        let turns = workspace.turns.iter();
        let open: Vec<_> = turns
            .filter(|(_, turn)| turn.is_open())
            .map(|(id, turn)| (id.clone(), turn.started))
            .collect();
        for (message_id, started) in open {
            let stage = if started {
                FailureStage::Interruption
            } else {
                FailureStage::PreDispatch
            };
            let failure = Failure {
                stage,
                code: FailureCode::ContainerShutdown,
                subtype: None,
                generation,
                detail: None,
            };
            self.end(&message_id, TurnState::Failed, Some(failure));
        }
    }

    /// Another disk: workspace, turns and journal are gone.
    pub fn replace_disk(&mut self) {
        self.disk += 1;
        self.boot += 1;
        self.is_deleted = false;
        self.workspace = None;
        self.journal.clear();
    }
}
