//! What the object does around the pure functions, one outside call at a time, so that anything can come between.
//!
//! Follows the object's alarm handler, its hand-over and its reader of events line by line; what it keeps is memory
//! that a death loses.

use cloud_agent_session::session::claim::{Claim, Work};
use cloud_agent_session::session::delivery::{
    HandOverFault, Reading, on_contact, on_events, on_hand_over_failed, on_journal_gone,
    on_pull_failed, on_pull_started, on_turn_taken, reading,
};
use cloud_agent_session::session::engine::{self, Store};
use cloud_agent_session::session::error::StoreError;
use cloud_agent_session::telemetry::LogEvent;
use cloud_agent_wire::{
    EventSequence, Generation, PutTurn, RuntimeErrorCode, StoreId, Timestamp,
};

use super::runtime::{CallFault, Runtime};
use super::session::Session;

/// From an alarm that met a fault until the next one, as in the object.
pub const FAULT_DELAY_MILLIS: u64 = 5_000;

/// The object's memory.
#[derive(Debug, Clone, Default)]
pub struct Shell {
    /// The alarm handler that waits for an outside call.
    pub handler: Option<Handler>,
    /// The task that reads events.
    pub follower: Option<Follower>,
    /// When the runtime last answered a call, whatever it answered.
    pub last_answer: Option<Timestamp>,
    /// When an alarm handler last met a fault of the store.
    pub last_fault: Option<Timestamp>,
}

/// A hand-over between two calls.
#[derive(Debug, Clone)]
pub struct Handler {
    claim: Claim,
    next: Call,
}

/// The call that a hand-over makes next.
#[derive(Debug, Clone)]
enum Call {
    Health,
    Workspace(StoreId),
    Turn(StoreId, Generation),
}

/// The reader of events between two awaits.
#[derive(Debug, Clone)]
pub enum Follower {
    /// The request for a stream is under way.
    Opening(Reading),
    /// A stream is open.
    Open(OpenStream),
    /// The runtime has another disk; it is asked which.
    Asking,
}

/// A stream of events.
#[derive(Debug, Clone)]
pub struct OpenStream {
    pub store_id: StoreId,
    boot: u32,
    position: EventSequence,
}

impl OpenStream {
    /// Whether the process that it came from is gone, or out of reach.
    pub fn is_broken(&self, runtime: &Runtime) -> bool {
        self.boot != runtime.boot() || !runtime.is_reachable
    }
}

/// What an open stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Brings up to that many events in one piece.
    Brings(usize),
    /// Ends after its time.
    Ends,
    /// Breaks.
    Breaks,
}

impl Shell {
    /// The alarm rings. It never does while its handler runs.
    pub fn ring(&mut self, session: &Session) {
        if self.handler.is_some() || session.store.take_alarm().is_none() {
            return;
        }
        match engine::next_work(&session.store, session.now()) {
            Ok(Some(Work::Deliver(claim))) => {
                let claim = *claim;
                let next = Call::Health;
                self.handler = Some(Handler { claim, next });
            }
            Ok(Some(Work::Pull)) => self.follow(session),
            Ok(Some(Work::Rest | Work::Again) | None) => {}
            Err(_) => self.fault(session),
        }
    }

    /// Starts the reader of events unless it runs. Before its first outside call nothing can come between.
    fn follow(&mut self, session: &Session) {
        if self.follower.is_none() {
            self.follower = begin_to_read(session).unwrap_or_default();
        }
    }

    fn fault(&mut self, session: &Session) {
        let now = session.now();
        self.last_fault = Some(now);
        session
            .store
            .arm_at(Some(now.plus_millis(FAULT_DELAY_MILLIS)));
    }

    /// The hand-over makes its next call and applies what comes of it.
    pub fn hand_over(&mut self, session: &Session, runtime: &mut Runtime) {
        let Some(Handler { claim, next }) = self.handler.take() else {
            return;
        };
        match self.call(session, runtime, &claim, next) {
            Ok(Ok(Some(next))) => self.handler = Some(Handler { claim, next }),
            Ok(Ok(None)) => self.follow(session),
            Ok(Err(fault)) => {
                let now = session.now();
                let failed = engine::apply(&session.store, now, |view| {
                    on_hand_over_failed(view, &claim, &fault, now)
                });
                if failed.is_err() {
                    self.fault(session);
                }
            }
            Err(_) => self.fault(session),
        }
    }

    /// The next call; `None` when the runtime has the turn.
    fn call(
        &mut self,
        session: &Session,
        runtime: &mut Runtime,
        claim: &Claim,
        call: Call,
    ) -> Result<Result<Option<Call>, HandOverFault>, StoreError> {
        let (store, now) = (&session.store, session.now());
        match call {
            Call::Health => {
                let store_id = match self.heard(session, runtime.health()) {
                    Ok(store_id) => store_id,
                    Err(fault) => return Ok(Err(fault_of(session, "health", fault))),
                };
                engine::apply(store, now, |view| on_contact(view, &store_id, now))?;
                Ok(Ok(Some(Call::Workspace(store_id))))
            }
            Call::Workspace(store_id) => {
                let Some(view) = store.delivery_view(now)? else {
                    return Ok(Err(HandOverFault::Refused));
                };
                let generation = view.generation();
                let reply = runtime.put_workspace(&store_id, generation);
                match self.heard(session, reply) {
                    Ok(()) => Ok(Ok(Some(Call::Turn(store_id, generation)))),
                    Err(fault) => Ok(Err(fault_of(session, "put_workspace", fault))),
                }
            }
            Call::Turn(store_id, generation) => {
                let turn = PutTurn {
                    submission: claim.submission,
                    generation,
                    intent: claim.intent.clone(),
                };
                let reply = runtime.put_turn(&store_id, claim.intent.message_id(), &turn);
                let reply = match self.heard(session, reply) {
                    Ok(reply) => reply,
                    Err(fault) => return Ok(Err(fault_of(session, "put_turn", fault))),
                };
                engine::apply(store, now, |view| {
                    on_turn_taken(view, claim, &store_id, reply, now)
                })?;
                Ok(Ok(None))
            }
        }
    }

    fn heard<T>(&mut self, session: &Session, reply: Result<T, CallFault>) -> Result<T, CallFault> {
        if !matches!(reply, Err(CallFault::Unreachable)) {
            self.last_answer = Some(session.now());
        }
        reply
    }

    /// The reader of events goes on to its next outside call.
    pub fn read(&mut self, session: &Session, runtime: &mut Runtime, stream: Stream) {
        let next = match self.follower.take() {
            None => return,
            Some(Follower::Opening(reading)) => self.open(session, runtime, reading),
            Some(Follower::Asking) => self.ask(session, runtime),
            Some(Follower::Open(open)) => {
                let is_broken = open.is_broken(runtime);
                match stream {
                    Stream::Brings(count) if !is_broken => {
                        take_over(session, runtime, open, count)
                    }
                    Stream::Ends if !is_broken => begin_to_read(session),
                    _ => recover(session, CallFault::Unreachable),
                }
            }
        };
        // A fault of the store ends the task; the alarm starts another one.
        self.follower = next.unwrap_or_default();
    }

    fn open(&mut self, session: &Session, runtime: &mut Runtime, reading: Reading) -> Next {
        let reply = runtime.events(&reading.store_id);
        match self.heard(session, reply) {
            Ok(()) => Ok(Some(Follower::Open(OpenStream {
                store_id: reading.store_id,
                boot: runtime.boot(),
                position: reading.after,
            }))),
            Err(fault) => recover(session, fault),
        }
    }

    fn ask(&mut self, session: &Session, runtime: &mut Runtime) -> Next {
        let now = session.now();
        match self.heard(session, runtime.health()) {
            Ok(store_id) => {
                engine::apply(&session.store, now, |view| on_contact(view, &store_id, now))?;
                begin_to_read(session)
            }
            Err(_) => give_up_reading(session),
        }
    }

    /// The process is gone and with it everything it remembered.
    pub fn forget(&mut self) {
        self.handler = None;
        self.follower = None;
    }
}

/// What the reader of events does next; `None` when it ends.
type Next = Result<Option<Follower>, StoreError>;

fn begin_to_read(session: &Session) -> Next {
    let now = session.now();
    let started = engine::apply(&session.store, now, |view| on_pull_started(view, now))?;
    Ok(started.flatten().map(Follower::Opening))
}

fn recover(session: &Session, fault: CallFault) -> Next {
    log_fault(session, "events", fault);
    match fault {
        CallFault::Refused(RuntimeErrorCode::StoreChanged) => Ok(Some(Follower::Asking)),
        CallFault::Refused(RuntimeErrorCode::NotFound | RuntimeErrorCode::Gone) => {
            let now = session.now();
            engine::apply(&session.store, now, |view| on_journal_gone(view, now))?;
            Ok(None)
        }
        _ => give_up_reading(session),
    }
}

fn give_up_reading(session: &Session) -> Next {
    let now = session.now();
    engine::apply(&session.store, now, |view| on_pull_failed(view, now))?;
    Ok(None)
}

fn take_over(session: &Session, runtime: &Runtime, open: OpenStream, count: usize) -> Next {
    let (store, now) = (&session.store, session.now());
    let journal = runtime.journal().iter();
    let news = journal.filter(|event| event.seq > open.position);
    let events: Vec<_> = news.take(count).cloned().collect();
    let Some(last) = events.last() else {
        return Ok(Some(Follower::Open(open)));
    };
    engine::apply(store, now, |view| {
        on_events(view, &open.store_id, &events, now)
    })?;
    let view = store.delivery_view(now)?;
    if view.is_some_and(|view| reading(&view).is_some()) {
        let position = last.seq;
        Ok(Some(Follower::Open(OpenStream { position, ..open })))
    } else {
        begin_to_read(session)
    }
}

fn log_fault(session: &Session, call: &'static str, fault: CallFault) {
    session.store.log(&LogEvent::RuntimeCallFailed {
        call,
        reason: format!("{fault:?}"),
    });
}

fn fault_of(session: &Session, call: &'static str, fault: CallFault) -> HandOverFault {
    log_fault(session, call, fault);
    match fault {
        CallFault::Refused(RuntimeErrorCode::StoreChanged | RuntimeErrorCode::StaleGeneration) => {
            HandOverFault::Outdated
        }
        CallFault::Refused(
            RuntimeErrorCode::InvalidRequest
            | RuntimeErrorCode::Gone
            | RuntimeErrorCode::PayloadTooLarge,
        ) => HandOverFault::Refused,
        CallFault::Refused(_) | CallFault::Unreachable => HandOverFault::Unreachable,
    }
}
