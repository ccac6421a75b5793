//! The HTTP interface: who may call, what is refused, and how events are read.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::git_server::GitServer;
use support::runtime::{Runtime, SESSION, message, types, workspace};
use support::{Folder, files_with};

const NAME: &str = "0f8fad5b-d9cb-469f-a165-70867728950e.txt";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_right_token_and_store_get_in() {
    let root = Folder::new();
    let runtime = Runtime::start(root.path(), &[]).await;
    let health = runtime.health().await;
    assert_eq!(health["version"], cloud_agent_wire::VERSION);
    let path = format!("/v1/sessions/{SESSION}/events");
    let wrong = runtime.token.replace('-', "_");
    for (token, store, expected) in [
        (None, Some(&*runtime.store), "unauthorized"),
        (Some(&*wrong), Some(&*runtime.store), "unauthorized"),
        (Some("x"), Some(&*runtime.store), "unauthorized"),
        (Some(&*runtime.token), None, "store_changed"),
        (Some(&*runtime.token), Some("another"), "store_changed"),
        (Some(&*runtime.token), Some(&*runtime.store), "not_found"),
    ] {
        let mut request = runtime.bare(Method::GET, &path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(store) = store {
            request = request.header("x-store-id", store);
        }
        let reply: Value = request
            .send()
            .await
            .expect("it answers")
            .json()
            .await
            .expect("it is JSON");
        assert_eq!(reply["code"], expected, "{token:?} {store:?}");
    }
    let (status, reply) = runtime.call(Method::GET, "/v1/unknown", None).await;
    assert_eq!(
        (status, &reply["code"]),
        (StatusCode::NOT_FOUND, &json!("not_found"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_without_a_token_belongs_to_the_first_claim_of_its_boot() {
    let root = Folder::new();
    let mut runtime = Runtime::start(root.path(), &[("RUNTIME_TOKEN", "")]).await;
    let (status, _) = runtime
        .call(Method::GET, &format!("/v1/sessions/{SESSION}/events"), None)
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let claim = async |runtime: &Runtime, token: &str| {
        let request = runtime
            .bare(Method::POST, "/v1/claim")
            .json(&json!({ "token": token }));
        request.send().await.expect("it answers").status().as_u16()
    };
    let (own, other) = (runtime.token.clone(), support::token());
    assert_eq!(claim(&runtime, "short").await, 400);
    assert_eq!(claim(&runtime, &"t".repeat(8 << 10)).await, 413);
    assert_eq!(claim(&runtime, &own).await, 200);
    assert_eq!(claim(&runtime, &own).await, 200);
    assert_eq!(claim(&runtime, &other).await, 401);
    let (status, _) = runtime
        .call(Method::GET, &format!("/v1/sessions/{SESSION}/events"), None)
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(files_with(root.path(), &[own]).is_empty());
    assert_eq!(runtime.signal(Signal::TERM).await, Some(0));

    let runtime = Runtime::start(root.path(), &[("RUNTIME_TOKEN", "")]).await;
    assert_eq!(claim(&runtime, &other).await, 200);
}

/// Every row is refused with this status and sentence, and makes nothing.
async fn refuses(rows: Vec<(Method, &str, Value, u16, &str)>) {
    let root = Folder::new();
    let runtime = Runtime::start(root.path(), &[]).await;
    for (method, path, body, status, expected) in rows {
        let path = path
            .replace("{session}", SESSION)
            .replace("{message}", &message(1));
        let (got, reply) = runtime.call(method, &path, Some(body)).await;
        let got = (got.as_u16(), reply["message"].as_str());
        assert_eq!(got, (status, Some(expected)), "{path}");
        assert!(!runtime.session().exists(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_workspace_is_refused_by_field() {
    let large = json!({ "repository": { "url": "x".repeat(1 << 20) } });
    let rows = [
        (json!([]), 400, "the body must be one JSON object"),
        (json!({}), 400, "repository is missing"),
        (
            workspace("https://127.1/r.git", 1, "t"),
            400,
            "repository.url must name a public host",
        ),
        (
            workspace("http://h/r.git", 1, "t"),
            400,
            "repository.url must start with https://",
        ),
        (
            workspace("https://h/r.git", 1, "a b"),
            400,
            "credential.token must be 1 to 4096 printable ASCII characters without spaces",
        ),
        (large, 413, "the body must not be larger than 1 MiB"),
    ];
    let path = "/v1/sessions/{session}/workspace";
    let rows = rows.map(|(body, status, expected)| (Method::PUT, path, body, status, expected));
    refuses(rows.to_vec()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_bad_calls_are_refused_by_field() {
    let turn = "/v1/sessions/{session}/turns/{message}";
    let other_message = json!({
        "submission": 1,
        "generation": 1,
        "intent": {
            "turn": { "type": "prompt", "messageId": message(2), "prompt": "p" },
            "agent": { "mode": "code", "model": "m" },
            "finalization": {},
        },
    });
    let credential = json!({ "generation": 1, "credential": { "username": "u", "token": "t" } });
    refuses(vec![
        (
            Method::PUT,
            "/v1/sessions/agent_x/workspace",
            json!({}),
            400,
            "the session id must be agent_ followed by a UUID",
        ),
        (Method::PUT, turn, json!({ "submission": -1 }), 400, "submission is malformed"),
        (
            Method::PUT,
            turn,
            other_message,
            400,
            "intent.turn.messageId must be the path's message id",
        ),
        (
            Method::PUT,
            "/v1/sessions/{session}/turns/msg_x",
            json!({}),
            400,
            "messageId must match msg_ followed by 12 lowercase hex characters and 14 base62 characters",
        ),
        (
            Method::PUT,
            "/v1/sessions/{session}/credential",
            credential,
            404,
            "there is no such session",
        ),
        (
            Method::POST,
            "/v1/sessions/{session}/turns/msg_x/interrupt",
            json!({}),
            400,
            "messageId must match msg_ followed by 12 lowercase hex characters and 14 base62 characters",
        ),
        (
            Method::PUT,
            "/v1/sessions/{session}/attachments/..%2F..%2Fx",
            json!({}),
            400,
            "name must be 36 hexadecimal digits and dashes, a dot, and 1 to 64 letters or digits",
        ),
        (Method::PATCH, turn, json!({}), 404, "there is no such route"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_used_by_one_runtime() {
    let root = Folder::new();
    let _runtime = Runtime::start(root.path(), &[]).await;
    let path = std::env::var_os("PATH").expect("there is a PATH");
    assert_refuses_to_start(
        root.path(),
        &path,
        "WORKSPACE_ROOT is in use by another runtime",
    );
}

/// A runtime with this folder and `PATH` ends because of its configuration, with this line as its last.
fn assert_refuses_to_start(root: &Path, path: &OsStr, line: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_workspace-runtime"))
        .env_clear()
        .env("PATH", path)
        .env("PORT", "0")
        .env("WORKSPACE_ROOT", root)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.lines().last(), Some(line));
}

#[test]
fn a_git_that_connects_where_it_likes_is_refused() {
    let (root, programs) = (Folder::new(), Folder::new());
    let git = programs.path().join("git");
    std::fs::write(&git, "#!/bin/sh\necho git version 2.36.6\n").expect("it is written");
    std::fs::set_permissions(&git, std::fs::Permissions::from_mode(0o755)).expect("it is there");
    assert_refuses_to_start(
        root.path(),
        programs.path().as_os_str(),
        "PATH must lead to git 2.37 or newer",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_streamed_as_they_come_and_end_in_time() {
    let (server, root) = (GitServer::start().await, Folder::new());
    let runtime = Runtime::start(root.path(), &[("DEV_ALLOWED_HOSTS", &*server.host())]).await;
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    let started = Instant::now();
    let (events, _) = tokio::join!(runtime.events(0, 2500), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        runtime.put_turn(1, 1, 1, json!({})).await
    });
    let elapsed = started.elapsed();
    assert!((2400..15_000).contains(&elapsed.as_millis()), "{elapsed:?}");
    assert_eq!(
        types(&events),
        ["ready", "kilocode", "kilocode", "complete"]
    );
    let last = events.last().expect("there are events")["seq"]
        .as_u64()
        .expect("a number");
    assert_eq!(last, events.len() as u64);
    assert!(runtime.events(last, 0).await.is_empty());
    let path = format!("/v1/sessions/{SESSION}/events?after=x");
    let (status, reply) = runtime.call(Method::GET, &path, None).await;
    assert_eq!(
        (status.as_u16(), &reply["message"]),
        (400, &json!("after must be a number"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_session_is_gone_for_good() {
    let (server, root) = (GitServer::start().await, Folder::new());
    let env = [
        ("DEV_ALLOWED_HOSTS", &*server.host()),
        (
            "AGENT_COMMAND",
            r#"["/bin/sh","-c","echo up; sleep 600 & sleep 600"]"#,
        ),
    ];
    let mut runtime = Runtime::start(root.path(), &env).await;
    let good = server.issue();
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &good))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    runtime.wait_for("output", 1).await;
    let path = format!("/v1/sessions/{SESSION}");
    let (status, _) = runtime.call(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(support::processes_of(&runtime.store).is_empty());
    assert!(!runtime.session().exists());
    assert!(files_with(root.path(), &[&good]).is_empty());
    assert_eq!(runtime.signal(Signal::TERM).await, Some(0));

    let runtime = Runtime::start(root.path(), &env).await;
    let (status, reply) = runtime
        .put_workspace(workspace(&server.url("r"), 2, &good))
        .await;
    assert_eq!((status, &reply["code"]), (StatusCode::GONE, &json!("gone")));
    let (status, _) = runtime.call(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::GONE);
    assert!(!runtime.session().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attachments_are_stored_whole_or_not_at_all() {
    let root = Folder::new();
    let runtime = Runtime::start(root.path(), &[]).await;
    let path = format!("/v1/sessions/{SESSION}/attachments/{NAME}");
    let put = async |bytes: Vec<u8>| {
        let request = runtime.bare(Method::PUT, &path).bearer_auth(&runtime.token);
        let request = request.header("x-store-id", &runtime.store).body(bytes);
        request.send().await.expect("it answers").status().as_u16()
    };
    let file = runtime.session().join("attachments").join(NAME);
    assert_eq!(put(vec![b'x'; (5 << 20) + 1]).await, 413);
    assert!(!file.exists());
    assert_eq!(put(vec![b'x'; 5 << 20]).await, 201);
    assert_eq!(put(b"second".to_vec()).await, 201);
    assert_eq!(std::fs::read(&file).expect("it is there"), b"second");
    let left = std::fs::read_dir(runtime.session().join("runtime")).expect("it is there");
    let names: Vec<_> = left
        .map(|entry| entry.expect("it is readable").file_name())
        .collect();
    assert!(
        !names
            .iter()
            .any(|name| name.to_string_lossy().starts_with("temporary")),
        "{names:?}"
    );
}

#[test]
fn a_wrong_configuration_is_one_line_and_code_2() {
    for (env, expected) in [
        (vec![], "PORT must be a port number; 0 takes a free port\n"),
        (
            vec![("PORT", "0")],
            "WORKSPACE_ROOT must be an absolute path\n",
        ),
        (
            vec![
                ("PORT", "0"),
                ("WORKSPACE_ROOT", "/tmp/x"),
                ("RUNTIME_TOKEN", "canary"),
            ],
            "RUNTIME_TOKEN must be at least 16 printable ASCII characters without spaces\n",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_workspace-runtime"))
            .env_clear()
            .envs(env)
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
        assert!(output.stdout.is_empty());
    }
}
