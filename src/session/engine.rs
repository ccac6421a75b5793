//! Load, decide, commit, arm: the order in which decisions meet a store.
//!
//! These functions are the whole distance between a decision and storage, generic over the store, so that a test
//! store that dies before or after any write drives the same code as the real one does.

use cloud_agent_wire::{MessageId, Secret, Timestamp};

use crate::telemetry::LogEvent;

use super::admission::{self, Acknowledgement, AdmissionView};
use super::callback::{self, Answer, Attempt, BatchId, Callback, CallbackView};
use super::claim::{self, Round, Work};
use super::command::{Arrival, Ingredients, SendMessage, Settings};
use super::deadline::{DeadlineKind, Deadlines};
use super::ending;
use super::error::{CommandError, StoreError};
use super::event::EventDraft;
use super::preparation::{self, PrepareSession};
use super::record::{InitialMessage, SessionRecord};
use super::retention::{self, RetentionView};
use super::sealing::Sealed;
use super::step::{Decision, Step};
use super::view::{DeliveryView, Head, WakeView};

/// Where a session is stored.
pub trait Store {
    /// What admission of a message, or an update without one, reads; `None` when there is no session, or it is being
    /// deleted.
    ///
    /// # Errors
    /// [`StoreError`], also when a row is unreadable.
    fn admission_view(
        &self,
        message_id: Option<&MessageId>,
    ) -> Result<Option<AdmissionView>, StoreError>;

    /// What construction reads, also while the session is being deleted; `None` when there is no session.
    ///
    /// # Errors
    /// [`StoreError`].
    fn wake_view(&self) -> Result<Option<WakeView>, StoreError>;

    /// What delivery reads, also while the session is being deleted; `None` when there is no session.
    ///
    /// # Errors
    /// [`StoreError`]; an unreadable message at the head is not one.
    fn delivery_view(&self, now: Timestamp) -> Result<Option<DeliveryView>, StoreError>;

    /// Every message that has not ended, from the head of the queue.
    ///
    /// # Errors
    /// [`StoreError`]; an unreadable message is not one.
    fn open_messages(&self) -> Result<Vec<Head>, StoreError>;

    /// The session's first message; `None` when there is no session, or it is being deleted.
    ///
    /// # Errors
    /// [`StoreError`], also when the row is unreadable.
    fn initial_message(&self) -> Result<Option<InitialMessage>, StoreError>;

    /// The sealed secrets that came with preparation; `None` when there is no session, or it is being deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    fn profile_secrets(&self) -> Result<Option<(SessionRecord, Sealed)>, StoreError>;

    /// The record; `None` when there is no session, or it is being deleted.
    ///
    /// # Errors
    /// [`StoreError`], also when the row is unreadable.
    fn live_record(&self) -> Result<Option<SessionRecord>, StoreError>;

    /// What decisions about callbacks read; `None` when there is no session, or it is being deleted.
    ///
    /// # Errors
    /// [`StoreError`], also when a row is unreadable.
    fn callback_view(&self) -> Result<Option<CallbackView>, StoreError>;

    /// A batch that is to be reported.
    ///
    /// # Errors
    /// [`StoreError`], also when the row is unreadable.
    fn callback(&self, id: BatchId) -> Result<Option<Callback>, StoreError>;

    /// What retention reads; `None` when there is no session, or it is being deleted.
    ///
    /// # Errors
    /// [`StoreError`], also when a row is unreadable.
    fn retention_view(&self) -> Result<Option<RetentionView>, StoreError>;

    /// The stored deadlines.
    ///
    /// # Errors
    /// [`StoreError`].
    fn deadlines(&self) -> Result<Deadlines, StoreError>;

    /// Commits the writes of a step, all or none.
    ///
    /// # Errors
    /// [`StoreError`]; then none of the writes happened.
    fn commit(&self, step: &Step) -> Result<(), StoreError>;

    /// Arms the alarm at the earliest deadline, or disarms it when there is none.
    fn arm(&self, deadlines: &Deadlines);

    /// Writes a log line.
    fn log(&self, event: &LogEvent);

    /// Tells those who follow the session: what was committed since the last time, then these volatile events.
    fn tell(&self, volatile: &[EventDraft]);

    /// Takes up sending those who follow the session what is stored, where it was left.
    fn resume_replay(&self);
}

/// Commits a decision step by step, arms the alarm and logs.
///
/// When a step fails, what was committed before stays and the alarm is armed for it.
///
/// # Errors
/// The store's, after which the outcome did not happen.
pub fn perform<T>(store: &impl Store, decision: Decision<T>) -> Result<T, StoreError> {
    let Decision {
        steps,
        deadlines,
        log,
        volatile,
        outcome,
    } = decision;
    let has_steps = !steps.is_empty();
    let mut lines = Vec::new();
    for step in steps {
        if let Err(error) = store.commit(&step.writes) {
            // What was committed happened, and its lines tell of it.
            for line in &lines {
                store.log(line);
            }
            store.log(&LogEvent::Fault {
                place: "commit",
                reason: error.to_string(),
            });
            store.arm(&store.deadlines()?);
            store.tell(&[]);
            return Err(error);
        }
        lines.extend(step.log);
    }
    if has_steps {
        // The very next operation, so that it is part of the same commit.
        store.arm(&deadlines);
    }
    lines.extend(log);
    for line in &lines {
        store.log(line);
    }
    if has_steps || !volatile.is_empty() {
        store.tell(&volatile);
    }
    Ok(outcome)
}

/// Admits a message.
///
/// # Errors
/// Why it was refused.
pub fn send_message(
    store: &impl Store,
    command: SendMessage,
    now: Timestamp,
    ingredients: &Ingredients<'_>,
) -> Result<Acknowledgement, CommandError> {
    let view = store
        .admission_view(Some(&command.message_id))
        .map_err(|error| unreadable(store, &error))?
        .ok_or(CommandError::SessionNotFound)?;
    perform(store, admission::admit(view, command, now, ingredients))
        .map_err(|_| CommandError::Internal("The message could not be stored; send it again"))?
}

/// Admits the session's first message.
///
/// # Errors
/// Why it was refused.
pub fn initiate(
    store: &impl Store,
    arrival: Arrival,
    now: Timestamp,
    ingredients: &Ingredients<'_>,
) -> Result<Acknowledgement, CommandError> {
    let initial = store
        .initial_message()
        .map_err(|error| unreadable(store, &error))?
        .ok_or(CommandError::SessionNotFound)?;
    send_message(
        store,
        SendMessage::initial(initial.intent, arrival),
        now,
        ingredients,
    )
}

/// Rotates the credential without a message.
///
/// # Errors
/// Why the token was refused.
pub fn rotate(
    store: &impl Store,
    token: &Secret,
    arrival: Arrival,
    now: Timestamp,
    ingredients: &Ingredients<'_>,
) -> Result<(), CommandError> {
    let view = store
        .admission_view(None)
        .map_err(|error| unreadable(store, &error))?
        .ok_or(CommandError::SessionNotFound)?;
    let decision = admission::rotate(&view, token, arrival, now, ingredients)?;
    perform(store, decision)
        .map_err(|_| CommandError::Internal("The credential could not be stored"))
}

/// Replaces or clears where the session reports to. Messages that were admitted before are not affected.
///
/// # Errors
/// Why it was refused.
pub fn replace_callback(
    store: &impl Store,
    target: Option<&Secret>,
    ingredients: &Ingredients<'_>,
) -> Result<(), CommandError> {
    let record = store
        .live_record()
        .map_err(|error| unreadable(store, &error))?
        .ok_or(CommandError::SessionNotFound)?;
    let deadlines = store
        .deadlines()
        .map_err(|error| unreadable(store, &error))?;
    let decision = preparation::replace_callback(&record, target, deadlines, ingredients)?;
    perform(store, decision).map_err(|_| CommandError::Internal("The session could not be stored"))
}

/// Stops every message that has not ended.
///
/// # Errors
/// There is no session, or it could not be changed.
pub fn interrupt(
    store: &impl Store,
    now: Timestamp,
    settings: &Settings,
) -> Result<(), CommandError> {
    let view = store
        .delivery_view(now)
        .map_err(|error| unreadable(store, &error))?
        .filter(|view| view.record.deleting_since.is_none())
        .ok_or(CommandError::SessionNotFound)?;
    let open = store
        .open_messages()
        .map_err(|error| unreadable(store, &error))?;
    perform(store, ending::interrupt(&view, &open, now, settings))
        .map_err(|_| CommandError::Internal("The session could not be interrupted"))
}

/// Fences the session off, so that it is gone for every client. The alarm removes what is left.
///
/// # Errors
/// There is no session, or it is being deleted already, or it could not be changed.
pub fn delete(store: &impl Store, now: Timestamp) -> Result<(), CommandError> {
    // It reads no more than it must: whatever else cannot be read of a session must not keep it from being deleted.
    let record = store
        .live_record()
        .map_err(|error| unreadable(store, &error))?
        .ok_or(CommandError::SessionNotFound)?;
    let deadlines = store
        .deadlines()
        .map_err(|error| unreadable(store, &error))?;
    perform(store, ending::delete(&record, &deadlines, now))
        .map_err(|_| CommandError::Internal("The session could not be deleted"))
}

/// Finds the alarm's next work and makes it durable. `None` when there is no session.
///
/// # Errors
/// The store's.
pub fn next_work(
    store: &impl Store,
    now: Timestamp,
    settings: &Settings,
) -> Result<Option<Round>, StoreError> {
    loop {
        let Some(view) = store.delivery_view(now)? else {
            return Ok(None);
        };
        // Each turn of the loop ends or puts back one of at most ten messages, so it comes to an end.
        let decision = claim::next_work(&view, now, settings);
        if decision.steps.is_empty() {
            // The alarm that rang is gone, and performing arms one only for what it wrote.
            store.arm(&decision.deadlines);
        }
        let round = perform(store, decision)?;
        if round.work != Work::Again {
            return Ok(Some(round));
        }
    }
}

/// Makes a session.
///
/// # Errors
/// Why it was refused.
pub fn prepare(
    store: &impl Store,
    command: PrepareSession,
    now: Timestamp,
    ingredients: [&Ingredients<'_>; 3],
) -> Result<(), CommandError> {
    let decision = preparation::prepare(command, now, ingredients)?;
    perform(store, decision).map_err(|_| CommandError::Internal("The session could not be stored"))
}

/// Repairs what an object that was just constructed finds: it arms the alarm for every stored deadline, and brings
/// the reading of events forward, since the task that read them died with the object's last incarnation.
///
/// # Errors
/// The store's.
pub fn wake(store: &impl Store, now: Timestamp) -> Result<(), StoreError> {
    let Some(view) = store.wake_view()? else {
        return Ok(());
    };
    if view.deadlines.next().is_some() {
        store.arm(&view.deadlines);
    }
    // A try that may have died has a deadline; without one there is nothing to look for.
    let may_have_tried = view.deadlines.get(DeadlineKind::Callback).is_some();
    perform(store, claim::on_wake(view, now))?;
    if !may_have_tried {
        return Ok(());
    }
    match store.callback_view()? {
        Some(view) => perform(store, callback::on_wake(&view, now)),
        None => Ok(()),
    }
}

/// What the alarm does after deliveries: followers get what they have not had, old events are swept, and a callback may
/// be due, whose try is then durable.
///
/// # Errors
/// The store's.
pub fn next_chores(store: &impl Store, now: Timestamp) -> Result<Option<Attempt>, StoreError> {
    let deadlines = store.deadlines()?;
    if deadlines.is_due(DeadlineKind::Replay, now) {
        store.resume_replay();
    }
    if deadlines.is_due(DeadlineKind::Retention, now)
        && let Some(view) = store.retention_view()?
    {
        perform(store, retention::sweep(&view, now))?;
    }
    if deadlines.is_due(DeadlineKind::Callback, now)
        && let Some(view) = store.callback_view()?
    {
        return perform(store, callback::next(&view, now));
    }
    Ok(None)
}

/// Applies what came of a try to report a batch.
///
/// # Errors
/// The store's.
pub fn apply_callback(
    store: &impl Store,
    attempt: &Attempt,
    answered: (Answer, &str),
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(view) = store.callback_view()? else {
        return Ok(());
    };
    let stored = store.callback(attempt.id)?;
    let decision = callback::on_answered(&view, attempt, stored.as_ref(), answered, now);
    perform(store, decision)
}

/// Applies something that came from outside to freshly loaded state. `None` when there is no session any more, or it is
/// being deleted: then nothing of it changes.
///
/// # Errors
/// The store's.
pub fn apply<T>(
    store: &impl Store,
    now: Timestamp,
    decide: impl FnOnce(&DeliveryView) -> Decision<T>,
) -> Result<Option<T>, StoreError> {
    let view = store.delivery_view(now)?;
    match view.filter(|view| view.record.deleting_since.is_none()) {
        Some(view) => perform(store, decide(&view)).map(Some),
        None => Ok(None),
    }
}

fn unreadable(store: &impl Store, error: &StoreError) -> CommandError {
    store.log(&LogEvent::Fault {
        place: "load",
        reason: error.to_string(),
    });
    CommandError::Internal("The session could not be read")
}
