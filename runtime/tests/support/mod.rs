//! A real git server and a real runtime for tests. Every test file uses a part of it.
#![allow(dead_code)]

pub mod git_server;
pub mod process_scan;
pub mod runtime;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// A folder that goes away with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("workspace-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).expect("the folder is new");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("the folder is there");
    }
}

/// Makes a file look as if it had been written a minute ago.
pub fn make_old(path: &Path) {
    let file = std::fs::File::options()
        .write(true)
        .open(path)
        .expect("it is there");
    let past = std::time::SystemTime::now() - Duration::from_mins(1);
    file.set_modified(past).expect("it changes");
}

/// A token that nothing else contains.
pub fn token() -> String {
    format!("canary/{}+%41@x", uuid::Uuid::new_v4())
}

/// Processes that a runtime on this store started and that still run. A zombie only waits to be collected.
pub fn processes_of(store: &str) -> Vec<String> {
    let wanted = format!("WORKSPACE_RUNTIME_STORE={store}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")
        .expect("there is /proc")
        .flatten()
    {
        // Processes end while they are looked at.
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment)
            .split('\0')
            .any(|pair| pair == wanted)
        {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&command).replace('\0', " "));
        }
    }
    found
}

/// Waits until a condition holds.
///
/// # Panics
/// When it does not within 20 s.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Every file below a folder whose content holds one of the needles. Links are not followed, and what goes away
/// while the folder is searched is not there.
pub fn files_with(folder: &Path, needles: &[impl AsRef<str>]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_with(&path, needles));
        } else if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let content = std::fs::read(&path).unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            if needles
                .iter()
                .any(|needle| content.contains(needle.as_ref()))
            {
                found.push(path);
            }
        }
    }
    found
}
