//! What must hold after every step, whatever has happened.

use cloud_agent_session::session::callback::{Callback, CallbackState};
use cloud_agent_session::session::message::{MessageState, Phase};
use cloud_agent_wire::{FailureCode, Timestamp};

use super::effects::{journal, secrets};
use super::fixtures::SETTINGS;
use super::memory_store::Durable;
use super::model::Bearer;
use super::shell::FAULT_DELAY_MILLIS;
use super::tables::{MessageRow, Tables};
use super::world::World;

/// The longest that anything may stay unwatched while a message is being delivered.
const WATCH_MILLIS: u64 = 10_000;
/// Most time between two tries of a call that is owed.
const OWED_MILLIS: u64 = 2_000;
/// How long a runtime is told to stop a turn.
const INTERRUPT_MILLIS: u64 = 60 * 60 * 1_000;
/// How long a runtime must have been silent before what it did counts as lost.
const LOST_MILLIS: u64 = 60_000;

/// What the checks compare with.
pub struct Step {
    pub before: Durable,
    /// A request has come.
    pub is_request: bool,
    /// An alarm has rung and nothing went wrong.
    pub is_clean_ring: bool,
}

pub(super) type Check = Result<(), String>;

pub(super) fn ensure(holds: bool, says: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(says()) }
}

/// Checks everything.
pub fn check(world: &mut World, step: &Step) -> Check {
    let store = &world.session.store;
    if let Some(broken) = store.violation() {
        return Err(broken);
    }
    if let Some(broken) = world.runtime.violation() {
        return Err(format!("I8: {broken}"));
    }
    if let Some(broken) = &world.receiver.violation {
        return Err(format!("callbacks: {broken}"));
    }
    let durable = store.durable();
    let before = &step.before;
    let is_changed = durable != *before || step.is_clean_ring;
    if !store.is_dead() && is_changed {
        alarm(world, &durable)?;
    }
    if world.started_now {
        starts(world, &before.tables)?;
    }
    if !is_changed && !step.is_request {
        return Ok(());
    }
    if world.model.is_deleted {
        return deletion(world, before, &durable);
    }
    if step.is_request || durable.tables.credential != before.tables.credential {
        credential(world, &before.tables)?;
        messages_are_those_admitted(world, &durable.tables)?;
    }
    markers(world, &durable.tables, step.is_clean_ring)?;
    messages(&before.tables, &durable.tables)?;
    batches(&before.tables, &durable.tables)?;
    ends(world, &before.tables, &durable.tables)?;
    journal(world, &durable.tables)?;
    secrets(world, before, &durable)
}

/// Of a deleted session no secret is left, and nothing is admitted or delivered any more.
fn deletion(world: &mut World, before: &Durable, durable: &Durable) -> Check {
    let tables = &durable.tables;
    ensure(
        tables.secrets.is_empty()
            && tables.credential.is_none()
            && tables.callback_targets.is_empty(),
        || "a deleted session has secrets".to_owned(),
    )?;
    ensure(
        tables.messages.len() <= before.tables.messages.len(),
        || "a deleted session admits messages".to_owned(),
    )?;
    secrets(world, before, durable)
}

/// I1 and I8.
fn credential(world: &World, before: &Tables) -> Check {
    let stored = world.session.credential();
    let expected = world.model.current();
    let (Some(stored), Some(expected)) = (&stored, expected) else {
        return ensure(stored.is_none() && expected.is_none(), || {
            format!("I1: the credential is {stored:?}, not {expected:?}")
        });
    };
    let owner = match &expected.bearer {
        Bearer::Message(message_id) => Some(message_id),
        Bearer::Other(_) => None,
    };
    ensure(
        stored.token == expected.token && stored.owner.as_ref() == owner,
        || format!("I1: the credential is {stored:?}, not {expected:?}"),
    )?;
    let last = world.model.applications.last();
    ensure(last.is_some_and(|last| last.stamp == stored.stamp), || {
        format!("I1: the stamp is {:?}, not of {last:?}", stored.stamp)
    })?;
    ensure(
        stored.generation == world.model.generation && stored.skips == world.model.skips,
        || {
            format!(
                "the credential is {stored:?}, not of generation {} with {} skips",
                world.model.generation, world.model.skips
            )
        },
    )?;
    let generation = before.credential.as_ref();
    let generation = generation.map_or(0, |credential| credential.generation.get());
    ensure(stored.generation >= generation, || {
        format!("I8: the generation fell to {}", stored.generation)
    })
}

/// I6: markers are there for exactly the messages that applied a token and are not admitted.
fn markers(world: &World, tables: &Tables, is_clean_ring: bool) -> Check {
    let halves = &world.model.halves;
    ensure(tables.markers.keys().eq(halves.keys()), || {
        format!("I6: markers {:?}, not {halves:?}", tables.markers)
    })?;
    for (message_id, marker) in &tables.markers {
        let half = &halves[message_id];
        let is_due = half.expires_at <= world.now();
        let fits = match marker.expires_at {
            None => half.expires_at <= world.latest,
            Some(at) => at == half.expires_at && !(is_due && is_clean_ring),
        };
        ensure(fits && marker.generation == half.generation, || {
            format!("I6: {message_id} has {marker:?}, expected {half:?}")
        })?;
    }
    Ok(())
}

/// I2.
fn messages_are_those_admitted(world: &World, tables: &Tables) -> Check {
    let ids: Vec<_> = tables
        .messages
        .values()
        .map(|row| &row.message_id)
        .collect();
    let expected: Vec<_> = world.model.admitted.iter().collect();
    ensure(ids == expected, || {
        format!("I2: the messages are {ids:?}, not {expected:?}")
    })
}

/// A batch is closed only when the session is idle, reports the message that ended last, and is the only open one.
fn batches(before: &Tables, tables: &Tables) -> Check {
    let is_open = |callback: &&Callback| callback.state == CallbackState::Open;
    ensure(
        tables.callbacks.values().filter(is_open).count() <= 1,
        || format!("callbacks: two batches are open: {:?}", tables.callbacks),
    )?;
    for (id, callback) in &tables.callbacks {
        let was_open = before.callbacks.get(id).as_ref().is_some_and(is_open);
        ensure(
            !was_open || is_open(&callback) || tables.head().is_none(),
            || format!("callbacks: {callback:?} is closed before the session is idle"),
        )?;
        let of_batch = tables.messages.range(id..);
        let ended = of_batch.filter_map(|(_, row)| {
            let at = row.state().terminal_at()?;
            (row.callback.is_some() && is_open(&callback)).then_some(at)
        });
        ensure(
            ended.max().is_none_or(|last| last <= callback.terminal_at),
            || format!("callbacks: {callback:?} does not report the message that ended last"),
        )?;
    }
    Ok(())
}

/// I4, and first in, first out.
fn messages(before: &Tables, tables: &Tables) -> Check {
    let news = tables.events.range(before.last_event_id + 1..);
    let named: Vec<_> = news.filter_map(|(_, row)| row.entity.as_deref()).collect();
    let mut has_open = false;
    for (position, row) in &tables.messages {
        let id = &row.message_id;
        ensure(
            row.phase == Phase::Queued || row.phase.is_terminal() || !has_open,
            || format!("{id} is being delivered before one that was admitted earlier"),
        )?;
        ensure(!(row.phase.is_terminal() && has_open), || {
            format!("{id} ended before one that was admitted earlier")
        })?;
        has_open |= row.is_open();
        let is_named = named.iter().any(|entity| entity.ends_with(id.as_str()));
        if is_named || before.messages.get(position) != Some(row) {
            events_of(row, tables)?;
        }
    }
    for entity in named.iter().filter(|entity| entity.contains("-message/")) {
        let id = entity.rsplit('/').next();
        let mut rows = tables.messages.values();
        ensure(rows.any(|row| Some(row.message_id.as_str()) == id), || {
            format!("I2: {entity} belongs to no message")
        })?;
    }
    Ok(())
}

/// A message has the events of what it has been through, each once.
fn events_of(row: &MessageRow, tables: &Tables) -> Check {
    let id = &row.message_id;
    let state = row.state();
    ensure(state.phase() == row.phase, || {
        format!("{id} is {:?} and {:?}", row.phase, state.phase())
    })?;
    for (name, is_there) in [
        ("queued", true),
        ("sent", state.accepted_at().is_some()),
        ("terminal", row.phase.is_terminal()),
    ] {
        let entity = format!("{name}-message/{id}");
        let rows = tables.events.values();
        let count = rows
            .filter(|row| row.entity.as_deref() == Some(&*entity))
            .count();
        ensure(count == usize::from(is_there), || {
            format!("I4: {id} is {:?} with {count} events {name}", row.phase)
        })?;
    }
    Ok(())
}

/// I5: the alarm is armed no later than anything that is owed.
fn alarm(world: &World, durable: &Durable) -> Check {
    let Durable { tables, alarm } = durable;
    let mut owed: Vec<(String, Timestamp)> = vec![];
    for (name, at) in &tables.deadlines {
        owed.push(((*name).to_owned(), *at));
    }
    // Of a session that is being deleted no marker decides anything, and nothing is delivered.
    let is_deleted = world.model.is_deleted;
    for (message_id, marker) in tables.markers.iter().filter(|_| !is_deleted) {
        let at = marker.expires_at;
        owed.extend(at.map(|at| (format!("marker of {message_id}"), at)));
    }
    if let Some((_, head)) = tables.head().filter(|_| !is_deleted) {
        let at = match head.state() {
            // What is to be stopped comes first.
            MessageState::Queued { .. } if waits_for_interrupt(world, tables) => {
                world.latest.plus_millis(WATCH_MILLIS)
            }
            MessageState::Queued { .. } if waits_for_credential(world) => {
                world.latest.plus_millis(SETTINGS.credential_wait_millis)
            }
            MessageState::Queued {
                not_before: Some(not_before),
                ..
            } => not_before,
            MessageState::Queued { .. } => {
                let after_admission = head.created_at.plus_millis(SETTINGS.drain_delay_millis);
                let states = tables.messages.values().map(MessageRow::state);
                let last_end = states.filter_map(|state| state.terminal_at()).max();
                after_admission.max(last_end.unwrap_or_default())
            }
            _ => world.latest.plus_millis(WATCH_MILLIS),
        };
        // What could not be done in time is to be done at once.
        let at = at.max(world.latest);
        owed.push((format!("{} is {:?}", head.message_id, head.phase), at));
    }
    if !is_deleted && owes_push(tables) {
        let at = world.latest.plus_millis(OWED_MILLIS);
        owed.push(("a push to the runtime".to_owned(), at));
    }
    let interrupts = tables.runtime.iter().flat_map(|link| &link.interrupts);
    for interrupt in interrupts.take(1).filter(|_| !is_deleted) {
        let age = world.latest.millis_since(interrupt.since);
        let at = world.latest.plus_millis(OWED_MILLIS.max(age / 8));
        if age < INTERRUPT_MILLIS {
            owed.push(("an interrupt".to_owned(), at));
        }
    }
    for callback in tables.callbacks.values().filter(|_| !is_deleted) {
        let idle = tables.head().is_none().then_some(world.latest);
        let at = callback.state.at().or(idle);
        owed.extend(at.map(|at| (format!("{callback:?}"), at.max(world.latest))));
    }
    let excuse = world
        .shell
        .last_fault
        .map(|at| at.plus_millis(FAULT_DELAY_MILLIS));
    for (what, at) in owed {
        let latest = excuse.map_or(at, |excuse| excuse.max(at));
        ensure(alarm.is_some_and(|alarm| alarm <= latest), || {
            format!("I5: the alarm is at {alarm:?}, too late for {what} at {at:?}")
        })?;
    }
    Ok(())
}

/// Whether the queue stands still until the runtime has stopped a turn.
fn waits_for_interrupt(world: &World, tables: &Tables) -> bool {
    let interrupts = tables.runtime.iter().flat_map(|link| &link.interrupts);
    let mut ages = interrupts.map(|owed| world.latest.millis_since(owed.since));
    ages.next().is_some_and(|age| age < LOST_MILLIS)
}

fn owes_interrupts(tables: &Tables) -> bool {
    let link = tables.runtime.as_ref();
    link.is_some_and(|link| !link.interrupts.is_empty())
}

/// Whether the runtime has a turn and not the newest credential.
fn owes_push(tables: &Tables) -> bool {
    let acknowledged = tables.runtime.as_ref().map(|link| link.acknowledged);
    let current = tables.credential.as_ref().map(|current| current.generation);
    let Some((_, head)) = tables.head() else {
        return false;
    };
    let is_taken = matches!(
        head.state(),
        MessageState::Claimed {
            store_id: Some(_),
            ..
        } | MessageState::Accepted { .. }
    );
    is_taken && current > acknowledged
}

fn waits_for_credential(world: &World) -> bool {
    let refused = world.session.record().and_then(|record| record.refused);
    refused.is_some_and(|refused| refused.generation.get() == world.model.generation)
}

/// I4: no agent is started again for a message that was accepted, and never again without a recorded reason.
fn starts(world: &World, before: &Tables) -> Check {
    let Some((newest, earlier)) = world.runtime.starts.split_last() else {
        return Ok(());
    };
    let state = before.message(&newest.message_id).map(MessageRow::state);
    if matches!(state, Some(MessageState::Interrupted { .. })) {
        // Until the runtime has answered it may not know.
        return ensure(owes_interrupts(before), || {
            format!(
                "I4: an agent was started for {} after it was stopped",
                newest.message_id
            )
        });
    }
    let is_again = earlier
        .iter()
        .any(|start| start.message_id == newest.message_id);
    if is_again {
        let history = state.as_ref().and_then(MessageState::history);
        ensure(
            history.is_none_or(|history| history.last_failure.is_some()),
            || {
                format!(
                    "I4: an agent was started again for {} without a recorded reason",
                    newest.message_id
                )
            },
        )?;
    }
    // A start that the object knows of is the last one.
    let Some(MessageState::Accepted { store_id, .. }) = state else {
        return Ok(());
    };
    ensure(store_id.as_str() == format!("disk-{}", newest.disk), || {
        format!(
            "I4: {} runs on {store_id} and {newest:?}",
            newest.message_id
        )
    })
}

/// A message is given up for a lost runtime only when the runtime has been silent for long.
fn ends(world: &World, before: &Tables, tables: &Tables) -> Check {
    for (position, row) in &tables.messages {
        let was_open = before.messages.get(position);
        if row.phase != Phase::Failed || !was_open.is_some_and(MessageRow::is_open) {
            continue;
        }
        let MessageState::Failed { failure, .. } = row.state() else {
            continue;
        };
        if failure.code != FailureCode::WrapperDisconnected {
            continue;
        }
        let silent = world
            .shell
            .last_answer
            .map(|at| world.now().millis_since(at));
        ensure(silent.is_none_or(|millis| millis >= LOST_MILLIS), || {
            format!("{} lost its runtime after {silent:?} ms", row.message_id)
        })?;
    }
    Ok(())
}
