//! Every history of delivering two messages in which one or two things go wrong, wherever they can.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hash;
use std::time::Instant;

use cloud_agent_wire::FailureSubtype;

use crate::exploration::{Kind, Size, explore, size};
use crate::harness::fixtures::START;
use crate::harness::follower::Stream;
use crate::harness::memory_store::Fault;
use crate::harness::receiver::Reception;
use crate::harness::runtime::Luck;
use crate::harness::world::{Action, Request, World};
use crate::page;
use crate::settle::rest;

/// What can go wrong in the single step of everything that delivery does.
const FAULTS: [Fault; 3] = [Fault::DieBefore(1), Fault::DieAfter(1), Fault::Refuse(1)];
/// A failure that waits for a credential, one that is tried again, and one that is not.
const BAD_LUCK: [FailureSubtype; 3] = [
    FailureSubtype::GitAuthenticationFailed,
    FailureSubtype::GitNetworkFailed,
    FailureSubtype::GitBranchMissing,
];
/// A receiver that is to be asked again, one that refuses, and one whose answer is lost.
const RECEPTIONS: [Reception; 3] = [
    Reception::Answers(503),
    Reception::Answers(302),
    Reception::LosesAnswer,
];
/// Longer than a claim may take.
const LEASE_MILLIS: u64 = 600_000;

/// What is still to go wrong.
#[derive(Debug, Clone, Copy, Hash)]
struct Mishaps {
    left: u32,
    /// Whether a newer token is still to come.
    rotates: bool,
}

impl Mishaps {
    fn one_less(self) -> Self {
        Self {
            left: self.left - 1,
            ..self
        }
    }
}

/// What the object does next, where that is possible. Each has at most one step.
fn of_object(world: &World) -> Vec<Action> {
    let mut actions = vec![];
    if world.shell.handler.is_some() {
        actions.push(Action::Answer);
    }
    if world.shell.follower.is_some() && world.reader_has_news() {
        actions.push(Action::Read(Stream::Brings(1)));
    }
    if world.can_ring() {
        actions.push(Action::Ring);
    }
    if !world.shell.tries.is_empty() {
        actions.push(Action::Report(Reception::Answers(200)));
    }
    actions
}

fn mishaps(world: &World, objects: &[Action]) -> Vec<Vec<Action>> {
    let mut all = vec![
        vec![Action::Die],
        vec![Action::ReplaceDisk],
        vec![Action::RestartRuntime],
        vec![Action::Interrupt],
        vec![Action::Delete],
        vec![Action::Pass(LEASE_MILLIS)],
        vec![Action::PassToAlarm],
    ];
    for action in objects {
        all.extend(FAULTS.map(|fault| vec![Action::Plan(fault), *action]));
        all.push(vec![Action::Reach(false), *action, Action::Reach(true)]);
    }
    if world.shell.handler.is_some() {
        all.push(vec![Action::LoseReply, Action::Answer]);
    }
    if world.shell.follower.is_some() {
        all.push(vec![Action::Read(Stream::Breaks)]);
    }
    if !world.shell.tries.is_empty() {
        all.extend(RECEPTIONS.map(|reception| vec![Action::Report(reception)]));
    }
    if world.runtime.is_busy() {
        all.push(vec![Action::DieAtStart, Action::Work(Luck::Good)]);
        all.extend(BAD_LUCK.map(|subtype| vec![Action::Work(Luck::Bad(subtype))]));
    }
    all
}

impl Kind for Mishaps {
    fn choices(&self, world: &World) -> Vec<(Vec<Action>, Self)> {
        let objects = of_object(world);
        let mut usual: Vec<_> = objects.clone();
        if world.runtime.is_busy() {
            usual.push(Action::Work(Luck::Good));
        }
        if usual.is_empty() && !world.session.store.is_at_rest() {
            usual.push(Action::PassToAlarm);
        }
        let is_over = usual.is_empty();
        let mut choices: Vec<_> = usual
            .into_iter()
            .map(|action| (vec![action], *self))
            .collect();
        if self.left > 0 && !is_over {
            let mishaps = mishaps(world, &objects).into_iter();
            choices.extend(mishaps.map(|actions| (actions, self.one_less())));
        }
        if self.rotates && !is_over {
            let request = Request {
                message: None,
                token: Some(2),
                received_at: world.now(),
                attempt: 1,
            };
            let after = Self {
                rotates: false,
                ..*self
            };
            choices.push((vec![Action::Send(request)], after));
        }
        choices
    }

    fn at_end(&self, world: &World) -> Result<(), String> {
        rest(world)
    }

    fn digest(&self, hasher: &mut DefaultHasher) {
        self.hash(hasher);
    }
}

fn sweep(messages: &[char], kind: Mishaps) {
    let rotation = if kind.rotates {
        "a rotation"
    } else {
        "no rotation"
    };
    let (messages_len, left) = (messages.len(), kind.left);
    let name = format!("delivery: {messages_len} messages, {left} mishaps, {rotation}");
    sweep_from(&name, || with_messages(World::new(Some(1)), messages), kind);
}

fn sweep_from(name: &str, start: impl Fn() -> World + Sync, kind: Mishaps) {
    let started = Instant::now();
    let figures = explore(start, vec![kind]);
    page::check(name, &figures, started.elapsed());
}

fn with_messages(mut world: World, messages: &[char]) -> World {
    for message in messages {
        let request = Request {
            message: Some(*message),
            token: None,
            received_at: START,
            attempt: 1,
        };
        world.step(Action::Send(request)).expect("it is admitted");
    }
    world
}

#[test]
fn every_delivery_of_two_messages_with_one_mishap_and_a_rotation() {
    let kind = Mishaps {
        left: 1,
        rotates: true,
    };
    sweep(&['a', 'b'], kind);
}

#[test]
fn every_delivery_of_a_message_with_two_mishaps() {
    let kind = Mishaps {
        left: 2,
        rotates: size() == Size::Large,
    };
    let messages: &[char] = if size() == Size::Large {
        &['a', 'b']
    } else {
        &['a']
    };
    sweep(messages, kind);
}

#[test]
fn every_report_of_a_message_with_two_mishaps() {
    let kind = Mishaps {
        left: 2,
        rotates: false,
    };
    let start = || with_messages(World::with_callback(Some(1)), &['a']);
    sweep_from("report: 1 message with a callback, 2 mishaps", start, kind);
}
