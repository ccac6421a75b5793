//! What goes wrong while a workspace is prepared: each time a typed failure, and no half workspace.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use serde_json::{Value, json};
use support::git_server::{Fault, GitServer, git};
use support::runtime::{Runtime, SESSION, first, workspace};
use support::{Folder, processes_of, token, until};

async fn start(server: &GitServer, root: &Folder, deadlines: &str) -> Runtime {
    let env = [
        ("DEV_ALLOWED_HOSTS", &*server.host()),
        ("RUNTIME_TEST_DEADLINES", deadlines),
    ];
    Runtime::start(root.path(), &env).await
}

/// The failure that a turn ends with.
async fn failure(runtime: &Runtime, number: u32) -> Value {
    let events = runtime.wait_for("error", number).await;
    events.last().expect("there is an event")["event"]["failure"].clone()
}

fn nothing_is_left(runtime: &Runtime) {
    let names: Vec<String> = std::fs::read_dir(runtime.session())
        .expect("the session has a folder")
        .map(|entry| {
            entry
                .expect("it is readable")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    assert_eq!(names, ["runtime"]);
    let left = processes_of(&runtime.store);
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_an_authentication_failure_and_a_later_one_works() {
    let (server, root) = (GitServer::start().await, Folder::new());
    let runtime = start(&server, &root, "{}").await;
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &token()))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    let failure = failure(&runtime, 1).await;
    assert_eq!(failure["stage"], "pre_dispatch");
    assert_eq!(failure["code"], "workspace_setup_failed");
    assert_eq!(failure["subtype"], "git_authentication_failed");
    assert_eq!(failure["generation"], 1);
    assert!(
        failure["detail"]
            .as_str()
            .expect("text")
            .starts_with("exit code 128 after ")
    );
    nothing_is_left(&runtime);

    // The same turn under a newer submission, once there is a token that works.
    runtime
        .put_workspace(workspace(&server.url("r"), 2, &server.issue()))
        .await;
    let reply = runtime.put_turn(1, 2, 2, json!({})).await;
    assert_eq!(reply, json!({ "submission": 2, "state": "waiting" }));
    runtime.wait_for("complete", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_server_is_a_timeout_whoever_notices_it() {
    for deadlines in [
        r#"{"inactivityMs":700}"#,
        r#"{"hardMs":700}"#,
        r#"{"preparationMs":700}"#,
        // Git gives up by itself and blames the credential.
        r#"{"lowSpeedMs":1000}"#,
    ] {
        let (server, root) = (GitServer::start().await, Folder::new());
        server.set_fault(Fault::StallEverything);
        let runtime = start(&server, &root, deadlines).await;
        runtime
            .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
            .await;
        runtime.put_turn(1, 1, 1, json!({})).await;
        assert_eq!(
            failure(&runtime, 1).await["subtype"],
            "git_clone_timeout",
            "{deadlines}"
        );
        until("git is gone", || processes_of(&runtime.store).is_empty()).await;
        nothing_is_left(&runtime);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_gets_nothing() {
    let (server, other, root) = (
        GitServer::start().await,
        GitServer::start().await,
        Folder::new(),
    );
    server.set_fault(Fault::Redirect(other.port));
    let runtime = start(&server, &root, "{}").await;
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    failure(&runtime, 1).await;
    assert!(other.seen().is_empty());
    nothing_is_left(&runtime);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_server_is_a_network_failure() {
    let root = Folder::new();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.local_addr().expect("it is bound").to_string()
    };
    let runtime = Runtime::start(root.path(), &[("DEV_ALLOWED_HOSTS", &*closed)]).await;
    runtime
        .put_workspace(workspace(&format!("http://{closed}/r.git"), 1, &token()))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    assert_eq!(failure(&runtime, 1).await["subtype"], "git_network_failed");
    nothing_is_left(&runtime);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_rotation_leaves_the_workspace_and_the_old_credential() {
    let (server, root) = (GitServer::start().await, Folder::new());
    let runtime = start(&server, &root, "{}").await;
    let url = server.url("r");
    let (good, wrong) = (server.issue(), token());
    runtime.put_workspace(workspace(&url, 1, &good)).await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    runtime.wait_for("complete", 1).await;

    runtime.put_workspace(workspace(&url, 2, &wrong)).await;
    runtime.put_turn(2, 2, 2, json!({})).await;
    let failure = failure(&runtime, 2).await;
    assert_eq!(
        (&failure["subtype"], &failure["generation"]),
        (&json!("git_authentication_failed"), &json!(2))
    );
    assert!(runtime.repo().join("NOTES.md").exists());
    assert!(support::files_with(root.path(), &[wrong]).is_empty());
    git(&runtime.repo(), &["fetch", "--quiet", "origin"]);

    runtime
        .put_workspace(workspace(&url, 3, &server.issue()))
        .await;
    runtime.put_turn(2, 3, 3, json!({})).await;
    let events = runtime.wait_for("complete", 2).await;
    let ready: Vec<_> = events
        .iter()
        .filter(|event| event["event"]["type"] == "ready")
        .collect();
    assert_eq!(
        (ready.len(), &ready[1]["event"]["cold"]),
        (2, &json!(false))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_repository_is_refused_before_and_after_the_first_is_ready() {
    let (server, root) = (GitServer::start().await, Folder::new());
    let env = [("DEV_ALLOWED_HOSTS", &*server.host())];
    let mut runtime = Runtime::start(root.path(), &env).await;
    let (good, url, other) = (server.issue(), server.url("r"), server.url("other"));
    server.set_fault(Fault::StallEverything);
    for (url, expected) in [(&url, 202), (&other, 400)] {
        let (status, _) = runtime.put_workspace(workspace(url, 1, &good)).await;
        assert_eq!(status.as_u16(), expected, "{url}");
    }
    server.set_fault(Fault::None);
    runtime.put_workspace(workspace(&url, 2, &good)).await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    runtime.wait_for("complete", 1).await;
    runtime.signal(rustix::process::Signal::KILL).await;
    let runtime = Runtime::start(root.path(), &env).await;
    for (url, expected) in [(&other, 400), (&url, 202)] {
        let (status, _) = runtime.put_workspace(workspace(url, 2, &good)).await;
        assert_eq!(status.as_u16(), expected, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_credential_takes_over_a_preparation_that_hangs() {
    let (server, root) = (GitServer::start().await, Folder::new());
    server.set_fault(Fault::StallEverything);
    let runtime = start(&server, &root, "{}").await;
    let url = server.url("r");
    runtime
        .put_workspace(workspace(&url, 1, &server.issue()))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    until("the clone hangs", || !server.seen().is_empty()).await;
    server.set_fault(Fault::None);
    let path = format!("/v1/sessions/{SESSION}/credential");
    let body =
        json!({ "generation": 2, "credential": { "username": "u", "token": server.issue() } });
    let (status, reply) = runtime.call(reqwest::Method::PUT, &path, Some(body)).await;
    assert_eq!((status.as_u16(), reply), (202, json!({ "generation": 2 })));
    let events = runtime.wait_for("complete", 1).await;
    assert_eq!(first(&events, "ready")["generation"], 2);
    let (status, reply) = runtime
        .put_workspace(workspace(&url, 1, &server.issue()))
        .await;
    assert_eq!(
        (status.as_u16(), &reply["code"]),
        (409, &json!("stale_generation"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn branches_are_found_made_or_missed() {
    let (server, root) = (GitServer::start().await, Folder::new());
    server.create("empty", &[]);
    server.create("dangling", &[("main", "README.md", "hello\n")]);
    let nowhere = ["symbolic-ref", "HEAD", "refs/heads/nowhere"];
    git(&server.path("dangling"), &nowhere);
    let head = server.branch("r", "other").expect("it is there");
    git(
        &server.path("r"),
        &["update-ref", "refs/pull/7/head", &head],
    );
    let runtime = start(&server, &root, "{}").await;
    let good = server.issue();
    for (number, (repository, branch, strict, shallow, expected)) in [
        ("r", "main", true, false, Ok("README.md")),
        ("r", "other", true, false, Ok("OTHER.md")),
        ("r", "other", true, true, Ok("OTHER.md")),
        ("r", "new/branch", false, false, Ok("README.md")),
        ("r", "new/branch", false, true, Ok("README.md")),
        ("r", "refs/pull/7/head", true, false, Ok("OTHER.md")),
        ("r", "refs/pull/7/head", true, true, Ok("OTHER.md")),
        ("empty", "main", false, false, Ok("NOTES.md")),
        ("empty", "work", false, true, Ok("NOTES.md")),
        ("r", "missing", true, false, Err("git_branch_missing")),
        ("dangling", "work", false, false, Err("git_branch_missing")),
        ("dangling", "main", true, false, Ok("README.md")),
        ("r", "missing", true, true, Err("git_branch_missing")),
        (
            "r",
            "refs/pull/8/head",
            true,
            false,
            Err("git_branch_missing"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let number = u32::try_from(number).expect("it is small");
        let mut body = workspace(&server.url(repository), 1, &good);
        body["branch"] = json!({ "name": branch, "strict": strict });
        body["shallow"] = json!(shallow);
        runtime.put_workspace(body).await;
        runtime.put_turn(number, 1, 1, json!({})).await;
        let row = format!("{repository} {branch} {shallow}");
        match expected {
            Ok(file) => {
                let events = runtime.wait_for("complete", number).await;
                assert_eq!(first(&events, "ready")["branch"], branch, "{row}");
                assert!(runtime.repo().join(file).exists(), "{row}");
                assert_eq!(
                    runtime.repo().join(".git/shallow").exists(),
                    shallow && repository == "r",
                    "{row}"
                );
            }
            Err(subtype) => {
                assert_eq!(failure(&runtime, number).await["subtype"], subtype, "{row}");
                nothing_is_left(&runtime);
            }
        }
        // Every row begins on a new disk.
        drop_session(&runtime).await;
    }
}

/// Starts the session over without its tombstone.
async fn drop_session(runtime: &Runtime) {
    let path = format!("/v1/sessions/{SESSION}");
    let (status, _) = runtime.call(reqwest::Method::DELETE, &path, None).await;
    assert_eq!(status.as_u16(), 204);
    assert!(!runtime.session().exists());
    std::fs::remove_file(runtime.root.join(".tombstones").join(SESSION)).expect("it is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_commands_run_once_in_order_and_a_failing_one_removes_the_workspace() {
    let (server, root) = (GitServer::start().await, Folder::new());
    let runtime = start(&server, &root, "{}").await;
    let mut body = workspace(&server.url("r"), 1, &server.issue());
    body["env"] = json!({ "GREETING": "hello there" });
    body["setupCommands"] = json!(["echo \"$GREETING\" > setup", "pwd >> setup; exit 3"]);
    runtime.put_workspace(body.clone()).await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    let failed = failure(&runtime, 1).await;
    assert_eq!(failed["subtype"], "setup_command_failed");
    let detail = failed["detail"].as_str().expect("text");
    assert!(
        detail.starts_with("setup command 2: exit code 3 after "),
        "{detail}"
    );
    nothing_is_left(&runtime);

    body["setupCommands"] = json!(["echo \"$GREETING\" >> setup", "pwd >> setup"]);
    runtime.put_workspace(body.clone()).await;
    runtime.put_turn(1, 2, 1, json!({})).await;
    runtime.wait_for("complete", 1).await;
    body["generation"] = json!(2);
    runtime.put_workspace(body).await;
    runtime.put_turn(2, 3, 2, json!({})).await;
    runtime.wait_for("complete", 2).await;
    let setup = std::fs::read_to_string(runtime.repo().join("setup")).expect("it ran");
    assert_eq!(
        setup,
        format!("hello there\n{}\n", runtime.repo().display())
    );
}
