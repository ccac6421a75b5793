//! Makes a workspace from nothing.
//!
//! Until its record is written the workspace counts as absent: whatever stops the work in between, the next one
//! starts from nothing again.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloud_agent_wire::PrepareStep;
use cloud_agent_wire::git_failure::Operation;

use super::branch;
use super::credential::install;
use super::prepare::{Preparation, Ready};
use crate::agent_environment::agent_environment;
use crate::git::run::{StepError, blocking};
use crate::git::{credential_file, plan};
use crate::process::{self, Job};
use crate::store::files::{self, Durability};
use crate::store::paths::SessionPaths;
use crate::store::records::{self, WorkspaceRecord};
use crate::store::removal::remove_directory;
use crate::strays::{Work, kill_session};

/// Clones, checks the branch out, puts the credential into force and runs the setup commands.
///
/// # Errors
/// A typed failure. The caller removes what was made.
pub async fn prepare(preparation: &Preparation<'_>) -> Result<Ready, StepError> {
    let Preparation {
        context,
        paths,
        spec,
        reporter,
        ..
    } = *preparation;
    let git = preparation.git();
    let disk = |error: io::Error| git.disk_failed(&error);
    let to_clear = paths.clone();
    blocking(move || remove(&to_clear)).await.map_err(disk)?;

    let temporary = clone(preparation).await?;
    // There is none in an empty repository.
    let published = git.commit(&temporary, "HEAD").await?;
    let (from, to) = (temporary, paths.clone());
    let agent = context.config.agent_uid;
    blocking(move || hand_over(&from, &to, agent))
        .await
        .map_err(disk)?;

    reporter.step(PrepareStep::RewriteOrigin);
    install(&git, spec, Some(&spec.author), &[])?;
    run_setup_commands(preparation).await?;

    let record = WorkspaceRecord {
        url: spec.url.as_str().to_owned(),
        generation: spec.generation,
        machine_boot: context.machine_boot.clone(),
        published,
    };
    let path = paths.workspace_record();
    blocking(move || records::write(&path, &record, Durability::Power))
        .await
        .map_err(disk)?;
    Ok(Ready {
        generation: spec.generation,
        cold: true,
    })
}

/// Removes a workspace that is not complete, and everything that goes with it. Blocks.
///
/// # Errors
/// Those of the file system.
pub fn remove(paths: &SessionPaths) -> io::Result<()> {
    files::remove_file(&paths.workspace_record())?;
    remove_directory(&paths.repo())?;
    remove_directory(&paths.home())?;
    remove_directory(&paths.agent_credential_folder())?;
    remove_directory(&paths.push_repository())?;
    files::remove_file(&paths.credential())?;
    files::remove_file(&paths.incoming_credentials())?;
    files::remove_temporaries(paths.base())?;
    files::remove_temporaries(&paths.runtime())
}

/// Clones into a temporary folder and checks the branch out.
async fn clone(preparation: &Preparation<'_>) -> Result<PathBuf, StepError> {
    let Preparation {
        paths,
        spec,
        reporter,
        ..
    } = *preparation;
    let git = preparation.git();
    reporter.step(PrepareStep::Clone);
    let candidate = paths.candidate_credential();
    if let Some(credential) = &spec.credential {
        credential_file::write(&candidate, credential, None, Durability::Process)
            .map_err(|error| git.disk_failed(&error))?;
    }
    let file = spec.credential.as_ref().map(|_| candidate.as_path());
    let remote = git.remote(&spec.url, file).await?;
    let temporary = paths.base().join(files::temporary_name());
    let mut progress = reporter.progress(PrepareStep::Clone);
    let words = plan::clone(&spec.url, &temporary, spec.shallow);
    git.transfer(&remote, &paths.empty(), words, |piece| progress.feed(piece))
        .await?;
    branch::check_out(&git, &remote, &temporary, spec, reporter).await?;
    files::remove_file(&candidate).map_err(|error| git.disk_failed(&error))?;
    Ok(temporary)
}

/// Gives the clone its place, and the agent its folders.
fn hand_over(temporary: &Path, paths: &SessionPaths, agent: Option<u32>) -> io::Result<()> {
    fs::set_permissions(temporary, Permissions::from_mode(0o700))?;
    files::private_directory(&paths.home())?;
    if let Some(agent) = agent {
        give_away(temporary, agent)?;
        lchown(paths.home(), Some(agent), Some(agent))?;
    }
    fs::rename(temporary, paths.repo())
}

/// Makes a user the owner of everything below a folder. Links are not followed.
fn give_away(path: &Path, user: u32) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give_away(&entry?.path(), user)?;
        }
    }
    lchown(path, Some(user), Some(user))
}

async fn run_setup_commands(preparation: &Preparation<'_>) -> Result<(), StepError> {
    let Preparation {
        context,
        paths,
        spec,
        reporter,
        ..
    } = *preparation;
    if spec.setup_commands.is_empty() {
        return Ok(());
    }
    reporter.step(PrepareStep::Setup);
    let work = Work::begin(paths);
    let result = run_each(preparation).await;
    drop(work);
    kill_session(context, paths).await;
    result
}

async fn run_each(preparation: &Preparation<'_>) -> Result<(), StepError> {
    let Preparation {
        context,
        paths,
        spec,
        ..
    } = *preparation;
    let git = preparation.git();
    for (index, command) in spec.setup_commands.iter().enumerate() {
        let job = Job {
            program: "/bin/sh".into(),
            arguments: vec!["-lc".into(), command.into()],
            environment: agent_environment(context, paths, &spec.env),
            directory: paths.repo(),
            user: context.config.agent_uid,
            input: None,
            grace: Duration::ZERO,
        };
        let deadline = context.long_deadline();
        let outcome = process::run(&job, deadline, preparation.cancel, |_| {}).await;
        let number = index + 1;
        git.succeed(Operation::Setup, outcome)
            .map_err(|error| match error {
                StepError::Failed(mut failure) => {
                    let detail = failure.detail.unwrap_or_default();
                    failure.detail = Some(format!("setup command {number}: {detail}"));
                    StepError::Failed(failure)
                }
                StepError::Cancelled => StepError::Cancelled,
            })?;
    }
    Ok(())
}
