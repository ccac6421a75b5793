//! The life of a sandbox's container, seen by its owner.
//!
//! The platform says whether a container runs, and may be late with it: it is told of an exit only while somebody
//! listens. So a container that was ready and refuses a connection is tried again for a moment and then counts as gone.
//! Its disk goes with it, so that a call which names a store is answered without starting another one.
//!
//! Starting is coalesced: whoever comes while a start is under way waits for that one. A start begins one container at
//! most; what comes of it is asked again with the next call.

use cloud_agent_wire::Timestamp;

use super::image::Image;
use super::timing::{BOOT_MILLIS_MAX, DOUBT_MILLIS, START_MILLIS_MAX, STOP_GRACE_MILLIS};

/// How far the container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was started by this owner, and nothing is known of a container that runs.
    Unknown,
    /// It was started and has not answered.
    Booting { since: Timestamp },
    /// It was ready once, and must show that it still is.
    Doubted { since: Timestamp },
    /// It answers and must be given its token.
    Unclaimed { since: Timestamp },
    /// It takes calls.
    Ready,
    /// It was told to end, or nothing can be expected of it: it is removed before another one is started.
    Spent,
}

/// The next stop of the container. The only part that is stored: an owner that was evicted learns the rest again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Nobody has used it lately: it is asked to end at this moment.
    Idle {
        /// The moment.
        at: Timestamp,
    },
    /// It was asked to end, and is destroyed at this moment.
    Forced {
        /// The moment.
        at: Timestamp,
    },
}

impl Stop {
    /// When something is to be done.
    #[must_use]
    pub const fn at(self) -> Timestamp {
        match self {
            Self::Idle { at } | Self::Forced { at } => at,
        }
    }
}

/// What is done with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is handed on.
    Forward,
    /// It waits for the start that is under way, or begins one.
    Wait,
    /// The store that it names is gone with its container.
    StoreGone,
    /// The container is still being started: the caller is to ask again soon.
    NotReady,
    /// The container could not be started.
    Failed,
}

/// The next step of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootStep {
    /// Remove what is left of the container.
    Remove,
    /// Start a container.
    Start,
    /// Ask whether it answers.
    Probe,
    /// Give it its token.
    Claim,
    /// It is ready, or this start has failed.
    End,
}

/// What came of a try to reach the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// It answered.
    Answered,
    /// There was no connection.
    Refused,
    /// Nothing came in time.
    Silent,
}

/// What came of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimReply {
    /// The token is its own now, or was before.
    Taken,
    /// It has another token.
    Refused,
    /// There was no answer.
    Unanswered,
}

/// What the alarm does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmStep {
    /// Nothing until the stored moment.
    Rest,
    /// Ask the container to end.
    Terminate,
    /// Destroy the container.
    Remove,
}

/// What a start has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attempt {
    since: Timestamp,
    has_removed: bool,
    has_started: bool,
}

/// The owner's knowledge of its container.
#[derive(Debug)]
pub struct Lifecycle {
    image: Image,
    sleep_after_millis: u64,
    phase: Phase,
    stop: Option<Stop>,
    /// The start that is under way.
    attempt: Option<Attempt>,
    calls_under_way: u32,
    /// When the newest call came. One that is older than a call may last is not under way, whatever became of it.
    called_at: Timestamp,
}

impl Lifecycle {
    /// The knowledge of an owner that has just been made, with the stop that was stored.
    #[must_use]
    pub const fn new(image: Image, sleep_after_millis: u64, stop: Option<Stop>) -> Self {
        let phase = match stop {
            Some(Stop::Forced { .. }) => Phase::Spent,
            Some(Stop::Idle { .. }) | None => Phase::Unknown,
        };
        Self {
            image,
            sleep_after_millis,
            phase,
            stop,
            attempt: None,
            calls_under_way: 0,
            called_at: Timestamp::from_millis(0),
        }
    }

    /// The next stop, which is to be stored, with an alarm at its moment.
    #[must_use]
    pub const fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// A call has come. `names_store` says whether it is for a store that its caller knows.
    pub fn on_call(&mut self, names_store: bool, is_running: bool, now: Timestamp) -> Admission {
        let is_gone = !is_running || self.phase == Phase::Spent;
        if names_store && is_gone && self.attempt.is_none() {
            return Admission::StoreGone;
        }
        self.calls_under_way += 1;
        self.called_at = now;
        self.put_off(now);
        if self.phase == Phase::Ready && is_running {
            Admission::Forward
        } else {
            Admission::Wait
        }
    }

    /// A call has waited for a start, or has waited long enough.
    #[must_use]
    pub fn after_wait(&self) -> Admission {
        match self.phase {
            Phase::Ready => Admission::Forward,
            _ if self.attempt.is_some() => Admission::NotReady,
            _ => Admission::Failed,
        }
    }

    /// A call has ended, its reply included.
    pub fn on_call_ended(&mut self, now: Timestamp) {
        self.calls_under_way = self.calls_under_way.saturating_sub(1);
        self.put_off(now);
    }

    /// A call found no container, or one that does not know the token.
    pub fn on_call_failed(&mut self, now: Timestamp) {
        if self.phase == Phase::Ready {
            self.phase = Phase::Doubted { since: now };
        }
    }

    /// Moves the idle stop. It is set an eighth too late, so that a busy container is not written down at each call.
    fn put_off(&mut self, now: Timestamp) {
        let needed = now.plus_millis(self.sleep_after_millis);
        let is_late_enough = match self.stop {
            Some(Stop::Idle { at }) => at >= needed,
            Some(Stop::Forced { .. }) => true,
            None => false,
        };
        if !is_late_enough {
            let at = needed.plus_millis(self.sleep_after_millis / 8);
            self.stop = Some(Stop::Idle { at });
        }
    }

    /// Begins a start. False when one is under way; one that should have ended long ago counts as dead.
    pub fn begin_boot(&mut self, now: Timestamp) -> bool {
        let is_alive = |attempt: Attempt| now.millis_since(attempt.since) < START_MILLIS_MAX;
        if self.attempt.is_some_and(is_alive) {
            return false;
        }
        self.attempt = Some(Attempt {
            since: now,
            has_removed: false,
            has_started: false,
        });
        true
    }

    /// The next step of the start that is under way. [`BootStep::End`] ends it.
    pub fn next_step(&mut self, is_running: bool, now: Timestamp) -> BootStep {
        let Some(attempt) = self.attempt else {
            return BootStep::End;
        };
        if !is_running {
            self.phase = Phase::Unknown;
        }
        self.give_up_waiting(now);
        let step = match self.phase {
            Phase::Spent if attempt.has_removed => BootStep::End,
            Phase::Spent => BootStep::Remove,
            Phase::Unknown if is_running => {
                self.phase = Phase::Doubted { since: now };
                BootStep::Probe
            }
            Phase::Unknown if attempt.has_started => BootStep::End,
            Phase::Unknown => BootStep::Start,
            Phase::Booting { .. } | Phase::Doubted { .. } => BootStep::Probe,
            Phase::Unclaimed { .. } => BootStep::Claim,
            Phase::Ready => BootStep::End,
        };
        self.attempt = match step {
            BootStep::End => None,
            BootStep::Remove => Some(Attempt {
                has_removed: true,
                ..attempt
            }),
            BootStep::Start => Some(Attempt {
                has_started: true,
                ..attempt
            }),
            BootStep::Probe | BootStep::Claim => Some(attempt),
        };
        step
    }

    fn give_up_waiting(&mut self, now: Timestamp) {
        if let Phase::Booting { since } | Phase::Doubted { since } | Phase::Unclaimed { since } =
            self.phase
            && now.millis_since(since) >= BOOT_MILLIS_MAX
        {
            self.phase = Phase::Spent;
        }
    }

    /// A container was started, or the platform refused to.
    pub fn on_started(&mut self, has_started: bool, now: Timestamp) {
        if has_started {
            self.phase = Phase::Booting { since: now };
            self.stop = None;
            self.put_off(now);
        }
    }

    /// The container was tried.
    pub fn on_probe(&mut self, probe: Probe, now: Timestamp) {
        self.phase = match (self.phase, probe) {
            (Phase::Booting { since } | Phase::Doubted { since }, Probe::Answered) => {
                if self.image.is_claimed {
                    Phase::Unclaimed { since }
                } else {
                    Phase::Ready
                }
            }
            (Phase::Doubted { since }, Probe::Refused)
                if now.millis_since(since) >= DOUBT_MILLIS =>
            {
                Phase::Spent
            }
            (phase, _) => phase,
        };
    }

    /// The container was given its token.
    pub fn on_claim(&mut self, reply: ClaimReply) {
        if let Phase::Unclaimed { since } = self.phase {
            self.phase = match reply {
                ClaimReply::Taken => Phase::Ready,
                // Whoever has claimed it, it is of no use any more.
                ClaimReply::Refused => Phase::Spent,
                ClaimReply::Unanswered => Phase::Booting { since },
            };
        }
    }

    /// The platform says that the container has ended. A start that is under way sees it for itself.
    pub const fn on_exit(&mut self) {
        if self.attempt.is_none() {
            self.forget();
        }
    }

    /// The container was removed, as far as the platform knows.
    pub fn on_removed(&mut self, is_running: bool) {
        if self.phase == Phase::Spent && !is_running {
            self.forget();
        }
    }

    const fn forget(&mut self) {
        self.phase = Phase::Unknown;
        self.stop = None;
    }

    /// The alarm rings.
    pub fn on_alarm(&mut self, is_running: bool, now: Timestamp) -> AlarmStep {
        if now.millis_since(self.called_at) >= u64::from(self.image.call_millis_max) {
            self.calls_under_way = 0;
        }
        let is_busy = self.attempt.is_some() || self.calls_under_way > 0;
        let again = Stop::Forced {
            at: now.plus_millis(STOP_GRACE_MILLIS),
        };
        match self.stop {
            None => AlarmStep::Rest,
            Some(_) if is_busy => {
                self.put_off(now);
                AlarmStep::Rest
            }
            Some(_) if !is_running => {
                self.forget();
                AlarmStep::Rest
            }
            Some(stop) if now < stop.at() => AlarmStep::Rest,
            Some(Stop::Idle { .. }) => {
                self.phase = Phase::Spent;
                self.stop = Some(again);
                AlarmStep::Terminate
            }
            Some(Stop::Forced { .. }) => {
                // Should it not be gone then, it is tried again.
                self.stop = Some(again);
                AlarmStep::Remove
            }
        }
    }
}

#[cfg(test)]
mod tests;
