//! Takes old credentials out of the configuration of submodules and worktrees.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, statat};

use super::config_writer::{Writer, fault, remove_file};
use super::origin::Origin;

/// How deep and how many folders of submodules and worktrees are looked at.
const DEPTH_MAX: u32 = 16;
const FOLDERS_MAX: u32 = 4096;

/// The files that git reads as configuration.
const FILES: [&str; 2] = ["config", "config.worktree"];
/// What a repository holds much of, and no configuration in.
const BULK: [&[u8]; 7] = [
    b"objects",
    b"refs",
    b"logs",
    b"hooks",
    b"info",
    b"lfs",
    b"rr-cache",
];

/// Goes through everything below a `.git` folder in which git may keep configuration. Blocks.
///
/// # Errors
/// Those of the file system, and a fault when a file that holds an old token cannot be rewritten, or when there are
/// more folders than can be looked at.
pub(super) fn refresh(writer: &Writer<'_>, git: &OwnedFd, origin: &Origin<'_>) -> io::Result<()> {
    let mut walk = Walk {
        writer,
        origin,
        left: FOLDERS_MAX,
    };
    walk.file(git, "config.worktree")?;
    walk.remove_lock(git, "config.lock")?;
    for name in ["modules", "worktrees"] {
        if let Ok(folder) = writer.enter(git, Path::new(name)) {
            walk.folder(&folder, DEPTH_MAX)?;
        }
    }
    Ok(())
}

struct Walk<'a> {
    writer: &'a Writer<'a>,
    origin: &'a Origin<'a>,
    left: u32,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &OwnedFd, depth: u32) -> io::Result<()> {
        if depth == 0 || self.left == 0 {
            return Err(fault("the workspace has too many submodules"));
        }
        self.left -= 1;
        self.writer.check_wanted()?;
        for name in FILES {
            self.file(folder, name)?;
        }
        let is_repository = statat(folder, "HEAD", AtFlags::SYMLINK_NOFOLLOW).is_ok();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let is_skipped =
                matches!(name, b"." | b"..") || (is_repository && BULK.contains(&name));
            if is_skipped {
                continue;
            }
            // Files and links are not entered.
            let name = Path::new(OsStr::from_bytes(name));
            if let Ok(below) = self.writer.enter(folder, name) {
                self.folder(&below, depth - 1)?;
            }
        }
        Ok(())
    }

    /// A file that git could not read, and a link, are the agent's affair unless an old token is known to be in it.
    fn file(&self, folder: &OwnedFd, name: &str) -> io::Result<()> {
        self.remove_lock(folder, &format!("{name}.lock"))?;
        let text = match self.writer.read(folder, name) {
            Ok(text) => text.text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                tracing::warn!(error = %error, "a nested git configuration was not looked at");
                return Ok(());
            }
        };
        let refresh = |text: &str| self.origin.refresh_nested(text);
        match self.writer.replace(folder, name, refresh) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) if !self.origin.holds_old_token(&text) => {
                tracing::warn!(error = %error, "a nested git configuration was not refreshed");
                Ok(())
            }
            result => result,
        }
    }

    /// A lock that somebody left may hold a copy of the file.
    fn remove_lock(&self, folder: &OwnedFd, name: &str) -> io::Result<()> {
        match self.writer.read(folder, name) {
            Ok(text) if self.origin.holds_old_token(&text.text) => {
                tracing::warn!("removed a lock of a git configuration with an old credential");
                remove_file(folder, name)
            }
            _ => Ok(()),
        }
    }
}
