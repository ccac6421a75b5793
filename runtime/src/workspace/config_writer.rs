//! Replaces git's configuration files inside a workspace.
//!
//! The workspace belongs to the agent, so nothing in it is trusted: folders are entered without following links,
//! files are replaced as a whole under git's own lock, and git itself is not run.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::nested_configs;
use super::origin::{Origin, suspicious_keys};
use crate::git::config_file::InvalidConfig;
use crate::limits::{
    CONFIG_LOCK_PATIENCE, CONFIG_LOCK_STALE, CONFIG_LOCK_WAIT, GIT_CONFIG_BYTES_MAX,
};

/// Writes `origin` into the workspace's configuration, and takes old credentials out of that of its submodules and
/// worktrees. Blocks, for as long as git may hold a lock.
///
/// # Errors
/// Those of the file system; a [`WorkspaceFault`] when a folder or file cannot be rewritten although it may hold an
/// old credential.
pub fn write(repo: &Path, origin: &Origin<'_>, owner: u32) -> io::Result<()> {
    let writer = Writer { owner };
    let git = writer.enter_git(repo)?;
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
    nested_configs::refresh(&writer, &git, origin)
}

/// Writes the credential helper into the configuration of the agent's home, which repositories beside the workspace
/// read as well: submodules, while they are cloned. Blocks.
///
/// # Errors
/// Those of the file system, and a [`WorkspaceFault`] when the agent has put something else there.
pub fn write_home(home: &Path, origin: &Origin<'_>, owner: u32) -> io::Result<()> {
    let writer = Writer { owner };
    let folder = writer.enter(CWD, home)?;
    let edit = |text: &str| origin.rewrite_home(text);
    writer.replace_read(&folder, ".gitconfig", edit, Writer::read_or_empty)
}

/// Removes the workspace's configuration, which may hold a credential, without following links. One that cannot be
/// there is as good. Blocks.
///
/// # Errors
/// Those of the file system.
pub fn remove(repo: &Path, owner: u32) -> io::Result<()> {
    let Ok(git) = (Writer { owner }).enter_git(repo) else {
        return Ok(());
    };
    for name in ["config", "config.lock", "config.worktree"] {
        remove_file(&git, name)?;
    }
    Ok(())
}

/// Removes a file of a folder; one that is not there is as good.
pub(super) fn remove_file(folder: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Why a workspace cannot be given a credential: a fixed sentence that is safe to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkspaceFault(pub &'static str);

impl fmt::Display for WorkspaceFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for WorkspaceFault {}

pub(super) fn fault(sentence: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, WorkspaceFault(sentence))
}

/// Touches files of one owner only.
pub(super) struct Writer {
    owner: u32,
}

impl Writer {
    /// Touches files of this owner, and of the runtime's own user.
    pub(super) fn of(owner: u32) -> Self {
        Self { owner }
    }

    pub(super) fn enter_git(&self, repo: &Path) -> io::Result<OwnedFd> {
        let repo = self.enter(CWD, repo)?;
        self.enter(repo, Path::new(".git")).map_err(|error| {
            if is_link_or_file(&error) {
                fault("the workspace's .git is not a folder")
            } else {
                error
            }
        })
    }

    /// Opens a folder without following a link, if it belongs to the right user.
    pub(super) fn enter(&self, parent: impl AsFd, name: &Path) -> io::Result<OwnedFd> {
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
            Err(fault("a git folder or file belongs to another user"))
        }
    }

    /// Reads a configuration.
    pub(super) fn read(&self, folder: &OwnedFd, name: &str) -> io::Result<Text> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(folder, name, flags, Mode::empty()).map_err(|error| {
            let error = error.into();
            if is_link_or_file(&error) {
                fault("a git configuration is a link")
            } else {
                error
            }
        })?;
        let file = File::from(file);
        let metadata = file.metadata()?;
        self.check_owner(metadata.uid())?;
        if !metadata.is_file() || metadata.len() > GIT_CONFIG_BYTES_MAX {
            return Err(fault(
                "a git configuration is no regular file of a sensible size",
            ));
        }
        let mut content = Vec::new();
        file.take(GIT_CONFIG_BYTES_MAX).read_to_end(&mut content)?;
        Ok(Text::decode(content))
    }

    /// Reads a configuration; one that is not there is empty.
    fn read_or_empty(&self, folder: &OwnedFd, name: &str) -> io::Result<Text> {
        match self.read(folder, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Text::decode(Vec::new())),
            result => result,
        }
    }

    /// Edits a configuration. One that is right already is not touched, so that a lock does not matter to it.
    pub(super) fn replace(
        &self,
        folder: &OwnedFd,
        name: &str,
        edit: impl Fn(&str) -> Result<String, InvalidConfig>,
    ) -> io::Result<()> {
        self.replace_read(folder, name, edit, Self::read)
    }

    /// Edits a configuration that `read` reads.
    fn replace_read(
        &self,
        folder: &OwnedFd,
        name: &str,
        edit: impl Fn(&str) -> Result<String, InvalidConfig>,
        read: impl Fn(&Self, &OwnedFd, &str) -> io::Result<Text>,
    ) -> io::Result<()> {
        let edited = |old: &Text| {
            edit(&old.text).map_err(|_| fault("a git configuration is not one that git could read"))
        };
        let old = read(self, folder, name)?;
        if edited(&old)? == old.text {
            return Ok(());
        }
        let lock_name = format!("{name}.lock");
        let lock = take_lock(folder, &lock_name)?;
        let result = read(self, folder, name).and_then(|old| {
            let text = edited(&old)?;
            self.fill(lock, &Text { text, ..old }.encode())?;
            Ok(renameat(folder, &*lock_name, folder, name)?)
        });
        if result.is_err() {
            let _ = unlinkat(folder, &*lock_name, AtFlags::empty());
        }
        result
    }

    fn fill(&self, mut file: File, content: &[u8]) -> io::Result<()> {
        file.write_all(content)?;
        if self.owner != rustix::process::geteuid().as_raw() {
            std::os::unix::fs::fchown(&file, Some(self.owner), Some(self.owner))?;
        }
        file.sync_all()
    }
}

/// A configuration's text. Git does not care about its encoding, so bytes that are no UTF-8 stay what they are.
pub(super) struct Text {
    /// The text; every byte is the character with its number when the file is no UTF-8.
    pub text: String,
    is_utf8: bool,
}

impl Text {
    fn decode(content: Vec<u8>) -> Self {
        match String::from_utf8(content) {
            Ok(text) => Self {
                text,
                is_utf8: true,
            },
            Err(error) => Self {
                text: error.into_bytes().into_iter().map(char::from).collect(),
                is_utf8: false,
            },
        }
    }

    fn encode(self) -> Vec<u8> {
        if self.is_utf8 {
            return self.text.into_bytes();
        }
        let mut content = Vec::with_capacity(self.text.len());
        for character in self.text.chars() {
            match u8::try_from(character) {
                Ok(byte) => content.push(byte),
                Err(_) => content.extend(character.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        content
    }
}

/// What opening a link, or a file in the place of a folder, fails with.
fn is_link_or_file(error: &io::Error) -> bool {
    [Errno::LOOP, Errno::NOTDIR]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Takes git's lock on a file by making the lock file, as git does. One that git holds for long was left behind.
fn take_lock(folder: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let begun = Instant::now();
    loop {
        match openat(folder, name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(lock) => return Ok(lock.into()),
            Err(Errno::EXIST) if begun.elapsed() > CONFIG_LOCK_PATIENCE => {
                return Err(fault("a git configuration is locked"));
            }
            Err(Errno::EXIST) if is_stale(folder, name) => {
                tracing::warn!("removed a stale lock of a git configuration");
                remove_file(folder, name)?;
            }
            Err(Errno::EXIST) => std::thread::sleep(CONFIG_LOCK_WAIT),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A lock that is gone by now is not stale.
fn is_stale(folder: &OwnedFd, name: &str) -> bool {
    let Ok(status) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return false;
    };
    let modified = Duration::from_secs(u64::try_from(status.st_mtime).unwrap_or(0));
    let age = (SystemTime::UNIX_EPOCH + modified).elapsed();
    age.is_ok_and(|age| age > CONFIG_LOCK_STALE)
}
