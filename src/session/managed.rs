//! Managed repositories: their tokens come from a service, afresh for every delivery, and are never stored.
//!
//! The runtime tells credentials apart by generations that only rise. A session of a managed repository counts them
//! here: the generation rises when the service gives another token than the last one that was handed over, which is
//! recognised by its fingerprint, and when the remote has refused the last one. So one generation never stands for two
//! tokens, and the same token twice costs the runtime nothing.

use cloud_agent_wire::{
    AllowedHosts, Author, Failure, FailureCode, FailureSubtype, Generation, Secret, Timestamp,
};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::telemetry::LogEvent;

use super::command::Settings;
use super::credential::check_git_token;
use super::deadline::DeadlineKind;
use super::message::MessageRecord;
use super::progress::{Progress, pre_dispatch};
use super::record::{RepositoryRecord, SessionRecord};
use super::step::Decision;
use super::timing::MANAGED_RETRY_MILLIS;
use super::view::DeliveryView;

/// What a session remembers of the tokens that were resolved for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedCredential {
    /// Rises with every other token.
    pub generation: Generation,
    /// The fingerprint of the last token.
    pub fingerprint: String,
    /// The newest generation that the remote refused while a turn ran.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<Generation>,
}

impl ManagedCredential {
    /// Whether the remote has refused the last token.
    fn is_refused(&self) -> bool {
        self.refused
            .is_some_and(|refused| refused >= self.generation)
    }
}

/// Places on which sessions may use a user's own GitHub authorization instead of the app's installation.
const USER_AUTHORIZATION_PLATFORMS: [&str; 2] = ["cloud-agent-web", "slack"];

/// What the service is asked. The names are those of its methods' parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    github_repo: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository_url: Option<&'a str>,
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    org_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_on_platform: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_user_authorization: Option<bool>,
}

/// What to ask the service for, and with what; `None` for a repository whose credential is the session's own.
#[must_use]
pub fn token_request(record: &SessionRecord) -> Option<(Provider, TokenRequest<'_>)> {
    let platform = record.created_on_platform.as_deref();
    let request = TokenRequest {
        github_repo: None,
        repository_url: None,
        user_id: record.user_id.as_str(),
        org_id: record.organization_id.as_deref(),
        created_on_platform: None,
        allow_user_authorization: None,
    };
    match &record.repository {
        RepositoryRecord::Github { repo } => Some((
            Provider::Github,
            TokenRequest {
                github_repo: Some(repo),
                allow_user_authorization: Some(
                    platform.is_some_and(|name| USER_AUTHORIZATION_PLATFORMS.contains(&name)),
                ),
                ..request
            },
        )),
        RepositoryRecord::Gitlab { url } => Some((
            Provider::Gitlab,
            TokenRequest {
                repository_url: Some(url),
                created_on_platform: platform,
                ..request
            },
        )),
        RepositoryRecord::Git { .. } => None,
    }
}

/// Whose token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// GitHub.
    Github,
    /// A GitLab instance.
    Gitlab,
}

/// What the service answers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenReply {
    success: bool,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default, alias = "githubToken")]
    token: Option<Secret>,
    #[serde(default)]
    instance_url: Option<String>,
    #[serde(default)]
    git_author: Option<Author>,
}

/// A token for one delivery, and who commits with it.
#[derive(Debug, Clone)]
pub struct ManagedToken {
    /// The token.
    pub token: Secret,
    /// Who commits; the runtime's default when absent.
    pub author: Option<Author>,
}

/// Why there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagedFault {
    /// `GIT_TOKEN_SERVICE` is not bound.
    NotConfigured,
    /// The service did not answer, or not sensibly.
    Unavailable,
    /// The GitHub app is not installed where the repository is.
    NotInstalled,
    /// The user has connected no GitLab account.
    NotConnected,
    /// The token belongs to another GitLab instance than the repository.
    OtherInstance,
    /// The service will never give a token for this request.
    Refused,
}

/// Reads the service's answer; `reply` is `None` when it gave none.
///
/// A token of one GitLab instance is not for another: the repository's URL is the client's own word. Hosts of a
/// development set-up may stand in for any instance.
///
/// # Errors
/// Why there is no token.
pub fn read_reply(
    record: &SessionRecord,
    reply: Option<TokenReply>,
    development_hosts: &AllowedHosts,
) -> Result<ManagedToken, ManagedFault> {
    let reply = reply.ok_or(ManagedFault::Unavailable)?;
    if !reply.success {
        return Err(match reply.reason.as_deref() {
            Some("no_installation_found" | "repository_not_installed") => {
                ManagedFault::NotInstalled
            }
            Some("no_integration_found" | "no_token") => ManagedFault::NotConnected,
            Some(
                "rpc_error"
                | "service_not_configured"
                | "temporarily_unavailable"
                | "database_not_configured",
            ) => ManagedFault::Unavailable,
            _ => ManagedFault::Refused,
        });
    }
    let token = match reply.token.filter(|token| !token.is_empty()) {
        Some(token) => token,
        None if matches!(record.repository, RepositoryRecord::Gitlab { .. }) => {
            return Err(ManagedFault::NotConnected);
        }
        None => return Err(ManagedFault::Unavailable),
    };
    check_git_token(&token).map_err(|_| ManagedFault::Unavailable)?;
    if let (RepositoryRecord::Gitlab { url }, Some(instance)) =
        (&record.repository, &reply.instance_url)
        && !belongs_to(url, instance, development_hosts)
    {
        return Err(ManagedFault::OtherInstance);
    }
    Ok(ManagedToken {
        token,
        author: reply.git_author,
    })
}

/// Whether a repository is on that instance: scheme, host and port are the same.
fn belongs_to(repository: &str, instance: &str, development_hosts: &AllowedHosts) -> bool {
    let (Ok(repository), Ok(instance)) = (Url::parse(repository), Url::parse(instance)) else {
        return false;
    };
    let stands_in = repository
        .host_str()
        .zip(repository.port_or_known_default())
        .is_some_and(|(host, port)| development_hosts.contains(host, port));
    stands_in || repository.origin() == instance.origin()
}

impl ManagedFault {
    /// The failure of the delivery. For GitLab every one is final; for GitHub the retry table decides, except where
    /// the app is not installed: asking again does not install it.
    #[must_use]
    pub fn failure(self, repository: &RepositoryRecord, generation: Generation) -> Failure {
        let is_gitlab = matches!(repository, RepositoryRecord::Gitlab { .. });
        let (code, subtype) = match self {
            Self::NotInstalled if !is_gitlab => (
                FailureCode::WorkspaceSetupFailed,
                Some(FailureSubtype::GitAuthenticationFailed),
            ),
            Self::NotConfigured | Self::Unavailable if !is_gitlab => {
                (FailureCode::WorkspaceSetupFailed, None)
            }
            _ => (FailureCode::InvalidDeliveryRequest, None),
        };
        Failure {
            subtype,
            detail: Some(self.detail().to_owned()),
            ..pre_dispatch(code, generation)
        }
    }

    /// A fixed sentence for clients.
    const fn detail(self) -> &'static str {
        match self {
            Self::NotConfigured => "the credential service GIT_TOKEN_SERVICE is not bound",
            Self::Unavailable => "the credential service is unavailable",
            Self::NotInstalled => "the GitHub app is not installed for the repository",
            Self::NotConnected => {
                "No GitLab integration found. Please connect your GitLab account first."
            }
            Self::OtherInstance => "the credential belongs to another GitLab instance",
            Self::Refused => "the credential service refused the request",
        }
    }
}

/// A token was resolved for a hand-over: the generation that it is handed over with.
#[must_use]
pub fn on_resolved(
    view: &DeliveryView,
    fingerprint: &str,
    now: Timestamp,
    settings: &Settings,
) -> Decision<Generation> {
    let mut progress = Progress::new(view, now, settings);
    let stored = view.record.managed.clone().unwrap_or_default();
    let is_same = stored.fingerprint == fingerprint && !stored.is_refused();
    if is_same && view.record.managed.is_some() {
        return progress.finish(stored.generation);
    }
    let generation = progress.rotate_managed(&stored, fingerprint);
    progress.finish(generation)
}

/// A token was resolved for a turn whose token the remote has refused: its generation, or `None` while the service
/// still gives the refused one, which is asked for another one later.
#[must_use]
pub fn on_resolved_again(
    view: &DeliveryView,
    fingerprint: &str,
    now: Timestamp,
    settings: &Settings,
) -> Decision<Option<Generation>> {
    let mut progress = Progress::new(view, now, settings);
    let stored = view.record.managed.clone().unwrap_or_default();
    if stored.fingerprint != fingerprint {
        let generation = progress.rotate_managed(&stored, fingerprint);
        return progress.finish(Some(generation));
    }
    if stored.is_refused() {
        progress.set_after(DeadlineKind::PushOwed, MANAGED_RETRY_MILLIS);
        return progress.finish(None);
    }
    progress.finish(Some(stored.generation))
}

/// The service gave no token for a turn whose token the remote has refused: it is asked again later.
#[must_use]
pub fn on_unresolved_again(
    view: &DeliveryView,
    now: Timestamp,
    settings: &Settings,
) -> Decision<()> {
    let mut progress = Progress::new(view, now, settings);
    if view.needs_managed_token() {
        progress.set_after(DeadlineKind::PushOwed, MANAGED_RETRY_MILLIS);
    }
    progress.finish(())
}

impl Progress<'_> {
    fn rotate_managed(&mut self, stored: &ManagedCredential, fingerprint: &str) -> Generation {
        let generation = stored.generation.next();
        self.draft.log(LogEvent::ManagedCredentialChanged {
            generation,
            fingerprint: fingerprint.to_owned(),
        });
        self.record().managed = Some(ManagedCredential {
            generation,
            fingerprint: fingerprint.to_owned(),
            refused: stored.refused,
        });
        generation
    }

    /// The remote refused a token while a turn ran: another one is resolved and pushed, at once the first time.
    pub(super) fn refuse_managed(&mut self, generation: Generation) {
        let Some(managed) = self.view.record.managed.clone() else {
            return;
        };
        let is_known = managed.refused.is_some_and(|refused| refused >= generation);
        if is_known || generation < managed.generation {
            return;
        }
        let again = managed
            .refused
            .is_some_and(|refused| refused.next() == generation);
        self.record().managed = Some(ManagedCredential {
            refused: Some(generation),
            ..managed
        });
        self.draft
            .log(LogEvent::ManagedCredentialRefused { generation });
        let delay_millis = if again { MANAGED_RETRY_MILLIS } else { 0 };
        self.set_after(DeadlineKind::PushOwed, delay_millis);
    }
}

impl DeliveryView {
    /// Whether the remote has refused the token that a running turn has.
    #[must_use]
    pub fn needs_managed_token(&self) -> bool {
        let refused = self.record.managed.as_ref().and_then(|it| it.refused);
        self.head_message().is_some_and(MessageRecord::is_taken)
            && refused.is_some_and(|refused| refused >= self.link.acknowledged)
    }
}

#[cfg(test)]
mod tests;
