//! Random long histories.

use std::time::{Duration, Instant};

use crate::generator::Generator;
use crate::harness::world::{Action, World};
use crate::settle::{endure, settle};

/// Histories that every run of the tests plays.
const RUNS: u64 = 2_500;
/// Actions of one history, apart from those that let it come to rest.
const ACTIONS_MAX: u32 = 600;

/// What a history begins with: every seventh session has a managed repository, every fifth other one no token, two of
/// three others a callback.
fn beginning(seed: u64) -> World {
    if seed % 7 == 3 {
        World::managed()
    } else if seed.is_multiple_of(3) {
        World::new((!seed.is_multiple_of(5)).then_some(1))
    } else {
        World::with_callback((!seed.is_multiple_of(5)).then_some(1))
    }
}

/// Plays the history of a seed; the actions are those that happened, up to the one that broke an invariant.
fn play(seed: u64) -> (Vec<Action>, Result<World, String>) {
    let mut world = beginning(seed);
    let mut generator = Generator::new(seed);
    let mut actions = Vec::new();
    for _ in 0..ACTIONS_MAX {
        if generator.is_done() {
            break;
        }
        let action = generator.next(&world);
        actions.push(action);
        if let Err(broken) = world.step(action) {
            return (actions, Err(broken));
        }
    }
    let mut record = |action| actions.push(action);
    let ended = end(seed, &mut world, &mut record);
    (actions, ended.map(|()| world))
}

/// Lets a world come to rest: every other one after a time without its runtime, and some without it for good.
fn end(seed: u64, world: &mut World, record: &mut impl FnMut(Action)) -> Result<(), String> {
    if seed.is_multiple_of(2) {
        endure(world, record)?;
    }
    settle(world, !seed.is_multiple_of(5), record)
}

/// Plays given actions and then lets the world come to rest. What breaks, if anything does, and all that happened.
fn replay(seed: u64, actions: &[Action]) -> Option<(String, Vec<Action>)> {
    let mut world = beginning(seed);
    let mut happened = Vec::new();
    for action in actions {
        happened.push(*action);
        if let Err(broken) = world.step(*action) {
            return Some((broken, happened));
        }
    }
    let mut record = |action| happened.push(action);
    let ended = end(seed, &mut world, &mut record);
    ended.err().map(|broken| (broken, happened))
}

/// Leaves out actions as long as the same invariant still breaks.
fn shrink(seed: u64, actions: Vec<Action>, broken: &str) -> Vec<Action> {
    // What is broken is named at the beginning, up to the first thing that differs from history to history.
    let kind = |text: &str| text.chars().take(3).collect::<String>();
    let is_same = |actions: &[Action]| {
        replay(seed, actions).is_some_and(|(other, _)| kind(&other) == kind(broken))
    };
    let mut shortest = actions;
    let mut size = shortest.len() / 2;
    while size > 0 {
        let mut start = 0;
        while start < shortest.len() {
            let mut shorter = shortest.clone();
            shorter.drain(start..(start + size).min(shortest.len()));
            if is_same(&shorter) {
                shortest = shorter;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    shortest
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number")),
    )
}

#[test]
fn random_histories_keep_every_invariant() {
    let seeds = match setting("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("SIMULATION_RUNS").unwrap_or(RUNS),
    };
    let started = Instant::now();
    let (mut steps, mut messages, mut starts, mut events) = (0, 0, 0, 0);
    for seed in seeds.clone() {
        let (actions, outcome) = play(seed);
        steps += actions.len();
        match outcome {
            Ok(world) => {
                messages += world.model.admitted.len();
                starts += world.runtime.starts.len();
                events += world.session.store.tables().events.len();
            }
            Err(broken) => {
                let shortest = shrink(seed, actions, &broken);
                let (again, happened) = replay(seed, &shortest).unwrap_or_default();
                let lines: Vec<_> = happened
                    .iter()
                    .map(|action| format!("    {action:?}"))
                    .collect();
                panic!(
                    "{broken}\nreplay it with SIMULATION_SEED={seed}; the shortest history breaks with\n{again}\n{}",
                    lines.join("\n")
                );
            }
        }
    }
    let elapsed: Duration = started.elapsed();
    println!(
        "{} histories, {steps} steps, {messages} messages, {starts} agent starts, {events} events in {elapsed:.1?}",
        seeds.end - seeds.start
    );
}
