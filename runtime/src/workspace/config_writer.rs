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
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::nested_configs;
use super::origin::{Origin, suspicious_keys};
use crate::git::config_file::InvalidConfig;
use crate::limits::{
    CONFIG_LOCK_PATIENCE, CONFIG_LOCK_STALE, CONFIG_LOCK_WAIT, CONFIG_PATIENCE,
    GIT_CONFIG_BYTES_MAX,
};

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
pub(super) struct Writer<'a> {
    owner: u32,
    /// Locks are waited for until then.
    patient_until: Instant,
    /// Ends the waiting.
    cancel: Option<&'a CancellationToken>,
}

impl<'a> Writer<'a> {
    /// Touches files of this owner, and waits for no lock.
    pub(super) fn of(owner: u32) -> Self {
        Self {
            owner,
            patient_until: Instant::now(),
            cancel: None,
        }
    }

    /// Touches files of this owner, and waits for locks: an agent may leave any number of them.
    pub(super) fn patient(owner: u32, cancel: &'a CancellationToken) -> Self {
        Self {
            owner,
            patient_until: Instant::now() + CONFIG_PATIENCE,
            cancel: Some(cancel),
        }
    }

    /// Writes `origin` into the workspace's configuration, and takes old credentials out of that of its submodules
    /// and worktrees. Blocks, for as long as git may hold a lock.
    ///
    /// # Errors
    /// Those of the file system; a [`WorkspaceFault`] when a folder or file cannot be rewritten although it may hold
    /// an old credential.
    pub(super) fn write(&self, repo: &Path, origin: &Origin<'_>) -> io::Result<()> {
        let git = self.enter_git(repo)?;
        self.replace(&git, "config", |text| {
            let suspicious = suspicious_keys(text);
            if !suspicious.is_empty() {
                tracing::warn!(
                    keys = suspicious.join(","),
                    "the workspace's git configuration has unusual settings"
                );
            }
            origin.rewrite(text)
        })?;
        nested_configs::refresh(self, &git, origin)
    }

    /// Writes the credential helper into the configuration of the agent's home, which repositories beside the
    /// workspace read as well: submodules, while they are cloned. Blocks.
    ///
    /// # Errors
    /// Those of the file system, and a [`WorkspaceFault`] when the agent has put something else there.
    pub(super) fn write_home(&self, home: &Path, origin: &Origin<'_>) -> io::Result<()> {
        let folder = self.enter(CWD, home)?;
        let edit = |text: &str| origin.rewrite_home(text);
        self.replace_read(&folder, ".gitconfig", edit, Self::read_or_empty)
    }

    /// Removes the workspace's configuration, which may hold a credential, without following links. One that cannot
    /// be there is as good. Blocks.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn remove(&self, repo: &Path) -> io::Result<()> {
        let Ok(git) = self.enter_git(repo) else {
            return Ok(());
        };
        for name in ["config", "config.lock", "config.worktree"] {
            remove_file(&git, name)?;
        }
        Ok(())
    }

    /// Fails once nobody needs the work any more.
    pub(super) fn check_wanted(&self) -> io::Result<()> {
        if self.cancel.is_some_and(CancellationToken::is_cancelled) {
            Err(io::ErrorKind::Interrupted.into())
        } else {
            Ok(())
        }
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

    /// Everything in a workspace belongs to the agent's user. What the runtime itself owns is something else that the
    /// agent has linked to, and that a copy would give away.
    fn check_owner(&self, uid: u32) -> io::Result<()> {
        if uid == self.owner {
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
        let lock = self.take_lock(folder, &lock_name)?;
        let result = read(self, folder, name).and_then(|old| {
            let text = edited(&old)?;
            self.fill(lock, &Text { text, ..old }.encode())?;
            renameat(folder, &*lock_name, folder, name)?;
            // For good: what is written down about credentials next must not come before it.
            Ok(fsync(folder)?)
        });
        if result.is_err() {
            let _ = unlinkat(folder, &*lock_name, AtFlags::empty());
        }
        result
    }

    /// Takes git's lock on a file by making the lock file, as git does. One that git holds for long was left behind.
    fn take_lock(&self, folder: &OwnedFd, name: &str) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let last_moment = self
            .patient_until
            .min(Instant::now() + CONFIG_LOCK_PATIENCE);
        let mut seen = None;
        loop {
            match openat(folder, name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(lock) => return Ok(lock.into()),
                Err(Errno::EXIST) => self.check_wanted()?,
                Err(error) => return Err(error.into()),
            }
            if Instant::now() > last_moment {
                return Err(fault("a git configuration is locked"));
            }
            if is_stale(folder, name, &mut seen) {
                tracing::warn!("removed a stale lock of a git configuration");
                remove_file(folder, name)?;
            } else {
                std::thread::sleep(CONFIG_LOCK_WAIT);
            }
        }
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

/// A lock that is in the way, and since when it was seen.
struct Seen {
    inode: u64,
    since: Instant,
}

/// Whether a lock was left behind: it is old, or has been there for long. Whoever made it may have set its time to
/// anything. One that is gone by now is not stale.
fn is_stale(folder: &OwnedFd, name: &str, seen: &mut Option<Seen>) -> bool {
    let Ok(status) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return false;
    };
    let inode = status.st_ino;
    let seen = match seen {
        Some(seen) if seen.inode == inode => seen,
        _ => seen.insert(Seen {
            inode,
            since: Instant::now(),
        }),
    };
    let modified = Duration::from_secs(u64::try_from(status.st_mtime).unwrap_or(0));
    let age = (SystemTime::UNIX_EPOCH + modified)
        .elapsed()
        .unwrap_or_default();
    age.max(seen.since.elapsed()) > CONFIG_LOCK_STALE
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use rustix::fs::CWD;
    use tokio_util::sync::CancellationToken;

    use super::Writer;

    fn folder() -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("writer-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).expect("the folder is new");
        folder
    }

    #[test]
    fn files_of_the_runtimes_own_user_are_not_the_agents() {
        let folder = folder();
        fs::write(folder.join("config"), "[core]\n").expect("it is written");
        let own = rustix::process::geteuid().as_raw();
        let opened = Writer::of(own).enter(CWD, &folder).expect("it is its own");
        assert!(Writer::of(own).read(&opened, "config").is_ok());
        let agents = Writer::of(own + 1);
        assert!(agents.enter(CWD, &folder).is_err());
        assert!(agents.read(&opened, "config").is_err());
        fs::remove_dir_all(&folder).expect("the folder is there");
    }

    #[test]
    fn many_locks_are_waited_for_no_longer_than_one_and_not_when_nobody_wants_it() {
        let folder = folder();
        let cancel = CancellationToken::new();
        let mut writer = Writer::patient(rustix::process::geteuid().as_raw(), &cancel);
        let opened = writer.enter(CWD, &folder).expect("it is its own");
        let begun = Instant::now();
        writer.patient_until = begun + Duration::from_millis(500);
        for number in 0..20 {
            let name = format!("{number}.lock");
            fs::write(folder.join(&name), "").expect("it is written");
            let error = writer.take_lock(&opened, &name).expect_err("it is locked");
            assert_eq!(error.to_string(), "a git configuration is locked");
        }
        assert!(begun.elapsed() < Duration::from_secs(4));
        cancel.cancel();
        let error = writer.take_lock(&opened, "0.lock").expect_err("a stop");
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
        fs::remove_dir_all(&folder).expect("the folder is there");
    }
}
