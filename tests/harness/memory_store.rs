//! A [`Store`] in memory that can die before or after any commit, or fail one and live on.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;

use cloud_agent_session::session::admission::{AdmissionView, KnownMessage};
use cloud_agent_session::session::callback::{BatchId, Callback, CallbackState, CallbackView};
use cloud_agent_session::session::credential::Marker;
use cloud_agent_session::session::deadline::{DeadlineKind, Deadlines};
use cloud_agent_session::session::engine::{self, Store};
use cloud_agent_session::session::error::StoreError;
use cloud_agent_session::session::event::EventDraft;
use cloud_agent_session::session::message::{MessageRecord, MessageState, Phase, QueuePosition};
use cloud_agent_session::session::record::{CallbackTargetId, InitialMessage, SessionRecord};
use cloud_agent_session::session::retention::RetentionView;
use cloud_agent_session::session::sealing::{Sealed, SecretKind};
use cloud_agent_session::session::step::Step;
use cloud_agent_session::session::view::{DeliveryView, Head, WakeView};
use cloud_agent_session::telemetry::LogEvent;
use cloud_agent_wire::{Generation, MessageId, Timestamp};

use super::tables::{MessageRow, Tables};

/// What goes wrong at a commit, counted from 1 since the fault was planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The process dies; nothing of the step is durable.
    DieBefore(u32),
    /// The process dies; the step is durable and the alarm is not armed for it yet.
    DieAfter(u32),
    /// Storage refuses the step; the process lives.
    Refuse(u32),
}

/// Everything that outlives the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    pub tables: Rc<Tables>,
    pub alarm: Option<Timestamp>,
}

/// The store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    /// Shared with those who look at an earlier state, and copied by the commit that changes it.
    tables: RefCell<Rc<Tables>>,
    alarm: Cell<Option<Timestamp>>,
    log: RefCell<Vec<LogEvent>>,
    /// The volatile events.
    told: RefCell<Vec<EventDraft>>,
    tellings: Cell<u32>,
    is_dead: Cell<bool>,
    fault: Cell<Option<Fault>>,
    commits: Cell<u32>,
    violation: RefCell<Option<String>>,
    /// The newest record that was read, with its text: reading it is most of the work of a view.
    record: RefCell<Option<(Rc<str>, SessionRecord)>>,
}

impl MemoryStore {
    /// Plans a fault; commits are counted anew.
    pub fn plan(&self, fault: Option<Fault>) {
        self.fault.set(fault);
        self.commits.set(0);
    }

    /// How many commits there were since the last plan.
    pub fn commits(&self) -> u32 {
        self.commits.get()
    }

    pub fn is_dead(&self) -> bool {
        self.is_dead.get()
    }

    /// The process is gone, between two calls.
    pub fn kill(&self) {
        self.is_dead.set(true);
    }

    /// The planned fault.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.get()
    }

    /// Constructs the object anew, as the platform does for the next request or alarm.
    pub fn restart(&self, now: Timestamp) {
        self.is_dead.set(false);
        self.plan(None);
        engine::wake(self, now).expect("a store that lives lets the object wake");
    }

    /// A copy of everything durable, to compare or to search.
    pub fn durable(&self) -> Durable {
        Durable {
            tables: Rc::clone(&self.tables.borrow()),
            alarm: self.alarm.get(),
        }
    }

    pub fn tables(&self) -> Rc<Tables> {
        Rc::clone(&self.tables.borrow())
    }

    /// Damages or repairs rows behind the session's back.
    pub fn tamper(&self, change: impl FnOnce(&mut Tables)) {
        change(Rc::make_mut(&mut self.tables.borrow_mut()));
    }

    pub fn alarm(&self) -> Option<Timestamp> {
        self.alarm.get()
    }

    /// Arms the alarm at a moment, whatever the deadlines say.
    pub fn arm_at(&self, at: Option<Timestamp>) {
        if !self.is_dead.get() {
            self.alarm.set(at);
        }
    }

    /// Removes everything, the alarm as well.
    pub fn erase(&self) {
        if !self.is_dead.get() {
            *self.tables.borrow_mut() = Rc::default();
            self.alarm.set(None);
        }
    }

    /// The alarm rings: the platform forgets it before the handler runs.
    pub fn take_alarm(&self) -> Option<Timestamp> {
        self.alarm.take()
    }

    /// The handler died before it armed another alarm: the platform rings this one again.
    pub fn ring_again(&self, alarm: Option<Timestamp>) {
        if self.is_dead.get() && self.alarm.get().is_none() {
            self.alarm.set(alarm);
        }
    }

    pub fn log_lines(&self) -> Ref<'_, Vec<LogEvent>> {
        self.log.borrow()
    }

    /// Takes the volatile events that were sent since the last time.
    pub fn take_told(&self) -> Vec<EventDraft> {
        self.told.take()
    }

    /// How often followers were told something.
    pub fn tellings(&self) -> u32 {
        self.tellings.get()
    }

    /// Whether nothing is owed: only retention looks at the session again, some day.
    pub fn is_at_rest(&self) -> bool {
        let tables = self.tables();
        let mut kinds = tables.deadlines.keys();
        kinds.all(|kind| *kind == DeadlineKind::Retention.as_str())
    }

    /// The first rule of the tables that a commit broke.
    pub fn violation(&self) -> Option<String> {
        self.violation.borrow().clone()
    }

    fn alive(&self) -> Result<Rc<Tables>, StoreError> {
        if self.is_dead.get() {
            Err(StoreError::Failed("the process is gone".to_owned()))
        } else {
            Ok(self.tables())
        }
    }

    fn record(&self, tables: &Tables) -> Result<Option<SessionRecord>, StoreError> {
        let Some(session) = &tables.session else {
            return Ok(None);
        };
        let mut known = self.record.borrow_mut();
        if known
            .as_ref()
            .is_none_or(|(text, _)| *text != session.record)
        {
            let record = read(&session.record, "session")?;
            *known = Some((Rc::clone(&session.record), record));
        }
        Ok(known.as_ref().map(|(_, record)| record.clone()))
    }

    /// The record, unless the session is being deleted.
    fn live(&self, tables: &Tables) -> Result<Option<SessionRecord>, StoreError> {
        let record = self.record(tables)?;
        Ok(record.filter(|record| record.deleting_since.is_none()))
    }

    fn die(&self) -> StoreError {
        self.is_dead.set(true);
        StoreError::Failed("the process died".to_owned())
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str, row: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable(row))
}

fn deadlines(tables: &Tables) -> Deadlines {
    let mut deadlines = Deadlines::default();
    for (name, at) in &tables.deadlines {
        if let Some(kind) = DeadlineKind::from_stored(name) {
            deadlines.set(kind, Some(*at));
        }
    }
    deadlines
}

fn open_batch(tables: &Tables) -> Option<Callback> {
    let mut callbacks = tables.callbacks.values();
    callbacks
        .find(|callback| callback.state == CallbackState::Open)
        .cloned()
}

fn head(position: u64, row: &MessageRow) -> Head {
    let position = QueuePosition(position);
    let message = || {
        Ok::<_, StoreError>(MessageRecord {
            position,
            intent: read(&row.intent, "message")?,
            created_at: row.created_at,
            callback: row.callback.map(CallbackTargetId),
            state: read(&row.state, "message")?,
        })
    };
    match message() {
        Ok(message) => Head::Message(Box::new(message)),
        Err(_) => Head::Unreadable {
            position,
            message_id: row.message_id.clone(),
            is_delivered: matches!(row.phase, Phase::Claimed | Phase::Accepted),
            callback: row.callback.map(CallbackTargetId),
        },
    }
}

impl Store for MemoryStore {
    fn admission_view(
        &self,
        message_id: Option<&MessageId>,
    ) -> Result<Option<AdmissionView>, StoreError> {
        let tables = self.alive()?;
        let Some(record) = self.live(&tables)? else {
            return Ok(None);
        };
        let marker = message_id.and_then(|id| {
            tables.markers.get(id).map(|row| Marker {
                message_id: id.clone(),
                generation: Generation::new(row.generation),
                expires_at: row.expires_at,
            })
        });
        let known = message_id.and_then(|id| tables.message(id));
        let known = known.map(|row| {
            let state: MessageState = read(&row.state, "message")?;
            Ok(KnownMessage {
                intent: read(&row.intent, "message").ok(),
                phase: state.phase(),
            })
        });
        let open = |phase| {
            tables
                .messages
                .values()
                .filter(move |row| phase == row.phase)
        };
        let claimed = open(Phase::Claimed).count();
        Ok(Some(AdmissionView {
            record,
            credential: tables.credential.clone(),
            marker,
            known: known.transpose()?,
            queued: open(Phase::Queued).count() + claimed,
            delivering: claimed + open(Phase::Accepted).count() > 0,
            deadlines: deadlines(&tables),
        }))
    }

    fn wake_view(&self) -> Result<Option<WakeView>, StoreError> {
        let tables = self.alive()?;
        if tables.session.is_none() {
            return Ok(None);
        }
        let head = tables.head();
        Ok(Some(WakeView {
            is_delivering: head.is_some_and(|(_, row)| row.phase != Phase::Queued),
            deadlines: deadlines(&tables),
        }))
    }

    fn delivery_view(&self, now: Timestamp) -> Result<Option<DeliveryView>, StoreError> {
        let tables = self.alive()?;
        let Some(record) = self.record(&tables)? else {
            return Ok(None);
        };
        let link = tables.runtime.clone().unwrap_or_default();
        let deadlines = deadlines(&tables);
        if record.deleting_since.is_some() {
            return Ok(Some(DeliveryView::of_deleted(record, link, deadlines)));
        }
        let expiries = || tables.markers.values().filter_map(|row| row.expires_at);
        Ok(Some(DeliveryView {
            record,
            credential: tables.credential.clone(),
            head: tables.head().map(|(position, row)| head(position, row)),
            batch: open_batch(&tables),
            link,
            has_expired_marker: expiries().any(|at| at <= now),
            next_marker_expiry: expiries().filter(|at| *at > now).min(),
            deadlines,
        }))
    }

    fn open_messages(&self) -> Result<Vec<Head>, StoreError> {
        let tables = self.alive()?;
        let open = tables.messages.iter().filter(|(_, row)| row.is_open());
        Ok(open.map(|(position, row)| head(*position, row)).collect())
    }

    fn initial_message(&self) -> Result<Option<InitialMessage>, StoreError> {
        let tables = self.alive()?;
        let session = tables.session.as_ref().filter(|_| {
            // A session that is being deleted is gone for clients.
            self.live(&tables).is_ok_and(|record| record.is_some())
        });
        session.map(|row| read(&row.initial, "session")).transpose()
    }

    fn profile_secrets(&self) -> Result<Option<(SessionRecord, Sealed)>, StoreError> {
        let tables = self.alive()?;
        let Some(record) = self.live(&tables)? else {
            return Ok(None);
        };
        let sealed = tables.secrets.get(SecretKind::Profile.as_str());
        let sealed = sealed.ok_or(StoreError::Unreadable("secret"))?;
        Ok(Some((record, Sealed::from_stored(sealed.clone()))))
    }

    fn live_record(&self) -> Result<Option<SessionRecord>, StoreError> {
        let tables = self.alive()?;
        self.live(&tables)
    }

    fn callback_view(&self) -> Result<Option<CallbackView>, StoreError> {
        let tables = self.alive()?;
        let Some(record) = self.live(&tables)? else {
            return Ok(None);
        };
        let mut owed: Vec<_> = tables.callbacks.values().cloned().collect();
        owed.retain(|callback| callback.state.at().is_some());
        owed.sort_by_key(|callback| (callback.state.at(), callback.id));
        owed.truncate(2);
        Ok(Some(CallbackView {
            is_idle: tables.head().is_none(),
            open: open_batch(&tables),
            owed,
            target: record.callback,
            deadlines: deadlines(&tables),
        }))
    }

    fn callback(&self, id: BatchId) -> Result<Option<Callback>, StoreError> {
        let tables = self.alive()?;
        Ok(tables.callbacks.get(&id.0).cloned())
    }

    fn retention_view(&self) -> Result<Option<RetentionView>, StoreError> {
        let tables = self.alive()?;
        let Some(record) = self.live(&tables)? else {
            return Ok(None);
        };
        let credential = tables.credential.as_ref();
        Ok(Some(RetentionView {
            record,
            is_idle: tables.head().is_none(),
            oldest_event: tables.events.values().next().map(|row| row.at),
            newest_event: tables.events.values().next_back().map(|row| row.at),
            credential_updated_at: credential.map(|stored| stored.updated_at),
            deadlines: deadlines(&tables),
        }))
    }

    fn deadlines(&self) -> Result<Deadlines, StoreError> {
        self.alive().map(|tables| deadlines(&tables))
    }

    fn commit(&self, step: &Step) -> Result<(), StoreError> {
        let mut tables = self.alive()?;
        let number = self.commits.get() + 1;
        self.commits.set(number);
        let fault = self.fault.get();
        if fault == Some(Fault::DieBefore(number)) {
            return Err(self.die());
        }
        if fault == Some(Fault::Refuse(number)) {
            return Err(StoreError::Failed("the disk is full".to_owned()));
        }
        for write in step {
            if let Err(broken) = Rc::make_mut(&mut tables).apply(write) {
                self.violation.borrow_mut().get_or_insert(broken.clone());
                return Err(StoreError::Failed(broken));
            }
        }
        *self.tables.borrow_mut() = tables;
        if fault == Some(Fault::DieAfter(number)) {
            return Err(self.die());
        }
        Ok(())
    }

    fn arm(&self, deadlines: &Deadlines) {
        self.arm_at(deadlines.next());
    }

    fn tell(&self, events: &[EventDraft]) {
        if !self.is_dead.get() {
            self.told.borrow_mut().extend_from_slice(events);
            self.tellings.set(self.tellings.get() + 1);
        }
    }

    /// It has no followers.
    fn resume_replay(&self) {
        // There is nobody to send anything to.
        self.tamper(|tables| {
            tables.deadlines.remove(DeadlineKind::Replay.as_str());
        });
    }

    fn log(&self, event: &LogEvent) {
        if !self.is_dead.get() {
            self.log.borrow_mut().push(event.clone());
        }
    }
}
