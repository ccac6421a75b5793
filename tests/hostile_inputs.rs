//! Hostile inputs that are refused, or let through, by rules alone. `tests/e2e/hostile-inputs.test.ts` sends the same
//! rows through the real Worker.
#![allow(clippy::expect_used, clippy::panic)]

#[path = "hostile/page.rs"]
mod page;

use std::net::IpAddr;

use cloud_agent_session::session::credential::check_git_token;
use cloud_agent_wire::address::is_public;
use cloud_agent_wire::branch_name::{self, BranchKind};
use cloud_agent_wire::{AllowedHosts, CallbackUrl, GitUrl, Secret};
use page::{Result, assert_hides, rows};

/// A secret that nothing else contains, and that looks different in every form.
fn secret() -> String {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("canary{}+%41~", digits.concat())
}

#[test]
fn urls_of_repositories_and_callbacks() {
    let hosts = AllowedHosts::default();
    let results: Vec<_> = rows("urls")
        .iter()
        .map(|row| {
            let secret = secret();
            let text = row.expanded(&secret);
            let git = GitUrl::parse(&text, &hosts);
            let callback = CallbackUrl::parse(&text, &hosts);
            let verdict = match (git.is_ok(), callback.is_ok()) {
                (true, true) => "accepted",
                (false, true) => "a callback only",
                (false, false) => "refused",
                (true, false) => "a repository only",
            };
            assert_eq!(verdict, row.expected, "{text}");
            let seen = match &git {
                Ok(url) if url.as_str().len() > 100 => "accepted".to_owned(),
                Ok(url) => format!("`{url}`"),
                Err(error) => error.to_string(),
            };
            if let Err(error) = &callback {
                assert_eq!(Some(*error), git.err(), "{text}");
            }
            assert_hides(&seen, &secret);
            Result::of(row, seen)
        })
        .collect();
    page::check("urls", &results);
}

#[test]
fn addresses_of_hosts() {
    let results: Vec<_> = rows("addresses")
        .iter()
        .map(|row| {
            let address: IpAddr = row.input.parse().expect("the row holds an address");
            let seen = if is_public(address) {
                "public"
            } else {
                "refused"
            };
            assert_eq!(seen, row.expected, "{address}");
            // The same table judges the address in a URL and behind a name.
            let host = match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            let url = GitUrl::parse(&format!("https://{host}/r.git"), &AllowedHosts::default());
            assert_eq!(url.is_ok(), is_public(address), "{address}");
            Result::of(row, seen)
        })
        .collect();
    page::check("addresses", &results);
}

#[test]
fn names_of_branches() {
    let results: Vec<_> = rows("branches")
        .iter()
        .map(|row| {
            let secret = secret();
            let name = row.expanded(&secret);
            let seen = match branch_name::classify(&name) {
                Some(BranchKind::Branch) => "a branch",
                Some(BranchKind::PullRequest) => "a pull request",
                None => "refused",
            };
            assert_eq!(seen, row.expected, "{name:?}");
            if seen == "a branch" {
                let is_branch = std::process::Command::new("git")
                    .args(["check-ref-format", "--branch", &name])
                    .output()
                    .expect("git runs");
                assert!(
                    is_branch.status.success(),
                    "git takes {name:?} for a branch"
                );
            }
            Result::of(row, seen)
        })
        .collect();
    page::check("branches", &results);
}

#[test]
fn tokens() {
    let results: Vec<_> = rows("tokens")
        .iter()
        .map(|row| {
            let secret = secret();
            let token = Secret::new(row.expanded(&secret));
            // An empty token is none: it is let pass where it may be absent.
            let (verdict, seen) = match check_git_token(&token) {
                _ if token.is_empty() => ("refused", "counts as absent".to_owned()),
                Ok(()) => ("accepted", "logs in, cold and warm".to_owned()),
                Err(expected) => ("refused", expected.to_owned()),
            };
            assert_eq!(verdict, row.expected, "{}", row.input);
            assert_hides(&seen, &secret);
            Result::of(row, seen)
        })
        .collect();
    page::check("tokens", &results);
}

#[test]
fn the_page_has_many_rows() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/hostile-inputs.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let rows = page.lines().filter(|line| line.starts_with("| ")).count();
    assert!(rows > 150, "{rows}");
}
