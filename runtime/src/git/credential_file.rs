//! The files that hold a credential: one for the runtime, one for the agent. Both are private to their owner.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use cloud_agent_wire::Credential;
use rustix::fs::OFlags;

use crate::store::files::{self, Durability};

/// Largest file in bytes: a user name, a token, and JSON around them.
const BYTES_MAX: u64 = 16 * 1024;

/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Writes a credential, replacing the file as a whole. After a power failure the workspace is proved anew, so the
/// file need not survive one.
///
/// # Errors
/// Those of the file system.
pub fn write(path: &Path, credential: &Credential, user: Option<u32>) -> io::Result<()> {
    files::replace(
        path,
        &serde_json::to_vec(credential)?,
        user,
        Durability::Process,
    )
}

/// Reads a credential, if the file is private to the user who asks.
///
/// # Errors
/// Those of the file system, and `InvalidData` for a file that others may read or write, that belongs to somebody
/// else, or that holds no credential.
pub fn read(path: &Path) -> io::Result<Credential> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits());
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.unwrap_or_default())
        .open(path)?;
    let metadata = file.metadata()?;
    let is_private = metadata.is_file()
        && metadata.mode() & OTHERS == 0
        && metadata.uid() == rustix::process::geteuid().as_raw();
    if !is_private {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut content = String::new();
    file.take(BYTES_MAX).read_to_string(&mut content)?;
    serde_json::from_str(&content).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use cloud_agent_wire::{Credential, Secret};

    use super::{read, write};

    #[test]
    fn only_a_private_regular_file_is_read() {
        let folder = std::env::temp_dir().join(format!("credential-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).expect("the folder is new");
        let path = folder.join("token");
        let credential = Credential {
            username: "oauth2".to_owned(),
            token: Secret::new(r#"a"b\c"#.to_owned()),
        };
        write(&path, &credential, None).expect("it is written");
        assert_eq!(
            read(&path).expect("it is private").token.expose(),
            r#"a"b\c"#
        );
        symlink(&path, folder.join("link")).expect("the link is new");
        assert!(read(&folder.join("link")).is_err());
        assert!(read(&folder).is_err());
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("the mode changes");
        assert!(read(&path).is_err());
        fs::remove_dir_all(&folder).expect("the folder is there");
    }
}
