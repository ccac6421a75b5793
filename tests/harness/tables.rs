//! The tables of a session in memory, with the meaning that the SQL statements of the object give them.
//!
//! Columns that hold JSON text are text here as well, so that what is read went through the same
//! serialization, nothing is shared with the caller, and a test can damage a row.

use std::collections::BTreeMap;
use std::rc::Rc;

use cloud_agent_session::session::callback::Callback;
use cloud_agent_session::session::credential::CredentialRecord;
use cloud_agent_session::session::deadline::DeadlineKind;
use cloud_agent_session::session::event::{Entity, EventDraft};
use cloud_agent_session::session::message::{MessageState, Phase, is_allowed};
use cloud_agent_session::session::record::{CallbackTargetId, RuntimeLink};
use cloud_agent_session::session::retention::SWEPT_EVENTS_MAX;
use cloud_agent_session::session::step::Write;
use cloud_agent_wire::{MessageId, Timestamp};
use serde::Serialize;

/// Everything that is durable, apart from the alarm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    pub session: Option<SessionRow>,
    pub secrets: BTreeMap<&'static str, String>,
    pub credential: Option<CredentialRecord>,
    pub markers: BTreeMap<MessageId, MarkerRow>,
    /// By position.
    pub messages: BTreeMap<u64, MessageRow>,
    /// What AUTOINCREMENT remembers, so that a position is never used twice.
    pub last_position: u64,
    /// By id.
    pub events: BTreeMap<u64, Rc<EventRow>>,
    pub last_event_id: u64,
    /// Sealed, by id.
    pub callback_targets: BTreeMap<u64, String>,
    /// Batches to report, by id.
    pub callbacks: BTreeMap<u64, Callback>,
    pub runtime: Option<RuntimeLink>,
    pub deadlines: BTreeMap<&'static str, Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    pub record: Rc<str>,
    pub profile: Rc<str>,
    pub initial: Rc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkerRow {
    pub generation: u64,
    pub expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    pub message_id: MessageId,
    pub phase: Phase,
    pub intent: Rc<str>,
    pub state: Rc<str>,
    pub created_at: Timestamp,
    pub callback: Option<u64>,
}

impl MessageRow {
    /// The state; only for rows that nobody damaged.
    pub fn state(&self) -> MessageState {
        serde_json::from_str(&self.state).expect("the state of a sound row reads back")
    }

    pub fn is_open(&self) -> bool {
        !self.phase.is_terminal()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    pub kind: &'static str,
    pub entity: Option<Rc<str>>,
    pub payload: Rc<str>,
    pub at: Timestamp,
}

fn json(value: &impl Serialize) -> Rc<str> {
    serde_json::to_string(value)
        .expect("every stored type can be written as JSON")
        .into()
}

impl Tables {
    /// Applies one write as its SQL statement does.
    ///
    /// The error says which rule of the tables or of a message's life the write breaks.
    pub fn apply(&mut self, write: &Write) -> Result<(), String> {
        match write {
            Write::CreateSession {
                record,
                profile,
                initial,
            } => {
                if self.session.is_some() {
                    return Err("the session is created twice".to_owned());
                }
                self.session = Some(SessionRow {
                    record: json(record),
                    profile: json(profile),
                    initial: json(initial),
                });
            }
            Write::PutRecord(record) => {
                let row = self.session.as_mut().ok_or("there is no session")?;
                row.record = json(record);
            }
            Write::PutSecret(kind, sealed) => {
                self.secrets
                    .insert(kind.as_str(), sealed.as_str().to_owned());
            }
            Write::PutCredential(credential) => self.credential = Some(credential.clone()),
            Write::ForgetSecrets => {
                self.secrets.clear();
                self.callback_targets.clear();
                self.callbacks.clear();
                self.credential = None;
            }
            Write::PutMarker(marker) => {
                let row = MarkerRow {
                    generation: marker.generation.get(),
                    expires_at: marker.expires_at,
                };
                self.markers.insert(marker.message_id.clone(), row);
            }
            Write::RemoveMarker(message_id) => {
                self.markers.remove(message_id);
            }
            Write::AbandonMarkers { expired_at } => {
                for marker in self.markers.values_mut() {
                    if marker.expires_at.is_some_and(|at| at <= *expired_at) {
                        marker.expires_at = None;
                    }
                }
            }
            Write::AppendMessage {
                intent,
                created_at,
                callback,
            } => {
                let message_id = intent.message_id().clone();
                if self.position_of(&message_id).is_some() {
                    return Err(format!("{message_id} is admitted twice"));
                }
                let state = MessageState::admitted();
                self.last_position += 1;
                let row = MessageRow {
                    message_id,
                    phase: state.phase(),
                    intent: json(intent),
                    state: json(&state),
                    created_at: *created_at,
                    callback: callback.map(|id| id.0),
                };
                self.messages.insert(self.last_position, row);
            }
            Write::PutMessageState { position, state } => self.put_state(position.0, state)?,
            Write::PutCallbackTarget(id, sealed) => {
                self.callback_targets
                    .insert(id.0, sealed.as_str().to_owned());
            }
            Write::ForgetCallbackTargets { except } => self.forget_targets(*except),
            Write::PutCallback(callback) => self.put_callback(callback)?,
            Write::RemoveCallback(id) => {
                self.callbacks.remove(&id.0);
            }
            Write::SweepEvents { until } => self.sweep(*until),
            Write::AppendEvent(event) => self.append_event(event),
            Write::PutRuntimeLink(link) => self.runtime = Some(link.clone()),
            Write::PutDeadline(kind, at) => self.put_deadline(*kind, *at),
        }
        Ok(())
    }

    fn put_state(&mut self, position: u64, state: &MessageState) -> Result<(), String> {
        let row = self
            .messages
            .get_mut(&position)
            .ok_or_else(|| format!("there is no message at {position}"))?;
        let (from, to) = (row.phase, state.phase());
        if !is_allowed(from, to) {
            return Err(format!(
                "{} goes from {from:?} to {to:?}, which is not allowed",
                row.message_id
            ));
        }
        row.phase = to;
        row.state = json(state);
        Ok(())
    }

    fn put_callback(&mut self, callback: &Callback) -> Result<(), String> {
        let mut messages = self.messages.values();
        let message = messages.find(|row| row.message_id == callback.message_id);
        if message.is_none_or(MessageRow::is_open) {
            return Err(format!("{callback:?} reports a message that has not ended"));
        }
        if !self.callback_targets.contains_key(&callback.target.0) {
            return Err(format!("{callback:?} has no target"));
        }
        self.callbacks.insert(callback.id.0, callback.clone());
        Ok(())
    }

    fn forget_targets(&mut self, except: Option<CallbackTargetId>) {
        let open = self.messages.values().filter(|row| row.is_open());
        let mut needed: Vec<_> = open.filter_map(|row| row.callback).collect();
        needed.extend(self.callbacks.values().map(|callback| callback.target.0));
        needed.extend(except.map(|id| id.0));
        self.callback_targets.retain(|id, _| needed.contains(id));
    }

    fn sweep(&mut self, until: Timestamp) {
        let first = self.events.keys().take(SWEPT_EVENTS_MAX as usize);
        let first: Vec<_> = first.copied().collect();
        self.events
            .retain(|id, row| !first.contains(id) || row.at > until);
    }

    fn append_event(&mut self, event: &EventDraft) {
        let name = event.entity.name();
        if let Entity::Newest(name) = &event.entity {
            let (from, to) = Entity::pieces(name);
            let is_older =
                |entity: &str| entity == name || (from.as_str() <= entity && entity < to.as_str());
            self.events
                .retain(|_, row| !row.entity.as_deref().is_some_and(is_older));
        }
        let is_repeat = name.as_deref().is_some_and(|name| {
            let mut rows = self.events.values();
            rows.any(|row| row.entity.as_deref() == Some(name))
        });
        if is_repeat {
            return;
        }
        self.last_event_id += 1;
        let row = EventRow {
            kind: event.kind,
            entity: name.as_deref().map(Rc::from),
            payload: event.payload.as_str().into(),
            at: event.at,
        };
        self.events.insert(self.last_event_id, Rc::new(row));
    }

    fn put_deadline(&mut self, kind: DeadlineKind, at: Option<Timestamp>) {
        match at {
            Some(at) => self.deadlines.insert(kind.as_str(), at),
            None => self.deadlines.remove(kind.as_str()),
        };
    }

    pub fn position_of(&self, message_id: &MessageId) -> Option<u64> {
        self.messages
            .iter()
            .find(|(_, row)| row.message_id == *message_id)
            .map(|(position, _)| *position)
    }

    pub fn message(&self, message_id: &MessageId) -> Option<&MessageRow> {
        self.messages
            .values()
            .find(|row| row.message_id == *message_id)
    }

    /// The oldest message that has not ended.
    pub fn head(&self) -> Option<(u64, &MessageRow)> {
        self.messages
            .iter()
            .find(|(_, row)| row.is_open())
            .map(|(position, row)| (*position, row))
    }
}
