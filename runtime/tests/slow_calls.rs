//! Calls whose body comes late or not at all, and whose caller does not wait for the answer.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Duration;

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::git_server::GitServer;
use support::runtime::{Runtime, SESSION, message, script, workspace};
use support::{Folder, processes_of, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Begins a call and holds its body back.
async fn begin(runtime: &Runtime, path: &str, body: &str) -> TcpStream {
    let address = runtime.url.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.expect("it listens");
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\nx-store-id: {}\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        runtime.token,
        runtime.store,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    // The server asks for the body once its handler reads it, so the call has got in by then.
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.expect("it is read");
    assert_eq!(asked.as_slice(), b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_stop_overtakes_may_be_repeated() {
    let root = Folder::new();
    let mut runtime = Runtime::start(root.path(), &[]).await;
    let turn = |number: u32| {
        json!({
            "submission": 1,
            "generation": 1,
            "intent": {
                "turn": { "type": "prompt", "messageId": message(number), "prompt": "p" },
                "agent": { "mode": "code", "model": "m" },
                "finalization": {},
            },
        })
    };
    runtime.put_turn(2, 1, 1, json!({})).await;
    let other = "agent_0f8fad5b-d9cb-469f-a165-70867728950f";
    let mut calls = Vec::new();
    for (session, number) in [(SESSION, 1), (other, 1)] {
        let body = turn(number).to_string();
        let path = format!("/v1/sessions/{session}/turns/{}", message(number));
        calls.push((begin(&runtime, &path, &body).await, body));
    }
    runtime.send(Signal::TERM);
    until("it stops", || runtime.log().contains("\"stopping\"")).await;
    for (mut stream, body) in calls {
        stream.write_all(body.as_bytes()).await.expect("it is sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("it answers");
        assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
        let (_, json) = reply.split_once("\r\n\r\n").expect("there is a body");
        let json: Value = serde_json::from_str(json).expect("it is JSON");
        assert_eq!(json["code"], "unavailable");
    }
    assert_eq!(runtime.ended().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let root = Folder::new();
    let env = [("RUNTIME_TEST_DEADLINES", r#"{"bodyMs":300}"#)];
    let runtime = Runtime::start(root.path(), &env).await;
    let path = format!("/v1/sessions/{SESSION}/turns/{}", message(1));
    let mut stream = begin(&runtime, &path, "{}").await;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("it answers");
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    assert!(reply.contains("did not arrive in time"), "{reply}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_are_closed_and_take_no_place_from_others() {
    let root = Folder::new();
    let env = [("RUNTIME_TEST_DEADLINES", r#"{"headMs":300}"#)];
    let runtime = Runtime::start(root.path(), &env).await;
    let address = runtime.url.trim_start_matches("http://");
    let mut silent = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(b"GET /healthz HT").await.expect("sent");
        silent.push(stream);
    }
    // More than it takes at once: those that wait are taken when the first ones are closed.
    assert_eq!(runtime.health().await["storeId"], runtime.store);
    for mut stream in silent {
        let mut reply = Vec::new();
        let ended = stream.read_to_end(&mut reply);
        let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
        assert!(ended.is_ok(), "it is closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_goes_on_without_its_caller_and_a_repeat_waits_for_it() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let stubborn = "trap '' TERM; echo up; while :; do sleep 0.1; done";
    let (agent, host) = (script(stubborn, folder.path()), server.host());
    let env = [("DEV_ALLOWED_HOSTS", &*host), ("AGENT_COMMAND", &*agent)];
    let runtime = Runtime::start(root.path(), &env).await;
    let path = format!("/v1/sessions/{SESSION}");
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    runtime.wait_for("output", 1).await;
    let call = runtime
        .bare(Method::DELETE, &path)
        .bearer_auth(&runtime.token)
        .header("x-store-id", &runtime.store)
        .timeout(Duration::from_millis(300));
    let error = call.send().await.expect_err("the agent does not end");
    assert!(error.is_timeout(), "{error}");
    let (status, _) = runtime.call(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(processes_of(&runtime.store), [""; 0]);
    assert!(!runtime.session().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attachment_whose_sender_goes_away_leaves_nothing() {
    let root = Folder::new();
    let runtime = Runtime::start(root.path(), &[]).await;
    let name = format!("{}.png", uuid::Uuid::new_v4());
    let path = format!("/v1/sessions/{SESSION}/attachments/{name}");
    let mut stream = begin(&runtime, &path, "picture").await;
    stream.write_all(b"pict").await.expect("it is sent");
    let temporaries = || {
        let files = std::fs::read_dir(runtime.session().join("runtime")).expect("it is there");
        let names = files.flatten().map(|file| file.file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("temporary-"))
            .count()
    };
    until("it is being written", || temporaries() == 1).await;
    drop(stream);
    until("it is gone", || temporaries() == 0).await;
}
