//! Gives a complete workspace the credential of today.

use cloud_agent_wire::PrepareStep;

use super::credential::{install, prove};
use super::prepare::{Preparation, Ready};
use crate::git::run::StepError;
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
        paths,
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
    let put = || {
        install(
            context,
            paths,
            &spec.url,
            spec.credential.as_ref(),
            None,
            preparation.old_tokens,
        )?;
        let record = WorkspaceRecord {
            generation: spec.generation,
            machine_boot: context.machine_boot.clone(),
            ..record
        };
        records::write(&paths.workspace_record(), &record, Durability::Content)
    };
    tokio::task::block_in_place(put).map_err(|error| git.disk_failed(&error))?;
    Ok(Ready {
        generation: spec.generation,
        cold: false,
    })
}
