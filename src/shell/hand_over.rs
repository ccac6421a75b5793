//! Handing a claimed message to the runtime: who is there, the workspace with its credential, then the turn.

use std::collections::BTreeMap;

use cloud_agent_wire::{
    Author, Credential, PutTurn, PutWorkspace, Repository, RuntimeErrorCode, Secret, StoreId,
};

use crate::session::attachment::attachments;
use crate::session::claim::Claim;
use crate::session::delivery::{
    HandOverFault, is_in_force, on_contact, on_hand_over_failed, on_turn_taken,
};
use crate::session::engine::Store;
use crate::session::error::StoreError;
use crate::session::managed::{ManagedToken, on_resolved};
use crate::session::preparation::ProfileSecrets;
use crate::session::record::{Profile, SessionRecord};
use crate::session::sealing::SecretKind;
use crate::session::view::DeliveryView;

use crate::telemetry::LogEvent;

use super::bucket::Bucket;
use super::decryption::decrypt_all;
use super::delivery::Delivery;
use super::host::Host;
use super::platform::now;
use super::runtime::{CallFault, Transport};
use super::token_service::Resolution;

/// Secrets by name.
type Settings = BTreeMap<String, Secret>;

impl<T: Transport> Delivery<T> {
    /// Hands the claim over and applies what comes of it. True when the runtime has the turn.
    ///
    /// # Errors
    /// The store's; everything the runtime does is an outcome, not an error.
    pub async fn hand_over(&self, claim: &Claim) -> Result<bool, StoreError> {
        match self.try_hand_over(claim).await? {
            Ok(()) => Ok(true),
            Err(fault) => {
                self.apply(|view, now, settings| {
                    on_hand_over_failed(view, claim, &fault, now, settings)
                })?;
                Ok(false)
            }
        }
    }

    /// The three calls. Each is followed by a fresh look at the state, since anything may have happened meanwhile.
    async fn try_hand_over(&self, claim: &Claim) -> Result<Result<(), HandOverFault>, StoreError> {
        let store_id = match self.host.store_id().await {
            Ok(store_id) => store_id,
            Err(fault) => return Ok(Err(self.fault_of("health", &fault))),
        };
        self.apply(|view, now, settings| on_contact(view, &store_id, now, settings))?;
        let profile = self.store.profile()?.unwrap_or_default();
        let (env, configuration) = match self.secrets(&profile).await? {
            Ok(secrets) => secrets,
            Err(fault) => return Ok(Err(fault)),
        };
        let Some(view) = self.in_force(claim)? else {
            return Ok(Err(HandOverFault::Overtaken));
        };
        let (view, credential) = match self.credential_for(claim, view).await? {
            Ok(ready) => ready,
            Err(fault) => return Ok(Err(fault)),
        };
        let workspace = PutWorkspace {
            env,
            configuration,
            ..workspace(&view, profile, credential)
        };
        let session_id = &view.record.session_id;
        let taken = self
            .host
            .put_workspace(session_id, &store_id, &workspace)
            .await;
        if let Err(fault) = taken {
            return Ok(Err(self.fault_of("put_workspace", &fault)));
        }
        if let Err(fault) = self.bring_files(claim, &view, &store_id).await {
            return Ok(Err(fault));
        }
        if self.in_force(claim)?.is_none() {
            return Ok(Err(HandOverFault::Overtaken));
        }
        let turn = PutTurn {
            submission: claim.submission,
            generation: workspace.generation,
            intent: claim.intent.clone(),
        };
        match self
            .host
            .put_turn(session_id, &store_id, &turn, &workspace)
            .await
        {
            Ok(reply) => {
                let taken = (&store_id, workspace.generation);
                self.apply(|view, now, settings| {
                    on_turn_taken(view, claim, taken, reply, now, settings)
                })?;
                Ok(Ok(()))
            }
            Err(fault) => Ok(Err(match self.fault_of("put_turn", &fault) {
                HandOverFault::Unreachable => HandOverFault::Unanswered,
                fault => fault,
            })),
        }
    }

    /// The state, if the claim is still in force.
    fn in_force(&self, claim: &Claim) -> Result<Option<DeliveryView>, StoreError> {
        Ok(self
            .store
            .delivery_view(now())?
            .filter(|view| is_in_force(view, claim)))
    }

    /// The credential that is current now, and who commits with it. That of a managed repository is resolved for this
    /// hand-over, and the state looked at again afterwards.
    async fn credential_for(
        &self,
        claim: &Claim,
        view: DeliveryView,
    ) -> Result<
        Result<(DeliveryView, (Option<Credential>, Option<Author>)), HandOverFault>,
        StoreError,
    > {
        if view.record.repository.uses_session_credential() {
            let credential = self.credential(&view);
            return Ok(credential.map(|credential| (view, (credential, None))));
        }
        let token = match self.resolve(&view).await {
            Ok(token) => token,
            Err(fault) => return Ok(Err(fault)),
        };
        if self.in_force(claim)?.is_none() {
            return Ok(Err(HandOverFault::Overtaken));
        }
        let fingerprint = self.config.sealing_keys.fingerprint(&token.token);
        self.apply(|view, now, settings| on_resolved(view, &fingerprint, now, settings))?;
        let Some(view) = self.in_force(claim)? else {
            return Ok(Err(HandOverFault::Overtaken));
        };
        let credential = managed_credential(&view, token.token);
        Ok(Ok((view, (Some(credential), token.author))))
    }

    /// Resolves the token of a managed repository, as far as there is time for it.
    ///
    /// # Errors
    /// Why there is none, or none yet.
    pub async fn resolve(&self, view: &DeliveryView) -> Result<ManagedToken, HandOverFault> {
        let hosts = &self.config.allowed_hosts;
        match self.tokens.resolve(&self.env, &view.record, hosts).await {
            Resolution::Done(Ok(token)) => Ok(token),
            Resolution::Done(Err(fault)) => {
                let reason = format!("{fault:?}");
                self.store
                    .log(&LogEvent::ManagedCredentialMissing { reason });
                Err(HandOverFault::NoManagedToken(fault))
            }
            Resolution::Pending => Err(HandOverFault::NotYet),
        }
    }

    /// The current credential, opened; `Ok(None)` when the session has none.
    pub fn credential(&self, view: &DeliveryView) -> Result<Option<Credential>, HandOverFault> {
        let Some(stored) = &view.credential else {
            return Ok(None);
        };
        let token = self
            .open(&view.record, SecretKind::GitToken, &stored.sealed)
            .ok_or(HandOverFault::Unreadable)?;
        Ok(Some(Credential {
            username: view.record.repository.username().to_owned(),
            token,
        }))
    }

    /// The agent's environment and what only it understands, opened and decrypted.
    async fn secrets(
        &self,
        profile: &Profile,
    ) -> Result<Result<(Settings, Settings), HandOverFault>, StoreError> {
        let Some((record, sealed)) = self.store.profile_secrets()? else {
            return Ok(Err(HandOverFault::Overtaken));
        };
        let secrets = self
            .open(&record, SecretKind::Profile, &sealed)
            .and_then(|text| ProfileSecrets::from_sealable(&text));
        let Some((secrets, encrypted)) =
            secrets.and_then(|secrets| secrets.encrypted().map(|encrypted| (secrets, encrypted)))
        else {
            return Ok(Err(HandOverFault::Unreadable));
        };
        let key = self.config.env_private_key.as_ref();
        Ok(decrypt_all(key, &encrypted)
            .await
            .map_err(HandOverFault::NotDecrypted)
            .map(|decrypted| {
                let environment = secrets.environment(decrypted);
                (environment, secrets.configuration(profile))
            }))
    }

    /// Has a sandbox's client know the secrets that the sandbox was given before this object was constructed. False when
    /// they cannot be told: nothing that the agent prints can be shown then. A credential of a managed repository is
    /// told by the sandbox itself.
    ///
    /// # Errors
    /// The store's.
    pub async fn recall_secrets(&self) -> Result<bool, StoreError> {
        let Host::Sandbox(sandbox) = &self.host else {
            return Ok(true);
        };
        if !sandbox.given.are_unknown() {
            return Ok(true);
        }
        let profile = self.store.profile()?.unwrap_or_default();
        let (Ok((env, configuration)), Some(view)) = (
            self.secrets(&profile).await?,
            self.store.delivery_view(now())?,
        ) else {
            return Ok(false);
        };
        let Ok(credential) = self.credential(&view) else {
            return Ok(false);
        };
        sandbox
            .given
            .learn(credential.as_ref(), &env, &configuration);
        Ok(true)
    }

    /// Brings the files of a message to the runtime, one after the other and each as a stream.
    async fn bring_files(
        &self,
        claim: &Claim,
        view: &DeliveryView,
        store_id: &StoreId,
    ) -> Result<(), HandOverFault> {
        let Some(attachments) = attachments(&claim.intent) else {
            return Ok(());
        };
        let away = |reason: &str| {
            self.store.log(&LogEvent::Fault {
                place: "attachments",
                reason: reason.to_owned(),
            });
            HandOverFault::Unreachable
        };
        let bucket = Bucket::of(&self.env).ok_or_else(|| away("ATTACHMENTS is not bound"))?;
        let SessionRecord {
            session_id,
            user_id,
            ..
        } = &view.record;
        for name in &attachments.files {
            let file = bucket
                .open(user_id, &attachments.path, name)
                .await
                .map_err(|_| away("the bucket could not be read"))?
                .map_err(HandOverFault::NoFile)?;
            self.host
                .put_attachment(session_id, name, store_id, file.body())
                .await
                .map_err(|fault| self.fault_of("put_attachment", &fault))?;
        }
        Ok(())
    }

    /// What a failed call means for the delivery.
    fn fault_of(&self, call: &'static str, fault: &CallFault) -> HandOverFault {
        use RuntimeErrorCode::{
            Gone, InvalidRequest, NotReady, PayloadTooLarge, StaleGeneration, StoreChanged,
        };
        self.log_fault(call, fault);
        match fault {
            CallFault::Refused(StoreChanged | StaleGeneration) => HandOverFault::Outdated,
            CallFault::Refused(InvalidRequest | Gone | PayloadTooLarge) => HandOverFault::Refused,
            CallFault::Refused(NotReady) => HandOverFault::NotYet,
            CallFault::Refused(_) | CallFault::Status(_) | CallFault::Unreachable => {
                HandOverFault::Unreachable
            }
        }
    }
}

/// What the runtime needs to prepare the workspace, apart from what comes of the session's sealed profile.
fn workspace(
    view: &DeliveryView,
    profile: Profile,
    (credential, author): (Option<Credential>, Option<Author>),
) -> PutWorkspace {
    let record = &view.record;
    PutWorkspace {
        repository: Repository {
            url: record.repository.clone_url(),
            author,
        },
        branch: record.branch(),
        shallow: record.shallow,
        setup_commands: profile.setup_commands,
        env: BTreeMap::new(),
        configuration: BTreeMap::new(),
        generation: view.generation(),
        credential,
    }
}

/// A resolved token as the remote expects it.
pub fn managed_credential(view: &DeliveryView, token: Secret) -> Credential {
    Credential {
        username: view.record.repository.username().to_owned(),
        token,
    }
}
