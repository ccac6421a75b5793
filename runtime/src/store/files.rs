//! Private files and folders, and writing that either happens or does not.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use uuid::Uuid;

use super::removal::remove_directory;

/// Locks a mutex whose data stays usable when a holder failed: every section leaves it whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a folder that only its owner may use, if it is not there yet.
///
/// # Errors
/// Those of the file system.
pub fn private_directory(path: &Path) -> io::Result<()> {
    directory(path, 0o700)
}

/// Makes a folder that only `user`, or the runtime's own, may use, if it is not there yet.
///
/// # Errors
/// Those of the file system.
pub fn directory_of(path: &Path, user: Option<u32>) -> io::Result<()> {
    private_directory(path)?;
    match user {
        Some(_) => lchown(path, user, user),
        None => Ok(()),
    }
}

/// The mode of a folder of the runtime's own; with `shared`, other users may pass through it to what is theirs.
pub fn folder_mode(shared: bool) -> u32 {
    if shared { 0o711 } else { 0o700 }
}

/// Makes a folder with exactly this mode, if it is not there yet. A link or file in its place is removed first: it
/// could lead what is written next to somewhere else.
///
/// # Errors
/// Those of the file system.
pub fn directory(path: &Path, mode: u32) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_dir()) {
        remove_file(path)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let folder = match openat(CWD, path, flags, Mode::empty()) {
                Ok(folder) => File::from(folder),
                // Its owner has forbidden reading it, which the mode below allows again.
                Err(Errno::ACCESS) => {
                    return fs::set_permissions(path, Permissions::from_mode(mode));
                }
                Err(error) => return Err(error.into()),
            };
            folder.set_permissions(Permissions::from_mode(mode))
        }
    }
}

/// What a replaced file survives. The death of the process it always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power failure may bring the old content back, or leave none.
    Process,
    /// A power failure may bring the old content back.
    Content,
    /// Nothing brings the old content back.
    Power,
}

/// Replaces a private file as a whole: readers see the old or the new content. With `user`, gives it to that user.
///
/// # Errors
/// Those of the file system; the old content is then still there.
pub fn replace(
    path: &Path,
    content: &[u8],
    user: Option<u32>,
    durability: Durability,
) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = directory.join(temporary_name());
    let written = write_new(&temporary, content, user, durability)
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    match durability {
        Durability::Power => File::open(directory)?.sync_all(),
        Durability::Process | Durability::Content => Ok(()),
    }
}

/// Names of files that a crash may leave behind begin with this.
const TEMPORARY_PREFIX: &str = "temporary-";

/// A new name for something that the next start removes if it still has it.
pub fn temporary_name() -> String {
    format!("{TEMPORARY_PREFIX}{}", Uuid::new_v4())
}

fn write_new(
    path: &Path,
    content: &[u8],
    user: Option<u32>,
    durability: Durability,
) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    if user.is_some() {
        std::os::unix::fs::fchown(&file, user, user)?;
    }
    match durability {
        Durability::Process => Ok(()),
        Durability::Content | Durability::Power => file.sync_all(),
    }
}

/// Removes a file; one that is not there is as good.
///
/// # Errors
/// Those of the file system.
pub fn remove_file(path: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_file(path))
}

/// Removes what crashes left in a folder.
///
/// # Errors
/// Those of the file system.
pub fn remove_temporaries(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let is_temporary = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(TEMPORARY_PREFIX));
        if is_temporary {
            if entry.file_type()?.is_dir() {
                remove_directory(&entry.path())?;
            } else {
                remove_file(&entry.path())?;
            }
        }
    }
    Ok(())
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::directory;

    #[test]
    fn a_folder_is_never_a_link_to_another() {
        let base = std::env::temp_dir().join(format!("files-{}", uuid::Uuid::new_v4()));
        let (outside, path) = (base.join("outside"), base.join("folder"));
        fs::create_dir_all(&outside).expect("they are new");
        let mode = |path: &std::path::Path| {
            let metadata = fs::symlink_metadata(path).expect("it is there");
            metadata.permissions().mode() & 0o777
        };
        let before = mode(&outside);
        symlink(&outside, &path).expect("it is new");
        for wanted in [0o700, 0o711, 0o700] {
            directory(&path, wanted).expect("it is made");
            assert_eq!(mode(&path), wanted);
            assert!(fs::symlink_metadata(&path).expect("it is there").is_dir());
        }
        assert_eq!(mode(&outside), before);
        fs::remove_dir_all(&base).expect("the folder is there");
    }
}
