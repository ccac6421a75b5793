//! `workspace-runtime upload-pack --uid N --git PROGRAM REPOSITORY`: serves a workspace's commits as its own user.
//!
//! The runtime fetches from workspaces. What reads the workspace's configuration and objects must not have more
//! rights than the agent that wrote them.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::git::plan;

/// Becomes `git upload-pack`. Returns only when that fails.
pub fn main(arguments: &[String]) -> io::Error {
    let [uid_flag, uid, git_flag, git, repository] = arguments else {
        return io::ErrorKind::InvalidInput.into();
    };
    let (Ok(uid), "--uid", "--git") = (uid.parse::<u32>(), uid_flag.as_str(), git_flag.as_str())
    else {
        return io::ErrorKind::InvalidInput.into();
    };
    Command::new(git)
        .args(["upload-pack", "--", repository])
        .env_clear()
        .envs(plan::environment(Path::new("/nonexistent"), "none"))
        .envs(std::env::var_os("GIT_PROTOCOL").map(|version| ("GIT_PROTOCOL", version)))
        .uid(uid)
        .gid(uid)
        .exec()
}
