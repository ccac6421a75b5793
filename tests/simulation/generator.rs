//! Clients, Workers, faults and time, as a random but repeatable stream of actions.

use cloud_agent_wire::{FailureSubtype, RuntimeErrorCode, Timestamp};

use crate::harness::follower::Stream;
use crate::harness::memory_store::Fault;
use crate::harness::receiver::Reception;
use crate::harness::runtime::Luck;
use crate::harness::world::{Action, Request, World};
use crate::random_numbers::RandomNumbers;

/// The ids that messages of one history are made of.
const DIGITS: &[u8] = b"abcdefghijklmnopqrstuvw";
/// Most tries of the Worker for one request.
const TRIES_MAX: u32 = 3;

/// What kind of trouble a history has.
#[derive(Debug, Clone)]
struct Temper {
    /// Chance, in a hundred, that a commit has a fault.
    faults: u64,
    /// Chance, in a thousand, of each kind of trouble with the runtime.
    trouble: u64,
    /// Chance, in a thousand, that the clock jumps.
    jumps: u64,
}

/// Makes the next action from what has happened so far.
pub struct Generator {
    numbers: RandomNumbers,
    temper: Temper,
    /// Requests on their way from a Worker to the object.
    on_the_way: Vec<Request>,
    /// Messages that clients have sent, with the number of their token.
    sent: Vec<char>,
    newest_token: u32,
    /// Requests that clients still make.
    requests_left: u32,
    /// Actions after the last request.
    actions_left: u64,
    is_unreachable: bool,
    /// Whether the user deletes the session at the end.
    deletes: bool,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        let mut numbers = RandomNumbers::new(seed);
        // Some histories are calm, so that trouble is met in every mixture.
        let temper = Temper {
            faults: numbers.choose(&[0, 5, 15, 40]),
            trouble: numbers.choose(&[0, 3, 10, 30]),
            jumps: numbers.choose(&[0, 5, 20]),
        };
        let requests_left = 3 + u32::try_from(numbers.below(25)).expect("it is small");
        let deletes = numbers.percent(15);
        let actions_left = numbers.below(150);
        Self {
            numbers,
            temper,
            on_the_way: Vec::new(),
            sent: Vec::new(),
            newest_token: 1,
            requests_left,
            actions_left,
            is_unreachable: false,
            deletes,
        }
    }

    /// Whether the history is over.
    pub fn is_done(&self) -> bool {
        self.actions_left == 0
    }

    /// The next action.
    pub fn next(&mut self, world: &World) -> Action {
        if self.requests_left == 0 && self.on_the_way.is_empty() {
            self.actions_left = self.actions_left.saturating_sub(1);
        }
        if world.session.store.fault().is_none() && self.numbers.percent(self.temper.faults) {
            let number = 1 + u32::try_from(self.numbers.below(2)).expect("it is small");
            let kinds = [Fault::DieBefore, Fault::DieAfter, Fault::Refuse];
            return Action::Plan(self.numbers.choose(&kinds)(number));
        }
        if let Some(trouble) = self.trouble() {
            return trouble;
        }
        match self.numbers.below(100) {
            0..12 => self.new_request(world),
            12..30 => self.deliver(),
            30..45 => Action::Ring,
            45..60 => Action::Answer,
            60..73 => Action::Read(self.stream()),
            73..75 => Action::ReadRetired(self.stream()),
            75..85 => Action::Work(self.luck()),
            85..88 => Action::Report(self.reception()),
            88..95 => {
                let millis = self.numbers.choose(&[0, 1, 20, 300, 1_000, 2_500, 20_000]);
                Action::Pass(millis)
            }
            _ => Action::PassToAlarm,
        }
    }

    fn trouble(&mut self) -> Option<Action> {
        if self.numbers.below(1_000) < self.temper.jumps {
            return Some(match self.numbers.below(4) {
                0 => Action::Back(self.numbers.below(1_500)),
                1 => Action::Pass(900_000),
                _ => Action::Pass(self.numbers.below(120_000)),
            });
        }
        if self.numbers.below(1_000) < 8 {
            return Some(Action::Interrupt);
        }
        if self.numbers.below(1_000) < 5 {
            return Some(Action::Retarget(self.numbers.percent(50)));
        }
        if self.deletes && self.requests_left < 3 && self.numbers.percent(3) {
            return Some(Action::Delete);
        }
        if self.is_unreachable && self.numbers.percent(10) {
            self.is_unreachable = false;
            return Some(Action::Reach(true));
        }
        let chance = self.temper.trouble;
        let mut happens = || self.numbers.below(1_000) < chance;
        if happens() {
            return Some(Action::Die);
        }
        if happens() {
            return Some(Action::RestartRuntime);
        }
        if happens() {
            return Some(Action::ReplaceDisk);
        }
        if happens() {
            return Some(Action::DieAtStart);
        }
        if happens() {
            self.is_unreachable = true;
            return Some(Action::Reach(false));
        }
        if happens() {
            return Some(Action::LoseReply);
        }
        if happens() {
            return Some(Action::StopTurn);
        }
        if happens() {
            return Some(Action::Refuse(self.numbers.choose(&[
                RuntimeErrorCode::Unavailable,
                RuntimeErrorCode::Internal,
                RuntimeErrorCode::InvalidRequest,
                RuntimeErrorCode::StaleGeneration,
            ])));
        }
        None
    }

    /// A client sends a message, repeats one, or updates the session.
    fn new_request(&mut self, world: &World) -> Action {
        if self.requests_left == 0 {
            return self.deliver();
        }
        self.requests_left -= 1;
        if self.numbers.percent(40) {
            self.newest_token += 1;
        }
        let token = match self.numbers.below(10) {
            0 | 1 => None,
            2 => Some(self.newest_token.saturating_sub(1)),
            _ => Some(self.newest_token),
        };
        let message = match self.numbers.below(10) {
            0 => None,
            1..=3 if !self.sent.is_empty() => Some(self.numbers.choose(&self.sent)),
            _ => DIGITS.get(self.sent.len()).copied().map(char::from),
        };
        if let Some(digit) = message.filter(|digit| !self.sent.contains(digit)) {
            self.sent.push(digit);
        }
        let request = Request {
            message,
            token,
            received_at: self.stamp(world.now()),
            attempt: 1,
        };
        self.on_the_way.push(request);
        self.deliver()
    }

    /// Clocks of Workers differ by up to a second and a half; now and then one is far off.
    fn stamp(&mut self, now: Timestamp) -> Timestamp {
        let skew = if self.numbers.percent(3) {
            3_600_000
        } else {
            self.numbers.below(3_000)
        };
        let millis = (now.as_millis() + skew).saturating_sub(1_500);
        Timestamp::from_millis(millis)
    }

    /// One of the requests on their way reaches the object; its Worker may try again later.
    fn deliver(&mut self) -> Action {
        if self.on_the_way.is_empty() {
            return Action::Ring;
        }
        let index = self.numbers.below(self.on_the_way.len() as u64);
        let index = usize::try_from(index).expect("an index fits");
        let request = self.on_the_way.swap_remove(index);
        if request.attempt < TRIES_MAX && self.numbers.percent(40) {
            self.on_the_way.push(Request {
                attempt: request.attempt + 1,
                ..request
            });
        }
        Action::Send(request)
    }

    fn stream(&mut self) -> Stream {
        match self.numbers.below(20) {
            0 => Stream::Ends,
            1 if self.temper.trouble > 0 => Stream::Breaks,
            _ => Stream::Brings(1 + usize::try_from(self.numbers.below(4)).expect("it is small")),
        }
    }

    fn reception(&mut self) -> Reception {
        if self.numbers.below(100) >= self.temper.trouble * 2 {
            return Reception::Answers(200);
        }
        self.numbers.choose(&[
            Reception::Answers(429),
            Reception::Answers(500),
            Reception::Answers(404),
            Reception::LosesAnswer,
            Reception::IsAway,
        ])
    }

    fn luck(&mut self) -> Luck {
        if self.numbers.below(100) < self.temper.trouble {
            return Luck::Bad(self.numbers.choose(FailureSubtype::ALL));
        }
        if self.numbers.percent(40) {
            Luck::Chatty
        } else {
            Luck::Good
        }
    }
}
