//! Puts a proved credential into force: the runtime's file, the agent's file, and `origin`.

use std::io;

use cloud_agent_wire::{Author, Credential, GitUrl, Secret};

use super::config_writer::Writer;
use super::origin::Origin;
use super::spec::Spec;
use crate::config::OriginMode;
use crate::context::Context;
use crate::git::credential_file;
use crate::git::plan;
use crate::git::run::{Git, StepError};
use crate::store::files::{self, Durability};
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
        credential_file::write(&candidate, credential, None, Durability::Process)
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
        files::remove_file(&paths.incoming_credentials()),
        files::remove_file(&paths.candidate_credential()),
        files::remove_file(&paths.agent_credential()),
        Writer::of(owner).remove(&paths.repo()),
    ];
    results.into_iter().collect()
}

/// Replaces the credential wherever git finds it. Blocks.
///
/// # Errors
/// A failure of the disk or of the workspace's files; [`StepError::Cancelled`].
pub fn install(
    git: &Git<'_>,
    spec: &Spec,
    author: Option<&Author>,
    old_tokens: &[Secret],
) -> Result<(), StepError> {
    let put = || put(git, spec, author, old_tokens);
    tokio::task::block_in_place(put).map_err(|error| {
        if git.cancel.is_cancelled() {
            StepError::Cancelled
        } else {
            git.disk_failed(&error)
        }
    })
}

fn put(
    git: &Git<'_>,
    spec: &Spec,
    author: Option<&Author>,
    old_tokens: &[Secret],
) -> io::Result<()> {
    let Git { context, paths, .. } = *git;
    let credential = spec.credential.as_ref();
    let helper = give_to_agent(context, paths, spec)?;
    let in_url = credential.filter(|_| context.config.origin_mode == OriginMode::Url);
    if let Some(credential) = in_url {
        // From here on the workspace may hold it. The next process must know it, whatever ends this one.
        credential_file::add(&paths.incoming_credentials(), credential)?;
    }
    let old_tokens: Vec<&str> = old_tokens.iter().map(Secret::expose).collect();
    let origin = Origin {
        url: &spec.url,
        in_url,
        helper: helper.as_deref(),
        author,
        token: credential.map(|credential| credential.token.expose()),
        old_tokens: &old_tokens,
    };
    let writer = Writer::patient(context.owner(), git.cancel);
    writer.write(&paths.repo(), &origin)?;
    if let Err(error) = writer.write_home(&paths.home(), &origin) {
        // Only repositories beside the workspace do without it, and what is wrong is the agent's doing.
        tracing::warn!(error = %error, "the git configuration of the agent's home was not written");
    }
    // Last: until here the file names the token that the workspace may still hold, also for the next process.
    match credential {
        Some(credential) => {
            credential_file::write(&paths.credential(), credential, None, Durability::Power)?;
        }
        None => files::remove_file(&paths.credential())?,
    }
    files::remove_file(&paths.incoming_credentials())
}

/// Writes the agent's own copy of the credential, and returns the helper's command that reads it; `None` when there is
/// no such copy.
fn give_to_agent(
    context: &Context,
    paths: &SessionPaths,
    spec: &Spec,
) -> io::Result<Option<String>> {
    let file = paths.agent_credential();
    match (context.config.origin_mode, &spec.credential) {
        (OriginMode::Helper, Some(credential)) => {
            let agent = context.config.agent_uid;
            let mode = files::folder_mode(agent.is_some());
            files::directory(&paths.agent_credential_folder(), mode)?;
            credential_file::write(&file, credential, agent, Durability::Process)?;
            let command = context.helper_command(&spec.url.origin(), &file)?;
            Ok(Some(command))
        }
        (OriginMode::Url, _) | (OriginMode::Helper, None) => {
            files::remove_file(&file)?;
            Ok(None)
        }
    }
}
