//! Processes that have left their group, or were left behind by an earlier runtime.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use cloud_agent_wire::StoreId;
use rustix::process::{Pid, Signal, kill_process};

use crate::context::Context;
use crate::process::{SESSION_MARKER, STORE_MARKER};
use crate::store::paths::SessionPaths;

/// Rounds of looking for processes, as the killed ones may have started others, and the wait between two of them.
const ROUNDS: u32 = 100;
const WAIT: Duration = Duration::from_millis(10);

/// Kills every process that an earlier process on this store started and left behind, and everything that runs as
/// `agent`, a user that nobody else may use. Blocks.
///
/// The caller holds the store's lock: nobody else can be using it.
pub fn kill_leftovers(store: &StoreId, agent: Option<u32>) -> usize {
    let store = marker(STORE_MARKER, store.as_str());
    kill_all(|process| process.carries(&[&store]) || agent.is_some_and(|user| process.is_of(user)))
}

/// Kills every process of a session's agent and setup commands, wherever it has gone.
pub async fn kill_session(context: &Context, paths: &SessionPaths) {
    let store = marker(STORE_MARKER, context.store.id().as_str());
    let session = marker(SESSION_MARKER, paths.session_id());
    let work = move || kill_all(|process| process.carries(&[&store, &session]));
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

/// Children carry the store and the session in their environment, so they are found in every group.
fn marker(name: &str, value: &str) -> Vec<u8> {
    format!("{name}={value}").into_bytes()
}

/// Kills the processes that are meant, with everything that they started, until there are none. Returns how many
/// there were.
fn kill_all(is_meant: impl Fn(&Process) -> bool) -> usize {
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
    killed.len()
}

fn find(is_meant: impl Fn(&Process) -> bool) -> Vec<Pid> {
    let own = rustix::process::getpid();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes: Vec<Process> = entries
        .filter_map(|entry| Process::read(entry.file_name().to_str()?.parse().ok()?))
        .filter(|process| process.pid != own)
        .collect();
    let mut meant: HashSet<Pid> = processes
        .iter()
        .filter(|process| is_meant(process))
        .map(|process| process.pid)
        .collect();
    loop {
        let before = meant.len();
        for process in &processes {
            if process.parent.is_some_and(|parent| meant.contains(&parent)) {
                meant.insert(process.pid);
            }
        }
        if meant.len() == before {
            return meant.into_iter().collect();
        }
    }
}

/// A process that has not ended.
struct Process {
    pid: Pid,
    parent: Option<Pid>,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        // `pid (name) state parent …`; the name may hold anything.
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        let (_, rest) = stat.rsplit_once(')')?;
        let mut words = rest.split_whitespace();
        let state = words.next()?;
        let parent = words.next()?.parse().ok().and_then(Pid::from_raw);
        (!matches!(state, "Z" | "X")).then_some(Self {
            pid: Pid::from_raw(pid)?,
            parent,
        })
    }

    fn carries(&self, markers: &[&Vec<u8>]) -> bool {
        let path = format!("/proc/{}/environ", self.pid.as_raw_nonzero());
        let environment = fs::read(path).unwrap_or_default();
        markers.iter().all(|marker| {
            environment
                .split(|byte| *byte == 0)
                .any(|pair| pair == marker.as_slice())
        })
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
