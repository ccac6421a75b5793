//! No memory of a process that may hold a credential lands in a file.

use serde_json::json;

use crate::support::git_server::GitServer;
use crate::support::runtime::{Runtime, script, workspace};
use crate::support::{Folder, files_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_child_leaves_a_core_file() {
    let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
    let limits = "grep -h '^Max core file size' /proc/self/limits /proc/$PPID/limits";
    let crash = "sh -c 'kill -SEGV $$'; ls core* 2> /dev/null";
    let agent = script(
        &format!("cat > /dev/null; {limits}; {crash}; true"),
        folder.path(),
    );
    let host = server.host();
    let env = [
        ("DEV_ALLOWED_HOSTS", &*host),
        ("AGENT_COMMAND", &*agent),
        ("ORIGIN_CREDENTIALS", "url"),
    ];
    let runtime = Runtime::start(root.path(), &env).await;
    let mut body = workspace(&server.url("r"), 1, &server.issue());
    body["setupCommands"] = json!([format!("{limits} > limits")]);
    runtime.put_workspace(body).await;
    runtime.put_turn(1, 1, 1, json!({})).await;
    let events = runtime.wait_for("complete", 1).await;
    let outputs = events
        .iter()
        .filter(|event| event["event"]["type"] == "output");
    let outputs: Vec<_> = outputs
        .map(|event| event["event"]["text"].to_string())
        .collect();
    assert!(outputs.len() >= 2);
    let set_up = std::fs::read_to_string(runtime.repo().join("limits")).expect("text");
    let lines = outputs.iter().map(String::as_str).chain(set_up.lines());
    for line in lines.filter(|line| line.contains("core file")) {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[4..6], ["0", "0"], "{line}");
    }
    assert!(!outputs.iter().any(|line| line.starts_with("\"core")));
    // A crash of the runtime itself leaves none either.
    let mut runtime = runtime;
    runtime.signal(rustix::process::Signal::ABORT).await;
    assert!(files_with(root.path(), &["\u{7f}ELF"]).is_empty());
}
