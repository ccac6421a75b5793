//! Puts a proved credential into force: the runtime's file, the agent's file, and `origin`.

use std::io;

use cloud_agent_wire::{Author, Credential, GitUrl};

use super::config_writer;
use super::origin::Origin;
use crate::config::OriginMode;
use crate::context::Context;
use crate::git::credential_file;
use crate::git::plan;
use crate::git::run::{Git, StepError};
use crate::store::files;
use crate::store::paths::SessionPaths;

/// Proves a credential: the remote must show its refs to it. Git runs outside the workspace and reads the
/// credential from the candidate file.
///
/// # Errors
/// `git_authentication_failed` when the remote refuses it, or another failure.
pub async fn prove(
    git: &Git<'_>,
    url: &GitUrl,
    credential: Option<&Credential>,
) -> Result<(), StepError> {
    let candidate = git.paths.candidate_credential();
    if let Some(credential) = credential {
        credential_file::write(&candidate, credential, None)
            .map_err(|error| git.disk_failed(&error))?;
    }
    let result = async {
        let remote = git
            .remote(url, credential.map(|_| candidate.as_path()))
            .await?;
        let words = plan::list_remote(url);
        git.transfer(&remote, &git.paths.empty(), words, |_| {})
            .await
    };
    let result = result.await;
    files::remove_file(&candidate).map_err(|error| git.disk_failed(&error))?;
    result.map(|_| ())
}

/// Removes the credential wherever git finds it. Blocks.
///
/// # Errors
/// Those of the file system; everything was tried then.
pub fn forget(paths: &SessionPaths, owner: u32) -> io::Result<()> {
    let results = [
        files::remove_file(&paths.credential()),
        files::remove_file(&paths.candidate_credential()),
        files::remove_file(&paths.agent_credential()),
        config_writer::remove(&paths.repo(), owner),
    ];
    results.into_iter().collect()
}

/// Replaces the credential wherever git finds it. Blocks.
///
/// # Errors
/// Those of the file system; `InvalidData` when the workspace's configuration is not one.
pub fn install(
    context: &Context,
    paths: &SessionPaths,
    url: &GitUrl,
    credential: Option<&Credential>,
    author: Option<&Author>,
    old_tokens: &[&str],
) -> io::Result<()> {
    let agent_file = paths.agent_credential();
    let helper = match (context.config.origin_mode, credential) {
        (OriginMode::Helper, Some(credential)) => {
            let agent = context.config.agent_uid;
            let mode = if agent.is_some() { 0o711 } else { 0o700 };
            files::directory(&paths.agent_credential_folder(), mode)?;
            credential_file::write(&agent_file, credential, agent)?;
            Some(context.helper_command(&url.origin(), &agent_file)?)
        }
        (OriginMode::Url, _) | (OriginMode::Helper, None) => {
            files::remove_file(&agent_file)?;
            None
        }
    };
    let in_url = match context.config.origin_mode {
        OriginMode::Url => credential,
        OriginMode::Helper => None,
    };
    let origin = Origin {
        url,
        in_url,
        helper: helper.as_deref(),
        author,
        token: credential.map(|credential| credential.token.expose()),
        old_tokens,
    };
    config_writer::write(&paths.repo(), &origin, context.owner())?;
    if let Err(error) = config_writer::write_home(&paths.home(), &origin, context.owner()) {
        // Only repositories beside the workspace do without it, and what is wrong is the agent's doing.
        tracing::warn!(error = %error, "the git configuration of the agent's home was not written");
    }
    // Last: until here the file names the token that the workspace may hold, also for the next process.
    match credential {
        Some(credential) => credential_file::write(&paths.credential(), credential, None),
        None => files::remove_file(&paths.credential()),
    }
}
