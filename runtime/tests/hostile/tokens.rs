//! Every token that is accepted logs in: to clone, to rotate to, to fetch and to push.

use reqwest::Method;
use serde_json::json;

use crate::page::rows;
use crate::scene::{SessionOf, session_id};
use crate::support::Folder;
use crate::support::git_server::{GitServer, git};
use crate::support::process_scan::ProcessScan;
use crate::support::runtime::{Runtime, script, workspace};

/// Fetches with the credential of the workspace, and leaves something to push.
const AGENT: &str = "cat > /dev/null; git fetch --quiet origin || exit 3; echo x >> change";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_tokens_log_in_cold_and_warm() {
    for mode in ["helper", "url"] {
        story(mode).await;
    }
}

async fn story(mode: &str) {
    let (server, root) = (GitServer::start().await, Folder::new());
    let (host, agent) = (server.host(), script(AGENT, root.path()));
    let env = [
        ("DEV_ALLOWED_HOSTS", &*host),
        ("ORIGIN_CREDENTIALS", mode),
        ("AGENT_COMMAND", &agent),
    ];
    let rows = rows("tokens");
    let accepted = rows.iter().filter(|row| row.expected == "accepted");
    let tokens: Vec<_> = accepted.map(|row| row.expanded("canary/+%41@x")).collect();
    // Short ones are in every process list, in words that are none of theirs.
    let needles = tokens.iter().filter(|token| token.len() > 16).cloned();
    let scan = (mode == "helper").then(|| ProcessScan::start(needles.collect()));
    let runtime = Runtime::start(root.path(), &env).await;
    let warm = SessionOf::new(&runtime, &session_id(99));
    for (index, token) in (1..).zip(&tokens) {
        server.allow(token);
        let name = format!("cold-{index}");
        server.create(&name, &[("main", "README.md", "hello\n")]);
        let cold = SessionOf::new(&runtime, &session_id(index));
        let run = async |session: &SessionOf<'_>, repository: &str, generation: u32| {
            let body = workspace(&server.url(repository), u64::from(generation), token);
            session.put_workspace(body).await;
            let finalization = json!({ "autoCommit": true });
            let number = u64::from(generation);
            session.put_turn(generation, number, finalization).await;
            let end = session.end(generation).await;
            assert_eq!(end["type"], "complete", "{mode} {token}: {end}");
        };
        tokio::join!(run(&cold, &name, 1), run(&warm, "r", index));
        server.revoke(token);
        let pushed = git(&server.path("r"), &["show", "main:change"]);
        assert_eq!(
            pushed.lines().count(),
            usize::try_from(index).expect("small")
        );
        assert_eq!(git(&server.path(&name), &["show", "main:change"]), "x");
        let path = format!("/v1/sessions/{}", session_id(index));
        runtime.call(Method::DELETE, &path, None).await;
    }
    if let Some(scan) = scan {
        assert_eq!(scan.finish().leaks, Vec::<String>::new());
    }
    for token in tokens.iter().filter(|token| token.len() > 16) {
        assert!(!runtime.log().contains(token.as_str()));
    }
}
