//! A session from its first clone to a push with a later token, in both ways to hand the credential to the agent.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use support::git_server::{GitServer, git};
use support::process_scan::ProcessScan;
use support::runtime::{Runtime, first, types, workspace};
use support::{Folder, files_with};

/// A token in every form that is searched for.
fn forms(token: &str) -> Vec<String> {
    use base64::Engine as _;
    let encoded = percent_encoding::utf8_percent_encode(token, percent_encoding::NON_ALPHANUMERIC);
    let encoded = encoded.to_string().replace("%2D", "-");
    let pair = format!("x-access-token:{token}");
    vec![
        token.to_owned(),
        encoded,
        base64::engine::general_purpose::STANDARD.encode(pair),
    ]
}

async fn start(server: &GitServer, root: &Folder, mode: &str) -> Runtime {
    let env = [
        ("DEV_ALLOWED_HOSTS", &*server.host()),
        ("ORIGIN_CREDENTIALS", mode),
    ];
    Runtime::start(root.path(), &env).await
}

async fn story(mode: &str) {
    let (server, root) = (GitServer::start().await, Folder::new());
    let (old, new) = (server.issue(), server.issue());
    let scan = ProcessScan::start([forms(&old), forms(&new)].concat());
    let runtime = start(&server, &root, mode).await;
    first_turn(&server, &runtime, &old).await;
    server.revoke(&old);
    server.forget();
    follow_up(&server, &runtime, &new).await;

    let used: Vec<_> = server
        .seen()
        .into_iter()
        .filter_map(|seen| seen.token)
        .collect();
    let is_new = |token: &String| *token == new;
    assert!(
        !used.is_empty() && used.iter().all(is_new),
        "only the second token is used"
    );

    // The agent's own git still gets in, with the new token.
    let origin = git(&runtime.repo(), &["remote", "get-url", "origin"]);
    git(&runtime.repo(), &["fetch", "--quiet", "origin"]);
    git(
        &runtime.repo(),
        &["push", "--quiet", "origin", "HEAD:refs/heads/by-agent"],
    );
    let findings = scan.finish();

    assert!(
        files_with(root.path(), &forms(&old)).is_empty(),
        "the first token is in no file"
    );
    let holders = files_with(root.path(), &forms(&new));
    let inside: Vec<_> = holders
        .iter()
        .filter(|path| path.starts_with(runtime.repo()))
        .collect();
    let url = server.url("r");
    if mode == "helper" {
        assert_eq!(origin, url);
        assert!(inside.is_empty(), "{inside:?}");
        assert!(findings.transports > 0, "the scan saw git at work");
        assert!(findings.leaks.is_empty(), "{:?}", findings.leaks);
    } else {
        let userinfo = format!("http://x-access-token:{}@", forms(&new)[1]);
        assert_eq!(origin, url.replace("http://", &userinfo));
        assert_eq!(inside, [&runtime.repo().join(".git/config")]);
    }
    let log = runtime.log();
    for form in [forms(&old), forms(&new)].concat() {
        assert!(!log.contains(&form), "the log is clean");
    }
    for path in holders {
        let mode = std::fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}

async fn first_turn(server: &GitServer, runtime: &Runtime, token: &str) {
    runtime
        .put_workspace(workspace(&server.url("r"), 1, token))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    let events = runtime.wait_for("complete", 1).await;
    assert_eq!(
        types(&events),
        ["ready", "kilocode", "kilocode", "complete"]
    );
    let ready = first(&events, "ready");
    assert_eq!(
        (&ready["cold"], &ready["branch"]),
        (&json!(true), &json!("main"))
    );
    let notes = runtime.repo().join("NOTES.md");
    assert_eq!(
        std::fs::read_to_string(&notes).expect("the agent ran"),
        "prompt 1\n"
    );
}

async fn follow_up(server: &GitServer, runtime: &Runtime, token: &str) {
    let known = runtime.events(0, 0).await.len();
    runtime
        .put_workspace(workspace(&server.url("r"), 2, token))
        .await;
    runtime
        .put_turn(2, 2, 2, json!({ "autoCommit": true }))
        .await;
    let events = runtime.wait_for("complete", 2).await.split_off(known);
    let commit = ["autocommit_started", "autocommit_completed"];
    let expected = [
        &["ready", "kilocode", "kilocode"],
        &commit[..],
        &["complete"],
    ]
    .concat();
    assert_eq!(types(&events), expected);
    let ready = first(&events, "ready");
    assert_eq!(
        (&ready["cold"], &ready["generation"]),
        (&json!(false), &json!(2))
    );
    let completed = first(&events, "autocommit_completed");
    assert_eq!(completed["pushed"], true);
    assert_eq!(
        completed["commit"].as_str(),
        server.branch("r", "main").as_deref()
    );
    let pushed = git(&server.path("r"), &["show", "main:NOTES.md"]);
    assert_eq!(pushed, "prompt 1\nprompt 2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_with_a_credential_helper() {
    story("helper").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_with_the_credential_in_origin() {
    story("url").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_proved_although_everybody_may_read_the_repository() {
    let (server, root) = (GitServer::start().await, Folder::new());
    server.make_public();
    let runtime = start(&server, &root, "helper").await;
    let good = server.issue();
    first_turn(&server, &runtime, &good).await;
    let wrong = support::token();
    runtime
        .put_workspace(workspace(&server.url("r"), 2, &wrong))
        .await;
    runtime.put_turn(2, 2, 2, json!({})).await;
    let events = runtime.wait_for("error", 2).await;
    let failure = &first(&events, "error")["failure"];
    assert_eq!(failure["subtype"], "git_authentication_failed");
    assert!(files_with(root.path(), &[wrong]).is_empty());
    assert!(!files_with(root.path(), &[good]).is_empty());
}
