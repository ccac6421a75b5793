//! Processes that an earlier runtime left behind.

use rustix::process::{Pid, Signal};

use crate::process::STORE_MARKER;

/// Kills every process that an earlier process on this store started and left behind.
///
/// Children carry the store's id in their environment, so they are found even when they left their group.
/// The caller holds the store's lock: nobody else can be using it.
pub fn kill_leftovers(store_id: &str) -> usize {
    let wanted = format!("{STORE_MARKER}={store_id}").into_bytes();
    let own = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return 0;
    };
    let mut killed = 0;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| *name != own) else {
            continue;
        };
        let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let is_ours = environment
            .split(|byte| *byte == 0)
            .any(|pair| pair == wanted);
        if is_ours && rustix::process::kill_process(pid, Signal::KILL).is_ok() {
            killed += 1;
        }
    }
    killed
}
