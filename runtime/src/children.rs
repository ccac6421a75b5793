//! The children of this process: those that it has started, and those that it inherits.
//!
//! The process is the reaper of everything below it: whatever outlives its parent becomes its child. So nothing gets
//! out of reach by leaving its group and its environment behind.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::strays::Process;

/// Children that were started and not collected yet. Held while one is started, so that nobody takes it for inherited.
static STARTED: Mutex<Option<HashSet<Pid>>> = Mutex::new(None);

/// Inherited children that have ended are collected at most so often.
const COLLECT_INTERVAL: Duration = Duration::from_millis(200);

fn with_started<T>(work: impl FnOnce(&mut HashSet<Pid>) -> T) -> T {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    work(started.get_or_insert_default())
}

/// Makes this process the one that inherits.
///
/// # Errors
/// Those of the system.
pub fn inherit() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Starts a child.
///
/// # Errors
/// Those of the system.
pub fn start(command: &mut Command) -> io::Result<Child> {
    with_started(|started| {
        let child = command.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        started.extend(pid.and_then(Pid::from_raw));
        Ok(child)
    })
}

/// A child was collected, or is left to whoever collects the inherited ones.
pub fn forget(pid: Pid) {
    with_started(|started| started.remove(&pid));
}

/// All processes of the machine, each with whether it is an inherited child. Blocks.
pub fn look() -> Vec<(Process, bool)> {
    let own = getpid();
    with_started(|started| {
        let is_inherited =
            |process: &Process| process.parent == Some(own) && !started.contains(&process.pid);
        let processes = Process::all().into_iter();
        processes
            .map(|process| {
                let is_inherited = is_inherited(&process);
                (process, is_inherited)
            })
            .collect()
    })
}

/// Collects inherited children that have ended. Blocks.
pub fn collect() {
    for (process, is_inherited) in look() {
        if is_inherited && process.has_ended {
            // It is nobody else's, and cannot become another process before this.
            let _ = waitpid(Some(process.pid), WaitOptions::NOHANG);
        }
    }
}

/// Collects inherited children whenever one has ended, for ever.
///
/// # Errors
/// Those of the system, at the beginning.
pub async fn collect_always() -> io::Result<()> {
    let mut ended = signal(SignalKind::child())?;
    while ended.recv().await.is_some() {
        // The work does not fail.
        let _ = tokio::task::spawn_blocking(collect).await;
        tokio::time::sleep(COLLECT_INTERVAL).await;
    }
    Ok(())
}
