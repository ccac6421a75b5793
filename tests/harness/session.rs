//! A session on a store in memory, with a clock that tests move and nonces that never repeat.

use std::cell::Cell;
use std::rc::Rc;

use cloud_agent_session::session::admission::Acknowledgement;
use cloud_agent_session::session::callback::{Answer, Attempt};
use cloud_agent_session::session::claim::Round;
use cloud_agent_session::session::command::{Arrival, Ingredients, SendMessage};
use cloud_agent_session::session::engine;
use cloud_agent_session::session::engine::Store as _;
use cloud_agent_session::session::error::CommandError;
use cloud_agent_session::session::message::MessageState;
use cloud_agent_session::session::preparation::PrepareSession;
use cloud_agent_session::session::record::{RepositoryRecord, SessionRecord};
use cloud_agent_session::session::sealing::{KeyRing, SecretKind};
use cloud_agent_wire::{MessageId, Secret, Timestamp};

use super::fixtures::{self, SETTINGS, START};
use super::memory_store::MemoryStore;

/// The session object between two calls.
#[derive(Debug, Clone)]
pub struct Session {
    pub store: MemoryStore,
    pub ring: Rc<KeyRing>,
    now: Cell<Timestamp>,
    nonces: Cell<u64>,
}

impl Session {
    /// An object without a session.
    pub fn empty() -> Self {
        Self {
            store: MemoryStore::default(),
            ring: Rc::new(fixtures::ring()),
            now: Cell::new(START),
            nonces: Cell::new(0),
        }
    }

    /// A prepared session of any kind of repository.
    pub fn prepared(repository: RepositoryRecord, git_token: Option<Secret>) -> Self {
        Self::of(fixtures::preparation(repository, git_token))
    }

    /// A prepared session of a generic git repository with a token and a callback.
    pub fn with_callback(token: Option<&str>) -> Self {
        let command = fixtures::preparation(fixtures::generic_git(), token.map(fixtures::token));
        Self::of(PrepareSession {
            callback: Some(fixtures::callback_target("hooks.example.com")),
            ..command
        })
    }

    /// The session of a preparation.
    pub fn of(command: PrepareSession) -> Self {
        let session = Self::empty();
        let ingredients = [
            &session.ingredients(),
            &session.ingredients(),
            &session.ingredients(),
        ];
        engine::prepare(&session.store, command, session.now(), ingredients)
            .expect("the preparation is valid");
        session
    }

    /// A prepared session of a generic git repository, with or without a first token.
    pub fn generic_git(token: Option<&str>) -> Self {
        Self::prepared(fixtures::generic_git(), token.map(fixtures::token))
    }

    pub fn now(&self) -> Timestamp {
        self.now.get()
    }

    pub fn set_now(&self, now: Timestamp) {
        self.now.set(now);
    }

    pub fn pass_millis(&self, millis: u64) {
        self.now.set(self.now().plus_millis(millis));
    }

    /// What one command needs, with a nonce of its own.
    pub fn ingredients(&self) -> Ingredients<'_> {
        let number = self.nonces.get() + 1;
        self.nonces.set(number);
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        Ingredients {
            ring: &self.ring,
            nonce,
            settings: SETTINGS,
        }
    }

    pub fn send(&self, command: SendMessage) -> Result<Acknowledgement, CommandError> {
        engine::send_message(&self.store, command, self.now(), &self.ingredients())
    }

    pub fn rotate(&self, token: &Secret, arrival: Arrival) -> Result<(), CommandError> {
        engine::rotate(&self.store, token, arrival, self.now(), &self.ingredients())
    }

    pub fn interrupt(&self) -> Result<(), CommandError> {
        engine::interrupt(&self.store, self.now(), &SETTINGS)
    }

    pub fn delete(&self) -> Result<(), CommandError> {
        engine::delete(&self.store, self.now())
    }

    pub fn replace_callback(&self, target: Option<&Secret>) -> Result<(), CommandError> {
        engine::replace_callback(&self.store, target, &self.ingredients())
    }

    /// What the alarm does after deliveries.
    pub fn chores(&self) -> Option<Attempt> {
        engine::next_chores(&self.store, self.now()).expect("the store works")
    }

    /// What came of a try to report a batch.
    pub fn reported(&self, attempt: &Attempt, answer: Answer) {
        let answered = (answer, "https://hooks.example.com/done");
        engine::apply_callback(&self.store, attempt, answered, self.now())
            .expect("the store works");
    }

    pub fn initiate(&self, arrival: Arrival) -> Result<Acknowledgement, CommandError> {
        engine::initiate(&self.store, arrival, self.now(), &self.ingredients())
    }

    /// The alarm rings now, wherever it is armed, and finds its next work.
    pub fn ring_alarm(&self) -> Option<Round> {
        self.store.take_alarm();
        engine::next_work(&self.store, self.now(), &SETTINGS).expect("the store works")
    }

    /// What an update that changes nothing is answered.
    pub fn require(&self) -> Result<(), CommandError> {
        let initial = self.store.initial_message();
        let initial = initial.map_err(|_| CommandError::Internal("The session could not be read"));
        initial?.map(|_| ()).ok_or(CommandError::SessionNotFound)
    }

    /// The session's record, also while it is being deleted.
    pub fn record(&self) -> Option<SessionRecord> {
        let tables = self.store.tables();
        let session = tables.session.as_ref()?;
        Some(serde_json::from_str(&session.record).expect("the record reads back"))
    }

    /// The credential's token and its owner, as they are stored.
    pub fn credential(&self) -> Option<Credential> {
        let tables = self.store.tables();
        let stored = tables.credential.as_ref()?;
        let record = self.record()?;
        let token = self
            .ring
            .open(
                SecretKind::GitToken,
                record.sealing_context(),
                &stored.sealed,
            )
            .expect("the token opens");
        Some(Credential {
            token: token.expose().to_owned(),
            owner: stored.pointer.message_id.clone(),
            stamp: stored.pointer.stamp,
            generation: stored.generation.get(),
            skips: stored.skips,
        })
    }

    pub fn state(&self, message_id: &MessageId) -> Option<MessageState> {
        let tables = self.store.tables();
        Some(tables.message(message_id)?.state())
    }
}

/// The credential with its token opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub token: String,
    /// The message that set it last; `None` for preparation and updates.
    pub owner: Option<MessageId>,
    pub stamp: Timestamp,
    pub generation: u64,
    pub skips: u64,
}
