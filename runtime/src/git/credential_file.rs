//! The files that hold credentials: those of the runtime, and one for the agent. All are private to their owner.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use cloud_agent_wire::Credential;
use rustix::fs::OFlags;

use crate::limits::REDACTED_TOKENS_MAX;
use crate::store::files::{self, Durability};

/// Largest file in bytes: a user name, a token, and JSON around them.
const BYTES_MAX: u64 = 16 * 1024;

/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Writes a credential, replacing the file as a whole.
///
/// # Errors
/// Those of the file system.
pub fn write(
    path: &Path,
    credential: &Credential,
    user: Option<u32>,
    durability: Durability,
) -> io::Result<()> {
    files::replace(path, &serde_json::to_vec(credential)?, user, durability)
}

/// Adds a credential to a file of several, for good. The oldest are forgotten when there are very many.
///
/// # Errors
/// Those of the file system.
pub fn add(path: &Path, credential: &Credential) -> io::Result<()> {
    let mut credentials = read_several(path);
    credentials.push(credential.clone());
    let surplus = credentials.len().saturating_sub(REDACTED_TOKENS_MAX);
    credentials.drain(..surplus);
    let content = serde_json::to_vec(&credentials)?;
    files::replace(path, &content, None, Durability::Power)
}

/// The credentials of a file of several; none when there is no such file.
pub fn read_several(path: &Path) -> Vec<Credential> {
    let text = read_private(path, BYTES_MAX * REDACTED_TOKENS_MAX as u64);
    text.ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// Reads a credential, if the file is private to the user who asks.
///
/// # Errors
/// Those of the file system, and `InvalidData` for a file that others may read or write, that belongs to somebody
/// else, or that holds no credential.
pub fn read(path: &Path) -> io::Result<Credential> {
    serde_json::from_str(&read_private(path, BYTES_MAX)?)
        .map_err(|_| io::ErrorKind::InvalidData.into())
}

fn read_private(path: &Path, bytes_max: u64) -> io::Result<String> {
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
    file.take(bytes_max).read_to_string(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use cloud_agent_wire::{Credential, Secret};

    use super::{add, read, read_several, write};
    use crate::store::files::Durability;

    #[test]
    fn only_a_private_regular_file_is_read() {
        let folder = std::env::temp_dir().join(format!("credential-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).expect("the folder is new");
        let path = folder.join("token");
        let credential = Credential {
            username: "oauth2".to_owned(),
            token: Secret::new(r#"a"b\c"#.to_owned()),
        };
        write(&path, &credential, None, Durability::Process).expect("it is written");
        assert_eq!(
            read(&path).expect("it is private").token.expose(),
            r#"a"b\c"#
        );
        symlink(&path, folder.join("link")).expect("the link is new");
        assert!(read(&folder.join("link")).is_err());
        assert!(read(&folder).is_err());
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("the mode changes");
        assert!(read(&path).is_err());
        let several = folder.join("several");
        assert!(read_several(&several).is_empty());
        for _ in 0..40 {
            add(&several, &credential).expect("it is written");
        }
        assert_eq!(read_several(&several).len(), 32);
        fs::set_permissions(&several, Permissions::from_mode(0o640)).expect("the mode changes");
        assert!(read_several(&several).is_empty());
        fs::remove_dir_all(&folder).expect("the folder is there");
    }
}
