//! Handing a claimed message to the runtime: who is there, the workspace with its credential, then the turn.

use std::collections::BTreeMap;

use cloud_agent_wire::{
    Credential, Health, PutTurn, PutWorkspace, Repository, RuntimeErrorCode, Secret,
};

use crate::config::Config;
use crate::session::claim::{Claim, DeliveryView};
use crate::session::delivery::{HandOverFault, on_contact, on_hand_over_failed, on_turn_taken};
use crate::session::engine::{self, Store};
use crate::session::error::StoreError;
use crate::session::preparation::ProfileSecrets;
use crate::session::record::RepositoryRecord;
use crate::session::sealing::SecretKind;
use crate::telemetry::LogEvent;

use super::platform::now;
use super::runtime::{CallFault, RuntimeClient, Transport};
use super::store::SqlStore;

/// Hands the claim over and applies what comes of it. True when the runtime has the turn.
///
/// # Errors
/// The store's; everything the runtime does is an outcome, not an error.
pub async fn hand_over<T: Transport>(
    store: &SqlStore,
    runtime: &RuntimeClient<T>,
    config: &Config,
    claim: &Claim,
) -> Result<bool, StoreError> {
    match try_hand_over(store, runtime, config, claim).await? {
        Ok(()) => Ok(true),
        Err(fault) => {
            engine::apply(store, now(), |view| {
                on_hand_over_failed(view, claim, &fault, now())
            })?;
            Ok(false)
        }
    }
}

/// The three calls. Each is followed by a fresh look at the state, since anything may have happened meanwhile.
async fn try_hand_over<T: Transport>(
    store: &SqlStore,
    runtime: &RuntimeClient<T>,
    config: &Config,
    claim: &Claim,
) -> Result<Result<(), HandOverFault>, StoreError> {
    let Health { store_id, .. } = match runtime.health().await {
        Ok(health) => health,
        Err(fault) => return Ok(Err(fault_of(store, "health", &fault))),
    };
    engine::apply(store, now(), |view| on_contact(view, &store_id, now()))?;
    let Some(view) = store.delivery_view(now())? else {
        return Ok(Err(HandOverFault::Refused));
    };
    let workspace = match workspace(store, config, &view)? {
        Ok(workspace) => workspace,
        Err(fault) => return Ok(Err(fault)),
    };
    let session_id = &view.record.session_id;
    if let Err(fault) = runtime
        .put_workspace(session_id, &store_id, &workspace)
        .await
    {
        return Ok(Err(fault_of(store, "put_workspace", &fault)));
    }
    let turn = PutTurn {
        submission: claim.submission,
        generation: workspace.generation,
        intent: claim.intent.clone(),
    };
    let message_id = claim.intent.message_id();
    let reply = match runtime
        .put_turn(session_id, message_id, &store_id, &turn)
        .await
    {
        Ok(reply) => reply,
        Err(fault) => return Ok(Err(fault_of(store, "put_turn", &fault))),
    };
    engine::apply(store, now(), |view| {
        on_turn_taken(view, claim, &store_id, reply, now())
    })?;
    Ok(Ok(()))
}

/// What the runtime needs to prepare the workspace, with the credential that is current now.
fn workspace(
    store: &SqlStore,
    config: &Config,
    view: &DeliveryView,
) -> Result<Result<PutWorkspace, HandOverFault>, StoreError> {
    let record = &view.record;
    let open = |kind, sealed| match config
        .sealing_keys
        .open(kind, record.sealing_context(), sealed)
    {
        Ok(secret) => Ok(secret),
        Err(error) => {
            store.log(&LogEvent::Fault {
                place: "open_secret",
                reason: error.to_string(),
            });
            Err(HandOverFault::Unreadable)
        }
    };
    let credential = match (&record.repository, &view.credential) {
        (RepositoryRecord::Git { .. }, Some(credential)) => {
            match open(SecretKind::GitToken, &credential.sealed) {
                Ok(token) => Some(token),
                Err(fault) => return Ok(Err(fault)),
            }
        }
        (RepositoryRecord::Git { .. }, None) => None,
        // Their tokens come from a credential service that is not bound.
        (RepositoryRecord::Github { .. } | RepositoryRecord::Gitlab { .. }, _) => {
            return Ok(Err(HandOverFault::NoCredentialService));
        }
    };
    let env = match store.profile_secrets()? {
        None => BTreeMap::new(),
        Some((_, sealed)) => match open(SecretKind::Profile, &sealed) {
            Ok(text) => match ProfileSecrets::from_sealable(&text) {
                Some(secrets) => secrets.env,
                None => return Ok(Err(HandOverFault::Unreadable)),
            },
            Err(fault) => return Ok(Err(fault)),
        },
    };
    let profile = store.profile()?.unwrap_or_default();
    Ok(Ok(PutWorkspace {
        repository: Repository {
            url: record.repository.clone_url(),
            author: None,
        },
        branch: record.branch(),
        shallow: record.shallow,
        setup_commands: profile.setup_commands,
        env,
        generation: view.generation(),
        credential: credential.map(|token: Secret| Credential {
            username: record.repository.username().to_owned(),
            token,
        }),
    }))
}

/// What a failed call means for the delivery.
fn fault_of(store: &SqlStore, call: &'static str, fault: &CallFault) -> HandOverFault {
    store.log(&LogEvent::RuntimeCallFailed {
        call,
        reason: fault.reason(),
    });
    match fault {
        CallFault::Refused(RuntimeErrorCode::StoreChanged | RuntimeErrorCode::StaleGeneration) => {
            HandOverFault::Outdated
        }
        CallFault::Refused(
            RuntimeErrorCode::InvalidRequest
            | RuntimeErrorCode::Gone
            | RuntimeErrorCode::PayloadTooLarge,
        ) => HandOverFault::Refused,
        CallFault::Refused(_) | CallFault::Status(_) | CallFault::Unreachable => {
            HandOverFault::Unreachable
        }
    }
}
