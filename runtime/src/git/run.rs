//! Runs git for a session and turns failures into the words of the wire.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloud_agent_wire::git_failure::{FailedCommand, Operation, classify};
use cloud_agent_wire::{Failure, FailureCode, FailureStage, FailureSubtype, Generation, GitUrl};
use tokio_util::sync::CancellationToken;

use super::plan::{self, RemoteSettings};
use super::remote::{ResolveError, resolve};
use crate::context::Context;
use crate::process::{self, Ending, Job, Outcome};
use crate::store::paths::SessionPaths;
use crate::workspace::config_writer::WorkspaceFault;

/// Why a step of preparing or publishing did not succeed.
#[derive(Debug)]
pub enum StepError {
    /// Nobody needs it any more.
    Cancelled,
    /// It failed.
    Failed(Failure),
}

/// Runs git children of one session.
#[derive(Clone, Copy)]
pub struct Git<'a> {
    /// The process's context.
    pub context: &'a Context,
    /// The session's files.
    pub paths: &'a SessionPaths,
    /// Stops whatever runs.
    pub cancel: &'a CancellationToken,
    /// The credential generation that failures name.
    pub generation: Generation,
}

/// A remote that was resolved and may be connected to.
pub struct Remote<'a> {
    /// Its URL.
    pub url: &'a GitUrl,
    settings: Vec<String>,
}

impl Git<'_> {
    /// Resolves and checks the remote. With `credential_file`, its helper logs in.
    ///
    /// # Errors
    /// A failure when the name has no address or one that is not public.
    pub async fn remote<'u>(
        &self,
        url: &'u GitUrl,
        credential_file: Option<&Path>,
    ) -> Result<Remote<'u>, StepError> {
        let addresses = tokio::select! {
            addresses = resolve(url) => addresses,
            () = self.cancel.cancelled() => return Err(StepError::Cancelled),
        };
        let addresses = addresses.map_err(|error| self.unreachable(error))?;
        let helper = credential_file
            .map(|file| self.context.helper_command(&url.origin(), file))
            .transpose()
            .map_err(|error| self.disk_failed(&error))?;
        let ca_file = self
            .context
            .config
            .ca_file
            .as_ref()
            .map(|file| file.to_string_lossy());
        let settings = RemoteSettings {
            url,
            addresses: &addresses,
            helper: helper.as_deref(),
            ca_file: ca_file.as_deref(),
            low_speed_seconds: self.context.config.deadlines.low_speed.as_secs().max(1),
        };
        Ok(Remote {
            url,
            settings: settings.settings(),
        })
    }

    /// Runs a command that talks to the remote, in a folder that the agent cannot have touched.
    ///
    /// # Errors
    /// A failure that says what kind of trouble it was.
    pub async fn transfer(
        &self,
        remote: &Remote<'_>,
        directory: &Path,
        words: Vec<OsString>,
        on_stderr: impl FnMut(&[u8]),
    ) -> Result<Outcome, StepError> {
        let job = self.job(
            remote.settings.clone(),
            words,
            remote.url.scheme(),
            directory.to_owned(),
        );
        let outcome =
            process::run(&job, self.context.long_deadline(), self.cancel, on_stderr).await;
        self.succeed(Operation::Transfer, outcome)
    }

    /// Runs a command that needs no remote.
    ///
    /// # Errors
    /// A failure that says what kind of trouble it was.
    pub async fn local(
        &self,
        operation: Operation,
        directory: &Path,
        words: Vec<OsString>,
        on_stderr: impl FnMut(&[u8]),
    ) -> Result<Outcome, StepError> {
        let job = self.job(plan::settings(), words, "none", directory.to_owned());
        let deadline = match operation {
            Operation::Checkout => self.context.long_deadline(),
            _ => self.context.short_deadline(),
        };
        let outcome = process::run(&job, deadline, self.cancel, on_stderr).await;
        self.succeed(operation, outcome)
    }

    /// A git child with the closed environment.
    pub fn job(
        &self,
        settings: Vec<String>,
        words: Vec<OsString>,
        protocol: &str,
        directory: PathBuf,
    ) -> Job {
        let mut environment = plan::environment(&self.paths.empty(), protocol);
        environment.push(self.context.marker());
        // A folder that is no repository is none: git must not find one that happens to lie around the store.
        environment.push(("GIT_CEILING_DIRECTORIES".into(), self.paths.base().into()));
        Job {
            program: self.context.git.clone(),
            arguments: plan::arguments(settings, words),
            environment,
            directory,
            user: None,
            input: None,
            grace: Duration::ZERO,
        }
    }

    /// Runs a prepared job under the deadline of short commands, whatever its result.
    pub async fn run(&self, job: &Job) -> Outcome {
        process::run(job, self.context.short_deadline(), self.cancel, |_| {}).await
    }

    /// The commit that a name stands for in a repository of the runtime's; `None` when there is none.
    ///
    /// # Errors
    /// A failure that says what kind of trouble it was.
    pub async fn commit(&self, repository: &Path, name: &str) -> Result<Option<String>, StepError> {
        let words = plan::rev_parse(name).map(Into::into).to_vec();
        let job = self.job(plan::settings(), words, "none", repository.to_owned());
        self.printed_commit(self.run(&job).await)
    }

    /// What [`plan::rev_parse`] printed. Anything but a commit is refused: where the agent's user runs git, others of
    /// that user can make it print what they like.
    ///
    /// # Errors
    /// A failure that says what kind of trouble it was.
    pub fn printed_commit(&self, outcome: Outcome) -> Result<Option<String>, StepError> {
        if outcome.ending == Ending::Exited(1) {
            return Ok(None);
        }
        let outcome = self.succeed(Operation::Local, outcome)?;
        let text = String::from_utf8_lossy(&outcome.stdout);
        let text = text.trim();
        let is_commit =
            matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_commit {
            Ok(Some(text.to_owned()))
        } else {
            let detail = "git named no commit".to_owned();
            Err(self.failed(FailureSubtype::WorkspaceSetupUnknown, detail))
        }
    }

    /// Turns an outcome that is not a success into a failure.
    ///
    /// # Errors
    /// That failure.
    pub fn succeed(&self, operation: Operation, outcome: Outcome) -> Result<Outcome, StepError> {
        match outcome.ending {
            Ending::Exited(0) => Ok(outcome),
            Ending::Cancelled => Err(StepError::Cancelled),
            _ => {
                let failed = FailedCommand {
                    timed_out: outcome.ending == Ending::TimedOut,
                    silent: outcome.silent,
                    low_speed: self.context.config.deadlines.low_speed,
                    printed: &[outcome.stderr.as_slice(), outcome.stdout.as_slice()].concat(),
                };
                let subtype = classify(operation, &failed);
                Err(self.failed(subtype, outcome.detail()))
            }
        }
    }

    /// A failure of preparing.
    pub fn failed(&self, subtype: FailureSubtype, detail: String) -> StepError {
        StepError::Failed(setup_failure(subtype, self.generation, detail))
    }

    /// A failure of the disk or of the workspace's own files.
    pub fn disk_failed(&self, error: &std::io::Error) -> StepError {
        tracing::error!(error = %error, "a file operation failed");
        let subtype = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                FailureSubtype::SandboxStorageFull
            }
            _ => FailureSubtype::WorkspaceSetupUnknown,
        };
        let fault = error
            .get_ref()
            .and_then(|error| error.downcast_ref::<WorkspaceFault>());
        let detail = match fault {
            Some(fault) => fault.to_string(),
            None => format!("file operation failed: {}", error.kind()),
        };
        self.failed(subtype, detail)
    }

    fn unreachable(&self, error: ResolveError) -> StepError {
        match error {
            ResolveError::Unresolved => self.failed(
                FailureSubtype::GitNetworkFailed,
                "the repository's host could not be resolved".to_owned(),
            ),
            ResolveError::Private => StepError::Failed(Failure {
                stage: FailureStage::PreDispatch,
                code: FailureCode::InvalidDeliveryRequest,
                subtype: None,
                generation: self.generation,
                detail: Some("the repository's host has an address that is not public".to_owned()),
            }),
        }
    }
}

/// A failure of preparing a workspace.
pub fn setup_failure(subtype: FailureSubtype, generation: Generation, detail: String) -> Failure {
    Failure {
        stage: FailureStage::PreDispatch,
        code: FailureCode::WorkspaceSetupFailed,
        subtype: Some(subtype),
        generation,
        detail: Some(detail),
    }
}

/// Runs a blocking file operation off the event loop.
///
/// # Errors
/// Those of the operation.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}
