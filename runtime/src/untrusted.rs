//! Where bytes that somebody else wrote are read, as plain functions: the way in for fuzzing, for property tests and
//! for the table of hostile inputs. The server calls the same code.

use std::path::Path;

use cloud_agent_wire::agent_output::{LineSplitter, TEXT_LINE_BYTES_MAX};
use cloud_agent_wire::redact::Redactor;
use cloud_agent_wire::{AllowedHosts, Credential, GitUrl, PutWorkspace, Secret};

use crate::git::config_file::ConfigFile;
use crate::git::credential_helper;
use crate::journal;
use crate::store::files::Durability;
use crate::workspace::origin::Origin;
use crate::workspace::spec::Spec;

/// What the credential helper answers to a question of git, for an origin and the file that holds its credential.
#[must_use]
pub fn credential_answer(origin: &str, file: &str, action: &str, question: &[u8]) -> Vec<u8> {
    let arguments = ["--origin", origin, "--file", file, action].map(str::to_owned);
    let mut answer = Vec::new();
    credential_helper::main(&arguments, question, &mut answer);
    answer
}

/// Writes a file that the credential helper reads.
///
/// # Errors
/// Those of the file system.
pub fn write_credential(file: &Path, username: &str, token: &str) -> std::io::Result<()> {
    let credential = credential(username, token);
    crate::git::credential_file::write(file, &credential, None, Durability::Process)
}

/// Checks the body of a workspace request as the server does.
///
/// # Errors
/// The sentence that the caller is answered with.
pub fn check_workspace(body: &[u8], allowed: &AllowedHosts) -> Result<(), String> {
    let request: PutWorkspace = crate::server::decode(body)?;
    Spec::check(request, allowed).map(|_| ())
}

/// The entries of a git configuration: section, subsection, name and value. `None` when git would not read it.
#[must_use]
pub fn config_entries(text: &str) -> Option<Vec<[String; 4]>> {
    let config = ConfigFile::parse(text).ok()?;
    let entries = config.entries().map(|(key, value)| {
        let (section, subsection) = (key.section.clone(), key.subsection.clone());
        [section, subsection, key.name.clone(), value.to_owned()]
    });
    Some(entries.collect())
}

/// A workspace's git configuration after a rotation from the old tokens to a new one. `None` when git would not read it.
#[must_use]
pub fn rotated_config(
    text: &str,
    url: &GitUrl,
    token: &str,
    is_in_url: bool,
    old_tokens: &[&str],
) -> Option<String> {
    let credential = credential("x-access-token", token);
    let origin = Origin {
        url,
        in_url: is_in_url.then_some(&credential),
        helper: (!is_in_url).then_some("/opt/workspace-runtime git-credential"),
        author: None,
        token: Some(token),
        old_tokens,
    };
    origin.rewrite(text).ok()
}

/// How many events a journal's segment holds before its first damaged line, and how many bytes they take.
#[must_use]
pub fn journal_events(content: &[u8], first: u64) -> (u64, u64) {
    journal::decode(content, first, |_| {})
}

/// A line of output without secrets: as text, and as a JSON object if it is one.
#[must_use]
pub fn redacted(tokens: &[&str], values: &[&str], line: &str) -> (String, Option<String>) {
    let credentials: Vec<_> = tokens
        .iter()
        .map(|token| credential("x-access-token", token))
        .collect();
    let values: Vec<_> = values
        .iter()
        .map(|value| Secret::new((*value).to_owned()))
        .collect();
    let redactor = Redactor::new(&credentials, &values);
    (redactor.text(line), redactor.json(line))
}

/// The lines of what a child prints in these pieces, without a secret.
#[must_use]
pub fn redacted_lines(token: &str, pieces: &[&[u8]]) -> Vec<String> {
    let redactor = Redactor::new([&credential("x-access-token", token)], []);
    let mut splitter = LineSplitter::default();
    let kept = TEXT_LINE_BYTES_MAX + redactor.longest();
    let mut lines: Vec<_> = pieces
        .iter()
        .flat_map(|piece| splitter.feed(piece, kept))
        .collect();
    lines.extend(splitter.finish());
    let texts = lines
        .iter()
        .map(|line| String::from_utf8_lossy(&line.bytes));
    texts.map(|text| redactor.text(&text)).collect()
}

fn credential(username: &str, token: &str) -> Credential {
    Credential {
        username: username.to_owned(),
        token: Secret::new(token.to_owned()),
    }
}
