//! Removes locks that a git command which was killed has left in a workspace.

use std::io;
use std::path::Path;

use rustix::fd::OwnedFd;

use super::branch;
use super::config_writer::{Writer, remove_file};

/// Locks of files that are at the top of a `.git` folder.
const FILES: [&str; 4] = [
    "index.lock",
    "HEAD.lock",
    "packed-refs.lock",
    "shallow.lock",
];

/// Removes the locks on the index, on `HEAD`, and on the references of the branch that is checked out. Nothing of the
/// session may be running.
///
/// # Errors
/// Those of the file system.
pub fn remove(repo: &Path, owner: u32) -> io::Result<()> {
    let writer = Writer::of(owner);
    let git = writer.enter_git(repo)?;
    for name in FILES {
        remove_file(&git, name)?;
    }
    if let Some(branch) = branch::current(repo) {
        for kind in ["refs/heads", "refs/remotes/origin"] {
            remove_below(&writer, &git, &format!("{kind}/{branch}.lock"))?;
        }
    }
    Ok(())
}

/// Removes a file below a folder without following links. A folder that is not there, or is none, holds no lock.
fn remove_below(writer: &Writer<'_>, folder: &OwnedFd, path: &str) -> io::Result<()> {
    match path.split_once('/') {
        None => remove_file(folder, path),
        Some((first, rest)) => match writer.enter(folder, Path::new(first)) {
            Ok(below) => remove_below(writer, &below, rest),
            Err(_) => Ok(()),
        },
    }
}
