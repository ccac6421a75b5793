//! Inputs that the runtime reads and judges, or rewrites, by rules alone.

use std::process::Command;

use cloud_agent_wire::{AllowedHosts, GitUrl, ShellWord};
use workspace_runtime::untrusted;

use crate::page::{self, Result, assert_hides, rows};
use crate::support::{Folder, token};

#[test]
fn workspace_requests() {
    let results: Vec<_> = rows("workspace-requests")
        .iter()
        .map(|row| {
            let token = token();
            let body = row.expanded(&token);
            let checked = untrusted::check_workspace(body.as_bytes(), &AllowedHosts::default());
            let (verdict, seen) = match checked {
                Ok(()) => ("accepted", "accepted".to_owned()),
                Err(sentence) => ("refused", sentence),
            };
            assert_eq!(verdict, row.expected, "{body}: {seen}");
            assert_hides(&seen, &token);
            Result::of(row, seen)
        })
        .collect();
    page::check("workspace requests", &results);
}

#[test]
fn questions_to_the_credential_helper() {
    let folder = Folder::new();
    let file = folder.path().join("token");
    let token = token();
    untrusted::write_credential(&file, "x-access-token", &token).expect("it is written");
    let file = file.to_string_lossy();
    let credential = format!("username=x-access-token\npassword={token}\n");
    let results: Vec<_> = rows("questions")
        .iter()
        .map(|row| {
            let question = row.expanded(&token);
            let ask = |action| {
                let origin = "https://git.example:8443";
                untrusted::credential_answer(origin, &file, action, question.as_bytes())
            };
            assert!(ask("store").is_empty() && ask("erase").is_empty());
            let seen = match String::from_utf8(ask("get")).expect("it is text") {
                answer if answer.is_empty() => "silence",
                answer if answer == credential => "the credential",
                _ => "something else",
            };
            assert_eq!(seen, row.expected, "{question:?}");
            Result::of(row, seen)
        })
        .collect();
    page::check("questions", &results);
}

#[test]
fn git_configurations() {
    let folder = Folder::new();
    let url = GitUrl::parse("https://git.example/a/r.git", &AllowedHosts::default());
    let url = url.expect("it is valid");
    let results: Vec<_> = rows("configurations")
        .iter()
        .map(|row| {
            let (old, new) = (token(), token());
            let text = row.expanded(&old);
            let file = folder.path().join("config");
            let mut verdict = row.expected.as_str();
            for is_in_url in [false, true] {
                let rotated = untrusted::rotated_config(&text, &url, &new, is_in_url, &[&old]);
                let Some(rotated) = rotated else {
                    verdict = "refused";
                    continue;
                };
                assert_hides(&rotated, &old);
                std::fs::write(&file, &rotated).expect("it is written");
                let origins = git_config(&file, &["--get-all", "remote.origin.url"]);
                let origins = origins.expect("git reads the result");
                let expected = if is_in_url {
                    let token = page::Row {
                        input: "«percent:T»".to_owned(),
                        expected: String::new(),
                    };
                    let token = token.expanded(&new);
                    format!("https://x-access-token:{token}@git.example/a/r.git\n")
                } else {
                    format!("{url}\n")
                };
                assert_eq!(origins, expected, "{text:?}");
                let scope = ["--get-urlmatch", "credential.helper", url.as_str()];
                let helper = git_config(&file, &scope).unwrap_or_default();
                assert!(!helper.contains("/tmp/p"), "{text:?}");
                assert_eq!(is_in_url, !rotated.contains("/opt/workspace-runtime"));
            }
            assert_eq!(verdict, row.expected, "{text:?}");
            Result::of(row, verdict)
        })
        .collect();
    page::check("configurations", &results);
}

/// What git says about a configuration; `None` when it fails.
fn git_config(file: &std::path::Path, words: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("config")
        .arg("--file")
        .arg(file)
        .args(words)
        .output()
        .expect("git runs");
    let is_success = output.status.success();
    is_success.then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn shell_words() {
    let results: Vec<_> = rows("words")
        .iter()
        .map(|row| {
            let text = row.expanded("");
            let Ok(word) = ShellWord::new(&text) else {
                assert_eq!(row.expected, "refused", "{text:?}");
                return Result::of(row, "refused");
            };
            let script = format!("printf '<%s>' {}", word.as_str());
            let output = Command::new("/bin/sh")
                .args(["-c", &script])
                .output()
                .expect("the shell runs");
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let seen = if printed == format!("<{text}>") && output.stderr.is_empty() {
                "one word that is the input"
            } else {
                "something else"
            };
            assert_eq!(seen, row.expected, "{text:?}: {printed:?}");
            Result::of(row, seen)
        })
        .collect();
    page::check("words", &results);
}

#[test]
fn output_of_agents() {
    let results: Vec<_> = rows("outputs")
        .iter()
        .map(|row| {
            let token = token();
            let line = row.expanded(&token);
            let (text, json) = untrusted::redacted(&[&token], &["main"], &line);
            let seen = json.unwrap_or(text);
            assert_eq!(seen, row.expected, "{line:?}");
            assert_hides(&seen, &token);
            Result::of(row, seen)
        })
        .collect();
    page::check("outputs", &results);
}
