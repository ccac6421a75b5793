//! A workspace request after every field was checked.

use std::collections::BTreeMap;

use cloud_agent_wire::branch_name::{self, BranchKind};
use cloud_agent_wire::{
    AllowedHosts, Author, Credential, Generation, GitUrl, PutWorkspace, Secret,
};

use crate::limits::{
    ENV_ENTRIES_MAX, ENV_NAME_BYTES_MAX, ENV_VALUE_BYTES_MAX, NAME_BYTES_MAX,
    SETUP_COMMAND_BYTES_MAX, SETUP_COMMANDS_MAX, TOKEN_BYTES_MAX,
};

/// What a workspace is made of. Holds secrets in memory only.
#[derive(Clone)]
pub struct Spec {
    /// The repository.
    pub url: GitUrl,
    /// Who commits.
    pub author: Author,
    /// The branch's name.
    pub branch: String,
    /// What the name is.
    pub branch_kind: BranchKind,
    /// Whether the branch must exist on the remote.
    pub strict: bool,
    /// Clone without history.
    pub shallow: bool,
    /// Commands of a fresh workspace.
    pub setup_commands: Vec<String>,
    /// The session's variables.
    pub env: BTreeMap<String, Secret>,
    /// What only the agent understands, as JSON texts.
    pub configuration: BTreeMap<String, Secret>,
    /// The credential's generation.
    pub generation: Generation,
    /// How to log in.
    pub credential: Option<Credential>,
}

/// A sentence that names the field and what it must be; never the value.
pub type Invalid = String;

const AUTHOR_NAME: &str = "Cloud Agent";
const AUTHOR_EMAIL: &str = "cloud-agent@noreply.invalid";

impl Spec {
    /// Checks a request.
    ///
    /// # Errors
    /// A sentence about the first field that is not allowed.
    pub fn check(request: PutWorkspace, allowed: &AllowedHosts) -> Result<Self, Invalid> {
        let url = GitUrl::parse(&request.repository.url, allowed)
            .map_err(|error| format!("repository.url {error}"))?;
        let branch_kind = branch_name::classify(&request.branch.name)
            .ok_or_else(|| format!("branch.name {}", branch_name::EXPECTED))?;
        if let Some(author) = &request.repository.author {
            check_author(author)?;
        }
        check_setup_commands(&request.setup_commands)?;
        check_env(&request.env)?;
        if let Some(credential) = &request.credential {
            check_credential(credential)?;
        }
        Ok(Self {
            url,
            author: request.repository.author.unwrap_or_else(|| Author {
                name: AUTHOR_NAME.to_owned(),
                email: AUTHOR_EMAIL.to_owned(),
            }),
            branch: request.branch.name,
            branch_kind,
            strict: request.branch.strict,
            shallow: request.shallow,
            setup_commands: request.setup_commands,
            env: request.env,
            configuration: request.configuration,
            generation: request.generation,
            credential: request.credential,
        })
    }
}

/// Checks a user name and a token.
///
/// # Errors
/// A sentence about the field that is not allowed.
pub fn check_credential(credential: &Credential) -> Result<(), Invalid> {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let username = &credential.username;
    if username.is_empty()
        || username.len() > NAME_BYTES_MAX
        || !is_plain(username)
        || username.contains(':')
    {
        return Err("credential.username must be 1 to 255 printable ASCII characters without spaces and colons".to_owned());
    }
    let token = credential.token.expose();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !is_plain(token) {
        return Err(
            "credential.token must be 1 to 4096 printable ASCII characters without spaces"
                .to_owned(),
        );
    }
    Ok(())
}

fn check_author(author: &Author) -> Result<(), Invalid> {
    for (field, text) in [("name", &author.name), ("email", &author.email)] {
        let is_fine = !text.trim().is_empty()
            && text.len() <= NAME_BYTES_MAX
            && !text
                .chars()
                .any(|character| character.is_control() || "<>".contains(character));
        if !is_fine {
            return Err(format!(
                "repository.author.{field} must be 1 to 255 characters without control characters and angle brackets"
            ));
        }
    }
    Ok(())
}

fn check_setup_commands(commands: &[String]) -> Result<(), Invalid> {
    if commands.len() > SETUP_COMMANDS_MAX {
        return Err(format!(
            "setupCommands must have at most {SETUP_COMMANDS_MAX} entries"
        ));
    }
    let is_fine =
        |command: &String| command.len() <= SETUP_COMMAND_BYTES_MAX && !command.contains('\0');
    if !commands.iter().all(is_fine) {
        return Err(format!(
            "setupCommands must have entries of at most {SETUP_COMMAND_BYTES_MAX} bytes without NUL"
        ));
    }
    Ok(())
}

fn check_env(env: &BTreeMap<String, Secret>) -> Result<(), Invalid> {
    if env.len() > ENV_ENTRIES_MAX {
        return Err(format!("env must have at most {ENV_ENTRIES_MAX} entries"));
    }
    for (name, value) in env {
        let is_name =
            !name.is_empty() && name.len() <= ENV_NAME_BYTES_MAX && !name.contains(['=', '\0']);
        if !is_name {
            return Err(format!(
                "env must have names of 1 to {ENV_NAME_BYTES_MAX} bytes without equals signs and NUL"
            ));
        }
        if value.expose().len() > ENV_VALUE_BYTES_MAX || value.expose().contains('\0') {
            return Err(format!(
                "env must have values of at most {ENV_VALUE_BYTES_MAX} bytes without NUL"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::{AllowedHosts, PutWorkspace};
    use serde_json::{Value, json};

    use super::Spec;

    fn check(field: &str, value: Value) -> Result<Spec, String> {
        let mut request = json!({
            "repository": { "url": "https://h/r.git" },
            "branch": { "name": "main", "strict": false },
            "generation": 1,
            "credential": { "username": "x-access-token", "token": "t" },
        });
        *request
            .pointer_mut(field)
            .expect("the field is in the request") = value;
        let request: PutWorkspace = serde_json::from_value(request).expect("the shape is right");
        Spec::check(request, &AllowedHosts::default())
    }

    #[test]
    fn a_bad_field_is_named_and_its_value_is_not_repeated() {
        let long = "t".repeat(4097);
        for (field, value, expected) in [
            (
                "/repository/url",
                json!("https://u:canary@h/r"),
                "repository.url must not contain a user name or password",
            ),
            ("/branch/name", json!("--canary"), "branch.name must be"),
            ("/credential/token", json!(""), "credential.token must be"),
            (
                "/credential/token",
                json!("canary\nhost=evil"),
                "credential.token must be",
            ),
            (
                "/credential/token",
                json!("can ary"),
                "credential.token must be",
            ),
            (
                "/credential/token",
                json!("canäry"),
                "credential.token must be",
            ),
            ("/credential/token", json!(long), "credential.token must be"),
            (
                "/credential/username",
                json!("a:canary"),
                "credential.username must be",
            ),
            (
                "/repository",
                json!({"url":"https://h/r","author":{"name":"canary\n","email":"e"}}),
                "repository.author.name must be",
            ),
            (
                "/repository",
                json!({"url":"https://h/r","author":{"name":"n","email":"<canary>"}}),
                "repository.author.email must be",
            ),
        ] {
            let error = check(field, value).err().expect("the row is invalid");
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn every_printable_token_is_accepted() {
        for token in [
            "a@b:c/d#e?f%41+g",
            r#""'\$;&!"#,
            "-leading",
            &"t".repeat(4096),
        ] {
            assert!(check("/credential/token", json!(token)).is_ok(), "{token}");
        }
    }
}
