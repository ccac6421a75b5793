//! Replaces git's configuration files inside a workspace.
//!
//! The workspace belongs to the agent, so nothing in it is trusted: folders are entered without following links,
//! files are replaced as a whole under git's own lock, and git itself is not run.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, renameat, unlinkat};

use super::origin::{Origin, suspicious_keys};
use crate::git::config_file::InvalidConfig;
use crate::limits::{CONFIG_LOCK_TRIES, CONFIG_LOCK_WAIT, GIT_CONFIG_BYTES_MAX};

/// How deep and how many folders of submodules are looked at.
const NESTED_DEPTH_MAX: u32 = 16;
const NESTED_FOLDERS_MAX: u32 = 4096;
/// A lock that is older than this was left by a process that is gone.
const STALE_LOCK: Duration = Duration::from_secs(10);

/// Writes `origin` into the workspace's configuration, and takes old credentials out of that of its submodules and
/// worktrees. Blocks.
///
/// # Errors
/// Those of the file system; `InvalidData` when a folder or file is a link, belongs to another user than `owner`,
/// or is no configuration.
pub fn write(repo: &Path, origin: &Origin<'_>, owner: u32) -> io::Result<()> {
    let writer = Writer { owner };
    let git = writer.enter(writer.enter(CWD, repo)?, Path::new(".git"))?;
    writer.replace(&git, "config", |text| {
        let suspicious = suspicious_keys(text);
        if !suspicious.is_empty() {
            tracing::warn!(
                keys = suspicious.join(","),
                "the workspace's git configuration has unusual settings"
            );
        }
        origin.rewrite(text)
    })?;
    let refresh = |text: &str| origin.refresh_nested(text);
    writer.refresh_if_there(&git, "config.worktree", refresh);
    for (folder, file) in [("modules", "config"), ("worktrees", "config.worktree")] {
        if let Ok(folder) = writer.enter(&git, Path::new(folder)) {
            let mut left = NESTED_FOLDERS_MAX;
            writer.refresh_below(&folder, file, NESTED_DEPTH_MAX, &mut left, refresh)?;
        }
    }
    Ok(())
}

/// Removes the workspace's configuration, which may hold a credential, without following links. One that cannot be
/// there is as good. Blocks.
///
/// # Errors
/// Those of the file system.
pub fn remove(repo: &Path, owner: u32) -> io::Result<()> {
    let writer = Writer { owner };
    let Ok(git) = writer
        .enter(CWD, repo)
        .and_then(|repo| writer.enter(repo, Path::new(".git")))
    else {
        return Ok(());
    };
    for name in ["config", "config.lock", "config.worktree"] {
        match unlinkat(&git, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

struct Writer {
    owner: u32,
}

impl Writer {
    /// Opens a folder without following a link, if it belongs to the right user.
    fn enter(&self, parent: impl AsFd, name: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(parent, name, flags, Mode::empty())?;
        self.check_owner(rustix::fs::fstat(&folder)?.st_uid)?;
        Ok(folder)
    }

    /// The agent's user owns its workspace; a fresh clone is still the runtime's.
    fn check_owner(&self, uid: u32) -> io::Result<()> {
        if uid == self.owner || uid == rustix::process::geteuid().as_raw() {
            Ok(())
        } else {
            Err(invalid("a git folder or file belongs to another user"))
        }
    }

    fn read(&self, folder: &OwnedFd, name: &str) -> io::Result<String> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(folder, name, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        self.check_owner(metadata.uid())?;
        if !metadata.is_file() || metadata.len() > GIT_CONFIG_BYTES_MAX {
            return Err(invalid(
                "a git configuration is no regular file of a sensible size",
            ));
        }
        let mut text = String::new();
        file.take(GIT_CONFIG_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    }

    fn replace(
        &self,
        folder: &OwnedFd,
        name: &str,
        edit: impl Fn(&str) -> Result<String, InvalidConfig>,
    ) -> io::Result<()> {
        let lock_name = format!("{name}.lock");
        let lock = take_lock(folder, &lock_name)?;
        let result = self.read(folder, name).and_then(|old| {
            let new = edit(&old).map_err(|error| invalid(&error.to_string()))?;
            if old == new {
                return Ok(false);
            }
            self.fill(lock, &new)?;
            renameat(folder, &*lock_name, folder, name)?;
            Ok(true)
        });
        match result {
            Ok(true) => Ok(()),
            Ok(false) => Ok(unlinkat(folder, &*lock_name, AtFlags::empty())?),
            Err(error) => {
                let _ = unlinkat(folder, &*lock_name, AtFlags::empty());
                Err(error)
            }
        }
    }

    fn fill(&self, mut file: File, text: &str) -> io::Result<()> {
        file.write_all(text.as_bytes())?;
        if self.owner != rustix::process::geteuid().as_raw() {
            std::os::unix::fs::fchown(&file, Some(self.owner), Some(self.owner))?;
        }
        file.sync_all()
    }

    /// A nested file that cannot be read as configuration is the agent's affair: git does not read it either.
    fn refresh_if_there(
        &self,
        folder: &OwnedFd,
        name: &str,
        edit: impl Fn(&str) -> Result<String, InvalidConfig>,
    ) {
        match self.replace_if_there(folder, name, edit) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(error = %error, "a nested git configuration was not refreshed");
            }
            _ => {}
        }
    }

    fn replace_if_there(
        &self,
        folder: &OwnedFd,
        name: &str,
        edit: impl Fn(&str) -> Result<String, InvalidConfig>,
    ) -> io::Result<()> {
        let old = self.read(folder, name)?;
        let new = edit(&old).map_err(|error| invalid(&error.to_string()))?;
        if old == new {
            Ok(())
        } else {
            self.replace(folder, name, edit)
        }
    }

    fn refresh_below(
        &self,
        folder: &OwnedFd,
        file: &str,
        depth: u32,
        left: &mut u32,
        edit: impl Fn(&str) -> Result<String, InvalidConfig> + Copy,
    ) -> io::Result<()> {
        self.refresh_if_there(folder, file, edit);
        if depth == 0 {
            return Ok(());
        }
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            // Objects and refs are many and hold no configuration.
            if matches!(
                name,
                b"." | b".." | b"objects" | b"refs" | b"logs" | b"hooks"
            ) || *left == 0
            {
                continue;
            }
            let name = Path::new(std::ffi::OsStr::new(match std::str::from_utf8(name) {
                Ok(name) => name,
                Err(_) => continue,
            }));
            if let Ok(below) = self.enter(folder, name) {
                *left -= 1;
                self.refresh_below(&below, file, depth - 1, left, edit)?;
            }
        }
        Ok(())
    }
}

/// Takes git's lock on a file by making the lock file, as git does.
fn take_lock(folder: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..CONFIG_LOCK_TRIES {
        match openat(folder, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(lock) => return Ok(lock.into()),
            Err(rustix::io::Errno::EXIST) => std::thread::sleep(CONFIG_LOCK_WAIT),
            Err(error) => return Err(error.into()),
        }
    }
    if is_stale(folder, name)? {
        tracing::warn!("removed a stale lock of a git configuration");
        unlinkat(folder, name, AtFlags::empty())?;
    }
    Ok(openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn is_stale(folder: &OwnedFd, name: &str) -> io::Result<bool> {
    let modified = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mtime;
    let modified =
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(modified).unwrap_or(0));
    Ok(modified.elapsed().is_ok_and(|age| age > STALE_LOCK))
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}
