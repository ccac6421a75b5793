//! Every history of a few requests: in any order, with the Worker's tries, deaths at every commit, and an expiry.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hash;
use std::time::Instant;

use cloud_agent_wire::Timestamp;

use crate::exploration::{Kind, Size, explore, size};
use crate::harness::fixtures::{START, after_start, message_id};
use crate::harness::memory_store::Fault;
use crate::harness::model::Bearer;
use crate::harness::world::{Action, Request, World, token_of};
use crate::page;

/// Tries of the Worker for one request.
const TRIES: u32 = 2;
/// Everything that can go wrong in the two steps of an admission; the deaths come first.
const FAULTS: [Fault; 6] = [
    Fault::DieBefore(1),
    Fault::DieAfter(1),
    Fault::DieBefore(2),
    Fault::DieAfter(2),
    Fault::Refuse(1),
    Fault::Refuse(2),
];
/// How many of them are deaths.
const DEATHS: usize = 4;

/// A request and how far it is.
#[derive(Debug, Clone, Copy, Hash)]
struct Sent {
    message: char,
    token: u32,
    received_at: Timestamp,
    tries: u32,
    is_answered: bool,
}

/// What is still to happen.
#[derive(Debug, Clone, Hash)]
struct Requests {
    sent: Vec<Sent>,
    faults: u32,
    expiries: u32,
    /// Whether a Worker repeats requests that were answered, and writes fail without a death.
    has_repeats: bool,
}

impl Kind for Requests {
    fn choices(&self, _: &World) -> Vec<(Vec<Action>, Self)> {
        let mut choices = vec![];
        for (index, sent) in self.sent.iter().enumerate() {
            if sent.tries == TRIES || (sent.is_answered && !self.has_repeats) {
                continue;
            }
            let request = Action::Send(Request {
                message: Some(sent.message),
                token: Some(sent.token),
                received_at: sent.received_at,
                attempt: sent.tries + 1,
            });
            let mut after = self.clone();
            after.sent[index].tries += 1;
            let kinds = if self.has_repeats {
                FAULTS.len()
            } else {
                DEATHS
            };
            for fault in FAULTS[..kinds].iter().filter(|_| self.faults > 0) {
                let mut after = after.clone();
                after.faults -= 1;
                choices.push((vec![Action::Plan(*fault), request], after));
            }
            after.sent[index].is_answered = true;
            choices.push((vec![request], after));
        }
        if self.expiries > 0 {
            let mut after = self.clone();
            after.expiries -= 1;
            choices.push((vec![Action::Pass(900_000), Action::Ring], after));
        }
        choices
    }

    /// Whatever the order and the deaths: of messages that are far apart in time the newest sets the credential.
    fn at_end(&self, world: &World) -> Result<(), String> {
        let mut messages: Vec<_> = self.sent.iter().map(|sent| sent.message).collect();
        messages.sort_unstable();
        messages.dedup();
        let are_apart = self.sent.windows(2).all(|pair| {
            let apart = pair[1].received_at.millis_since(pair[0].received_at);
            apart > 2_000
        });
        let all_answered = self.sent.iter().all(|sent| sent.is_answered);
        if !are_apart || !all_answered || messages.len() < self.sent.len() {
            return Ok(());
        }
        let newest = self.sent.iter().max_by_key(|sent| sent.received_at);
        let (Some(newest), Some(credential)) = (newest, world.session.credential()) else {
            return Err("I1: there is no credential at the end".to_owned());
        };
        let is_newest = credential.token == token_of(newest.token)
            && credential.owner == Some(message_id(newest.message))
            && world.model.owner() == Some(&Bearer::Message(message_id(newest.message)));
        if is_newest {
            Ok(())
        } else {
            Err(format!(
                "I1: at the end {credential:?} is in force, not {newest:?}"
            ))
        }
    }

    fn digest(&self, hasher: &mut DefaultHasher) {
        self.hash(hasher);
    }
}

/// Every way to give `requests` to at most `messages` messages and two tokens, but for the names.
fn assignments(requests: u32, messages: u32) -> Vec<Vec<(char, u32)>> {
    let mut all = vec![];
    for number in 0..(messages * 2).pow(requests) {
        let mut rest = number;
        let mut assignment = vec![];
        for _ in 0..requests {
            let choice = rest % (messages * 2);
            rest /= messages * 2;
            let digit = char::from_digit(10 + choice / 2, 36).expect("it is a digit");
            assignment.push((digit, 1 + choice % 2));
        }
        // Names come in order, so that no two assignments differ by names only.
        let mut names = 0;
        let in_order = assignment.iter().all(|(digit, _)| {
            let name = digit.to_digit(36).expect("it is a digit") - 10;
            let is_next = name <= names;
            names = names.max(name + 1);
            is_next
        });
        if in_order && assignment[0].1 == 1 {
            all.push(assignment);
        }
    }
    all
}

struct Bounds {
    requests: u32,
    messages: u32,
    faults: u32,
    expiries: u32,
    has_repeats: bool,
}

impl Bounds {
    fn describe(&self) -> String {
        let Self {
            requests,
            messages,
            faults,
            expiries,
            has_repeats,
        } = self;
        let faults_are = if *has_repeats {
            "deaths or failing writes, repeated answers"
        } else {
            "deaths"
        };
        format!(
            "admission: {messages} messages, {requests} requests, 2 tokens, {faults} {faults_are}, {expiries} expiry"
        )
    }
}

fn sweep(bounds: &Bounds) {
    let Bounds {
        requests,
        messages,
        faults,
        expiries,
        has_repeats,
    } = *bounds;
    let started = Instant::now();
    let mut kinds = vec![];
    for assignment in assignments(requests, messages) {
        for spacing_millis in [1_000, 10_000] {
            let stamps = (1..).map(|index| after_start(index * spacing_millis));
            let sent = assignment
                .iter()
                .zip(stamps)
                .map(|(choice, received_at)| Sent {
                    message: choice.0,
                    token: choice.1,
                    received_at,
                    tries: 0,
                    is_answered: false,
                });
            kinds.push(Requests {
                sent: sent.collect(),
                faults,
                expiries,
                has_repeats,
            });
        }
    }
    let figures = explore(after_a_minute, kinds);
    page::check(&bounds.describe(), &figures, started.elapsed());
}

/// A session that all stamps of the requests lie behind of.
fn after_a_minute() -> World {
    let mut world = World::new(Some(9));
    world.session.set_now(START.plus_millis(60_000));
    world.latest = world.now();
    world
}

#[test]
fn every_history_of_three_requests_with_one_fault_and_repeats() {
    sweep(&Bounds {
        requests: 3,
        messages: 2,
        faults: 1,
        expiries: 1,
        has_repeats: true,
    });
}

#[test]
fn every_history_of_three_requests_with_two_deaths() {
    sweep(&Bounds {
        requests: 3,
        messages: 3,
        faults: 2,
        expiries: 1,
        has_repeats: false,
    });
}

#[test]
fn every_history_of_four_requests() {
    sweep(&Bounds {
        requests: 4,
        messages: 3,
        faults: match size() {
            Size::Small => 0,
            Size::Usual => 1,
            Size::Large => 2,
        },
        expiries: 1,
        has_repeats: false,
    });
}
