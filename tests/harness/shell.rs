//! What the object does around the pure functions, one outside call at a time, so that anything can come between.
//!
//! Follows the object's alarm handler and its dealings with the runtime; the reader of events is in
//! [`super::follower`]. What is kept here is memory that a death loses.

use cloud_agent_session::session::callback::Attempt;
use cloud_agent_session::session::claim::{Claim, Owed, Round, Work};
use cloud_agent_session::session::command::Settings;
use cloud_agent_session::session::delivery::{
    HandOverFault, is_in_force, on_contact, on_hand_over_failed, on_interrupt_answered,
    on_push_answered, on_turn_taken,
};
use cloud_agent_session::session::engine::{self, Store};
use cloud_agent_session::session::error::StoreError;
use cloud_agent_session::session::managed::{on_resolved, on_resolved_again, on_unresolved_again};
use cloud_agent_session::session::step::Decision;
use cloud_agent_session::session::view::DeliveryView;
use cloud_agent_session::telemetry::LogEvent;
use cloud_agent_wire::{Generation, MessageId, PutTurn, RuntimeErrorCode, StoreId, Timestamp};

use super::fixtures::SETTINGS;
use super::follower::Follower;
use super::runtime::{CallFault, Runtime, Unresolved};
use super::session::Session;

/// From an alarm that met a fault until the next one, as in the object.
pub const FAULT_DELAY_MILLIS: u64 = 5_000;

/// The object's memory.
#[derive(Debug, Clone, Default)]
pub struct Shell {
    /// The alarm handler, while it waits for an outside call.
    pub handler: Option<Call>,
    /// What the handler is still to call.
    owed: Option<Owed>,
    /// The task that reads events.
    pub follower: Option<Follower>,
    /// One whose place was taken while it waited for an outside call.
    pub retired: Option<Follower>,
    /// Tries to report batches that are under way.
    pub tries: Vec<Attempt>,
    /// When the runtime last did what it was asked.
    pub last_answer: Option<Timestamp>,
    /// When an alarm handler last met a fault of the store.
    pub last_fault: Option<Timestamp>,
}

/// The outside call that the alarm handler waits for.
#[derive(Debug, Clone)]
pub enum Call {
    /// A hand-over asks who is there.
    Health(Claim),
    /// A hand-over asks for the token of a managed repository.
    Resolve(Claim, StoreId),
    /// Another token is asked for a turn whose token was refused.
    ResolveAgain(StoreId),
    /// A hand-over has the workspace prepared.
    Workspace(Claim, StoreId, Generation),
    /// A hand-over gives the turn.
    Turn(Claim, StoreId, Generation),
    /// A newer credential is pushed.
    Push(StoreId, Generation),
    /// The runtime is told to stop a turn.
    Interrupt(MessageId, StoreId),
    /// The runtime has another disk; it is asked which.
    AskStore,
    /// The runtime is told to remove the session.
    Delete(StoreId),
}

/// What the handler does after a call.
enum Next {
    Call(Box<Call>),
    Follow { overdue: bool },
    Return,
}

type Outcome = Result<Next, StoreError>;

fn wait_for(call: Call) -> Next {
    Next::Call(Box::new(call))
}

/// Applies something that came from outside to freshly loaded state.
pub fn apply<R>(
    session: &Session,
    decide: impl FnOnce(&DeliveryView, Timestamp, &Settings) -> Decision<R>,
) -> Result<Option<R>, StoreError> {
    let now = session.now();
    engine::apply(&session.store, now, |view| decide(view, now, &SETTINGS))
}

impl Shell {
    /// The alarm rings. It never does while its handler runs.
    pub fn ring(&mut self, session: &Session) {
        if self.handler.is_some() || session.store.take_alarm().is_none() {
            return;
        }
        let outcome = self.work_once(session);
        self.go_on(session, outcome);
    }

    fn work_once(&mut self, session: &Session) -> Outcome {
        let round = engine::next_work(&session.store, session.now(), &SETTINGS)?;
        let attempt = engine::next_chores(&session.store, session.now())?;
        self.tries.extend(attempt);
        let Some(Round { work, owed }) = round else {
            return Ok(Next::Return);
        };
        self.owed = owed;
        begin(session, work)
    }

    /// What is owed is called once the work on the queue is done.
    fn call_what_is_owed(&mut self, session: &Session) {
        if let Some(owed) = self.owed.take() {
            let outcome = begin_owed(session, owed);
            self.go_on(session, outcome);
        }
    }

    /// The handler's call is answered.
    pub fn answer(&mut self, session: &Session, runtime: &mut Runtime) {
        if let Some(call) = self.handler.take() {
            let outcome = self.perform(session, runtime, call);
            self.go_on(session, outcome);
        }
    }

    fn go_on(&mut self, session: &Session, outcome: Outcome) {
        match outcome {
            Ok(Next::Call(call)) => self.handler = Some(*call),
            Ok(Next::Follow { overdue }) => {
                self.follow(session, overdue);
                self.call_what_is_owed(session);
            }
            Ok(Next::Return) => self.call_what_is_owed(session),
            Err(_) => {
                self.owed = None;
                let now = session.now();
                self.last_fault = Some(now);
                session
                    .store
                    .arm_at(Some(now.plus_millis(FAULT_DELAY_MILLIS)));
            }
        }
    }

    pub(super) fn heard<T>(
        &mut self,
        session: &Session,
        reply: Result<T, CallFault>,
    ) -> Result<T, CallFault> {
        if reply.is_ok() {
            self.last_answer = Some(session.now());
        }
        reply
    }

    fn perform(&mut self, session: &Session, runtime: &mut Runtime, pending: Call) -> Outcome {
        match pending {
            Call::Health(claim) => {
                let store_id = match self.heard(session, runtime.health()) {
                    Ok(store_id) => store_id,
                    Err(fault) => return failed(session, &claim, "health", fault),
                };
                apply(session, |view, now, settings| {
                    on_contact(view, &store_id, now, settings)
                })?;
                let Some(generation) = in_force(session, &claim)? else {
                    return not_handed_over(session, &claim, &HandOverFault::Overtaken);
                };
                Ok(wait_for(if is_managed(session) {
                    Call::Resolve(claim, store_id)
                } else {
                    Call::Workspace(claim, store_id, generation)
                }))
            }
            Call::Resolve(claim, store_id) => resolve(session, runtime, claim, store_id),
            Call::ResolveAgain(store_id) => resolve_again(session, runtime, store_id),
            Call::Workspace(claim, store_id, generation) => {
                let reply = runtime.put_workspace(&store_id, generation);
                if let Err(fault) = self.heard(session, reply) {
                    return failed(session, &claim, "put_workspace", fault);
                }
                if in_force(session, &claim)?.is_none() {
                    return not_handed_over(session, &claim, &HandOverFault::Overtaken);
                }
                Ok(wait_for(Call::Turn(claim, store_id, generation)))
            }
            Call::Turn(claim, store_id, generation) => {
                let turn = PutTurn {
                    submission: claim.submission,
                    generation,
                    intent: claim.intent.clone(),
                };
                let reply = runtime.put_turn(&store_id, claim.intent.message_id(), &turn);
                let reply = match self.heard(session, reply) {
                    Ok(reply) => reply,
                    Err(CallFault::Unreachable) => {
                        log_fault(session, "put_turn", CallFault::Unreachable);
                        return not_handed_over(session, &claim, &HandOverFault::Unanswered);
                    }
                    Err(fault) => return failed(session, &claim, "put_turn", fault),
                };
                let taken = (&store_id, generation);
                apply(session, |view, now, settings| {
                    on_turn_taken(view, &claim, taken, reply, now, settings)
                })?;
                Ok(Next::Follow { overdue: false })
            }
            Call::Push(store_id, generation) => {
                let reply = runtime.put_credential(&store_id, generation);
                match self.heard(session, reply) {
                    Ok(())
                    | Err(CallFault::Refused(
                        RuntimeErrorCode::StaleGeneration
                        | RuntimeErrorCode::NotFound
                        | RuntimeErrorCode::Gone,
                    )) => apply(session, |view, now, settings| {
                        on_push_answered(view, &store_id, generation, now, settings)
                    })
                    .map(|_| Next::Return),
                    Err(fault) => Ok(look_at_store(session, "put_credential", fault)),
                }
            }
            Call::Interrupt(message_id, store_id) => {
                let reply = runtime.interrupt_turn(&store_id, &message_id);
                match self.heard(session, reply) {
                    Ok(())
                    | Err(CallFault::Refused(
                        RuntimeErrorCode::NotFound | RuntimeErrorCode::Gone,
                    )) => interrupted(session, &message_id),
                    Err(fault) => Ok(look_at_store(session, "interrupt", fault)),
                }
            }
            Call::AskStore => {
                if let Ok(store_id) = self.heard(session, runtime.health()) {
                    apply(session, |view, now, settings| {
                        on_contact(view, &store_id, now, settings)
                    })?;
                }
                Ok(Next::Return)
            }
            Call::Delete(store_id) => {
                let reply = runtime.delete(&store_id);
                match self.heard(session, reply) {
                    Ok(())
                    | Err(CallFault::Refused(
                        RuntimeErrorCode::NotFound
                        | RuntimeErrorCode::Gone
                        | RuntimeErrorCode::StoreChanged,
                    )) => session.store.erase(),
                    Err(fault) => log_fault(session, "delete", fault),
                }
                Ok(Next::Return)
            }
        }
    }

    /// The process is gone and with it everything it remembered.
    pub fn forget(&mut self) {
        self.handler = None;
        self.owed = None;
        self.follower = None;
        self.retired = None;
        self.tries.clear();
    }
}

/// What the handler does before its first outside call.
fn begin(session: &Session, work: Work) -> Outcome {
    Ok(match work {
        Work::Deliver(claim) => wait_for(Call::Health(*claim)),
        Work::Pull { overdue } => Next::Follow { overdue },
        Work::Delete => {
            if let Some(store_id) = store_id(session)? {
                return Ok(wait_for(Call::Delete(store_id)));
            }
            session.store.erase();
            Next::Return
        }
        Work::Erase => {
            session.store.erase();
            Next::Return
        }
        Work::Rest | Work::Again => Next::Return,
    })
}

/// What the handler does for a call that is owed.
fn begin_owed(session: &Session, owed: Owed) -> Outcome {
    Ok(match owed {
        Owed::Push(_) if is_managed(session) => match store_id(session)? {
            Some(store_id) => wait_for(Call::ResolveAgain(store_id)),
            None => Next::Return,
        },
        Owed::Push(generation) => {
            let view = session.store.delivery_view(session.now())?;
            let view = view.filter(|view| view.generation() == generation);
            let store_id = view.and_then(|view| view.credential.and(view.link.store_id));
            store_id.map_or(Next::Return, |store_id| {
                wait_for(Call::Push(store_id, generation))
            })
        }
        Owed::Interrupt(message_id) => match store_id(session)? {
            Some(store_id) => wait_for(Call::Interrupt(message_id, store_id)),
            None => return interrupted(session, &message_id),
        },
    })
}

fn is_managed(session: &Session) -> bool {
    let record = session.record();
    record.is_some_and(|record| !record.repository.uses_session_credential())
}

/// The service answers a hand-over.
fn resolve(session: &Session, runtime: &mut Runtime, claim: Claim, store_id: StoreId) -> Outcome {
    let token = match runtime.resolve() {
        Ok(token) => token,
        Err(Unresolved::Pending) => {
            return not_handed_over(session, &claim, &HandOverFault::NotYet);
        }
        Err(Unresolved::Fault(fault)) => {
            return not_handed_over(session, &claim, &HandOverFault::NoManagedToken(fault));
        }
    };
    if in_force(session, &claim)?.is_none() {
        return not_handed_over(session, &claim, &HandOverFault::Overtaken);
    }
    let fingerprint = token.to_string();
    apply(session, |view, now, settings| {
        on_resolved(view, &fingerprint, now, settings)
    })?;
    let Some(generation) = in_force(session, &claim)? else {
        return not_handed_over(session, &claim, &HandOverFault::Overtaken);
    };
    runtime.gets_token(generation, token);
    Ok(wait_for(Call::Workspace(claim, store_id, generation)))
}

/// The service answers for a turn whose token was refused.
fn resolve_again(session: &Session, runtime: &mut Runtime, store_id: StoreId) -> Outcome {
    let token = match runtime.resolve() {
        Ok(token) => token,
        Err(Unresolved::Pending) => return Ok(Next::Return),
        Err(Unresolved::Fault(_)) => {
            apply(session, on_unresolved_again)?;
            return Ok(Next::Return);
        }
    };
    let fingerprint = token.to_string();
    let generation = apply(session, |view, now, settings| {
        on_resolved_again(view, &fingerprint, now, settings)
    })?;
    let Some(generation) = generation.flatten() else {
        return Ok(Next::Return);
    };
    runtime.gets_token(generation, token);
    Ok(wait_for(Call::Push(store_id, generation)))
}

fn store_id(session: &Session) -> Result<Option<StoreId>, StoreError> {
    let view = session.store.delivery_view(session.now())?;
    Ok(view.and_then(|view| view.link.store_id))
}

/// The current generation, if the claim is still in force.
fn in_force(session: &Session, claim: &Claim) -> Result<Option<Generation>, StoreError> {
    let view = session.store.delivery_view(session.now())?;
    let view = view.filter(|view| is_in_force(view, claim));
    Ok(view.map(|view| view.generation()))
}

fn failed(session: &Session, claim: &Claim, call: &'static str, fault: CallFault) -> Outcome {
    log_fault(session, call, fault);
    let fault = match fault {
        CallFault::Refused(RuntimeErrorCode::StoreChanged | RuntimeErrorCode::StaleGeneration) => {
            HandOverFault::Outdated
        }
        CallFault::Refused(
            RuntimeErrorCode::InvalidRequest
            | RuntimeErrorCode::Gone
            | RuntimeErrorCode::PayloadTooLarge,
        ) => HandOverFault::Refused,
        CallFault::Refused(_) | CallFault::Unreachable => HandOverFault::Unreachable,
    };
    not_handed_over(session, claim, &fault)
}

fn not_handed_over(session: &Session, claim: &Claim, fault: &HandOverFault) -> Outcome {
    apply(session, |view, now, settings| {
        on_hand_over_failed(view, claim, fault, now, settings)
    })
    .map(|_| Next::Return)
}

fn interrupted(session: &Session, message_id: &MessageId) -> Outcome {
    apply(session, |view, now, settings| {
        on_interrupt_answered(view, message_id, now, settings)
    })
    .map(|_| Next::Return)
}

fn look_at_store(session: &Session, call: &'static str, fault: CallFault) -> Next {
    log_fault(session, call, fault);
    if fault == CallFault::Refused(RuntimeErrorCode::StoreChanged) {
        wait_for(Call::AskStore)
    } else {
        Next::Return
    }
}

pub(super) fn log_fault(session: &Session, call: &'static str, fault: CallFault) {
    session.store.log(&LogEvent::RuntimeCallFailed {
        call,
        reason: format!("{fault:?}"),
    });
}
