//! The object's reader of events, one outside call at a time.

use cloud_agent_session::session::delivery::{
    Reading, on_contact, on_journal_gone, on_pull_answered, on_pull_failed, on_pull_started,
    reading,
};
use cloud_agent_session::session::engine::Store;
use cloud_agent_session::session::error::StoreError;
use cloud_agent_session::session::journal::on_events;
use cloud_agent_wire::{EventSequence, RuntimeErrorCode, StoreId};

use super::runtime::{CallFault, Runtime};
use super::session::Session;
use super::shell::{Shell, apply, log_fault};

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
    store_id: StoreId,
    boot: u32,
    /// The last event that it has brought.
    pub position: EventSequence,
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

/// What the reader does next.
enum Next {
    /// It waits for an outside call.
    Wait(Follower),
    /// It begins another read.
    ReadAgain,
    /// It ends.
    End,
}

type Outcome = Result<Next, StoreError>;

impl Shell {
    /// Starts the reader of events unless one runs. One that is overdue is taken for dead and its place is taken.
    ///
    /// Before its first outside call nothing can come between.
    pub(super) fn follow(&mut self, session: &Session, overdue: bool) {
        if overdue {
            self.retired = self.follower.take();
        }
        if self.follower.is_none() {
            self.follower = begin_to_read(session).unwrap_or_default();
        }
    }

    /// The reader of events goes on to its next outside call.
    pub fn read(&mut self, session: &Session, runtime: &mut Runtime, stream: Stream) {
        let Some(follower) = self.follower.take() else {
            return;
        };
        let next = self.go_on_reading(session, runtime, follower, stream);
        // A fault of the store ends the task; the alarm starts another one.
        self.follower = match next {
            Ok(Next::Wait(follower)) => Some(follower),
            Ok(Next::ReadAgain) => begin_to_read(session).unwrap_or_default(),
            Ok(Next::End) | Err(_) => None,
        };
    }

    /// A reader whose place was taken hears of its call after all, and ends at the next chance.
    pub fn read_retired(&mut self, session: &Session, runtime: &mut Runtime, stream: Stream) {
        let Some(retired) = self.retired.take() else {
            return;
        };
        let was_opening = matches!(retired, Follower::Opening(_));
        let next = self.go_on_reading(session, runtime, retired, stream);
        self.retired = match next {
            Ok(Next::Wait(open)) if was_opening => Some(open),
            _ => None,
        };
    }

    fn go_on_reading(
        &mut self,
        session: &Session,
        runtime: &mut Runtime,
        follower: Follower,
        stream: Stream,
    ) -> Outcome {
        match follower {
            Follower::Opening(reading) => self.open(session, runtime, reading),
            Follower::Asking => self.ask(session, runtime),
            Follower::Open(open) => {
                let is_broken = open.is_broken(runtime);
                match stream {
                    Stream::Brings(count) if !is_broken => take_over(session, runtime, open, count),
                    Stream::Ends if !is_broken => Ok(Next::ReadAgain),
                    _ => recover(session, CallFault::Unreachable),
                }
            }
        }
    }

    fn open(&mut self, session: &Session, runtime: &mut Runtime, reading: Reading) -> Outcome {
        let reply = runtime.events(&reading.store_id);
        match self.heard(session, reply) {
            Ok(()) => {
                apply(session, |view, now, settings| {
                    on_pull_answered(view, &reading.store_id, now, settings)
                })?;
                Ok(Next::Wait(Follower::Open(OpenStream {
                    store_id: reading.store_id,
                    boot: runtime.boot(),
                    position: reading.after,
                })))
            }
            Err(fault) => recover(session, fault),
        }
    }

    fn ask(&mut self, session: &Session, runtime: &mut Runtime) -> Outcome {
        match self.heard(session, runtime.health()) {
            Ok(store_id) => {
                apply(session, |view, now, settings| {
                    on_contact(view, &store_id, now, settings)
                })?;
                Ok(Next::ReadAgain)
            }
            Err(_) => give_up_reading(session),
        }
    }
}

fn begin_to_read(session: &Session) -> Result<Option<Follower>, StoreError> {
    let started = apply(session, on_pull_started)?;
    Ok(started.flatten().map(Follower::Opening))
}

fn recover(session: &Session, fault: CallFault) -> Outcome {
    log_fault(session, "events", fault);
    match fault {
        CallFault::Refused(RuntimeErrorCode::StoreChanged) => Ok(Next::Wait(Follower::Asking)),
        CallFault::Refused(RuntimeErrorCode::NotFound | RuntimeErrorCode::Gone) => {
            apply(session, on_journal_gone)?;
            Ok(Next::End)
        }
        _ => give_up_reading(session),
    }
}

fn give_up_reading(session: &Session) -> Outcome {
    apply(session, on_pull_failed)?;
    Ok(Next::End)
}

fn take_over(session: &Session, runtime: &Runtime, open: OpenStream, count: usize) -> Outcome {
    let journal = runtime.journal().iter();
    let news = journal.filter(|event| event.seq > open.position);
    let events: Vec<_> = news.take(count).cloned().collect();
    let Some(last) = events.last() else {
        return Ok(Next::Wait(Follower::Open(open)));
    };
    apply(session, |view, now, settings| {
        on_events(view, &open.store_id, &events, now, settings)
    })?;
    let view = session.store.delivery_view(session.now())?;
    if view.is_some_and(|view| reading(&view).is_some()) {
        let position = last.seq;
        let open = OpenStream { position, ..open };
        Ok(Next::Wait(Follower::Open(open)))
    } else {
        Ok(Next::ReadAgain)
    }
}
