//! Removes folders that an agent has worked in.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, Dir, Mode, OFlags, openat};

/// Tries to remove a folder into which somebody may still be writing, and the wait between two of them.
const TRIES: u32 = 20;
const WAIT: Duration = Duration::from_millis(50);

/// Removes a folder and everything in it; one that is not there is as good. Symbolic links are not followed. Folders
/// that forbid writing, and files that appear meanwhile, do not prevent it. Blocks for a second at most beyond the
/// removal itself.
///
/// # Errors
/// Those of the file system.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if tries < TRIES => match error.kind() {
                // Caches of package managers are read-only.
                io::ErrorKind::PermissionDenied => open_up(CWD, path)?,
                io::ErrorKind::DirectoryNotEmpty => std::thread::sleep(WAIT),
                _ => return Err(error),
            },
            result => return result,
        }
    }
}

/// Lets the owner into a folder and every folder below it.
fn open_up(parent: impl AsFd, name: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = match openat(parent, name, flags, Mode::empty()) {
        Ok(handle) => handle,
        // Gone in the meantime, or no folder.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    // The handle names the folder itself, whatever its path leads to by now.
    let own_path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    fs::set_permissions(own_path, Permissions::from_mode(0o700))?;
    let folder: OwnedFd = openat(
        &handle,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name);
            open_up(&folder, Path::new(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{open_up, remove_directory};

    fn folder() -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("removal-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).expect("the folder is new");
        folder
    }

    #[test]
    fn folders_are_opened_up_and_links_are_left_alone() {
        let (base, outside) = (folder(), folder());
        fs::create_dir_all(base.join("a/b")).expect("they are new");
        symlink(&outside, base.join("a/link")).expect("it is new");
        fs::write(base.join("a/file"), "").expect("it is written");
        for path in [base.join("a/b"), base.join("a"), outside.clone()] {
            fs::set_permissions(path, Permissions::from_mode(0o500)).expect("it is there");
        }
        open_up(rustix::fs::CWD, &base).expect("they are its own");
        let mode = |path: &std::path::Path| {
            let metadata = fs::metadata(path).expect("it is there");
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode(&base.join("a")), 0o700);
        assert_eq!(mode(&base.join("a/b")), 0o700);
        assert_eq!(mode(&outside), 0o500);
        remove_directory(&base).expect("it is removed");
        remove_directory(&base).expect("it is not there");
        assert!(outside.exists());
        remove_directory(&outside).expect("it is removed");
    }

    #[test]
    fn files_that_appear_meanwhile_do_not_prevent_it() {
        let base = folder();
        let stop = Arc::new(AtomicBool::new(false));
        let (inside, flag) = (base.join("inside"), Arc::clone(&stop));
        fs::create_dir(&inside).expect("it is new");
        let writer = std::thread::spawn(move || {
            let mut number = 0_u64;
            while !flag.load(Ordering::Acquire) && inside.exists() {
                number += 1;
                // It may be gone between the two.
                let _ = fs::write(inside.join(number.to_string()), "");
            }
        });
        let result = remove_directory(&base);
        stop.store(true, Ordering::Release);
        writer.join().expect("it ends");
        result.expect("it is removed");
        assert!(!base.exists());
    }
}
