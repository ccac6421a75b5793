//! Preparation: making a session. No workspace is touched and no credential is tried; the first delivery does that.

use std::collections::BTreeMap;

use cloud_agent_wire::secret::expose_map_in_body;
use cloud_agent_wire::{Generation, Secret, Timestamp};
use serde::{Deserialize, Serialize};

use crate::telemetry::LogEvent;

use super::command::{Arrival, Ingredients};
use super::credential::{CredentialRecord, Pointer};
use super::deadline::{DeadlineKind, Deadlines};
use super::encrypted_secret::EncryptedSecret;
use super::error::CommandError;
use super::record::{CallbackTargetId, InitialMessage, Profile, RepositoryRecord, SessionRecord};
use super::retention;
use super::sealing::{Sealed, SecretKind};
use super::step::{Decision, Draft, Write};

/// Makes a session.
#[derive(Debug, Clone)]
pub struct PrepareSession {
    /// What the session knows about itself.
    pub record: SessionRecord,
    /// What deliveries need.
    pub profile: Profile,
    /// Secrets that deliveries need.
    pub secrets: ProfileSecrets,
    /// Where messages are reported to: JSON text of a URL and headers.
    pub callback: Option<Secret>,
    /// The first message.
    pub initial: InitialMessage,
    /// The first credential of a generic git repository, well-formed.
    pub git_token: Option<Secret>,
    /// When the request came.
    pub arrival: Arrival,
}

/// The secrets that come with preparation, apart from the git token. Stored sealed as one value.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ProfileSecrets {
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// Other settings that may hold keys and headers, each as JSON text under the name that clients give it.
    #[serde(default)]
    pub settings: BTreeMap<String, Secret>,
}

/// The name of the setting with the encrypted secrets.
pub const ENCRYPTED_SECRETS: &str = "encryptedSecrets";
/// The name of the setting with the token that the agent reaches its model with; a text, not JSON.
pub const KILOCODE_TOKEN: &str = "kilocodeToken";
/// The settings that are the agent's business alone, and reach it as they came.
const AGENT_SETTINGS: [&str; 6] = [
    "mcpServers",
    "runtimeSkills",
    "runtimeAgents",
    "kiloCommands",
    "gateThreshold",
    "profileId",
];
/// The variable with the [`KILOCODE_TOKEN`]; the session's own variables cannot replace it.
const KILOCODE_TOKEN_VARIABLE: &str = "KILOCODE_TOKEN";

impl ProfileSecrets {
    /// The secrets as one text that can be sealed, and nothing else done with.
    ///
    /// # Errors
    /// [`CommandError::Internal`] when they cannot be written as JSON, which does not happen.
    pub fn to_sealable(&self) -> Result<Secret, CommandError> {
        #[derive(Serialize)]
        struct Exposed<'a> {
            #[serde(serialize_with = "expose_map_in_body")]
            env: &'a BTreeMap<String, Secret>,
            #[serde(serialize_with = "expose_map_in_body")]
            settings: &'a BTreeMap<String, Secret>,
        }
        serde_json::to_string(&Exposed {
            env: &self.env,
            settings: &self.settings,
        })
        .map(Secret::new)
        .map_err(|_| CommandError::Internal("The session's secrets could not be stored"))
    }

    /// The encrypted secrets by name; `None` when they cannot be read.
    #[must_use]
    pub fn encrypted(&self) -> Option<BTreeMap<String, EncryptedSecret>> {
        match self.settings.get(ENCRYPTED_SECRETS) {
            None => Some(BTreeMap::new()),
            Some(text) => serde_json::from_str(text.expose()).ok(),
        }
    }

    /// The environment of the agent: the variables, then the decrypted secrets, then what is reserved. The runtime adds
    /// the rest of what is reserved.
    #[must_use]
    pub fn environment(&self, decrypted: BTreeMap<String, Secret>) -> BTreeMap<String, Secret> {
        let mut environment = self.env.clone();
        environment.extend(decrypted);
        if let Some(token) = self.settings.get(KILOCODE_TOKEN) {
            environment.insert(KILOCODE_TOKEN_VARIABLE.to_owned(), token.clone());
        }
        environment
    }

    /// What only the agent understands, each as JSON text.
    #[must_use]
    pub fn configuration(&self, profile: &Profile) -> BTreeMap<String, Secret> {
        let mut configuration: BTreeMap<_, _> = AGENT_SETTINGS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.settings.get(*name)?.clone())))
            .collect();
        let prompt = profile
            .append_system_prompt
            .as_ref()
            .and_then(|prompt| serde_json::to_string(prompt).ok());
        if let Some(prompt) = prompt {
            configuration.insert("appendSystemPrompt".to_owned(), Secret::new(prompt));
        }
        configuration
    }

    /// Reads what [`Self::to_sealable`] wrote.
    #[must_use]
    pub fn from_sealable(text: &Secret) -> Option<Self> {
        serde_json::from_str(text.expose()).ok()
    }
}

/// Decides on preparation: one step that makes the session with its sealed secrets and its first credential.
///
/// The ingredients are three: for the credential, for the other secrets and for the callback's target.
///
/// # Errors
/// A secret cannot be sealed.
pub fn prepare(
    command: PrepareSession,
    now: Timestamp,
    [
        credential_ingredients,
        secrets_ingredients,
        callback_ingredients,
    ]: [&Ingredients<'_>; 3],
) -> Result<Decision<()>, CommandError> {
    let PrepareSession {
        record,
        profile,
        secrets,
        callback,
        initial,
        git_token,
        arrival,
    } = command;
    let record = SessionRecord {
        callback: callback.as_ref().map(|_| CallbackTargetId(record.version)),
        ..record
    };
    let cannot_seal = |_| CommandError::Internal("The session's secrets could not be stored");
    let mut draft = Draft::new(Deadlines::default());
    let context = record.sealing_context();
    let sealed = secrets_ingredients
        .ring
        .seal(
            SecretKind::Profile,
            context,
            &secrets.to_sealable()?,
            &secrets_ingredients.nonce,
        )
        .map_err(cannot_seal)?;
    draft.log(LogEvent::SessionPrepared {
        repository: kind(&record.repository),
    });
    let token = git_token.filter(|_| record.repository.uses_session_credential());
    let credential = match token {
        None => None,
        Some(token) => {
            let ring = credential_ingredients.ring;
            let nonce = &credential_ingredients.nonce;
            Some(CredentialRecord {
                generation: Generation::default().next(),
                updated_at: now,
                sealed: ring
                    .seal(SecretKind::GitToken, context, &token, nonce)
                    .map_err(cannot_seal)?,
                fingerprint: ring.fingerprint(&token),
                pointer: Pointer {
                    message_id: None,
                    stamp: arrival.stamp(now),
                },
                skips: 0,
            })
        }
    };
    let target = match (record.callback, &callback) {
        (Some(id), Some(target)) => Some((id, seal_target(&record, target, callback_ingredients)?)),
        _ => None,
    };
    let first_look = retention::first_look(record.created_at);
    draft
        .deadlines
        .set(DeadlineKind::Retention, Some(first_look));
    draft.write(Write::CreateSession {
        record: Box::new(record),
        profile,
        initial,
    });
    draft.write(Write::PutSecret(SecretKind::Profile, sealed));
    if let Some(credential) = credential {
        draft.log(LogEvent::CredentialRotated {
            message_id: None,
            generation: credential.generation,
            changed: true,
            fingerprint: credential.fingerprint.clone(),
        });
        draft.write(Write::PutCredential(credential));
    }
    if let Some((id, target)) = target {
        draft.write(Write::PutCallbackTarget(id, target));
    }
    Ok(draft.finish(()))
}

/// Decides on another callback. Messages that were admitted before keep theirs.
///
/// # Errors
/// The target cannot be sealed.
pub fn replace_callback(
    record: &SessionRecord,
    target: Option<&Secret>,
    deadlines: Deadlines,
    ingredients: &Ingredients<'_>,
) -> Result<Decision<()>, CommandError> {
    let version = record.version + 1;
    let id = target.map(|_| CallbackTargetId(version));
    let mut draft = Draft::new(deadlines);
    if let (Some(id), Some(target)) = (id, target) {
        let sealed = seal_target(record, target, ingredients)?;
        draft.write(Write::PutCallbackTarget(id, sealed));
    }
    let record = SessionRecord {
        version,
        callback: id,
        ..record.clone()
    };
    draft.write(Write::PutRecord(Box::new(record)));
    draft.write(Write::ForgetCallbackTargets { except: id });
    Ok(draft.finish(()))
}

fn seal_target(
    record: &SessionRecord,
    target: &Secret,
    ingredients: &Ingredients<'_>,
) -> Result<Sealed, CommandError> {
    let context = record.sealing_context();
    ingredients
        .ring
        .seal(
            SecretKind::CallbackTarget,
            context,
            target,
            &ingredients.nonce,
        )
        .map_err(|_| CommandError::Internal("The callback could not be stored"))
}

const fn kind(repository: &RepositoryRecord) -> &'static str {
    match repository {
        RepositoryRecord::Github { .. } => "github",
        RepositoryRecord::Gitlab { .. } => "gitlab",
        RepositoryRecord::Git { .. } => "git",
    }
}
