//! Walks every history of a small kind, and each state only once.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::harness::world::{Action, World};

/// Far more actions than any of the small histories has.
const ACTIONS_MAX: usize = 800;
/// The walk goes as deep as a history is long.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// How far sweeps go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// For runs that are made again and again.
    Small,
    /// For every run of the tests.
    Usual,
    /// What takes minutes.
    Large,
}

/// How far the sweeps of this run go.
pub fn size() -> Size {
    match std::env::var("SIMULATION_SWEEP").as_deref() {
        Ok("small") => Size::Small,
        Ok("large") => Size::Large,
        _ => Size::Usual,
    }
}

/// A kind of histories: what can happen next, and what must be true at the end.
pub trait Kind: Clone {
    /// Every choice that this state leaves, as the actions that it consists of and the kind after it.
    fn choices(&self, world: &World) -> Vec<(Vec<Action>, Self)>;

    /// Checks a state from which nothing can happen.
    fn at_end(&self, world: &World) -> Result<(), String>;

    /// Adds to a state's digest what the world does not hold.
    fn digest(&self, hasher: &mut DefaultHasher);
}

/// What a walk has seen.
#[derive(Debug, Default)]
pub struct Figures {
    /// Different states.
    pub states: usize,
    /// Actions that were done, each followed by a check of every invariant.
    pub steps: usize,
    /// Histories that lead from the beginning to an end, counted along every way.
    pub histories: u64,
    /// Choices in which the process died or a write failed.
    pub crashes: usize,
}

/// The walk.
#[derive(Default)]
struct Exploration {
    figures: Figures,
    /// How many histories each state leads to.
    seen: HashMap<u64, u64>,
}

impl Figures {
    /// The figures of both walks.
    pub fn and(self, other: &Self) -> Self {
        Self {
            states: self.states + other.states,
            steps: self.steps + other.steps,
            histories: self.histories + other.histories,
            crashes: self.crashes + other.crashes,
        }
    }
}

/// Walks every history of several kinds, as many kinds at a time as the machine has cores.
pub fn explore<K: Kind + Send>(start: impl Fn() -> World + Sync, kinds: Vec<K>) -> Figures {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let workers = workers.min(kinds.len());
    let left = Mutex::new(kinds);
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || {
        let mut total = Figures::default();
        while let Some(kind) = next() {
            total = total.and(&walk_all(&start(), &kind));
        }
        total
    };
    thread::scope(|scope| {
        let started: Vec<_> = (0..workers)
            .map(|_| {
                let thread = thread::Builder::new().stack_size(STACK_BYTES);
                thread
                    .spawn_scoped(scope, work)
                    .expect("a thread can be started")
            })
            .collect();
        let joined = started.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.fold(Figures::default(), |total, figures| total.and(&figures))
    })
}

/// Walks every history of a kind. The caller's stack must be deep enough.
fn walk_all(start: &World, kind: &impl Kind) -> Figures {
    let mut exploration = Exploration::default();
    let histories = exploration.walk(start, kind, &mut vec![]);
    let histories = histories.unwrap_or_else(|broken| panic!("{broken}"));
    Figures {
        histories,
        ..exploration.figures
    }
}

impl Exploration {
    /// Walks everything that can follow. The error has the history that broke an invariant.
    fn walk<K: Kind>(
        &mut self,
        world: &World,
        kind: &K,
        history: &mut Vec<Action>,
    ) -> Result<u64, String> {
        let digest = digest(world, kind);
        if let Some(histories) = self.seen.get(&digest) {
            return Ok(*histories);
        }
        self.figures.states += 1;
        if history.len() > ACTIONS_MAX {
            return Err(describe("the history does not come to an end", history));
        }
        let choices = kind.choices(world);
        let mut histories = 0;
        if choices.is_empty() {
            kind.at_end(world)
                .map_err(|broken| describe(&broken, history))?;
            histories = 1;
        }
        for (actions, next) in choices {
            let mut after = world.clone();
            let crashes = |action: &Action| matches!(action, Action::Plan(_) | Action::Die);
            self.figures.crashes += usize::from(actions.iter().any(crashes));
            let length = history.len();
            for action in actions {
                history.push(action);
                self.figures.steps += 1;
                after
                    .step(action)
                    .map_err(|broken| describe(&broken, history))?;
            }
            histories += self.walk(&after, &next, history)?;
            history.truncate(length);
        }
        self.seen.insert(digest, histories);
        Ok(histories)
    }
}

fn describe(broken: &str, history: &[Action]) -> String {
    let mut text = broken.to_owned();
    for action in history {
        let _ = write!(text, "\n    {action:?}");
    }
    text
}

/// Feeds formatted text into a hasher.
struct Sink<'a>(&'a mut DefaultHasher);

impl Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// What makes two states different. Sealed texts are left out, since they differ by their nonce and the model knows
/// the token, and so is the count of skips, which decides nothing.
fn digest(world: &World, kind: &impl Kind) -> u64 {
    let mut hasher = DefaultHasher::new();
    kind.digest(&mut hasher);
    world.now().hash(&mut hasher);
    world.latest.hash(&mut hasher);
    world.model.hash(&mut hasher);
    let tables = world.session.store.tables();
    tables.deadlines.hash(&mut hasher);
    for (position, row) in &tables.messages {
        (position, &row.state, row.created_at).hash(&mut hasher);
    }
    (tables.last_event_id, world.session.store.alarm()).hash(&mut hasher);
    world.session.store.is_dead().hash(&mut hasher);
    let session = tables.session.as_ref();
    session.map(|session| &session.record).hash(&mut hasher);
    let credential = tables.credential.as_ref();
    let pointer = credential.map(|credential| &credential.pointer);
    let mut sink = Sink(&mut hasher);
    let _ = write!(
        sink,
        "{pointer:?}{:?}{:?}{:?}{:?}{:?}{:?}",
        tables.markers,
        tables.runtime,
        tables.callbacks,
        world.runtime,
        world.shell,
        world.receiver
    );
    hasher.finish()
}
