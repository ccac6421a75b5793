//! A runtime that keeps the contract: generations only rise, a turn's agent is started once on a disk, the journal
//! is numbered without gaps. It can restart, get another disk, refuse calls, and be out of reach.

use std::collections::BTreeMap;

use cloud_agent_session::session::managed::ManagedFault;
use cloud_agent_wire::{
    FailureSubtype, Generation, JournalEvent, MessageId, PutTurn, RuntimeErrorCode, StoreId,
    Submission, TurnReply, TurnState,
};

mod progress;
mod workspace;

use workspace::{Turn, Workspace};

/// Why a call gave no answer, as the object's client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFault {
    Unreachable,
    Refused(RuntimeErrorCode),
}

/// Why the service of managed tokens gave none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unresolved {
    Pending,
    Fault(ManagedFault),
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

/// What goes wrong next, once each.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// Does what the next call asks and loses the reply.
    pub loses_reply: bool,
    /// Answers the next call with this refusal.
    pub refusal: Option<RuntimeErrorCode>,
    /// Forgets to say that an agent was started and dies.
    pub dies_at_start: bool,
}

/// The runtime.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub is_reachable: bool,
    pub planned: Planned,
    /// The session was deleted: its tombstone answers.
    is_deleted: bool,
    disk: u32,
    boot: u32,
    workspace: Option<Workspace>,
    journal: Vec<JournalEvent>,
    pub starts: Vec<Start>,
    /// Numbers the lines of agents, so that each is unlike any other.
    lines: u64,
    /// How often the service of managed tokens was asked: every other time it gives another token.
    resolutions: u32,
    /// The managed tokens that were given, by generation.
    tokens: BTreeMap<Generation, u32>,
    /// What the object did that it must never do.
    violation: Option<String>,
}

impl Runtime {
    pub fn new() -> Self {
        Self {
            is_reachable: true,
            planned: Planned::default(),
            is_deleted: false,
            disk: 1,
            boot: 1,
            workspace: None,
            journal: Vec::new(),
            starts: Vec::new(),
            lines: 0,
            resolutions: 0,
            tokens: BTreeMap::new(),
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
        self.planned
            .refusal
            .take()
            .map_or(Ok(()), |code| Err(CallFault::Refused(code)))
    }

    fn reply<T>(&mut self, reply: T) -> Result<T, CallFault> {
        if std::mem::take(&mut self.planned.loses_reply) {
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

    /// The service of managed tokens answers; trouble that is planned meets this call.
    pub fn resolve(&mut self) -> Result<u32, Unresolved> {
        if std::mem::take(&mut self.planned.loses_reply) {
            return Err(Unresolved::Pending);
        }
        if self.planned.refusal.take().is_some() {
            return Err(Unresolved::Fault(ManagedFault::Unavailable));
        }
        self.resolutions += 1;
        Ok(self.resolutions / 2)
    }

    /// A generation must never stand for two tokens.
    pub fn gets_token(&mut self, generation: Generation, token: u32) {
        let known = *self.tokens.entry(generation).or_insert(token);
        if known != token {
            self.violation = Some(format!(
                "generation {generation} stands for the tokens {known} and {token}"
            ));
        }
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
}
