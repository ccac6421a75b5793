//! Requests and replies of the runtime's HTTP calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{BootId, Generation, StoreId, Submission};
use crate::intent::Intent;
use crate::secret::{
    Secret, expose_in_body, expose_json_map_in_body, expose_map_in_body, json_map_from_body,
};

/// Reply of `GET /healthz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The wire version that the runtime speaks.
    pub version: u32,
    /// The disk. A changed one means that every workspace and journal is gone.
    pub store_id: StoreId,
    /// The process. A changed one means that running turns have ended.
    pub boot_id: BootId,
    /// The git version in use, such as `2.47.3`.
    pub git: String,
}

/// Body of `POST /v1/claim`: gives a runtime that was started without a token its token. Carries a secret.
///
/// The first claim after a start wins and is answered 200, as is every repeat of it; another token is refused
/// with `unauthorized`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The bearer token of every later call, at least 16 bytes of 0x21 to 0x7E.
    #[serde(serialize_with = "expose_in_body")]
    pub token: Secret,
}

/// Fewest bytes of a runtime's bearer token.
const RUNTIME_TOKEN_BYTES_MIN: usize = 16;

/// Whether a text may be a runtime's bearer token.
#[must_use]
pub fn is_runtime_token(text: &str) -> bool {
    text.len() >= RUNTIME_TOKEN_BYTES_MIN && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The words of an agent's command line, given as a JSON array with the program first; `None` when it is none.
#[must_use]
pub fn agent_command(text: &str) -> Option<Vec<String>> {
    let words: Vec<String> = serde_json::from_str(text).ok()?;
    let names_a_program = words.first().is_some_and(|program| !program.is_empty());
    let are_words = words.iter().all(|word| !word.contains('\0'));
    (names_a_program && are_words).then_some(words)
}

/// Body of `PUT …/workspace`: everything that preparing needs. Carries secrets.
///
/// Repeating it while the same generation is being prepared, or is prepared, changes nothing.
/// A generation older than one seen before is refused with `stale_generation`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PutWorkspace {
    /// The remote repository.
    pub repository: Repository,
    /// The branch to work on.
    pub branch: Branch,
    /// Clone without history.
    #[serde(default)]
    pub shallow: bool,
    /// Shell commands to run once in a fresh workspace, in order.
    #[serde(default)]
    pub setup_commands: Vec<String>,
    /// Environment variables of the session, for setup commands and the agent.
    #[serde(default, serialize_with = "expose_map_in_body")]
    pub env: BTreeMap<String, Secret>,
    /// What only the agent understands, such as `mcpServers`: JSON that its input line repeats as it is.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        serialize_with = "expose_json_map_in_body",
        deserialize_with = "json_map_from_body"
    )]
    pub configuration: BTreeMap<String, Secret>,
    /// The generation that this request stands for; rises also when the credential goes away.
    pub generation: Generation,
    /// How to log in; absent for a public repository.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credential: Option<Credential>,
}

/// A remote repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repository {
    /// Its URL, without userinfo, query or fragment.
    pub url: String,
    /// Who commits; the runtime's default when absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub author: Option<Author>,
}

/// Name and address that commits carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// The name.
    pub name: String,
    /// The mail address.
    pub email: String,
}

/// Which branch a workspace is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// The branch's name, or `refs/pull/N/head` or `refs/merge-requests/N/head`.
    pub name: String,
    /// Whether it must exist on the remote already.
    pub strict: bool,
}

/// How to log in to the remote.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// The user name that the remote expects beside a token, such as `x-access-token`.
    pub username: String,
    /// The token, 1 to 4,096 bytes of 0x21 to 0x7E.
    #[serde(serialize_with = "expose_in_body")]
    pub token: Secret,
}

/// Body of `PUT …/credential`: live rotation. Carries a secret.
///
/// The runtime proves the token against the remote before it replaces the stored one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PutCredential {
    /// The generation of this credential.
    pub generation: Generation,
    /// The credential.
    pub credential: Credential,
}

/// Reply of `PUT …/workspace` and `PUT …/credential`, status 202.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceReply {
    /// The newest generation that the runtime has seen for the session.
    pub generation: Generation,
}

/// Body of `PUT …/turns/{messageId}`. Carries no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PutTurn {
    /// The delivery. A repeat of the same one changes nothing and is answered the same.
    pub submission: Submission,
    /// The turn runs when the workspace is ready at this generation or a newer one.
    pub generation: Generation,
    /// The message's content.
    pub intent: Intent,
}

/// Reply of `PUT …/turns/{messageId}`, status 202.
///
/// When the turn's agent was started by an earlier submission, that submission stands in the reply and nothing
/// new is started: the object goes on with that one. A turn that was interrupted before its agent started, even
/// before the runtime knew it, ends every newer submission at once, with an `interrupted` event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnReply {
    /// The submission that the turn runs under.
    pub submission: Submission,
    /// How far it is.
    pub state: TurnState,
}

/// How far a turn is in the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnState {
    /// It waits for the workspace.
    Waiting,
    /// Its agent was started.
    Running,
    /// It completed.
    Completed,
    /// It failed.
    Failed,
    /// It was stopped.
    Interrupted,
}
