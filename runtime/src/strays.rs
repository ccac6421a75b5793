//! Processes that have left their group, or were left behind by an earlier runtime.
//!
//! Everything of a session carries its name in the environment. What has changed its environment as well is found once
//! its parent has ended, since this process inherits it then, and by its user when agents have one of their own. The
//! latter does not depend on reading environments, which a process without `CAP_SYS_PTRACE` may not.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cloud_agent_wire::StoreId;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

use crate::children;
use crate::context::Context;
use crate::process::{SESSION_MARKER, STORE_MARKER};
use crate::store::paths::SessionPaths;

/// Rounds of looking for processes, as the killed ones may have started others, and the wait between two of them.
const ROUNDS: u32 = 100;
const WAIT: Duration = Duration::from_millis(10);

/// Work of sessions that is going on: the session, and when the work began in ticks of the machine's clock.
static WORK: Mutex<BTreeMap<u64, (String, u64)>> = Mutex::new(BTreeMap::new());
static NEXT_WORK: AtomicU64 = AtomicU64::new(0);

/// Work of a session that starts processes, while this value lives. What could belong to such work is not killed for
/// another session.
pub struct Work(u64);

impl Work {
    /// Work of a session begins.
    pub fn begin(paths: &SessionPaths) -> Self {
        let id = NEXT_WORK.fetch_add(1, Ordering::Relaxed);
        let entry = (paths.session_id().to_owned(), now());
        with_work(|work| work.insert(id, entry));
        Self(id)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        with_work(|work| work.remove(&self.0));
    }
}

fn with_work<T>(look: impl FnOnce(&mut BTreeMap<u64, (String, u64)>) -> T) -> T {
    look(&mut WORK.lock().unwrap_or_else(PoisonError::into_inner))
}

/// When the oldest work began of the sessions that are meant.
fn oldest_work(is_meant: impl Fn(&str) -> bool) -> Option<u64> {
    with_work(|work| {
        let meant = work.values().filter(|(session, _)| is_meant(session));
        meant.map(|(_, began)| *began).min()
    })
}

/// Ticks since the machine was started, as `/proc` counts them for programs.
fn now() -> u64 {
    const TICKS_PER_SECOND: u64 = 100;
    const NANOSECONDS_PER_TICK: u64 = 1_000_000_000 / TICKS_PER_SECOND;
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * TICKS_PER_SECOND + nanoseconds / NANOSECONDS_PER_TICK
}

/// Kills every process that an earlier process on this store started and left behind, and everything that runs as
/// `agent`, a user that nobody else may use. Blocks.
///
/// The caller holds the store's lock: nobody else can be using it.
pub fn kill_leftovers(store: &StoreId, agent: Option<u32>) -> usize {
    let store = marker(STORE_MARKER, store.as_str());
    kill_all(|process, _| {
        process.environment().contains(&store) || agent.is_some_and(|user| process.is_of(user))
    })
}

/// Kills every process of a session's agent and setup commands, wherever it has gone, and everything that an agent
/// has left and that cannot belong to the work of another session.
pub async fn kill_session(context: &Context, paths: &SessionPaths) {
    let store = marker(STORE_MARKER, context.store.id().as_str());
    let (own, agent) = (paths.session_id().to_owned(), context.config.agent_uid);
    let work = move || {
        kill_all(|process, is_inherited| {
            let environment = process.environment();
            let is_of_store = environment.contains(&store);
            let names = |session: &str| {
                is_of_store && environment.contains(&marker(SESSION_MARKER, session))
            };
            if names(&own) {
                return true;
            }
            let is_left = is_inherited || agent.is_some_and(|user| process.is_of(user));
            is_left && !may_be_of_another(process, is_of_store, names, &own)
        })
    };
    // The work does not fail.
    let killed = tokio::task::spawn_blocking(work).await.unwrap_or_default();
    if killed > 0 {
        tracing::warn!(
            sessionId = paths.session_id(),
            killed,
            "killed processes that had left their group"
        );
    }
}

/// Whether a process could have been started by the work of another session: of one that it names, or of any one when
/// it does not say whose it is. Work begins before its first process is started, so what was seen before this looks is
/// no process of work that this does not see.
fn may_be_of_another(
    process: &Process,
    is_of_store: bool,
    names: impl Fn(&str) -> bool,
    own: &str,
) -> bool {
    let began = oldest_work(|session| session != own && (!is_of_store || names(session)));
    began.is_some_and(|began| process.started >= began)
}

/// Children carry the store and the session in their environment, so they are found in every group.
fn marker(name: &str, value: &str) -> Vec<u8> {
    format!("{name}={value}").into_bytes()
}

/// Kills the processes that are meant, with everything that they started, until there are none. Returns how many
/// there were.
fn kill_all(is_meant: impl Fn(&Process, bool) -> bool) -> usize {
    let mut killed = HashSet::new();
    for round in 0..ROUNDS {
        let found = find(&is_meant);
        if found.is_empty() {
            break;
        }
        if round > 0 {
            std::thread::sleep(WAIT);
        }
        for pid in found {
            // It may have ended by itself.
            if kill_process(pid, Signal::KILL).is_ok() {
                killed.insert(pid);
            }
        }
    }
    if !killed.is_empty() {
        children::collect();
    }
    killed.len()
}

fn find(is_meant: impl Fn(&Process, bool) -> bool) -> Vec<Pid> {
    let own = rustix::process::getpid();
    let processes: Vec<(Process, bool)> = children::look()
        .into_iter()
        .filter(|(process, _)| process.pid != own && !process.has_ended)
        .collect();
    let mut meant: HashSet<Pid> = processes
        .iter()
        .filter(|(process, is_inherited)| is_meant(process, *is_inherited))
        .map(|(process, _)| process.pid)
        .collect();
    loop {
        let before = meant.len();
        for (process, _) in &processes {
            if process.parent.is_some_and(|parent| meant.contains(&parent)) {
                meant.insert(process.pid);
            }
        }
        if meant.len() == before {
            return meant.into_iter().collect();
        }
    }
}

/// A process.
pub struct Process {
    /// Its id.
    pub pid: Pid,
    /// Its parent.
    pub parent: Option<Pid>,
    /// Whether it has ended and only waits to be collected.
    pub has_ended: bool,
    /// When it was started, in ticks since the machine was.
    started: u64,
}

/// Words of `/proc/PID/stat` between the parent and the time of the start.
const WORDS_BEFORE_START: usize = 17;

impl Process {
    /// All processes that there are.
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| Self::read(entry.file_name().to_str()?.parse().ok()?))
            .collect()
    }

    fn read(pid: i32) -> Option<Self> {
        // `pid (name) state parent … start …`; the name may hold anything.
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        let (_, rest) = stat.rsplit_once(')')?;
        let mut words = rest.split_whitespace();
        let state = words.next()?;
        let parent = words.next()?.parse().ok().and_then(Pid::from_raw);
        Some(Self {
            pid: Pid::from_raw(pid)?,
            parent,
            has_ended: matches!(state, "Z" | "X"),
            started: words.nth(WORDS_BEFORE_START)?.parse().ok()?,
        })
    }

    /// The variables of its environment; none when it cannot be read.
    fn environment(&self) -> HashSet<Vec<u8>> {
        let path = format!("/proc/{}/environ", self.pid.as_raw_nonzero());
        let environment = fs::read(path).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .map(<[u8]>::to_vec)
            .collect()
    }

    /// Whether it runs as this user, really or in effect.
    fn is_of(&self, user: u32) -> bool {
        let path = format!("/proc/{}/status", self.pid.as_raw_nonzero());
        let status = fs::read_to_string(path).unwrap_or_default();
        let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        users.is_some_and(|users| {
            users
                .split_whitespace()
                .any(|word| word.parse() == Ok(user))
        })
    }
}
