//! Processes that leave the agent's group, or do not want to end.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::os::unix::fs::PermissionsExt;

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::json;
use support::git_server::GitServer;
use support::runtime::{Runtime, SESSION, message, script, turn, types, workspace};
use support::{Folder, files_with, processes_of, until};

/// Leaves something in a session of its own that prints and writes until it is killed.
const ESCAPE: &str = "rm -f stray; setsid sh -c 'while :; do echo stray; date > stray; sleep 0.05; done' & while [ ! -e stray ]; do sleep 0.05; done; echo up";

/// Leaves something that nothing names, neither its group nor its environment, and that holds the agent's pipes.
const HIDDEN: &str = "echo up; env -i PATH=\"$PATH\" $KEPT setsid sh -c 'trap \"\" PIPE; echo $$ > $0/hidden; while :; do echo late; sleep 0.05; done' $1 & while [ ! -s $1/hidden ]; do sleep 0.05; done";

struct Scene {
    server: GitServer,
    runtime: Runtime,
    folder: Folder,
    root: Folder,
    token: String,
}

impl Scene {
    /// A session whose agent runs.
    async fn start(agent: &str, env: &[(&str, &str)]) -> Self {
        let scene = Self::begin(agent, env).await;
        scene.runtime.put_turn(1, 1, 1, json!({})).await;
        scene
    }

    /// A session whose workspace is being prepared.
    async fn begin(agent: &str, env: &[(&str, &str)]) -> Self {
        let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
        let (agent, host) = (script(agent, folder.path()), server.host());
        let own = [
            ("DEV_ALLOWED_HOSTS", &*host),
            ("AGENT_COMMAND", &*agent),
            ("ORIGIN_CREDENTIALS", "url"),
        ];
        let runtime = Runtime::start(root.path(), &[&own, env].concat()).await;
        let token = server.issue();
        runtime
            .put_workspace(workspace(&server.url("r"), 1, &token))
            .await;
        Self {
            server,
            runtime,
            folder,
            root,
            token,
        }
    }

    async fn nothing_runs(&self) {
        until("everything is gone", || {
            processes_of(&self.runtime.store).is_empty()
        })
        .await;
    }

    /// Whether the process that nothing names still runs. A zombie only waits to be collected.
    fn hidden_runs(&self) -> bool {
        let pid = std::fs::read_to_string(self.folder.path().join("hidden")).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn delete(&self) -> StatusCode {
        let path = format!("/v1/sessions/{SESSION}");
        self.runtime.call(Method::DELETE, &path, None).await.0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_the_group_ends_with_the_turn() {
    let scene = Scene::start(ESCAPE, &[]).await;
    scene.runtime.wait_for("complete", 1).await;
    scene.nothing_runs().await;
    let mut body = workspace(&scene.server.url("r"), 1, &scene.token);
    body["setupCommands"] = json!([ESCAPE, "exit 1"]);
    let path = format!("/v1/sessions/{}/workspace", SESSION.replace('0', "1"));
    scene.runtime.call(Method::PUT, &path, Some(body)).await;
    until("the setup failed", || {
        scene.runtime.log().contains("setup command 2")
    })
    .await;
    scene.nothing_runs().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_setup_command_left_ends_at_the_deadline_of_the_preparation() {
    let (server, root) = (GitServer::start().await, Folder::new());
    let host = server.host();
    let env = [
        ("DEV_ALLOWED_HOSTS", &*host),
        ("RUNTIME_TEST_DEADLINES", r#"{"preparationMs":3000}"#),
    ];
    let runtime = Runtime::start(root.path(), &env).await;
    let mut body = workspace(&server.url("r"), 1, &server.issue());
    let quiet = "setsid sh -c 'touch up; exec sleep 600' > /dev/null 2>&1 & while [ ! -e up ]; do sleep 0.05; done";
    body["setupCommands"] = json!([quiet, "sleep 600"]);
    runtime.put_workspace(body).await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    let events = runtime.wait_for("error", 1).await;
    let failure = &events.last().expect("there is one")["event"]["failure"];
    assert_eq!(failure["subtype"], "setup_command_timeout");
    assert_eq!(processes_of(&runtime.store), [""; 0]);
    assert!(!runtime.repo().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_the_group_ends_with_the_session_and_the_runtime() {
    let stays = format!("{ESCAPE}; sleep 600");
    let mut scene = Scene::start(&stays, &[]).await;
    scene.runtime.wait_for("output", 1).await;
    assert_eq!(scene.delete().await, StatusCode::NO_CONTENT);
    assert_eq!(processes_of(&scene.runtime.store), [""; 0]);
    assert!(!scene.runtime.session().exists());
    assert_eq!(scene.delete().await, StatusCode::GONE);

    let other = Scene::start(&stays, &[]).await;
    other.runtime.wait_for("output", 1).await;
    let (mut runtime, store) = (other.runtime, scene.runtime.store.clone());
    assert_eq!(runtime.signal(Signal::TERM).await, Some(0));
    assert_eq!(processes_of(&runtime.store), [""; 0]);
    assert_eq!(scene.runtime.signal(Signal::TERM).await, Some(0));
    assert_eq!(processes_of(&store), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_in_the_group_of_its_child_is_interrupted() {
    let moved = r#"exec perl -MPOSIX -e 'pipe R, W; my $c = fork; if (!$c) { POSIX::setpgid(0, 0); syswrite W, "x"; sleep 600; exit }
        sysread R, my $x, 1; POSIX::setpgid(0, $c); $| = 1; print "moved\n"; sleep 600'"#;
    let scene = Scene::start(moved, &[]).await;
    scene.runtime.wait_for("output", 1).await;
    let path = format!("/v1/sessions/{SESSION}/turns/{}/interrupt", message(1));
    scene.runtime.call(Method::POST, &path, None).await;
    scene.runtime.wait_for("interrupted", 1).await;
    scene.nothing_runs().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_ends_although_somebody_unknown_goes_on_printing() {
    // What it keeps of its environment: nothing, the store, or the store and a session that does nothing now.
    let store = "KEPT=WORKSPACE_RUNTIME_STORE=$WORKSPACE_RUNTIME_STORE";
    let other = SESSION.replace('0', "1");
    for kept in [":", store, &format!("{store}\\ SESSION_ID={other}")] {
        let scene = Scene::start(&format!("{kept}; {HIDDEN}"), &[]).await;
        let events = scene.runtime.wait_for("complete", 1).await;
        assert_eq!(types(&events)[..2], ["ready", "output"], "{kept}");
        until("the hidden process is gone", || !scene.hidden_runs()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_be_another_sessions_outlives_a_turn_but_not_the_other_one() {
    // The agent of the second session stays until it finds a gate.
    let agent = format!(
        "read line; case $line in *'prompt 1'*) {HIDDEN};; *) while [ ! -e $1/gate ]; do sleep 0.05; done;; esac"
    );
    let scene = Scene::begin(&agent, &[]).await;
    let other = SESSION.replace('0', "1");
    let path = format!("/v1/sessions/{other}");
    let body = workspace(&scene.server.url("r"), 1, &scene.token);
    let call = |method, path: String, body| {
        let runtime = &scene.runtime;
        async move { runtime.call(method, &path, body).await }
    };
    call(Method::PUT, format!("{path}/workspace"), Some(body)).await;
    let turn = turn(2, 2, 1, &json!({}));
    call(
        Method::PUT,
        format!("{path}/turns/{}", message(2)),
        Some(turn),
    )
    .await;
    until("the other session works", || {
        let log = scene.runtime.log();
        log.lines()
            .any(|line| line.contains("the turn starts") && line.contains(&other))
    })
    .await;
    scene.runtime.put_turn(1, 1, 1, json!({})).await;
    scene.runtime.wait_for("complete", 1).await;
    assert!(scene.hidden_runs(), "it could be the other session's");
    std::fs::write(scene.folder.path().join("gate"), "").expect("the folder is there");
    until("the hidden process is gone", || !scene.hidden_runs()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_delete_removes_what_the_first_had_to_leave() {
    let scene = Scene::start(
        "mkdir -p cache/pkg; echo x > cache/pkg/file; chmod -R a-w cache",
        &[],
    )
    .await;
    scene.runtime.wait_for("complete", 1).await;
    assert!(!files_with(scene.root.path(), &["x-access-token"]).is_empty());
    // As after a removal that the disk had refused.
    let tombstone = scene.runtime.root.join(".tombstones").join(SESSION);
    std::fs::write(tombstone, "").expect("the folder is there");
    assert_eq!(scene.delete().await, StatusCode::NO_CONTENT);
    assert!(!scene.runtime.session().exists());
    assert_eq!(scene.delete().await, StatusCode::GONE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_below_folders_are_removed_however_many_there_are() {
    // Many more than files may be open.
    let deep = r#"exec perl -e 'for (1 .. 1000) { mkdir "d" or die; chdir "d" or die; }'"#;
    let mut scene = Scene::start(deep, &[]).await;
    scene.runtime.wait_for("complete", 1).await;
    scene.runtime.limit_open_files(256);
    assert_eq!(scene.delete().await, StatusCode::NO_CONTENT);
    assert!(!scene.runtime.session().exists());

    let again = Scene::start(deep, &[]).await;
    again.runtime.wait_for("complete", 1).await;
    let (mut runtime, root) = (again.runtime, &again.root);
    runtime.signal(Signal::KILL).await;
    let tombstone = runtime.root.join(".tombstones").join(SESSION);
    std::fs::write(tombstone, "").expect("the folder is there");
    let mut runtime = Runtime::start(root.path(), &[]).await;
    runtime.limit_open_files(256);
    until("it is removed", || !runtime.session().exists()).await;
    assert_eq!(runtime.signal(Signal::TERM).await, Some(0));
    assert_eq!(scene.runtime.signal(Signal::TERM).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_user_has_no_processes_from_before_a_start() {
    if !rustix::process::geteuid().is_root() {
        // Other users cannot become the agent's; the configuration refuses that.
        return;
    }
    let uid = "54322";
    let hidden =
        "env -i PATH=\"$PATH\" setsid sleep 601 > /dev/null 2>&1 & echo $! > $1/pid; sleep 600";
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777))
        .expect("it is there");
    let (agent, host) = (script(hidden, folder.path()), server.host());
    let env = [
        ("DEV_ALLOWED_HOSTS", &*host),
        ("AGENT_COMMAND", &*agent),
        ("AGENT_UID", uid),
    ];
    let mut runtime = Runtime::start(root.path(), &env).await;
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    let command = || {
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap_or_default();
        std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default()
    };
    until("it hides", || command().starts_with("sleep")).await;
    runtime.signal(Signal::KILL).await;
    let _runtime = Runtime::start(root.path(), &env).await;
    until("it is gone", || command().is_empty()).await;
}
