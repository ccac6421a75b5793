//! The agent's run: what it gets, what becomes of its output, and how it is stopped.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use support::git_server::{GitServer, git};
use support::runtime::{Runtime, SESSION, first, message, script, types, workspace};
use support::{Folder, files_with, processes_of, token, until};

async fn start(server: &GitServer, root: &Folder, text: &str, folder: &Path) -> Runtime {
    let agent = script(text, folder);
    let env = [
        ("DEV_ALLOWED_HOSTS", &*server.host()),
        ("AGENT_COMMAND", &*agent),
    ];
    Runtime::start(root.path(), &env).await
}

fn texts(events: &[Value]) -> Vec<String> {
    let outputs = events
        .iter()
        .filter(|event| event["event"]["type"] == "output");
    outputs
        .map(|event| event["event"]["text"].as_str().expect("text").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_gets_the_message_and_a_clean_environment_and_its_output_is_redacted() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let text = r#"read -r line; printf '%s' "$line" > $1/intent; env > $1/env; pwd > $1/pwd
        echo "{\"secret\":\"$SECRET\"}"; echo "plain $SECRET"; printf 'err %s\033[1m\n' "$SECRET" >&2
        printf '%s' "$(cat "$SESSION_HOME/../credential/token" | sed 's/.*"token":"\([^"]*\)".*/\1/')""#;
    let runtime = start(&server, &root, text, folder.path()).await;
    let good = server.issue();
    let mut body = workspace(&server.url("r"), 1, &good);
    body["env"] = json!({ "SECRET": "value-that-is-secret", "HOME": "/nowhere" });
    runtime.put_workspace(body).await;
    runtime
        .put_turn(1, 1, 1, json!({ "condenseOnComplete": false }))
        .await;
    let events = runtime.wait_for("complete", 1).await;

    let read =
        |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("it was written");
    let intent: Value = serde_json::from_str(&read("intent")).expect("it is one line of JSON");
    assert_eq!(intent["turn"]["messageId"], message(1));
    assert_eq!(
        intent["finalization"],
        json!({ "condenseOnComplete": false })
    );
    assert_eq!(read("pwd").trim(), runtime.repo().to_string_lossy());
    let names: Vec<_> = read("env")
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0.to_owned()))
        .collect();
    for name in [
        "PATH",
        "LANG",
        "HOME",
        "SESSION_ID",
        "SESSION_HOME",
        "SESSION_ATTACHMENTS",
        "GIT_TERMINAL_PROMPT",
        "SECRET",
    ] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
    for name in ["RUNTIME_TOKEN", "PORT", "WORKSPACE_ROOT", "AGENT_COMMAND"] {
        assert!(!names.iter().any(|known| known == name), "{name}");
    }
    assert!(read("env").contains(&format!(
        "HOME={}\n",
        runtime.session().join("home").display()
    )));

    assert_eq!(
        first(&events, "kilocode")["json"],
        r#"{"secret":"[redacted]"}"#
    );
    let mut texts = texts(&events);
    texts.sort();
    assert_eq!(texts, ["[redacted]", "err [redacted]", "plain [redacted]"]);
    let journal = runtime.session().join("runtime/journal");
    assert!(files_with(&journal, &[&*good, "value-that-is-secret"]).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_agent_is_typed_by_what_it_had_shown() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let text = r"[ ! -e $1/loud ] || echo hello; [ ! -e $1/kill ] || kill -9 $$; exit 7";
    let runtime = start(&server, &root, text, folder.path()).await;
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    for (number, file, stage, code, detail) in [
        (
            1,
            "none",
            "post_dispatch_no_activity",
            "wrapper_error_before_activity",
            "the agent ended with exit code 7 after ",
        ),
        (
            2,
            "loud",
            "agent_activity",
            "wrapper_error_after_activity",
            "the agent ended with exit code 7 after ",
        ),
        (
            3,
            "kill",
            "agent_activity",
            "wrapper_error_after_activity",
            "the agent was killed by a signal after ",
        ),
    ] {
        std::fs::write(folder.path().join(file), "").expect("the folder is there");
        runtime
            .put_turn(number, 1, 1, json!({ "autoCommit": true }))
            .await;
        let events = runtime.wait_for("error", number).await;
        let failure = &events.last().expect("there is one")["event"]["failure"];
        assert_eq!(
            (&failure["stage"], &failure["code"]),
            (&json!(stage), &json!(code))
        );
        assert!(
            failure["detail"]
                .as_str()
                .expect("text")
                .starts_with(detail),
            "{failure}"
        );
    }
    assert!(!types(&runtime.events(0, 0).await).contains(&"autocommit_started"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_cannot_be_started_is_typed() {
    let (server, root) = (GitServer::start().await, Folder::new());
    let env = [
        ("DEV_ALLOWED_HOSTS", &*server.host()),
        ("AGENT_COMMAND", r#"["/nonexistent/agent"]"#),
    ];
    let runtime = Runtime::start(root.path(), &env).await;
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    let events = runtime.wait_for("error", 1).await;
    assert_eq!(
        events.last().expect("there is one")["event"]["failure"]["code"],
        "wrapper_start_failed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_ends_everything_the_agent_started() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let text = "trap '' TERM; sleep 600 & echo up; while :; do sleep 0.1; done";
    let runtime = start(&server, &root, text, folder.path()).await;
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    runtime.put_turn(2, 2, 1, json!({})).await;
    runtime.wait_for("output", 1).await;
    let interrupt = async |number: u32| {
        let path = format!("/v1/sessions/{SESSION}/turns/{}/interrupt", message(number));
        let (status, _) = runtime.call(Method::POST, &path, None).await;
        assert_eq!(status.as_u16(), 202);
    };
    // One that waits, one that runs and ignores the polite signal, one that nobody knows.
    for number in [2, 1, 9] {
        interrupt(number).await;
    }
    let events = runtime.wait_for("interrupted", 1).await;
    assert_eq!(
        types(&events),
        ["ready", "output", "interrupted", "interrupted"]
    );
    until("everything is gone", || {
        processes_of(&runtime.store).is_empty()
    })
    .await;
    // One whose agent had started stays as it ended; of the others no submission ever starts one.
    for (number, submission) in [(1, 1), (2, 7), (9, 7)] {
        for _ in 0..2 {
            let reply = runtime.put_turn(number, 7, 1, json!({})).await;
            assert_eq!(
                reply,
                json!({ "submission": submission, "state": "interrupted" })
            );
        }
    }
    let events = runtime.events(0, 0).await;
    assert_eq!(
        types(&events)[4..],
        ["interrupted", "interrupted"],
        "every submission got its end"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_that_overtakes_its_turn_keeps_the_agent_from_starting() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let text = "echo start >> $1/starts";
    let runtime = start(&server, &root, text, folder.path()).await;
    let path = format!("/v1/sessions/{SESSION}/turns/{}/interrupt", message(1));
    let (status, _) = runtime.call(Method::POST, &path, None).await;
    assert_eq!(status.as_u16(), 202);
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    let reply = runtime.put_turn(1, 1, 1, json!({})).await;
    assert_eq!(reply, json!({ "submission": 1, "state": "interrupted" }));
    runtime.put_turn(2, 2, 1, json!({})).await;
    let events = runtime.wait_for("complete", 2).await;
    assert_eq!(types(&events), ["interrupted", "ready", "complete"]);
    let starts = std::fs::read_to_string(folder.path().join("starts")).expect("it ran");
    assert_eq!(starts, "start\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_agent_leaves_running_ends_with_it() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let runtime = start(&server, &root, "sleep 600 & echo done", folder.path()).await;
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    let events = runtime.wait_for("complete", 1).await;
    assert_eq!(types(&events), ["ready", "output", "complete"]);
    until("everything is gone", || {
        processes_of(&runtime.store).is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_turn_goes_over_to_a_newer_submission() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let runtime = start(&server, &root, "echo start >> $1/starts", folder.path()).await;
    for submission in [1, 3, 2] {
        let reply = runtime.put_turn(1, submission, 1, json!({})).await;
        let newest = submission.max(if submission == 2 { 3 } else { 0 });
        assert_eq!(reply, json!({ "submission": newest, "state": "waiting" }));
    }
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    let events = runtime.wait_for("complete", 1).await;
    assert_eq!(first(&events, "complete")["submission"], 3);
    let reply = runtime.put_turn(1, 4, 1, json!({})).await;
    assert_eq!(reply, json!({ "submission": 3, "state": "completed" }));
    let starts = std::fs::read_to_string(folder.path().join("starts")).expect("it ran");
    assert_eq!(starts, "start\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_agent_gets_a_rotated_credential_and_keeps_the_old_one_when_it_is_refused() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let text = r"echo up; while [ ! -e $1/gate ]; do sleep 0.05; done; git fetch --quiet origin && echo fetched; echo change > change";
    let runtime = start(&server, &root, text, folder.path()).await;
    let (old, new, wrong) = (server.issue(), server.issue(), token());
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &old))
        .await;
    runtime
        .put_turn(1, 1, 1, json!({ "autoCommit": true }))
        .await;
    runtime.wait_for("output", 1).await;
    let rotate = async |generation: u64, token: &str| {
        let path = format!("/v1/sessions/{SESSION}/credential");
        let body = json!({ "generation": generation, "credential": { "username": "x-access-token", "token": token } });
        runtime
            .call(Method::PUT, &path, Some(body))
            .await
            .0
            .as_u16()
    };
    assert_eq!(rotate(2, &wrong).await, 202);
    let events = runtime
        .wait_until("credential_refused", |event| {
            event["event"]["type"] == "credential_refused"
        })
        .await;
    assert_eq!(first(&events, "credential_refused")["generation"], 2);
    assert!(files_with(root.path(), &[wrong]).is_empty());
    assert!(!files_with(root.path(), &[&old]).is_empty());

    assert_eq!(rotate(3, &new).await, 202);
    assert_eq!(rotate(2, &old).await, 409);
    until("the old token is gone", || {
        files_with(root.path(), &[&old]).is_empty()
    })
    .await;
    server.revoke(&old);
    std::fs::write(folder.path().join("gate"), "").expect("the folder is there");
    let events = runtime.wait_for("complete", 1).await;
    assert!(texts(&events).contains(&"fetched".to_owned()));
    assert_eq!(first(&events, "autocommit_completed")["pushed"], true);
    assert_eq!(git(&server.path("r"), &["show", "main:change"]), "change");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_pushes_what_the_remote_lacks_and_nothing_else() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let text = r"[ ! -e $1/change ] || cp $1/change change; [ ! -e $1/commit ] || git commit --quiet --allow-empty -m own";
    let runtime = start(&server, &root, text, folder.path()).await;
    let mut body = workspace(&server.url("r"), 1, &server.issue());
    body["branch"] = json!({ "name": "session/work", "strict": false });
    body["shallow"] = json!(true);
    runtime.put_workspace(body).await;
    let turn = async |number: u32| {
        runtime
            .put_turn(number, 1, 1, json!({ "autoCommit": true }))
            .await;
        let events = runtime.wait_for("complete", number).await;
        let completed = events
            .iter()
            .rfind(|event| event["event"]["type"] == "autocommit_completed");
        completed.expect("it is there")["event"].clone()
    };
    let nothing = turn(1).await;
    assert_eq!(
        (nothing.get("commit"), &nothing["pushed"]),
        (None, &json!(false))
    );
    assert_eq!(server.branch("r", "session/work"), None);

    std::fs::write(folder.path().join("change"), "1").expect("it is written");
    let pushed = turn(2).await;
    assert_eq!(pushed["pushed"], true);
    assert_eq!(
        pushed["commit"].as_str(),
        server.branch("r", "session/work").as_deref()
    );
    let author = git(
        &server.path("r"),
        &["log", "-1", "--format=%an <%ae> %s", "session/work"],
    );
    assert_eq!(author, "Cloud Agent <cloud-agent@noreply.invalid> prompt 2");
    assert_eq!(git(&runtime.repo(), &["status", "--porcelain"]), "");

    let unchanged = turn(3).await;
    assert_eq!(
        (unchanged.get("commit"), &unchanged["pushed"]),
        (None, &json!(false))
    );

    // A commit that the agent made itself is pushed too.
    std::fs::write(folder.path().join("commit"), "").expect("it is written");
    let own = turn(4).await;
    assert_eq!((own.get("commit"), &own["pushed"]), (None, &json!(true)));
    let head = git(&runtime.repo(), &["rev-parse", "HEAD"]);
    assert_eq!(server.branch("r", "session/work"), Some(head));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_makes_the_agent_wait_for_the_reader() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let text = r#"line=$(head -c 8000 /dev/zero | tr '\0' x); i=0; while [ $i -lt 1600 ]; do echo "$line"; i=$((i+1)); echo $i > $1/written; done"#;
    let runtime = start(&server, &root, text, folder.path()).await;
    runtime
        .put_workspace(workspace(&server.url("r"), 1, &server.issue()))
        .await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    let written = || std::fs::read_to_string(folder.path().join("written")).unwrap_or_default();
    let mut before = String::new();
    // It stands still for a while before it has written everything.
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        let now = written();
        if !now.is_empty() && now == before {
            break;
        }
        before = now;
    }
    assert!(
        before.trim().parse::<u32>().expect("a number") < 1500,
        "{before}"
    );
    let (mut after, mut outputs, mut done) = (0, 0, false);
    while !done {
        for event in runtime.events(after, 1000).await {
            assert_eq!(event["seq"], after + 1);
            after += 1;
            outputs += u32::from(event["event"]["type"] == "output");
            done |= event["event"]["type"] == "complete";
        }
    }
    assert_eq!(outputs, 1600);
}
