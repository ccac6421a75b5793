//! Removes folders that an agent has worked in.

use std::ffi::{CStr, CString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, unlinkat};
use rustix::io::Errno;

/// Tries to remove a folder into which somebody may still be writing, and the wait between two of them.
const TRIES: u32 = 20;
/// How often a try looks again at once into a folder that has just been written into.
const LOOKS: u32 = 100;
const WAIT: Duration = Duration::from_millis(50);

/// Removes a folder and everything in it; one that is not there is as good. Symbolic links are not followed. Folders
/// that forbid writing, files that appear meanwhile, and any number of levels do not prevent it. Blocks for a second
/// at most beyond the removal itself.
///
/// # Errors
/// Those of the file system.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match remove_once(path) {
            Err(Errno::NOENT) if fs::symlink_metadata(path).is_err() => return Ok(()),
            // Somebody writes into it, or removes it as well.
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) if tries < TRIES => {
                std::thread::sleep(WAIT);
            }
            result => return Ok(result?),
        }
    }
}

/// The way back from a folder: the one above it, and its name there.
struct Above {
    device: u64,
    inode: u64,
    name: CString,
}

/// Goes through the tree with one open folder at a time and no recursion: an agent can nest folders deeper than any
/// stack, and than any number of files that may be open. A folder that was moved meanwhile counts as not empty.
fn remove_once(path: &Path) -> Result<(), Errno> {
    match unlinkat(CWD, path, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        result => return result,
    }
    let mut folder = open(CWD, path)?;
    let mut way_back: Vec<Above> = Vec::new();
    let mut looks = LOOKS;
    loop {
        if let Some(name) = remove_files(&folder)? {
            let below = match open(&folder, &*name) {
                // It is something else by now.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                below => below?,
            };
            let (device, inode) = identity(&fstat(&folder)?);
            way_back.push(Above {
                device,
                inode,
                name,
            });
            folder = below;
            continue;
        }
        let Some(above) = way_back.pop() else {
            return unlinkat(CWD, path, AtFlags::REMOVEDIR);
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        folder = openat(&folder, "..", flags, Mode::empty())?;
        if identity(&fstat(&folder)?) != (above.device, above.inode) {
            return Err(Errno::NOTEMPTY);
        }
        match unlinkat(&folder, &*above.name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) if looks > 0 => looks -= 1,
            result => result?,
        }
    }
}

fn identity(status: &Stat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}

/// Removes what is no folder from a folder, up to the first folder in it. Returns that one's name.
fn remove_files(folder: &OwnedFd) -> Result<Option<CString>, Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            return Ok(Some(name.to_owned()));
        }
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => return Ok(Some(name.to_owned())),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Opens a folder, and lets its owner in first: caches of package managers are read-only.
fn open(parent: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    const OWNER: u32 = 0o700;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = openat(parent, name, flags, Mode::empty())?;
    if fstat(&handle)?.st_mode & OWNER != OWNER {
        // The handle names the folder itself, whatever its path leads to by now.
        let own_path = format!("/proc/self/fd/{}", handle.as_raw_fd());
        fs::set_permissions(own_path, Permissions::from_mode(OWNER))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(&handle, ".", flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{open, remove_directory};

    fn folder() -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("removal-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).expect("the folder is new");
        folder
    }

    #[test]
    fn folders_that_forbid_it_are_removed_and_links_are_left_alone() {
        let (base, outside) = (folder(), folder());
        fs::create_dir_all(base.join("a/b/c")).expect("they are new");
        fs::write(outside.join("file"), "").expect("it is written");
        symlink(&outside, base.join("a/link")).expect("it is new");
        fs::write(base.join("a/b/file"), "").expect("it is written");
        for path in [base.join("a/b"), base.join("a"), outside.clone()] {
            fs::set_permissions(path, Permissions::from_mode(0o500)).expect("it is there");
        }
        let mode = |path: &std::path::Path| {
            let metadata = fs::metadata(path).expect("it is there");
            metadata.permissions().mode() & 0o777
        };
        let opened = open(rustix::fs::CWD, base.join("a")).expect("it is its own");
        assert_eq!(mode(&base.join("a")), 0o700);
        assert!(open(rustix::fs::CWD, base.join("a/link")).is_err());
        drop(opened);
        remove_directory(&base).expect("it is removed");
        remove_directory(&base).expect("it is not there");
        assert!(!base.exists());
        assert_eq!(mode(&outside), 0o500);
        assert!(outside.join("file").exists());
        symlink(&outside, &base).expect("it is new");
        remove_directory(&base).expect("the link is removed");
        assert!(outside.join("file").exists());
        remove_directory(&outside).expect("it is removed");
    }

    #[test]
    fn what_lies_beside_folders_is_removed_as_well() {
        let base = folder();
        for number in 0..300 {
            fs::create_dir(base.join(format!("folder-{number}"))).expect("it is new");
            fs::write(base.join(format!("folder-{number}/file")), "").expect("it is written");
            fs::write(base.join(format!("file-{number}")), "").expect("it is written");
        }
        remove_directory(&base).expect("it is removed");
        assert!(!base.exists());
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
