//! Commits and pushes the agent's work.
//!
//! Git with a token never runs under configuration that the agent could have written. So the commit is made as the
//! agent's user without a token, fetched without a token into a bare repository of the runtime's, and pushed from
//! there.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cloud_agent_wire::branch_name::BranchKind;
use cloud_agent_wire::git_failure::Operation;
use cloud_agent_wire::{FailureSubtype, NulInWord, RuntimeEvent, ShellWord, branch_name};

use super::run::Turn;
use crate::git::plan;
use crate::git::run::{Git, StepError, blocking};
use crate::limits::WORKSPACE_GIT_GRACE;
use crate::process::{self, Ending, Job, Outcome, SESSION_MARKER};
use crate::store::removal::remove_directory;
use crate::store::{files, records};
use crate::workspace::locks;

/// The name under which a commit is kept in the runtime's repository.
const FETCHED: &str = "refs/heads/work";

/// Commits what the agent changed, and pushes the branch when the remote lacks anything of it.
///
/// # Errors
/// A typed failure. A commit that was made stays in the workspace and is pushed by the next turn.
pub async fn publish(turn: &Turn<'_>) -> Result<(), StepError> {
    let session = turn.session;
    let message_id = turn.message_id.clone();
    session.append_surely(RuntimeEvent::AutocommitStarted {
        message_id: message_id.clone(),
    });
    let publisher = Publisher {
        turn,
        git: Git {
            context: &session.context,
            paths: &session.paths,
            cancel: turn.cancel,
            generation: session.generation_in_force(),
        },
    };
    let has_committed = publisher.commit().await?;
    let head = publisher.head().await?;
    let pushed = match &head {
        Some(head) => publisher.push(head).await?,
        None => false,
    };
    session.append_surely(RuntimeEvent::AutocommitCompleted {
        message_id,
        commit: head.filter(|_| has_committed),
        pushed,
    });
    Ok(())
}

struct Publisher<'a> {
    turn: &'a Turn<'a>,
    git: Git<'a>,
}

impl Publisher<'_> {
    /// Commits everything in the working tree; `false` when nothing was changed.
    async fn commit(&self) -> Result<bool, StepError> {
        self.remove_stale_locks()?;
        let unmerged = self.in_workspace(&["ls-files", "--unmerged"], None).await?;
        if !unmerged.stdout.is_empty() {
            // To add them would declare the conflicts resolved.
            let detail = "the workspace has unresolved merge conflicts".to_owned();
            return Err(self.git.failed(FailureSubtype::GitCheckoutConflict, detail));
        }
        self.in_workspace(&["add", "--all"], None).await?;
        // What the workspace's attributes and settings make of a difference does not matter.
        let words = [
            "diff",
            "--cached",
            "--quiet",
            "--no-ext-diff",
            "--no-textconv",
        ];
        let staged = self.try_in_workspace(&words, None).await;
        match staged.ending {
            Ending::Exited(0) => return Ok(false),
            Ending::Exited(1) => {}
            _ => {
                self.git.succeed(Operation::Local, staged)?;
            }
        }
        let message = self.turn.intent.commit_message().into_bytes();
        self.in_workspace(
            &["commit", "--quiet", "--no-verify", "--file=-"],
            Some(message),
        )
        .await?;
        Ok(true)
    }

    /// The agent and everything that it started are gone, so whatever lock is left belongs to nobody.
    fn remove_stale_locks(&self) -> Result<(), StepError> {
        let (repo, owner) = (self.git.paths.repo(), self.git.context.owner());
        locks::remove(&repo, owner).map_err(|error| self.git.disk_failed(&error))
    }

    /// The workspace's commit; `None` when it has none yet.
    async fn head(&self) -> Result<Option<String>, StepError> {
        let outcome = self.try_in_workspace(&plan::rev_parse("HEAD"), None).await;
        self.git.printed_commit(outcome)
    }

    /// Pushes the branch that is checked out; `false` when the remote has it already.
    async fn push(&self, head: &str) -> Result<bool, StepError> {
        let is_branch = |name: &String| branch_name::classify(name) == Some(BranchKind::Branch);
        let Some(branch) = self.turn.branch().filter(is_branch) else {
            tracing::info!(sessionId = %self.turn.session.id, "no branch is checked out that may be told, so nothing is pushed");
            return Ok(false);
        };
        if self.is_published(&branch, head).await? {
            return Ok(false);
        }
        let commit = self.fetch_into_own_repository().await?;
        let refspec = format!("{commit}:refs/heads/{branch}");
        let url = self.turn.spec.url.as_str();
        let words = ["push", "--progress", "--no-verify", "--", url, &refspec];
        let repository = self.git.paths.push_repository();
        self.at_remote(&repository, &words).await?;
        self.remember(&branch, &commit).await?;
        Ok(true)
    }

    /// Runs a command that talks to the remote. When the remote refuses the credential, the command alone is repeated
    /// with a newer one.
    async fn at_remote(&self, directory: &Path, words: &[&str]) -> Result<Outcome, StepError> {
        let session = self.turn.session;
        loop {
            let git = Git {
                generation: session.generation_in_force(),
                ..self.git
            };
            let credential = git.paths.credential();
            let file = credential.exists().then_some(credential.as_path());
            let remote = git.remote(&self.turn.spec.url, file).await?;
            let words = words.iter().map(Into::into).collect();
            match git.transfer(&remote, directory, words, |_| {}).await {
                Err(StepError::Failed(failure))
                    if failure.subtype == Some(FailureSubtype::GitAuthenticationFailed) =>
                {
                    session.newer_credential(failure, git.cancel).await?;
                }
                result => return result,
            }
        }
    }

    /// Whether the remote has everything: its branch is at this commit, or nothing was added to what it had.
    async fn is_published(&self, branch: &str, head: &str) -> Result<bool, StepError> {
        let record = records::read_workspace(self.git.paths)
            .map_err(|error| self.git.disk_failed(&error))?;
        let known = record.and_then(|record| record.published);
        if known.as_deref() == Some(head) {
            return Ok(true);
        }
        let reference = format!("refs/heads/{branch}");
        // Only the one ref: a remote may have more of them than output is kept.
        let words = ["ls-remote", "--", self.turn.spec.url.as_str(), &reference];
        let outcome = self.at_remote(&self.git.paths.empty(), &words).await?;
        let wanted = format!("{head}\t{reference}");
        let listed = String::from_utf8_lossy(&outcome.stdout);
        Ok(listed.lines().any(|line| line == wanted))
    }

    /// Fetches the workspace's commit into the runtime's bare repository and names it.
    ///
    /// The repository has its name only while no git writes to it: one that was killed leaves locks and half packs,
    /// which go with the temporary name. The next turn makes another then.
    async fn fetch_into_own_repository(&self) -> Result<String, StepError> {
        let paths = self.git.paths.clone();
        let temporary = paths.runtime().join(files::temporary_name());
        let to_take = temporary.clone();
        let is_there = blocking(move || match fs::rename(paths.push_repository(), to_take) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => result.map(|()| true),
        });
        let is_there = is_there
            .await
            .map_err(|error| self.git.disk_failed(&error))?;
        let fetched = async {
            if !is_there {
                self.make_repository(&temporary).await?;
            }
            self.fetch_into(&temporary).await
        };
        let fetched = fetched.await;
        let (is_whole, target) = (fetched.is_ok(), self.git.paths.push_repository());
        blocking(move || {
            if is_whole {
                fs::rename(temporary, target)
            } else {
                remove_directory(&temporary)
            }
        })
        .await
        .map_err(|error| self.git.disk_failed(&error))?;
        fetched
    }

    async fn make_repository(&self, repository: &Path) -> Result<(), StepError> {
        let words: Vec<OsString> = vec![
            "init".into(),
            "--bare".into(),
            "--quiet".into(),
            "--template=".into(),
            "--".into(),
            repository.into(),
        ];
        let empty = self.git.paths.empty();
        let made = self.git.local(Operation::Local, &empty, words, |_| {});
        made.await.map(|_| ())
    }

    async fn fetch_into(&self, repository: &Path) -> Result<String, StepError> {
        let mut words: Vec<OsString> = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--update-shallow",
            "--no-write-fetch-head",
        ]
        .map(Into::into)
        .to_vec();
        let served = self.upload_pack();
        if let Some(command) = served.map_err(|error| self.git.disk_failed(&error.into()))? {
            words.push(format!("--upload-pack={command}").into());
        }
        words.push("--".into());
        words.push(self.git.paths.repo().into());
        words.push(format!("+HEAD:{FETCHED}").into());
        let mut settings = plan::settings();
        settings.push("protocol.file.allow=always".to_owned());
        let job = self.git.job(settings, words, "file", repository.to_owned());
        let outcome = self.git.run(&job).await;
        self.git.succeed(Operation::Local, outcome)?;
        let commit = self.git.commit(repository, FETCHED).await?;
        commit.ok_or_else(|| {
            let detail = "the workspace's commit was not fetched".to_owned();
            self.git
                .failed(FailureSubtype::WorkspaceSetupUnknown, detail)
        })
    }

    /// The command that serves the workspace as the agent's user; `None` when that is the runtime's own.
    fn upload_pack(&self) -> Result<Option<String>, NulInWord> {
        let context = self.git.context;
        let Some(uid) = context.config.agent_uid else {
            return Ok(None);
        };
        let uid = uid.to_string();
        let (program, git) = (
            context.program.to_string_lossy(),
            context.git.to_string_lossy(),
        );
        let words = [&*program, "upload-pack", "--uid", &uid, "--git", &*git];
        ShellWord::line(&words).map(Some)
    }

    /// Notes what the remote has now, also where the agent's git looks.
    async fn remember(&self, branch: &str, commit: &str) -> Result<(), StepError> {
        let session = self.turn.session;
        session
            .set_published(commit)
            .await
            .map_err(|error| self.git.disk_failed(&error))?;
        let tracking = format!("refs/remotes/origin/{branch}");
        let outcome = self
            .try_in_workspace(&["update-ref", &tracking, commit], None)
            .await;
        if !outcome.is_success() {
            tracing::warn!(sessionId = %session.id, "the workspace's tracking branch was not updated");
        }
        Ok(())
    }

    async fn in_workspace(
        &self,
        words: &[&str],
        input: Option<Vec<u8>>,
    ) -> Result<Outcome, StepError> {
        let outcome = self.try_in_workspace(words, input).await;
        self.git.succeed(Operation::Local, outcome)
    }

    /// Runs git in the workspace as the agent's user. It has no token and no more rights than the agent.
    async fn try_in_workspace(&self, words: &[&str], input: Option<Vec<u8>>) -> Outcome {
        let words = words.iter().map(Into::into).collect();
        let repo: PathBuf = self.git.paths.repo();
        // Whatever the configuration says about where the repository and its files are.
        let places = [
            ("GIT_DIR", repo.join(".git")),
            ("GIT_WORK_TREE", repo.clone()),
        ];
        let job = self.git.job(plan::settings(), words, "none", repo);
        let author = &self.turn.spec.author;
        let mut environment = job.environment;
        environment.retain(|(name, _)| name != "HOME");
        environment.push(("HOME".into(), self.git.paths.home().into()));
        // Filters of the workspace run, and may leave something running.
        environment.push((SESSION_MARKER.into(), self.git.paths.session_id().into()));
        environment.extend(places.map(|(name, path)| (name.into(), path.into())));
        for (name, value) in [
            ("GIT_AUTHOR_NAME", &author.name),
            ("GIT_AUTHOR_EMAIL", &author.email),
            ("GIT_COMMITTER_NAME", &author.name),
            ("GIT_COMMITTER_EMAIL", &author.email),
        ] {
            environment.push((name.into(), value.into()));
        }
        let user = self.git.context.config.agent_uid;
        let job = Job {
            environment,
            user,
            input,
            grace: WORKSPACE_GIT_GRACE,
            ..job
        };
        // Large trees take time to add and to commit.
        let deadline = self.git.context.long_deadline();
        process::run(&job, deadline, self.git.cancel, |_| {}).await
    }
}
