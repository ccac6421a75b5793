//! Checks the right branch out in a fresh clone, and reads which one is checked out.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use cloud_agent_wire::branch_name::BranchKind;
use cloud_agent_wire::git_failure::Operation;
use cloud_agent_wire::{FailureSubtype, PrepareStep};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::prepare::Reporter;
use super::spec::Spec;
use crate::git::plan;
use crate::git::run::{Git, Remote, StepError};

/// Checks the branch out in a clone that nobody else has touched.
///
/// A pull request's ref is fetched by its full name. A branch that the remote has is checked out; one that it has
/// not is created at the remote's default branch, unless it is strict.
///
/// # Errors
/// A failure of fetching or checking out; `git_branch_missing` for a strict branch that is not there.
pub async fn check_out(
    git: &Git<'_>,
    remote: &Remote<'_>,
    repo: &Path,
    spec: &Spec,
    reporter: &Reporter<'_>,
) -> Result<(), StepError> {
    let start = match spec.branch_kind {
        BranchKind::PullRequest => {
            fetch(git, remote, repo, spec, reporter, &spec.branch).await?;
            Some("FETCH_HEAD".to_owned())
        }
        BranchKind::Branch => find_branch(git, remote, repo, spec, reporter).await?,
    };
    reporter.step(PrepareStep::Checkout);
    let Some(start) = start else {
        // The remote is empty: the first commit makes the branch.
        let reference = format!("refs/heads/{}", spec.branch);
        let words = ["symbolic-ref", "HEAD", &reference]
            .map(Into::into)
            .to_vec();
        git.local(Operation::Local, repo, words, |_| {}).await?;
        return Ok(());
    };
    let words = plan::checkout(&spec.branch, &start);
    let mut progress = reporter.progress(PrepareStep::Checkout);
    git.local(Operation::Checkout, repo, words, |piece| {
        progress.feed(piece);
    })
    .await?;
    Ok(())
}

/// Where a branch starts; `None` when the remote has no commit at all.
async fn find_branch(
    git: &Git<'_>,
    remote: &Remote<'_>,
    repo: &Path,
    spec: &Spec,
    reporter: &Reporter<'_>,
) -> Result<Option<String>, StepError> {
    let tracking = format!("refs/remotes/origin/{}", spec.branch);
    if spec.shallow && !has_commit(git, repo, &tracking).await? {
        // A shallow clone has the default branch only.
        let refspec = format!("+refs/heads/{}:{tracking}", spec.branch);
        match fetch(git, remote, repo, spec, reporter, &refspec).await {
            Err(StepError::Failed(failure))
                if failure.subtype == Some(FailureSubtype::GitBranchMissing) => {}
            result => result?,
        }
    }
    if has_commit(git, repo, &tracking).await? {
        return Ok(Some(tracking));
    }
    if spec.strict {
        let detail = "the remote has no such branch".to_owned();
        return Err(git.failed(FailureSubtype::GitBranchMissing, detail));
    }
    let head = "HEAD".to_owned();
    if has_commit(git, repo, &head).await? {
        return Ok(Some(head));
    }
    if is_empty(git, remote).await? {
        return Ok(None);
    }
    let detail = "the remote's default branch does not exist".to_owned();
    Err(git.failed(FailureSubtype::GitBranchMissing, detail))
}

/// Whether the remote has no branch at all. Its `HEAD` may name one that is not there although it has others.
async fn is_empty(git: &Git<'_>, remote: &Remote<'_>) -> Result<bool, StepError> {
    let words = ["ls-remote", "--heads", "--", remote.url.as_str()];
    let words = words.map(Into::into).to_vec();
    let outcome = git
        .transfer(remote, &git.paths.empty(), words, |_| {})
        .await?;
    Ok(outcome.stdout.is_empty())
}

async fn fetch(
    git: &Git<'_>,
    remote: &Remote<'_>,
    repo: &Path,
    spec: &Spec,
    reporter: &Reporter<'_>,
    refspec: &str,
) -> Result<(), StepError> {
    reporter.step(PrepareStep::Fetch);
    let mut progress = reporter.progress(PrepareStep::Fetch);
    let words = plan::fetch(refspec, spec.shallow);
    git.transfer(remote, repo, words, |piece| progress.feed(piece))
        .await?;
    Ok(())
}

async fn has_commit(git: &Git<'_>, repo: &Path, name: &str) -> Result<bool, StepError> {
    let commit = git.commit(repo, &format!("{name}^{{commit}}")).await?;
    Ok(commit.is_some())
}

/// Longest `HEAD` file that is read, in bytes.
const HEAD_BYTES_MAX: u64 = 1024;

/// The branch that is checked out, read from `HEAD` as data; `None` for a detached one.
pub fn current(repo: &Path) -> Option<String> {
    let folder_flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let repo = openat(CWD, repo, folder_flags, Mode::empty()).ok()?;
    let git = openat(&repo, ".git", folder_flags, Mode::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(&git, "HEAD", flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(HEAD_BYTES_MAX).read_to_string(&mut text).ok()?;
    let name = text.strip_prefix("ref: refs/heads/")?.trim_end();
    cloud_agent_wire::branch_name::classify(name).map(|_| name.to_owned())
}
