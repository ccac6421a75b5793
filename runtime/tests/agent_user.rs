//! The agent as a user of its own, which needs a runtime that runs as root.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::json;
use support::git_server::{GitServer, git};
use support::runtime::{Runtime, first, script, workspace};
use support::{Folder, files_with};

const UID: u32 = 54_321;

/// What the agent finds out about itself and about files that are none of its business.
const AGENT: &str = r#"cat > /dev/null; echo change > change; git fetch --quiet origin && echo fetched
    echo "uid $(id -u):$(id -g) $(id -G)"
    grep -q '^NoNewPrivs:.*1$' /proc/self/status || echo "may gain rights"
    for file in ../runtime/credential ../runtime/workspace.json /proc/$PPID/environ; do
        cat "$file" > /dev/null 2>&1 && echo "reads $file"
    done
    ls "$SESSION_ATTACHMENTS" > /dev/null || echo "does not list its files"
    for folder in ../runtime .. ../..; do
        ls "$folder" > /dev/null 2>&1 && echo "lists $folder"
    done
    true"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_owns_its_workspace_and_reads_nothing_of_the_runtime() {
    if !rustix::process::geteuid().is_root() {
        let output = Command::new(env!("CARGO_BIN_EXE_workspace-runtime"))
            .env_clear()
            .envs([
                ("PORT", "0"),
                ("WORKSPACE_ROOT", "/tmp/x"),
                ("AGENT_UID", "54321"),
            ])
            .output()
            .expect("the program starts");
        assert_eq!(
            output.status.code(),
            Some(2),
            "other users than root cannot change users"
        );
        return;
    }
    for mode in ["helper", "url"] {
        story(mode).await;
    }
}

async fn story(mode: &str) {
    let (server, root) = (GitServer::start().await, Folder::new());
    let agent = script(AGENT, root.path());
    let uid = UID.to_string();
    let env = [
        ("DEV_ALLOWED_HOSTS", &*server.host()),
        ("AGENT_COMMAND", &*agent),
        ("AGENT_UID", &*uid),
        ("ORIGIN_CREDENTIALS", mode),
    ];
    let runtime = Runtime::start(root.path(), &env).await;
    let (first_token, second) = (server.issue(), server.issue());
    let mut body = workspace(&server.url("r"), 1, &first_token);
    body["setupCommands"] = json!(["id -u > setup"]);
    runtime.put_workspace(body).await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    runtime.wait_for("complete", 1).await;
    server.revoke(&first_token);
    runtime
        .put_workspace(workspace(&server.url("r"), 2, &second))
        .await;
    runtime
        .put_turn(2, 2, 2, json!({ "autoCommit": true }))
        .await;
    let events = runtime.wait_for("complete", 2).await;

    let outputs: Vec<_> = events
        .iter()
        .filter(|event| event["event"]["type"] == "output")
        .map(|event| event["event"]["text"].as_str().expect("text"))
        .collect();
    let own = format!("uid {UID}:{UID} {UID}");
    assert_eq!(outputs, ["fetched", &own, "fetched", &own], "{mode}");
    assert_eq!(first(&events, "autocommit_completed")["pushed"], true);
    assert_eq!(git(&server.path("r"), &["show", "main:change"]), "change");
    assert_eq!(git(&server.path("r"), &["show", "main:setup"]), uid);
    for path in ["README.md", ".git/config", ".git/index"] {
        let metadata = std::fs::metadata(runtime.repo().join(path)).expect("it is there");
        assert_eq!(metadata.uid(), UID, "{path}");
    }
    assert!(files_with(root.path(), &[first_token]).is_empty());
}
