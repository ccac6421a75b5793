//! A session, its object, its runtime and the model of what must be, moved by one action at a time.

use cloud_agent_session::session::admission::Delivery;
use cloud_agent_session::session::command::Arrival;
use cloud_agent_session::session::credential::Try;
use cloud_agent_session::session::error::CommandError;
use cloud_agent_session::session::preparation::PrepareSession;
use cloud_agent_session::session::record::{RepositoryRecord, SessionRecord};
use cloud_agent_session::session::retention::RETENTION_MILLIS;
use cloud_agent_wire::{MessageId, RuntimeErrorCode, Timestamp};

use super::fixtures::{self, CANARY, message_id, prompt};
use super::follower::{Follower, Stream};
use super::invariants::{self, Step};
use super::memory_store::Fault;
use super::model::{Asked, Model, Reply, durable_steps};
use super::receiver::{Receiver, Reception};
use super::runtime::{Luck, Runtime};
use super::session::Session;
use super::shell::Shell;

/// Far more often than the work of a full queue makes the alarm ring at one moment.
const RINGS_MAX: u32 = 60;

/// A request as it reaches the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// The message; `None` for an update of the session.
    pub message: Option<char>,
    /// The number of the token.
    pub token: Option<u32>,
    /// When the Worker got it.
    pub received_at: Timestamp,
    /// Which try of the Worker it is.
    pub attempt: u32,
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A request reaches the object.
    Send(Request),
    /// The alarm rings, if it is due.
    Ring,
    /// The outside call that the alarm's handler waits for is answered.
    Answer,
    /// The reader of events goes on.
    Read(Stream),
    /// A reader whose place was taken hears of its call after all.
    ReadRetired(Stream),
    /// The runtime does its next thing.
    Work(Luck),
    /// The agent at the head stops by itself as if it were told to.
    StopTurn,
    /// The user stops every message.
    Interrupt,
    /// The user deletes the session.
    Delete,
    /// A client sets where the session reports to, or clears it.
    Retarget(bool),
    RestartRuntime,
    ReplaceDisk,
    /// The next agent is not started: its process dies when all is written down.
    DieAtStart,
    Reach(bool),
    LoseReply,
    Refuse(RuntimeErrorCode),
    /// The oldest try to report a batch is over.
    Report(Reception),
    /// Time passes.
    Pass(u64),
    /// Time passes until the alarm is due.
    PassToAlarm,
    /// The clock is set back.
    Back(u64),
    /// What goes wrong during the next action that commits something.
    Plan(Fault),
    /// The object's process dies between two actions.
    Die,
}

/// Everything.
#[derive(Debug, Clone)]
pub struct World {
    pub session: Session,
    pub shell: Shell,
    pub runtime: Runtime,
    pub model: Model,
    pub receiver: Receiver,
    /// The latest moment that the clock has shown.
    pub latest: Timestamp,
    /// How often the alarm has rung at this moment.
    rings: u32,
    /// Whether the last action started an agent.
    pub(super) started_now: bool,
    /// How many log lines were searched for secrets.
    pub(super) searched_lines: usize,
}

impl World {
    /// A prepared session of a generic git repository, with the token of that number.
    pub fn new(token: Option<u32>) -> Self {
        let token = token.map(token_of);
        let secret = token.clone().map(cloud_agent_wire::Secret::new);
        Self::of(
            Session::prepared(fixtures::generic_git(), secret),
            token.as_deref(),
        )
    }

    /// The same, with a callback.
    pub fn with_callback(token: Option<u32>) -> Self {
        let token = token.map(token_of);
        let secret = token.clone().map(cloud_agent_wire::Secret::new);
        let command = fixtures::preparation(fixtures::generic_git(), secret);
        let command = PrepareSession {
            callback: Some(fixtures::callback_target("hooks.example.com")),
            ..command
        };
        Self::of(Session::of(command), token.as_deref())
    }

    fn of(session: Session, token: Option<&str>) -> Self {
        Self {
            model: Model::prepared(token, session.now()),
            latest: session.now(),
            session,
            shell: Shell::default(),
            runtime: Runtime::new(),
            receiver: Receiver::default(),
            rings: 0,
            started_now: false,
            searched_lines: 0,
        }
    }

    /// A prepared session of a managed repository.
    pub fn managed() -> Self {
        let repo = "acme/project".to_owned();
        let session = Session::prepared(RepositoryRecord::Github { repo }, None);
        Self {
            session,
            ..Self::new(None)
        }
    }

    pub fn now(&self) -> Timestamp {
        self.session.now()
    }

    /// Does the action if it can happen now, and checks every invariant.
    ///
    /// The error names the invariant that does not hold.
    pub fn step(&mut self, action: Action) -> Result<(), String> {
        let before = self.session.store.durable();
        let is_ring = action == Action::Ring && self.can_ring();
        let fault = self.session.store.fault();
        let starts = self.runtime.starts.len();
        let started_at = self.now();
        match action {
            Action::Send(request) => self.send(request)?,
            Action::Ring if is_ring => {
                self.touch(|world| world.shell.ring(&world.session));
                self.session.store.ring_again(before.alarm);
            }
            Action::Interrupt => self.interrupt()?,
            Action::Delete => self.delete()?,
            Action::Retarget(has_target) => self.retarget(has_target)?,
            Action::Answer if self.shell.handler.is_some() => self.touch(|world| {
                let World {
                    session, runtime, ..
                } = world;
                world.shell.answer(session, runtime);
            }),
            Action::Read(stream) if self.shell.follower.is_some() => self.touch(|world| {
                let World {
                    session, runtime, ..
                } = world;
                world.shell.read(session, runtime, stream);
            }),
            Action::ReadRetired(stream) if self.shell.retired.is_some() => self.touch(|world| {
                let World {
                    session, runtime, ..
                } = world;
                world.shell.read_retired(session, runtime, stream);
            }),
            Action::Report(reception) if !self.shell.tries.is_empty() => {
                self.touch(|world| {
                    let World {
                        session,
                        shell,
                        receiver,
                        ..
                    } = world;
                    shell.report(session, receiver, reception);
                });
            }
            Action::Report(_) => return Ok(()),
            Action::Ring | Action::Answer | Action::Read(_) | Action::ReadRetired(_) => {
                return Ok(());
            }
            Action::Plan(fault) => {
                self.session.store.plan(Some(fault));
                return Ok(());
            }
            other => self.happen(other),
        }
        self.count_rings(is_ring, started_at)?;
        self.started_now = self.runtime.starts.len() > starts;
        self.latest = self.latest.max(self.now());
        invariants::check(
            self,
            &Step {
                before,
                is_request: matches!(action, Action::Send(_)),
                is_clean_ring: is_ring && fault.is_none(),
            },
        )
    }

    /// Nothing may ring the alarm again and again without time passing.
    fn count_rings(&mut self, is_ring: bool, started_at: Timestamp) -> Result<(), String> {
        self.rings += u32::from(is_ring);
        if self.now() != started_at {
            self.rings = 0;
        }
        if self.rings > RINGS_MAX {
            let deadlines = &self.session.store.tables().deadlines;
            return Err(format!("the alarm rings in a hot loop for {deadlines:?}"));
        }
        Ok(())
    }

    /// Whether the alarm's handler can run.
    pub fn can_ring(&self) -> bool {
        let alarm = self.session.store.alarm();
        self.shell.handler.is_none() && alarm.is_some_and(|at| at <= self.now())
    }

    /// Whether the reader of events would get on. An open stream without news stays open.
    pub fn reader_has_news(&self) -> bool {
        let newest = self.runtime.journal().last().map(|event| event.seq);
        match &self.shell.follower {
            Some(Follower::Open(open)) => {
                open.is_broken(&self.runtime) || newest.is_some_and(|newest| newest > open.position)
            }
            _ => true,
        }
    }

    /// Runs something of the object, which is constructed first if it is gone.
    fn touch<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> T {
        let fault = self.session.store.fault();
        if self.session.store.is_dead() {
            self.session.store.restart(self.now());
            self.session.store.plan(fault);
        }
        let last_answer = self.shell.last_answer;
        let result = run(self);
        if fault.is_some() {
            // What was answered may not have been noted.
            self.shell.last_answer = last_answer;
        }
        if self.session.store.is_dead() {
            self.shell.forget();
        }
        if self.session.store.commits() > 0 {
            self.session.store.plan(None);
        }
        result
    }

    /// What happens outside of the object.
    fn happen(&mut self, action: Action) {
        match action {
            Action::Work(luck) => self.runtime.progress(luck),
            Action::StopTurn => {
                let head = self.head();
                if let Some(message_id) = head {
                    self.runtime.interrupt(&message_id);
                }
            }
            Action::RestartRuntime => self.runtime.restart(),
            Action::ReplaceDisk => self.runtime.replace_disk(),
            Action::DieAtStart => self.runtime.planned.dies_at_start = true,
            Action::Reach(is_reachable) => self.runtime.is_reachable = is_reachable,
            Action::LoseReply => self.runtime.planned.loses_reply = true,
            Action::Refuse(code) => self.runtime.planned.refusal = Some(code),
            Action::Pass(millis) => self.session.pass_millis(millis),
            Action::PassToAlarm if self.session.store.is_at_rest() => {}
            Action::PassToAlarm => {
                let alarm = self.session.store.alarm();
                // After a death that kept the alarm from being armed only retention's is left, which none waits for.
                let soon =
                    |alarm: &Timestamp| alarm.millis_since(self.now()) < RETENTION_MILLIS / 2;
                if let Some(alarm) = alarm.filter(soon) {
                    self.session.set_now(alarm.max(self.now()));
                }
            }
            Action::Back(millis) => {
                let now = self.now().as_millis().saturating_sub(millis);
                self.session.set_now(Timestamp::from_millis(now));
            }
            Action::Die => {
                self.session.store.kill();
                self.shell.forget();
            }
            Action::Send(_)
            | Action::Ring
            | Action::Answer
            | Action::Interrupt
            | Action::Delete
            | Action::Retarget(_)
            | Action::Read(_)
            | Action::ReadRetired(_)
            | Action::Report(_)
            | Action::Plan(_) => {}
        }
    }

    /// The oldest message that has not ended.
    pub fn head(&self) -> Option<MessageId> {
        let tables = self.session.store.tables();
        tables.head().map(|(_, row)| row.message_id.clone())
    }

    fn send(&mut self, request: Request) -> Result<(), String> {
        let now = self.now();
        let before = self.session.store.durable();
        let fault = self.session.store.fault();
        let id = request.message.map(message_id);
        // Clients' tokens do not count where the server resolves them.
        let takes_tokens = |record: SessionRecord| record.repository.uses_session_credential();
        let takes_tokens = self.session.record().is_none_or(takes_tokens);
        let token = request.token.filter(|_| takes_tokens).map(token_of);
        let asked = Asked {
            message_id: id.as_ref(),
            token: token.as_deref(),
            stamp: request.received_at.min(now),
            attempt: request.attempt,
        };
        let (steps, reply) = self.model.expect(&asked, &before.tables);
        let (durable, is_answered) = durable_steps(fault, steps.len());
        let was_dead = self.session.store.is_dead();
        let answer = self.touch(|world| world.submit(request));
        self.model.take(&asked, &steps[..durable], now);
        if format!("{answer:?}").contains(CANARY) {
            return Err(format!("an answer shows a secret: {answer:?}"));
        }
        match (&answer, is_answered) {
            (Ok(given), true) if *given == reply => {}
            (Err(CommandError::Internal(_)), false) => {}
            (Err(CommandError::SessionNotFound), true) if reply == Reply::NotFound => {}
            (Err(CommandError::Refused(_) | CommandError::QueueFull), true)
                if reply == Reply::Refused => {}
            _ => return Err(format!("answered {answer:?}, expected {reply:?}")),
        }
        if steps.is_empty() && !was_dead && self.session.store.durable() != before {
            return Err("I3: a rejected message or a replay changed something".to_owned());
        }
        Ok(())
    }

    fn interrupt(&mut self) -> Result<(), String> {
        let answer = self.touch(|world| world.session.interrupt());
        match (self.model.is_deleted, &answer) {
            (true, Err(CommandError::SessionNotFound))
            | (false, Err(CommandError::Internal(_))) => Ok(()),
            (false, Ok(())) if self.head().is_none() => Ok(()),
            (false, Ok(())) => Err(format!("an interrupt left {:?} open", self.head())),
            _ => Err(format!("an interrupt was answered {answer:?}")),
        }
    }

    fn retarget(&mut self, has_target: bool) -> Result<(), String> {
        let target = has_target.then(|| fixtures::callback_target("hooks.example.com"));
        let answer = self.touch(|world| world.session.replace_callback(target.as_ref()));
        match (self.model.is_deleted, answer) {
            (true, Err(CommandError::SessionNotFound))
            | (false, Ok(()) | Err(CommandError::Internal(_))) => Ok(()),
            (_, answer) => Err(format!("an update was answered {answer:?}")),
        }
    }

    fn delete(&mut self) -> Result<(), String> {
        let answer = self.touch(|world| world.session.delete());
        let record = self.session.record();
        let is_fenced = record.is_none_or(|record| record.deleting_since.is_some());
        let was_deleted = std::mem::replace(&mut self.model.is_deleted, is_fenced);
        match answer {
            Ok(()) if is_fenced => Ok(()),
            Err(CommandError::SessionNotFound) if was_deleted => Ok(()),
            Err(CommandError::Internal(_)) => Ok(()),
            _ => Err(format!("a deletion was answered {answer:?}")),
        }
    }

    fn submit(&self, request: Request) -> Result<Reply, CommandError> {
        let arrival = Arrival {
            received_at: request.received_at,
            attempt: Try::new(request.attempt),
        };
        let token = request
            .token
            .map(|number| cloud_agent_wire::Secret::new(token_of(number)));
        let Some(digit) = request.message else {
            return match token {
                Some(token) => self.session.rotate(&token, arrival).map(|()| Reply::Done),
                None => self.session.require().map(|()| Reply::Done),
            };
        };
        let mut command = prompt(digit);
        command.git_token = token;
        command.arrival = arrival;
        let acknowledgement = self.session.send(command)?;
        Ok(match acknowledgement.delivery {
            Delivery::Queued => Reply::Queued,
            Delivery::Sent => Reply::Sent,
        })
    }
}

/// The token of a number, with the canary in it.
pub fn token_of(number: u32) -> String {
    format!("{CANARY}-token-{number}")
}
