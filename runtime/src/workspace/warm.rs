//! Gives a complete workspace the credential of today.

use cloud_agent_wire::{PrepareStep, Secret};

use super::credential::{install, prove};
use super::prepare::{Preparation, Ready};
use super::spec::Spec;
use crate::git::run::{Git, StepError};
use crate::store::files::Durability;
use crate::store::records::{self, WorkspaceRecord};

/// Proves a new credential against the remote and puts it into force. Nothing else of the workspace changes: no
/// fetch, no switch of branches, no setup commands.
///
/// # Errors
/// A typed failure. A credential that was refused changes nothing.
pub async fn prepare(
    preparation: &Preparation<'_>,
    record: WorkspaceRecord,
) -> Result<Ready, StepError> {
    let Preparation {
        context,
        spec,
        reporter,
        ..
    } = *preparation;
    let git = preparation.git();
    if record.generation != spec.generation || record.machine_boot != context.machine_boot {
        reporter.step(PrepareStep::ProveCredential);
        prove(&git, &spec.url, spec.credential.as_ref()).await?;
    }
    reporter.step(PrepareStep::RewriteOrigin);
    put_into_force(&git, spec, preparation.old_tokens, Some(record))?;
    Ok(Ready {
        generation: spec.generation,
        cold: false,
    })
}

/// Puts a proved credential into force in a complete workspace, and writes its generation down. Blocks.
///
/// # Errors
/// A typed failure.
pub fn put_into_force(
    git: &Git<'_>,
    spec: &Spec,
    old_tokens: &[Secret],
    record: Option<WorkspaceRecord>,
) -> Result<(), StepError> {
    install(git, spec, None, old_tokens)?;
    let Some(record) = record else {
        return Ok(());
    };
    let record = WorkspaceRecord {
        generation: spec.generation,
        machine_boot: git.context.machine_boot.clone(),
        ..record
    };
    records::write(&git.paths.workspace_record(), &record, Durability::Content)
        .map_err(|error| git.disk_failed(&error))
}
