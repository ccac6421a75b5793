//! What admission and rotation must come to, told from the history of requests and not from the stored state.
//!
//! The model knows no marker and no pointer. It remembers which requests were applied durably, in order, and derives
//! everything from that: the owner is the message whose first application is the latest, the token is the one of the
//! owner's highest-stamped application, and a message that has applied is one whose application stands in the history.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use cloud_agent_wire::{MessageId, Timestamp};

use super::fixtures::SETTINGS;
use super::memory_store::Fault;
use super::tables::Tables;

/// How much older than the newest application a first try may seem.
const SKEW_MILLIS: u64 = 2_000;
const QUEUE_MAX: usize = 10;

/// Who brings a token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bearer {
    Message(MessageId),
    /// An update or the preparation. Each is a bearer of its own.
    Other(usize),
}

/// A token that became the credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Application {
    pub bearer: Bearer,
    pub stamp: Timestamp,
    pub token: String,
}

/// A message whose token was applied and which is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Half {
    pub generation: u64,
    pub expires_at: Timestamp,
}

/// The expected state.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub applications: Vec<Application>,
    pub halves: BTreeMap<MessageId, Half>,
    /// In the order of admission.
    pub admitted: Vec<MessageId>,
    pub generation: u64,
    pub skips: u64,
    /// For clients, there is no session any more.
    pub is_deleted: bool,
}

/// A request as the model sees it.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// `None` for an update.
    pub message_id: Option<&'a MessageId>,
    pub token: Option<&'a str>,
    pub stamp: Timestamp,
    pub attempt: u32,
}

/// One durable step of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Apply,
    /// The message becomes visible; with it, a token that was left aside is counted.
    Persist {
        skips: bool,
    },
    /// An update's token is left aside.
    Skip,
}

/// What a request must be answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Queued,
    Sent,
    Refused,
    Done,
    NotFound,
}

impl Model {
    /// After a preparation with that token.
    pub fn prepared(token: Option<&str>, stamp: Timestamp) -> Self {
        let mut model = Self::default();
        if let Some(token) = token {
            model.generation = 1;
            model.applications.push(Application {
                bearer: Bearer::Other(0),
                stamp,
                token: token.to_owned(),
            });
        }
        model
    }

    /// Who set the credential: the bearer whose first application is the latest.
    pub fn owner(&self) -> Option<&Bearer> {
        let mut seen = BTreeSet::new();
        let mut owner = None;
        for application in &self.applications {
            if seen.insert(&application.bearer) {
                owner = Some(&application.bearer);
            }
        }
        owner
    }

    /// The owner's application with the highest stamp, the later one of two equal stamps.
    pub fn current(&self) -> Option<&Application> {
        let owner = self.owner()?;
        let own = self.applications.iter();
        own.filter(|application| application.bearer == *owner)
            .max_by_key(|application| application.stamp)
    }

    fn is_applied(&self, asked: &Asked<'_>) -> bool {
        let Some(last) = self.applications.last() else {
            return true;
        };
        let late_by = last.stamp.millis_since(asked.stamp);
        let bearer = asked.message_id.cloned().map(Bearer::Message);
        let mut earlier = self.applications.iter();
        let has_applied = bearer.is_some()
            && earlier.any(|application| Some(&application.bearer) == bearer.as_ref());
        if has_applied {
            self.owner() == bearer.as_ref() && late_by == 0
        } else {
            late_by <= if asked.attempt > 1 { 0 } else { SKEW_MILLIS }
        }
    }

    /// The steps that a well-formed request takes, and its answer.
    ///
    /// `before` tells only how far the messages are that were admitted.
    pub fn expect(&self, asked: &Asked<'_>, before: &Tables) -> (Vec<Step>, Reply) {
        if self.is_deleted {
            return (vec![], Reply::NotFound);
        }
        let Some(message_id) = asked.message_id else {
            let steps = match asked.token {
                None => vec![],
                Some(_) if self.is_applied(asked) => vec![Step::Apply],
                Some(_) => vec![Step::Skip],
            };
            return (steps, Reply::Done);
        };
        if self.admitted.contains(message_id) {
            let phase = before.message(message_id).map(|row| row.phase.as_str());
            let reply = match phase {
                Some("queued" | "claimed") => Reply::Queued,
                Some("accepted") => Reply::Sent,
                _ => Reply::Refused,
            };
            return (vec![], reply);
        }
        let waits = before.messages.values();
        let waiting = waits.filter(|row| matches!(row.phase.as_str(), "queued" | "claimed"));
        if waiting.count() >= QUEUE_MAX {
            return (vec![], Reply::Refused);
        }
        let steps = match asked.token {
            Some(_) if self.is_applied(asked) => vec![Step::Apply, Step::Persist { skips: false }],
            Some(_) => vec![Step::Persist { skips: true }],
            None => vec![Step::Persist { skips: false }],
        };
        (steps, Reply::Queued)
    }

    /// Takes over what a request did durably.
    pub fn take(&mut self, asked: &Asked<'_>, steps: &[Step], now: Timestamp) {
        for step in steps {
            match step {
                Step::Apply => self.apply(asked, now),
                Step::Persist { skips } => {
                    self.skips += u64::from(*skips);
                    if let Some(message_id) = asked.message_id {
                        self.admitted.push(message_id.clone());
                        self.halves.remove(message_id);
                    }
                }
                Step::Skip => self.skips += 1,
            }
        }
    }

    fn apply(&mut self, asked: &Asked<'_>, now: Timestamp) {
        let token = asked.token.unwrap_or_default();
        if self.current().map(|current| current.token.as_str()) != Some(token) {
            self.generation += 1;
        }
        let bearer = match asked.message_id {
            Some(message_id) => Bearer::Message(message_id.clone()),
            None => Bearer::Other(self.applications.len()),
        };
        if let Some(message_id) = asked.message_id {
            let half = Half {
                generation: self.generation,
                expires_at: now.plus_millis(SETTINGS.marker_ttl_millis),
            };
            self.halves.insert(message_id.clone(), half);
        }
        self.applications.push(Application {
            bearer,
            stamp: asked.stamp,
            token: token.to_owned(),
        });
    }
}

/// Two models behave alike from here on when this is equal: of the past only this much decides.
impl Hash for Model {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let mut bearers: Vec<_> = self.applications.iter().map(|past| &past.bearer).collect();
        bearers.sort_unstable();
        bearers.dedup();
        let last = self.applications.last().map(|last| last.stamp);
        (self.owner(), self.current(), last, bearers).hash(hasher);
        (&self.halves, &self.admitted).hash(hasher);
        (self.generation, self.is_deleted).hash(hasher);
    }
}

/// How many of a request's steps are durable under a fault, and whether the request is answered.
pub fn durable_steps(fault: Option<Fault>, steps: usize) -> (usize, bool) {
    let reached = |number: u32| number as usize <= steps;
    match fault {
        Some(Fault::DieBefore(number) | Fault::Refuse(number)) if reached(number) => {
            (number as usize - 1, false)
        }
        Some(Fault::DieAfter(number)) if reached(number) => (number as usize, false),
        _ => (steps, true),
    }
}
