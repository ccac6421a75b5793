//! The store as a whole: its name, its lock, its sessions and its tombstones.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cloud_agent_wire::{SessionId, StoreId};
use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use super::files::{self, Durability};
use super::paths::SessionPaths;

/// An open store. No other process uses it while this value lives.
pub struct Store {
    root: PathBuf,
    id: StoreId,
    /// Whether other users must be able to pass through the folders to their own.
    shared: bool,
    _lock: File,
}

impl Store {
    /// Opens the store, or makes it. With `shared`, other users may pass through its folders but not list them.
    ///
    /// # Errors
    /// Those of the file system, and `WouldBlock` when another process uses the store.
    pub fn open(root: &Path, shared: bool) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        files::directory(&root, files::folder_mode(shared))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(root.join(".lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        files::private_directory(&root.join(".tombstones"))?;
        files::remove_temporaries(&root)?;
        Ok(Self {
            id: store_id(&root.join(".store-id"))?,
            root,
            shared,
            _lock: lock,
        })
    }

    /// The disk's name.
    pub fn id(&self) -> &StoreId {
        &self.id
    }

    /// Where a session's files are. Nothing is made.
    pub fn session(&self, id: &SessionId) -> SessionPaths {
        SessionPaths::new(self.root.join(id.as_str()))
    }

    /// Makes the folders that every session has.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create_session(&self, id: &SessionId) -> io::Result<SessionPaths> {
        let paths = self.session(id);
        files::directory(paths.base(), files::folder_mode(self.shared))?;
        files::private_directory(&paths.runtime())?;
        files::private_directory(&paths.turns())?;
        files::private_directory(&paths.open_turns())?;
        files::private_directory(&paths.empty())?;
        Ok(paths)
    }

    /// The sessions that have a folder.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sessions(&self) -> io::Result<Vec<SessionId>> {
        let mut sessions = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
                sessions.push(id);
            }
        }
        Ok(sessions)
    }

    /// Whether a session was deleted.
    pub fn is_deleted(&self, id: &SessionId) -> bool {
        self.tombstone(id).exists()
    }

    /// Remembers for ever that a session was deleted.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn bury(&self, id: &SessionId) -> io::Result<()> {
        files::replace(&self.tombstone(id), b"", None, Durability::Power)
    }

    fn tombstone(&self, id: &SessionId) -> PathBuf {
        self.root.join(".tombstones").join(id.as_str())
    }
}

/// Reads the disk's name, or gives it one. A name that cannot be read is an error: a new one would declare every
/// workspace lost.
fn store_id(path: &Path) -> io::Result<StoreId> {
    match fs::read_to_string(path) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the store id is damaged")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = Uuid::new_v4().to_string();
            files::replace(path, text.as_bytes(), None, Durability::Power)?;
            text.parse().map_err(io::Error::other)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::Store;

    #[test]
    fn a_store_keeps_its_name_and_is_used_by_one_process() {
        let root = std::env::temp_dir().join(format!("store-{}", uuid::Uuid::new_v4()));
        let store = Store::open(&root, false).expect("the store opens");
        let id = store.id().clone();
        assert!(Store::open(&root, false).is_err(), "the lock is held");
        drop(store);
        let store = Store::open(&root, false).expect("the lock is free");
        assert_eq!(store.id(), &id);
        for (path, mode) in [(".store-id", 0o600), (".", 0o700), (".tombstones", 0o700)] {
            let metadata = std::fs::metadata(root.join(path)).expect("it is there");
            assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
        }
        std::fs::remove_dir_all(&root).expect("the folder is there");
    }
}
