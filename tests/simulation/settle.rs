//! Lets a world come to rest: no more trouble, and everybody does what is to be done.

use crate::harness::follower::Stream;
use crate::harness::receiver::Reception;
use crate::harness::runtime::{Luck, Planned};
use crate::harness::world::{Action, World};

/// Far more than any history needs.
const STEPS_MAX: u32 = 3_000;
/// What the slowest way to an end takes: every message of a full queue waits for its lease and for every retry.
const MILLIS_MAX: u64 = 12 * 60 * 60 * 1_000;

/// Lets the alarm ring while the runtime is out of reach: however much is owed, there are moments between its tries.
pub fn endure(world: &mut World, record: &mut impl FnMut(Action)) -> Result<(), String> {
    const RINGS: u64 = 60;
    // Every message of a full queue may be put back or end at one moment.
    const RINGS_AT_ONCE: u64 = 30;
    let started = world.now();
    let mut rings = 0;
    let mut act = |world: &mut World, action: Action| {
        record(action);
        world.step(action)
    };
    act(world, Action::Reach(false))?;
    while rings < RINGS {
        if world.shell.handler.is_some() {
            act(world, Action::Answer)?;
        } else if world.shell.follower.is_some() {
            act(world, Action::Read(Stream::Breaks))?;
        } else if !world.shell.tries.is_empty() {
            act(world, Action::Report(Reception::IsAway))?;
        } else if world.can_ring() {
            rings += 1;
            act(world, Action::Ring)?;
        } else if world.session.store.is_at_rest() {
            return Ok(());
        } else {
            act(world, Action::PassToAlarm)?;
        }
    }
    let millis = world.now().millis_since(started);
    if millis < (RINGS - RINGS_AT_ONCE) * 500 {
        return Err(format!("the alarm rang {rings} times within {millis} ms"));
    }
    Ok(())
}

/// Goes on until nothing is owed, and checks that every acknowledged message has ended: with a runtime that does its
/// work, or with one that never comes back.
///
/// `record` is told every action.
pub fn settle(
    world: &mut World,
    is_reachable: bool,
    record: &mut impl FnMut(Action),
) -> Result<(), String> {
    let started = world.now();
    world.session.store.plan(None);
    let mut act = |world: &mut World, action: Action| {
        record(action);
        world.step(action)
    };
    act(world, Action::Reach(is_reachable))?;
    if world.session.store.is_dead() {
        // The platform constructs the object anew for whatever comes next, such as a client's question.
        world.session.store.restart(world.now());
    }
    for _ in 0..STEPS_MAX {
        world.runtime.planned = Planned::default();
        if world.shell.handler.is_some() {
            act(world, Action::Answer)?;
        } else if !world.shell.tries.is_empty() {
            act(world, Action::Report(Reception::Answers(200)))?;
        } else if world.runtime.is_busy() && is_reachable {
            act(world, Action::Work(Luck::Good))?;
        } else if world.shell.follower.is_some() && !is_reachable {
            act(world, Action::Read(Stream::Breaks))?;
        } else if world.shell.follower.is_some() && world.reader_has_news() {
            act(world, Action::Read(Stream::Brings(100)))?;
        } else if world.can_ring() {
            act(world, Action::Ring)?;
        } else if world.session.store.is_at_rest() {
            return rest(world);
        } else {
            act(world, Action::PassToAlarm)?;
        }
        if world.now().millis_since(started) > MILLIS_MAX {
            break;
        }
    }
    Err(format!(
        "I4: the session does not come to rest; the head is {:?}",
        world.head()
    ))
}

/// Checks a world in which nothing is owed.
pub fn rest(world: &World) -> Result<(), String> {
    let tables = world.session.store.tables();
    if world.model.is_deleted {
        return if tables.session.is_none() && tables.messages.is_empty() {
            Ok(())
        } else {
            Err("a deleted session is still there".to_owned())
        };
    }
    if let Some((_, head)) = tables.head() {
        return Err(format!(
            "I4: {} is {:?} at rest, and nothing is owed",
            head.message_id, head.phase
        ));
    }
    if !tables.callbacks.is_empty() {
        return Err(format!("callbacks: {:?} at rest", tables.callbacks));
    }
    if !world.session.store.is_at_rest() {
        return Err(format!("I5: deadlines at rest: {:?}", tables.deadlines));
    }
    Ok(())
}
