//! Writes as data. A step is a list of writes that is committed whole or not at all.

use cloud_agent_wire::{Intent, MessageId, Timestamp};

use crate::telemetry::LogEvent;

use super::callback::{BatchId, Callback};
use super::credential::{CredentialRecord, Marker};
use super::deadline::{DeadlineKind, Deadlines};
use super::event::EventDraft;
use super::message::{MessageState, QueuePosition};
use super::record::{CallbackTargetId, InitialMessage, Profile, RuntimeLink, SessionRecord};
#[cfg(doc)]
use super::retention::SWEPT_EVENTS_MAX;
use super::sealing::{Sealed, SecretKind};

/// One change of storage.
#[derive(Debug, Clone)]
pub enum Write {
    /// Makes the session. Only preparation does.
    CreateSession {
        /// The record.
        record: Box<SessionRecord>,
        /// What deliveries need.
        profile: Profile,
        /// The first message.
        initial: InitialMessage,
    },
    /// Replaces the session's record.
    PutRecord(Box<SessionRecord>),
    /// Stores a sealed secret other than the git token, which the credential holds.
    PutSecret(SecretKind, Sealed),
    /// Replaces the credential together with its pointer.
    PutCredential(CredentialRecord),
    /// Removes every sealed secret, the credential and the callbacks' targets among them, and what was to be reported.
    ForgetSecrets,
    /// Adds or replaces a message's marker.
    PutMarker(Marker),
    /// Removes a message's marker or abandoned entry.
    RemoveMarker(MessageId),
    /// Turns markers whose time has come into abandoned entries.
    AbandonMarkers {
        /// Markers that expire at or before this moment.
        expired_at: Timestamp,
    },
    /// Appends a message to the queue.
    AppendMessage {
        /// Its content.
        intent: Intent,
        /// When it was admitted.
        created_at: Timestamp,
        /// Where it is reported to when it has ended.
        callback: Option<CallbackTargetId>,
    },
    /// Changes the state of a message.
    PutMessageState {
        /// The message.
        position: QueuePosition,
        /// Its new state.
        state: MessageState,
    },
    /// Stores a callback's sealed target.
    PutCallbackTarget(CallbackTargetId, Sealed),
    /// Removes the targets that no open message and no batch needs.
    ForgetCallbackTargets {
        /// The session's own, which stays.
        except: Option<CallbackTargetId>,
    },
    /// Adds or replaces a batch of messages that is to be reported.
    PutCallback(Callback),
    /// Removes a batch that was reported or given up.
    RemoveCallback(BatchId),
    /// Removes events up to a moment, oldest first and not more than [`SWEPT_EVENTS_MAX`].
    SweepEvents {
        /// The moment.
        until: Timestamp,
    },
    /// Appends an event to the log.
    AppendEvent(EventDraft),
    /// Replaces what is known about the runtime.
    PutRuntimeLink(RuntimeLink),
    /// Sets or clears a deadline.
    PutDeadline(DeadlineKind, Option<Timestamp>),
}

/// Writes that are committed together.
pub type Step = Vec<Write>;

/// A step, and what to log once it is committed.
#[derive(Debug)]
pub struct StagedStep {
    /// What to commit.
    pub writes: Step,
    /// The lines that tell of it.
    pub log: Vec<LogEvent>,
}

/// What a decision wants to happen, in this order: the steps one by one, the alarm, the log lines, the outcome.
#[derive(Debug)]
pub struct Decision<T> {
    /// The steps to commit.
    pub steps: Vec<StagedStep>,
    /// The deadlines after the last step; the alarm follows them.
    pub deadlines: Deadlines,
    /// What to log when every step is committed, beside the lines of the steps.
    pub log: Vec<LogEvent>,
    /// What to tell those who follow the session, once the steps are committed. Nothing of it is stored.
    pub volatile: Vec<EventDraft>,
    /// What the caller acts on.
    pub outcome: T,
}

impl<T> Decision<T> {
    /// A decision that writes nothing.
    pub fn unchanged(deadlines: Deadlines, outcome: T) -> Self {
        Self {
            steps: Vec::new(),
            deadlines,
            log: Vec::new(),
            volatile: Vec::new(),
            outcome,
        }
    }
}

/// Collects the writes of one step after the other, and the log lines that belong to each.
#[derive(Debug)]
pub struct Draft {
    ended: Vec<StagedStep>,
    before: Deadlines,
    /// The deadlines as the step leaves them; differences become writes.
    pub deadlines: Deadlines,
    writes: Step,
    log: Vec<LogEvent>,
    volatile: Vec<EventDraft>,
}

impl Draft {
    /// Starts a step from the stored deadlines.
    #[must_use]
    pub fn new(deadlines: Deadlines) -> Self {
        Self {
            ended: Vec::new(),
            before: deadlines.clone(),
            deadlines,
            writes: Vec::new(),
            log: Vec::new(),
            volatile: Vec::new(),
        }
    }

    /// Adds a write.
    pub fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// Adds a log line.
    pub fn log(&mut self, event: LogEvent) {
        self.log.push(event);
    }

    /// Adds events for those who follow the session now.
    pub fn tell(&mut self, events: impl IntoIterator<Item = EventDraft>) {
        self.volatile.extend(events);
    }

    /// Sets a deadline unless an earlier one is stored.
    pub fn set_deadline_no_later(&mut self, kind: DeadlineKind, at: Timestamp) {
        let stored = self.deadlines.get(kind);
        let earliest = stored.map_or(at, |stored| stored.min(at));
        self.deadlines.set(kind, Some(earliest));
    }

    /// Ends the last step.
    pub fn finish<T>(mut self, outcome: T) -> Decision<T> {
        self.end_step();
        Decision {
            steps: self.ended,
            deadlines: self.deadlines,
            log: self.log,
            volatile: self.volatile,
            outcome,
        }
    }

    /// Ends the step, unless there is nothing in it, and begins the next one.
    pub fn end_step(&mut self) {
        for kind in DeadlineKind::ALL.iter().copied() {
            let at = self.deadlines.get(kind);
            if at != self.before.get(kind) {
                self.writes.push(Write::PutDeadline(kind, at));
            }
        }
        self.before = self.deadlines.clone();
        if !self.writes.is_empty() {
            self.ended.push(StagedStep {
                writes: std::mem::take(&mut self.writes),
                log: std::mem::take(&mut self.log),
            });
        }
    }
}
