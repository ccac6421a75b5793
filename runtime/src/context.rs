//! What every part of the process shares.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use cloud_agent_wire::BootId;

use crate::config::Config;
use crate::git::plan;
use crate::git::version::Version;
use crate::process::{Deadline, STORE_MARKER};
use crate::store::root::Store;

/// The configuration, the store and the programs of this process.
pub struct Context {
    /// The configuration.
    pub config: Config,
    /// The open store.
    pub store: Store,
    /// Names this process.
    pub boot_id: BootId,
    /// Names the machine's boot.
    pub machine_boot: String,
    /// The git program.
    pub git: PathBuf,
    /// Its version.
    pub git_version: Version,
    /// This program itself, which is also the credential helper.
    pub program: PathBuf,
}

impl Context {
    /// The user that owns workspaces: the agent's.
    pub fn owner(&self) -> u32 {
        self.config
            .agent_uid
            .unwrap_or_else(|| rustix::process::geteuid().as_raw())
    }

    /// The configuration of a credential helper that reads `file` and answers for `origin`.
    ///
    /// # Errors
    /// A path that no shell takes.
    pub fn helper_command(&self, origin: &str, file: &Path) -> io::Result<String> {
        let program = self.program.to_string_lossy();
        let command = plan::helper_command(&program, origin, &file.to_string_lossy())?;
        Ok(command)
    }

    /// The variable that every child carries, so that it is found if this process dies.
    pub fn marker(&self) -> (OsString, OsString) {
        (STORE_MARKER.into(), self.store.id().as_str().into())
    }

    /// The deadline of transfers, checkouts and setup commands.
    pub fn long_deadline(&self) -> Deadline {
        Deadline {
            inactivity: self.config.deadlines.inactivity,
            hard: self.config.deadlines.hard,
        }
    }

    /// The deadline of every other git command.
    pub fn short_deadline(&self) -> Deadline {
        Deadline {
            inactivity: self.config.deadlines.short,
            hard: self.config.deadlines.short,
        }
    }
}
