//! The runtime is killed or stopped at a bad moment and started again on the same disk.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use rustix::process::Signal;
use serde_json::json;
use support::git_server::{Fault, GitServer, git};
use support::runtime::{Runtime, first, message, script, types, workspace};
use support::{Folder, processes_of, until};

/// Counts its starts, and works until it is told to end.
const AGENT: &str = "echo start >> $1/starts; sleep 600 & echo '{\"type\":\"working\"}'; while [ ! -e $1/gate ]; do sleep 0.05; done";

fn starts(folder: &Folder) -> usize {
    let starts = std::fs::read_to_string(folder.path().join("starts"));
    starts.unwrap_or_default().lines().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_mid_clone_leaves_nothing() {
    let (server, root) = (GitServer::start().await, Folder::new());
    let env = [("DEV_ALLOWED_HOSTS", &*server.host())];
    let mut runtime = Runtime::start(root.path(), &env).await;
    server.set_fault(Fault::StallPacks);
    let good = server.issue();
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &good))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    until("the clone hangs", || {
        let posts = server
            .seen()
            .into_iter()
            .filter(|seen| seen.path.ends_with("git-upload-pack"));
        posts.count() > 0
    })
    .await;
    runtime.signal(Signal::KILL).await;
    server.set_fault(Fault::None);

    let runtime = Runtime::start(root.path(), &env).await;
    until("git is gone", || processes_of(&runtime.store).is_empty()).await;
    let names: Vec<_> = std::fs::read_dir(runtime.session())
        .expect("the session has a folder")
        .map(|entry| entry.expect("it is readable").file_name())
        .collect();
    assert_eq!(names, ["runtime"]);
    assert!(support::files_with(root.path(), &[&good]).is_empty());
    let failure = first(&runtime.wait_for("error", 1).await, "error")["failure"].clone();
    assert_eq!(
        (&failure["stage"], &failure["code"]),
        (&json!("pre_dispatch"), &json!("container_shutdown"))
    );

    runtime
        .put_workspace(workspace(&server.url("r"), 1, &good))
        .await;
    runtime.put_turn(1, 2, 1, json!({})).await;
    let events = runtime.wait_for("complete", 1).await;
    assert_eq!(
        types(&events),
        ["error", "ready", "kilocode", "kilocode", "complete"]
    );
    let sequences: Vec<_> = events
        .iter()
        .filter_map(|event| event["seq"].as_u64())
        .collect();
    assert!(
        sequences.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{sequences:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_never_started_twice_and_the_workspace_stays_warm() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let agent = script(AGENT, folder.path());
    let env = [
        ("DEV_ALLOWED_HOSTS", &*server.host()),
        ("AGENT_COMMAND", &*agent),
    ];
    let mut runtime = Runtime::start(root.path(), &env).await;
    let good = server.issue();
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &good))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    runtime.wait_for("kilocode", 1).await;
    let again = runtime.put_turn(1, 1, 1, json!({})).await;
    assert_eq!(again, json!({ "submission": 1, "state": "running" }));
    let newer = runtime.put_turn(1, 2, 1, json!({})).await;
    assert_eq!(newer, json!({ "submission": 1, "state": "running" }));
    let boot = runtime.health().await["bootId"].clone();
    runtime.signal(Signal::KILL).await;

    let runtime = Runtime::start(root.path(), &env).await;
    assert_ne!(runtime.health().await["bootId"], boot);
    until("the agent is gone", || {
        processes_of(&runtime.store).is_empty()
    })
    .await;
    let events = runtime.wait_for("error", 1).await;
    let failure = &first(&events, "error")["failure"];
    assert_eq!(
        (&failure["stage"], &failure["code"]),
        (&json!("interruption"), &json!("container_shutdown"))
    );
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &good))
        .await;
    for submission in [1, 2] {
        let reply = runtime.put_turn(1, submission, 1, json!({})).await;
        assert_eq!(reply, json!({ "submission": 1, "state": "failed" }));
    }
    server.forget();
    std::fs::write(folder.path().join("gate"), "").expect("the folder is there");
    runtime.put_turn(2, 3, 1, json!({})).await;
    let events = runtime.wait_for("complete", 2).await;
    let ready = events
        .iter()
        .rfind(|event| event["event"]["type"] == "ready")
        .expect("it is there");
    assert_eq!(ready["event"]["cold"], false);
    assert!(
        server.seen().is_empty(),
        "a known generation needs no proof"
    );
    assert_eq!(starts(&folder), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_every_turn_with_a_reason() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let agent = script(AGENT, folder.path());
    let env = [
        ("DEV_ALLOWED_HOSTS", &*server.host()),
        ("AGENT_COMMAND", &*agent),
    ];
    let mut runtime = Runtime::start(root.path(), &env).await;
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    runtime.put_turn(2, 2, 1, json!({})).await;
    runtime.wait_for("kilocode", 1).await;
    let (stopping, streamed) = {
        let store = runtime.store.clone();
        let path = format!(
            "/v1/sessions/{}/events?after=0&waitMs=30000",
            support::runtime::SESSION
        );
        let request = runtime
            .bare(reqwest::Method::GET, &path)
            .bearer_auth(&runtime.token);
        let streamed = tokio::spawn(request.header("x-store-id", store).send());
        let reply = streamed.await.expect("it is sent").expect("it answers");
        (runtime.signal(Signal::TERM), reply.text())
    };
    let (code, streamed) = tokio::join!(stopping, streamed);
    assert_eq!(code, Some(0));
    let streamed = streamed.expect("the stream ends in order");
    assert_eq!(
        streamed.matches("\"container_shutdown\"").count(),
        2,
        "{streamed}"
    );
    assert!(processes_of(&runtime.store).is_empty());

    let runtime = Runtime::start(root.path(), &env).await;
    for (number, stage) in [(1, "interruption"), (2, "pre_dispatch")] {
        let events = runtime.wait_for("error", number).await;
        let failure = &events.last().expect("there is one")["event"]["failure"];
        assert_eq!(
            (&failure["stage"], &failure["code"]),
            (&json!(stage), &json!("container_shutdown"))
        );
    }
    let errors = runtime.events(0, 0).await;
    let errors = errors
        .iter()
        .filter(|event| event["event"]["type"] == "error");
    assert_eq!(errors.count(), 2, "no reason is given twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_hand_over_credentials_may_change_between_starts() {
    let (server, root) = (GitServer::start().await, Folder::new());
    let good = server.issue();
    for (number, mode) in ["helper", "url", "helper"].into_iter().enumerate() {
        let env = [
            ("DEV_ALLOWED_HOSTS", &*server.host()),
            ("ORIGIN_CREDENTIALS", mode),
        ];
        let runtime = Runtime::start(root.path(), &env).await;
        let number = u32::try_from(number).expect("it is small");
        runtime
            .put_workspace(workspace(&server.url("r"), 1, &good))
            .await;
        runtime.put_turn(number, 1, 1, json!({})).await;
        runtime.wait_for("complete", number).await;
        let origin = git(&runtime.repo(), &["remote", "get-url", "origin"]);
        assert_eq!(
            origin.contains('@'),
            mode == "url",
            "{mode} {}",
            message(number)
        );
        assert_eq!(
            runtime.session().join("credential/token").exists(),
            mode == "helper"
        );
        git(&runtime.repo(), &["fetch", "--quiet", "origin"]);
        let config = std::fs::read_to_string(runtime.repo().join(".git/config")).expect("text");
        assert_eq!(config.matches("[credential]").count(), 1, "{config}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_records_cost_no_turn_its_end_and_no_session_its_life() {
    let (server, root) = (GitServer::start().await, Folder::new());
    let env = [("DEV_ALLOWED_HOSTS", &*server.host())];
    let mut runtime = Runtime::start(root.path(), &env).await;
    let good = server.issue();
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &good))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    runtime.wait_for("complete", 1).await;
    // They wait for a generation that never comes.
    for number in [2, 3, 4] {
        runtime.put_turn(number, 1, 9, json!({})).await;
    }
    runtime.signal(Signal::KILL).await;
    let records = runtime.session().join("runtime");
    let open = |number: u32| records.join(format!("open-turns/{}.json", message(number)));
    std::fs::write(open(2), "").expect("it is there");
    std::fs::write(open(3), r#"{"messageId":"#).expect("it is there");
    std::fs::write(records.join("workspace.json"), "prompt").expect("it is there");

    let runtime = Runtime::start(root.path(), &env).await;
    for number in [2, 3, 4] {
        let events = runtime.wait_for("error", number).await;
        let failure = &events.last().expect("there is one")["event"]["failure"];
        assert_eq!(failure["code"], "container_shutdown");
    }
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &good))
        .await;
    runtime.put_turn(2, 2, 1, json!({})).await;
    let events = runtime.wait_for("complete", 2).await;
    let ready = events
        .iter()
        .rfind(|event| event["event"]["type"] == "ready")
        .expect("it is there");
    assert_eq!(ready["event"]["cold"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_whose_start_or_end_cannot_be_written_is_told_the_truth_later() {
    let (server, root) = (GitServer::start().await, Folder::new());
    let env = [("DEV_ALLOWED_HOSTS", &*server.host())];
    let runtime = Runtime::start(root.path(), &env).await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    let (open, over) = (
        runtime.session().join("runtime/open-turns"),
        runtime.session().join("runtime/turns"),
    );
    std::fs::remove_dir_all(&open).expect("it is there");
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    let events = runtime.wait_for("error", 1).await;
    assert_eq!(first(&events, "error")["failure"]["stage"], "pre_dispatch");
    std::fs::create_dir(&open).expect("it is new");
    let record = over.join(format!("{}.json", message(1)));
    until("the end is written down", || record.exists()).await;

    // The agent was not started, so that a newer submission may start it.
    let moved = over.with_extension("moved");
    std::fs::rename(&over, &moved).expect("it is there");
    let reply = runtime.put_turn(2, 2, 1, json!({})).await;
    assert_eq!(reply["state"], "waiting");
    runtime.wait_for("complete", 2).await;
    std::fs::rename(&moved, &over).expect("it is there");
    let record = over.join(format!("{}.json", message(2)));
    until("the end is written down", || record.exists()).await;
    let reply = runtime.put_turn(1, 3, 1, json!({})).await;
    assert_eq!(reply, json!({ "submission": 3, "state": "waiting" }));
    runtime.wait_for("complete", 1).await;
}

/// Prints until the end of its turn fills a segment of the journal, so that the next event begins another.
const FILL: &str = r#"read line; case $line in *'prompt 1'*) exec perl -e '$| = 1; my ($journal) = glob "../runtime/journal/*";
    print "x" x 8000, "\n" for 1 .. 64; sleep 1 while -s $journal < 64 * 8100; print "x" x (512 * 1024 - 170 - -s $journal), "\n"';; esac"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_could_not_be_told_to_be_ready_may_run_again() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let agent = script(FILL, folder.path());
    let env = [
        ("DEV_ALLOWED_HOSTS", &*server.host()),
        ("AGENT_COMMAND", &*agent),
    ];
    let runtime = Runtime::start(root.path(), &env).await;
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    runtime.wait_for("complete", 1).await;
    let journal = runtime.session().join("runtime/journal");
    let away = journal.with_extension("away");
    std::fs::rename(&journal, &away).expect("it is there");
    runtime.put_turn(2, 1, 1, json!({})).await;
    until("it fails", || {
        runtime.log().contains("the journal takes no event")
    })
    .await;
    std::fs::rename(&away, &journal).expect("it is there");
    let events = runtime.wait_for("error", 2).await;
    assert_eq!(first(&events, "error")["failure"]["stage"], "pre_dispatch");
    let record = format!("runtime/turns/{}.json", message(2));
    let record = runtime.session().join(record);
    until("the end is written down", || record.exists()).await;
    let reply = runtime.put_turn(2, 2, 1, json!({})).await;
    assert_eq!(reply, json!({ "submission": 2, "state": "waiting" }));
    runtime.wait_for("complete", 2).await;
}
