//! The session's storage: SQL behind the [`Store`] that decisions are committed to.

use std::cell::{Cell, OnceCell, RefCell};

use cloud_agent_wire::{EventSequence, Generation, MessageId, SessionId, Timestamp};
use js_sys::Promise;
use js_sys::futures::JsFuture;
use worker::{SqlStorage, State, Storage};

use crate::session::admission::AdmissionView;
use crate::session::callback::{BatchId, Callback, CallbackView};
use crate::session::credential::CredentialRecord;
use crate::session::deadline::Deadlines;
use crate::session::engine::Store;
use crate::session::error::StoreError;
use crate::session::event::EventDraft;
use crate::session::message::Phase;
use crate::session::record::{InitialMessage, Profile, RuntimeLink, SessionRecord};
use crate::session::retention::RetentionView;
use crate::session::sealing::{Sealed, SecretKind};
use crate::session::step::Step;
use crate::session::view::{DeliveryView, Head, WakeView};
use crate::telemetry::LogEvent;

use super::followers::Followers;
use super::records::{
    CREDENTIAL_COLUMNS, MESSAGES, callback, credential, deadlines, head, known_message, marker,
    open_phases,
};
use super::rows::{Row, Statement, Value, all, integer, one, optional_text, text};
use super::{platform, rows, schema, write};

/// A session's storage.
pub struct SqlStore {
    storage: Storage,
    sql: SqlStorage,
    /// Whether there are tables; read from storage at construction and kept up by the step that makes them.
    exists: Cell<bool>,
    /// The session's id, for log lines.
    session_id: OnceCell<SessionId>,
    /// The alarm's write, until it was waited for.
    armed: RefCell<Option<Promise>>,
    /// What was committed that those who follow the session have not been told.
    news: Cell<News>,
    /// Those who follow the session.
    pub followers: Followers,
}

/// What followers are to be told of commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum News {
    #[default]
    None,
    Events,
    SessionEnded,
}

/// Messages that have not ended, at most eleven. The words are those of the index.
const OPEN: &str = "phase IN ('queued', 'claimed', 'accepted')";

/// The deadlines, in one column.
const DEADLINES: &str = "(SELECT json_group_array(json_array(kind, at)) FROM deadline)";

impl SqlStore {
    /// Opens the storage and applies the migrations that a session made by an earlier version lacks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(state: &State) -> Result<Self, StoreError> {
        let storage = state.storage();
        let sql = storage.sql();
        let exists = schema::exists(&sql)?;
        let store = Self {
            storage,
            sql,
            exists: Cell::new(exists),
            session_id: OnceCell::new(),
            armed: RefCell::new(None),
            news: Cell::default(),
            followers: Followers::new(state),
        };
        if exists {
            store.write(&schema::missing(&store.sql, exists)?)?;
        }
        Ok(store)
    }

    /// Arms the alarm at a moment, whatever the deadlines say.
    pub fn arm_at(&self, at: Option<Timestamp>) {
        match platform::arm(&self.storage, at) {
            Ok(promise) => *self.armed.borrow_mut() = Some(promise),
            Err(error) => {
                self.log(&LogEvent::Fault {
                    place: "set_alarm",
                    reason: error.to_string(),
                });
            }
        }
    }

    /// Removes everything of the session, the alarm too.
    ///
    /// # Errors
    /// The platform's, after which the session is still there and the alarm asks again.
    pub async fn erase(&self) -> worker::Result<()> {
        self.storage.delete_all().await?;
        self.exists.set(false);
        self.arm_at(None);
        self.settle_alarm().await
    }

    /// Waits until the platform has taken the alarm's newest write.
    ///
    /// # Errors
    /// The platform's.
    pub async fn settle_alarm(&self) -> worker::Result<()> {
        if let Some(armed) = self.take_armed() {
            JsFuture::from(armed).await?;
        }
        Ok(())
    }

    /// The alarm's newest write, when it was not waited for.
    pub fn take_armed(&self) -> Option<Promise> {
        self.armed.borrow_mut().take()
    }

    /// The session's id; nothing when there is no session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn session_id(&self) -> Result<Option<SessionId>, StoreError> {
        match self.session_id.get() {
            Some(session_id) => Ok(Some(session_id.clone())),
            None => Ok(self.record()?.map(|record| record.session_id)),
        }
    }

    /// What deliveries need beside the record.
    pub fn profile(&self) -> Result<Option<Profile>, StoreError> {
        self.column("SELECT profile FROM session")?
            .map(|mut row| row.json("profile"))
            .transpose()
    }

    /// Batches to report, with the condition and the order that choose them.
    fn callbacks(&self, which: &str, values: &[Value]) -> Result<Vec<Callback>, StoreError> {
        let query = format!(
            "SELECT id, message_id, terminal_at, target, state FROM callback WHERE {which}"
        );
        all(&self.sql, &query, values)?.map(callback).collect()
    }

    fn open_batch(&self) -> Result<Option<Callback>, StoreError> {
        Ok(self.callbacks("at IS NULL LIMIT 1", &[])?.pop())
    }

    /// When the first event in an order happened.
    fn event_at(&self, order: &str) -> Result<Option<Timestamp>, StoreError> {
        let query = format!("SELECT at FROM event ORDER BY id {order} LIMIT 1");
        one(&self.sql, &query, &[])?
            .map(|mut row| row.time("event"))
            .transpose()
    }

    /// The storage's SQL.
    pub const fn sql(&self) -> &SqlStorage {
        &self.sql
    }

    fn column(&self, query: &str) -> Result<Option<Row>, StoreError> {
        if self.exists.get() {
            one(&self.sql, query, &[])
        } else {
            Ok(None)
        }
    }

    fn record(&self) -> Result<Option<SessionRecord>, StoreError> {
        let Some(mut row) = self.column("SELECT record FROM session")? else {
            return Ok(None);
        };
        Ok(Some(self.remember(row.json("session")?)))
    }

    /// Keeps the session's id for log lines.
    fn remember(&self, record: SessionRecord) -> SessionRecord {
        self.session_id.get_or_init(|| record.session_id.clone());
        record
    }

    pub(super) fn credential(&self) -> Result<Option<CredentialRecord>, StoreError> {
        let query = format!("SELECT {CREDENTIAL_COLUMNS} FROM credential");
        match one(&self.sql, &query, &[])? {
            Some(mut row) => credential(&mut row),
            None => Ok(None),
        }
    }

    pub(super) fn head(&self) -> Result<Option<Head>, StoreError> {
        let query = format!("{MESSAGES} WHERE {OPEN} ORDER BY position LIMIT 1");
        one(&self.sql, &query, &[])?.map(head).transpose()
    }

    pub(super) fn link(&self) -> Result<RuntimeLink, StoreError> {
        const TABLE: &str = "runtime";
        let query = "SELECT store_id, cursor, unreachable_since, acknowledged, last_event_at,
            interrupts, preparing FROM runtime";
        let Some(mut row) = one(&self.sql, query, &[])? else {
            return Ok(RuntimeLink::default());
        };
        let store_id = row.optional_text(TABLE)?;
        Ok(RuntimeLink {
            // An unreadable name counts as another store: then everything on it is void, which is the safe side.
            store_id: store_id.and_then(|id| id.try_into().ok()),
            cursor: EventSequence::new(row.integer(TABLE)?),
            unreachable_since: row.optional_time(TABLE)?,
            acknowledged: Generation::new(row.integer(TABLE)?),
            last_event_at: row.optional_time(TABLE)?,
            // What cannot be read cannot be told either, and must not keep the session from everything else.
            interrupts: row.json(TABLE).unwrap_or_default(),
            // It is shown and nothing is decided by it, so one that cannot be read is none.
            preparing: row
                .optional_text(TABLE)?
                .and_then(|text| serde_json::from_str(&text).ok()),
        })
    }

    /// Whether a marker has expired, and when the next one does.
    fn marker_expiries(&self, now: Timestamp) -> Result<(bool, Option<Timestamp>), StoreError> {
        const TABLE: &str = "marker";
        let query = "SELECT COUNT(*) FILTER (WHERE expires_at <= ?1),
            MIN(expires_at) FILTER (WHERE expires_at > ?1) FROM marker";
        let Some(mut row) = one(&self.sql, query, &[integer(now.as_millis())])? else {
            return Ok((false, None));
        };
        Ok((row.integer(TABLE)? > 0, row.optional_time(TABLE)?))
    }

    /// Runs statements that are committed together or not at all.
    ///
    /// # Errors
    /// Storage's.
    pub fn write(&self, statements: &[Statement]) -> Result<(), StoreError> {
        if statements.is_empty() {
            return Ok(());
        }
        rows::commit(&self.storage, statements)
    }
}

impl Store for SqlStore {
    /// One query for everything: each statement costs several times what it reads.
    fn admission_view(
        &self,
        message_id: Option<&MessageId>,
    ) -> Result<Option<AdmissionView>, StoreError> {
        const TABLE: &str = "session";
        if !self.exists.get() {
            return Ok(None);
        }
        let query = format!(
            "SELECT record, (SELECT group_concat(phase) FROM message WHERE {OPEN}),
                {DEADLINES}, {CREDENTIAL_COLUMNS}, marker.generation, expires_at, message.state, message.intent
            FROM session
            LEFT JOIN credential
            LEFT JOIN marker ON marker.message_id = ?1
            LEFT JOIN message ON message.message_id = ?1"
        );
        let values = [optional_text(message_id.map(MessageId::as_str))];
        let Some(mut row) = one(&self.sql, &query, &values)? else {
            return Ok(None);
        };
        let record = self.remember(row.json(TABLE)?);
        if record.deleting_since.is_some() {
            return Ok(None);
        }
        let (queued, delivering) = open_phases(&mut row)?;
        let deadlines = deadlines(row.rows("deadline")?)?;
        let credential = credential(&mut row)?;
        let marker = marker(&mut row, message_id)?;
        Ok(Some(AdmissionView {
            record,
            credential,
            marker,
            known: known_message(&mut row)?,
            queued,
            delivering,
            deadlines,
        }))
    }

    fn wake_view(&self) -> Result<Option<WakeView>, StoreError> {
        let query = format!(
            "SELECT (SELECT phase FROM message WHERE {OPEN} ORDER BY position LIMIT 1),
                {DEADLINES} FROM session"
        );
        let Some(mut row) = self.column(&query)? else {
            return Ok(None);
        };
        let phase = row.optional_text("message")?;
        Ok(Some(WakeView {
            is_delivering: phase.is_some_and(|phase| phase != Phase::Queued.as_str()),
            deadlines: deadlines(row.rows("deadline")?)?,
        }))
    }

    fn delivery_view(&self, now: Timestamp) -> Result<Option<DeliveryView>, StoreError> {
        let Some(record) = self.record()? else {
            return Ok(None);
        };
        let (link, deadlines) = (self.link()?, self.deadlines()?);
        if record.deleting_since.is_some() {
            // Nothing else of it counts any more, and a row that cannot be read must not keep it from being removed.
            return Ok(Some(DeliveryView::of_deleted(record, link, deadlines)));
        }
        let (has_expired_marker, next_marker_expiry) = self.marker_expiries(now)?;
        Ok(Some(DeliveryView {
            record,
            credential: self.credential()?,
            head: self.head()?,
            batch: self.open_batch()?,
            link,
            has_expired_marker,
            next_marker_expiry,
            deadlines,
        }))
    }

    fn initial_message(&self) -> Result<Option<InitialMessage>, StoreError> {
        if self.live_record()?.is_none() {
            return Ok(None);
        }
        self.column("SELECT initial FROM session")?
            .map(|mut row| row.json("session"))
            .transpose()
    }

    fn open_messages(&self) -> Result<Vec<Head>, StoreError> {
        let query = format!("{MESSAGES} WHERE {OPEN} ORDER BY position");
        all(&self.sql, &query, &[])?.map(head).collect()
    }

    fn live_record(&self) -> Result<Option<SessionRecord>, StoreError> {
        Ok(self
            .record()?
            .filter(|record| record.deleting_since.is_none()))
    }

    fn profile_secrets(&self) -> Result<Option<(SessionRecord, Sealed)>, StoreError> {
        let Some(record) = self.live_record()? else {
            return Ok(None);
        };
        let query = "SELECT sealed FROM secret WHERE kind = ?";
        let row = one(&self.sql, query, &[text(SecretKind::Profile.as_str())])?;
        let mut row = row.ok_or(StoreError::Unreadable("secret"))?;
        Ok(Some((record, Sealed::from_stored(row.text("secret")?))))
    }

    fn callback_view(&self) -> Result<Option<CallbackView>, StoreError> {
        let Some(record) = self.live_record()? else {
            return Ok(None);
        };
        Ok(Some(CallbackView {
            is_idle: self.head()?.is_none(),
            open: self.open_batch()?,
            owed: self.callbacks("at IS NOT NULL ORDER BY at, id LIMIT 2", &[])?,
            target: record.callback,
            deadlines: self.deadlines()?,
        }))
    }

    fn callback(&self, id: BatchId) -> Result<Option<Callback>, StoreError> {
        Ok(self.callbacks("id = ?", &[integer(id.0)])?.pop())
    }

    fn retention_view(&self) -> Result<Option<RetentionView>, StoreError> {
        let Some(record) = self.live_record()? else {
            return Ok(None);
        };
        Ok(Some(RetentionView {
            record,
            is_idle: self.head()?.is_none(),
            oldest_event: self.event_at("ASC")?,
            newest_event: self.event_at("DESC")?,
            credential_updated_at: self.credential()?.map(|stored| stored.updated_at),
            deadlines: self.deadlines()?,
        }))
    }

    fn deadlines(&self) -> Result<Deadlines, StoreError> {
        deadlines(all(&self.sql, "SELECT kind, at FROM deadline", &[])?)
    }

    fn commit(&self, step: &Step) -> Result<(), StoreError> {
        #[cfg(feature = "test-faults")]
        super::faults::before_commit(step)?;
        let creates = write::creates_session(step);
        let mut statements = if creates {
            schema::missing(&self.sql, self.exists.get())?
        } else {
            Vec::new()
        };
        statements.extend(write::statements(step)?);
        self.write(&statements)?;
        if creates {
            self.exists.set(true);
        }
        if write::ends_session(step) {
            self.news.set(News::SessionEnded);
        } else if write::concerns_followers(step) && self.news.get() == News::None {
            self.news.set(News::Events);
        }
        Ok(())
    }

    /// What followers are owed was noted beside the decision that these deadlines come from.
    fn arm(&self, deadlines: &Deadlines) {
        let owed_at = self.followers.owed_at.get();
        self.arm_at(deadlines.next().into_iter().chain(owed_at).min());
    }

    fn tell(&self, volatile: &[EventDraft]) {
        match self.news.take() {
            News::None => {}
            News::Events => self.followers.deliver(self),
            News::SessionEnded => self.followers.dismiss(),
        }
        if !volatile.is_empty() {
            self.followers.tell(volatile);
        }
    }

    fn resume_replay(&self) {
        self.followers.resume(self);
    }

    fn log(&self, event: &LogEvent) {
        let line = event.to_line(self.session_id.get(), platform::now());
        match event.level() {
            "error" => worker::console_error!("{line}"),
            "warn" => worker::console_warn!("{line}"),
            _ => worker::console_log!("{line}"),
        }
    }
}
