//! Makes a workspace ready for a credential generation, cold or warm.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use cloud_agent_wire::{Failure, FailureSubtype, Generation, PrepareStep, RuntimeEvent, Secret};
use tokio_util::sync::CancellationToken;

use super::spec::Spec;
use super::{cold, warm};
use crate::context::Context;
use crate::git::progress::ProgressParser;
use crate::git::run::{Git, StepError, blocking, setup_failure};
use crate::journal::Journal;
use crate::limits::PROGRESS_INTERVAL;
use crate::store::files::{self, lock};
use crate::store::paths::SessionPaths;
use crate::store::records::{self, WorkspaceRecord};

/// A workspace that is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The credential generation that it has.
    pub generation: Generation,
    /// Whether it was made just now.
    pub cold: bool,
}

/// Everything that preparing needs.
#[derive(Clone, Copy)]
pub struct Preparation<'a> {
    /// The process's context.
    pub context: &'a Context,
    /// The session's files.
    pub paths: &'a SessionPaths,
    /// What to prepare.
    pub spec: &'a Spec,
    /// Where progress is told.
    pub reporter: &'a Reporter<'a>,
    /// Stops it.
    pub cancel: &'a CancellationToken,
    /// Tokens that the workspace may hold and that must go.
    pub old_tokens: &'a [Secret],
}

impl<'a> Preparation<'a> {
    /// Runs git for this preparation.
    pub fn git(&self) -> Git<'a> {
        Git {
            context: self.context,
            paths: self.paths,
            cancel: self.cancel,
            generation: self.spec.generation,
        }
    }
}

/// Prepares the workspace: a complete one gets the credential, anything less is made anew.
///
/// # Errors
/// A typed failure; a fresh workspace is then gone again, a warm one stays as it was.
pub async fn prepare(preparation: &Preparation<'_>) -> Result<Ready, StepError> {
    let git = preparation.git();
    let record = record(preparation).await?;
    let is_warm = record.is_some();
    let result = within_deadline(preparation, record).await;
    if result.is_err() {
        let paths = preparation.paths.clone();
        blocking(move || {
            if !is_warm {
                cold::remove(&paths)?;
            }
            files::remove_file(&paths.candidate_credential())
        })
        .await
        .map_err(|error| git.disk_failed(&error))?;
    }
    result
}

/// At the deadline the work is told to stop, as by an interrupt, and ends what it has started.
async fn within_deadline(
    preparation: &Preparation<'_>,
    record: Option<WorkspaceRecord>,
) -> Result<Ready, StepError> {
    let limit = preparation.context.config.deadlines.preparation;
    let cancel = preparation.cancel.child_token();
    let limited = Preparation {
        cancel: &cancel,
        ..*preparation
    };
    let mut work = std::pin::pin!(async {
        match record {
            Some(record) => warm::prepare(&limited, record).await,
            None => cold::prepare(&limited).await,
        }
    });
    if let Ok(result) = tokio::time::timeout(limit, &mut work).await {
        return result;
    }
    let overdue = overdue(preparation);
    cancel.cancel();
    match work.await {
        Err(StepError::Cancelled) if !preparation.cancel.is_cancelled() => {
            Err(StepError::Failed(overdue))
        }
        result => result,
    }
}

/// The record of a complete workspace. Without it, or without the repository, the workspace is cold.
async fn record(preparation: &Preparation<'_>) -> Result<Option<WorkspaceRecord>, StepError> {
    let git = preparation.git();
    let (paths, repo) = (preparation.paths.clone(), preparation.paths.repo());
    let record: Option<WorkspaceRecord> = blocking(move || {
        let record = records::read_workspace(&paths)?;
        Ok(record.filter(|_| is_folder(&repo) && is_there(&repo.join(".git"))))
    })
    .await
    .map_err(|error| git.disk_failed(&error))?;
    match record {
        Some(record) if record.url != preparation.spec.url.as_str() => Err(git.failed(
            FailureSubtype::WorkspaceSetupUnknown,
            "the workspace is one of another repository".to_owned(),
        )),
        record => Ok(record),
    }
}

fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn overdue(preparation: &Preparation<'_>) -> Failure {
    let subtype = match *lock(&preparation.reporter.current) {
        PrepareStep::Checkout => FailureSubtype::GitCheckoutTimeout,
        PrepareStep::Setup => FailureSubtype::SetupCommandTimeout,
        PrepareStep::ProveCredential
        | PrepareStep::Clone
        | PrepareStep::Fetch
        | PrepareStep::RewriteOrigin => FailureSubtype::GitCloneTimeout,
    };
    let seconds = preparation
        .context
        .config
        .deadlines
        .preparation
        .as_secs_f64();
    let detail = format!("the whole preparation took more than {seconds:.1} s");
    setup_failure(subtype, preparation.spec.generation, detail)
}

/// Tells the journal how preparing goes.
pub struct Reporter<'a> {
    journal: &'a Journal,
    current: Mutex<PrepareStep>,
}

impl<'a> Reporter<'a> {
    /// Tells this journal.
    pub fn new(journal: &'a Journal) -> Self {
        Self {
            journal,
            current: Mutex::new(PrepareStep::ProveCredential),
        }
    }

    /// A step begins.
    pub fn step(&self, step: PrepareStep) {
        *lock(&self.current) = step;
        self.tell(step, None);
    }

    /// Watches what git prints during a step.
    pub fn progress(&self, step: PrepareStep) -> Progress<'_> {
        Progress {
            reporter: self,
            step,
            parser: ProgressParser::default(),
            told: None,
        }
    }

    fn tell(&self, step: PrepareStep, percent: Option<u8>) {
        self.journal
            .append_if_room(RuntimeEvent::Preparing { step, percent });
    }
}

/// The progress of one step.
pub struct Progress<'a> {
    reporter: &'a Reporter<'a>,
    step: PrepareStep,
    parser: ProgressParser,
    told: Option<(Instant, u8)>,
}

impl Progress<'_> {
    /// Takes a piece of git's standard error. Only a new percentage is told, and not too often, except the last.
    pub fn feed(&mut self, piece: &[u8]) {
        let Some(percent) = self.parser.feed(piece) else {
            return;
        };
        let is_due = self.told.is_none_or(|(at, told)| {
            percent != told && (percent == 100 || at.elapsed() >= PROGRESS_INTERVAL)
        });
        if is_due {
            self.told = Some((Instant::now(), percent));
            self.reporter.tell(self.step, Some(percent));
        }
    }
}
