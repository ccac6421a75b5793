//! The program that the sandbox runs for one turn.

use cloud_agent_wire::branch_name::{self, BranchKind};
use cloud_agent_wire::url_encoding::authenticated_url;
use cloud_agent_wire::{
    AllowedHosts, Credential, Generation, GitUrl, NulInWord, PutTurn, PutWorkspace, Secret,
    ShellWord, agent_input, git_failure,
};

use super::command::{Place, Script};
use super::scripts::{DRIVER, GIT, TRIAL};

const AUTHOR_NAME: &str = "Cloud Agent";
const AUTHOR_EMAIL: &str = "cloud-agent@noreply.invalid";

/// A request that no sandbox can be given as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit;

impl From<NulInWord> for Unfit {
    fn from(_: NulInWord) -> Self {
        Self
    }
}

/// The repository's URL with the credential in it, if there is one.
///
/// # Errors
/// [`Unfit`] when the URL is none that is allowed.
pub fn authenticated(
    url: &str,
    credential: Option<&Credential>,
    hosts: &AllowedHosts,
) -> Result<Secret, Unfit> {
    let url = GitUrl::parse(url, hosts).map_err(|_| Unfit)?;
    Ok(credential.map_or_else(
        || Secret::new(url.as_str().to_owned()),
        |credential| authenticated_url(&url, credential),
    ))
}

/// The program that prepares the workspace, runs the agent and publishes its work. It holds the session's variables,
/// but not the credential.
///
/// # Errors
/// [`Unfit`].
pub fn driver(
    place: Place<'_>,
    workspace: &PutWorkspace,
    turn: &PutTurn,
    agent: Option<&[String]>,
    hosts: &AllowedHosts,
) -> Result<Secret, Unfit> {
    let branch = &workspace.branch;
    let kind = branch_name::classify(&branch.name).ok_or(Unfit)?;
    let intent = &turn.intent;
    let message_id = intent.message_id();
    let files = [place.root, place.session_id.as_str(), "attachments"].join("/");
    let input = agent_input::line(intent, &workspace.configuration, &files).map_err(|_| Unfit)?;
    let flag = |is_set: bool| if is_set { "1" } else { "" };
    let mut script = place.script()?;
    remote(
        &mut script,
        &workspace.repository.url,
        workspace.generation,
        hosts,
    )?;
    let author = workspace.repository.author.as_ref();
    let (name, email) = author.map_or((AUTHOR_NAME, AUTHOR_EMAIL), |author| {
        (&*author.name, &*author.email)
    });
    let kind = match kind {
        BranchKind::Branch => "branch",
        BranchKind::PullRequest => "pull_request",
    };
    let commits = intent.finalization.auto_commit == Some(true);
    script.set(&[
        ("author_name", name),
        ("author_email", email),
        ("message", message_id.as_str()),
        ("submission", &turn.submission.to_string()),
        ("branch", &branch.name),
        ("branch_kind", kind),
        ("strict", flag(branch.strict)),
        ("shallow", flag(workspace.shallow)),
        ("auto_commit", flag(commits)),
        ("commit_message", &intent.commit_message()),
        ("input", &input),
        ("setup_count", &workspace.setup_commands.len().to_string()),
    ])?;
    in_session(&mut script, workspace)?;
    setup(&mut script, &workspace.setup_commands)?;
    match agent {
        Some(command) => {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let line = ShellWord::line(&words)?;
            script
                .then("agent() { in_session ")
                .then(&line)
                .then("; }\n");
        }
        None => note(&mut script, turn)?,
    }
    script.then(GIT).then(DRIVER);
    Ok(script.finish())
}

/// The program that tries a pushed credential beside a running turn.
///
/// # Errors
/// [`Unfit`].
pub fn trial(
    place: Place<'_>,
    url: &str,
    generation: Generation,
    hosts: &AllowedHosts,
) -> Result<Secret, Unfit> {
    let mut script = place.script()?;
    remote(&mut script, url, generation, hosts)?;
    script
        .set(&[("author_name", AUTHOR_NAME), ("author_email", AUTHOR_EMAIL)])?
        .then(GIT)
        .then(TRIAL);
    Ok(script.finish())
}

/// What git needs to reach the remote, apart from the credential.
fn remote(
    script: &mut Script,
    url: &str,
    generation: Generation,
    hosts: &AllowedHosts,
) -> Result<(), Unfit> {
    let url = GitUrl::parse(url, hosts).map_err(|_| Unfit)?;
    script.set(&[
        ("url", url.as_str()),
        ("scheme", url.scheme()),
        ("origin", &url.origin()),
        ("generation", &generation.to_string()),
        ("authentication", &git_failure::AUTHENTICATION.join("\n")),
    ])?;
    Ok(())
}

/// The environment of everything that belongs to the session, over a clean base.
fn in_session(script: &mut Script, workspace: &PutWorkspace) -> Result<(), Unfit> {
    script.then("in_session() {\n  exec env -i \"PATH=$PATH\" LANG=C.UTF-8");
    for (name, value) in &workspace.env {
        if name.is_empty() || name.contains('=') {
            return Err(Unfit);
        }
        let variable = [name.as_str(), "=", value.expose()].concat();
        script.then(" ").then(ShellWord::new(&variable)?.as_str());
    }
    script.then(
        " \"HOME=$home\" \"SESSION_HOME=$home\" \"SESSION_ID=$session\" \
        \"SESSION_ATTACHMENTS=$base/attachments\" GIT_TERMINAL_PROMPT=0 \
        \"GIT_CEILING_DIRECTORIES=$base\" \"$@\"\n}\n",
    );
    Ok(())
}

/// The setup commands by their numbers.
fn setup(script: &mut Script, commands: &[String]) -> Result<(), Unfit> {
    script.then("setup() {\n  case $1 in\n");
    for (number, command) in (1..).zip(commands) {
        let word = ShellWord::new(command)?;
        script
            .then(&format!("    {number}) in_session sh -lc "))
            .then(word.as_str())
            .then(" ;;\n");
    }
    script.then("  esac\n}\n");
    Ok(())
}

/// The agent that is there without another one, as a part of the program itself.
fn note(script: &mut Script, turn: &PutTurn) -> Result<(), Unfit> {
    let prompt = turn.intent.rendered();
    // Both are made of characters that mean themselves in JSON.
    let noted = format!(
        r#"{{"type":"text","messageId":"{}","text":"Noted {} characters in NOTES.md."}}"#,
        turn.intent.message_id(),
        prompt.chars().count()
    );
    script
        .set(&[("prompt", &prompt.replace('\0', "")), ("noted", &noted)])?
        .then("agent() { in_session sh \"$run/script\" note; }\n");
    Ok(())
}
