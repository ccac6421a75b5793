//! Publishing the agent's work when something is in its way.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use support::git_server::{Fault, GitServer, git};
use support::runtime::{Runtime, SESSION, first, message, script, types, workspace};
use support::{Folder, until};

/// Changes something, and works until it is told to end.
const GATED: &str = "echo start >> $1/starts; echo up; echo change >> change; while [ ! -e $1/gate ]; do sleep 0.05; done";

struct Scene {
    server: GitServer,
    runtime: Runtime,
    folder: Folder,
    /// Removed after the runtime has ended.
    _root: Folder,
}

impl Scene {
    async fn start(agent: &str, deadlines: &str) -> Self {
        let (server, root, folder) = (GitServer::start().await, Folder::new(), Folder::new());
        let agent = script(agent, folder.path());
        let env = [
            ("DEV_ALLOWED_HOSTS", &*server.host()),
            ("AGENT_COMMAND", &*agent),
            ("RUNTIME_TEST_DEADLINES", deadlines),
        ];
        let runtime = Runtime::start(root.path(), &env).await;
        Self {
            server,
            runtime,
            folder,
            _root: root,
        }
    }

    /// Starts a turn whose agent waits, and takes its token away.
    async fn with_a_revoked_token(deadlines: &str) -> Self {
        let scene = Self::start(GATED, deadlines).await;
        let old = scene.server.issue();
        let runtime = &scene.runtime;
        runtime
            .put_workspace(workspace(&scene.server.url("r"), 1, &old))
            .await;
        runtime
            .put_turn(1, 1, 1, json!({ "autoCommit": true }))
            .await;
        runtime.wait_for("output", 1).await;
        scene.server.revoke(&old);
        scene.open_gate();
        let refused = scene.refused(1).await;
        assert!(!types(&refused).contains(&"error"));
        scene
    }

    fn open_gate(&self) {
        std::fs::write(self.folder.path().join("gate"), "").expect("the folder is there");
    }

    async fn refused(&self, generation: u64) -> Vec<Value> {
        self.runtime
            .wait_until("credential_refused", |event| {
                event["event"]["type"] == "credential_refused"
                    && event["event"]["generation"] == generation
            })
            .await
    }

    async fn rotate(&self, generation: u64, token: &str) {
        let path = format!("/v1/sessions/{SESSION}/credential");
        let body = json!({
            "generation": generation,
            "credential": { "username": "x-access-token", "token": token },
        });
        let (status, _) = self.runtime.call(Method::PUT, &path, Some(body)).await;
        assert_eq!(status.as_u16(), 202);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_push_waits_for_a_newer_credential_and_is_repeated_alone() {
    let scene = Scene::with_a_revoked_token("{}").await;
    scene.rotate(2, &support::token()).await;
    scene.refused(2).await;
    scene.rotate(3, &scene.server.issue()).await;
    let events = scene.runtime.wait_for("complete", 1).await;
    assert_eq!(
        types(&events),
        [
            "ready",
            "output",
            "autocommit_started",
            "credential_refused",
            "credential_refused",
            "autocommit_completed",
            "complete"
        ]
    );
    assert_eq!(first(&events, "autocommit_completed")["pushed"], true);
    assert_eq!(
        git(&scene.server.path("r"), &["show", "main:change"]),
        "change"
    );
    let starts = std::fs::read_to_string(scene.folder.path().join("starts")).expect("it ran");
    assert_eq!(starts, "start\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pushed_credential_is_tried_until_the_remote_can_be_asked() {
    let scene = Scene::with_a_revoked_token(r#"{"rotationRetryMs":20}"#).await;
    scene.server.set_fault(Fault::FailEverything);
    scene.rotate(2, &scene.server.issue()).await;
    until("it was tried often", || {
        let log = scene.runtime.log();
        log.matches("a pushed credential could not be used").count() > 5
    })
    .await;
    scene.server.set_fault(Fault::None);
    scene.runtime.wait_for("complete", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_credential_does_not_wait_for_the_proof_of_one_before_it() {
    let scene = Scene::with_a_revoked_token("{}").await;
    scene.server.set_fault(Fault::StallEverything);
    let stalled = scene.server.issue();
    scene.rotate(2, &stalled).await;
    until("it is being proved", || {
        let seen = scene.server.seen();
        seen.iter()
            .any(|seen| seen.token.as_deref() == Some(&*stalled))
    })
    .await;
    scene.server.set_fault(Fault::None);
    scene.rotate(3, &scene.server.issue()).await;
    scene.runtime.wait_for("complete", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_push_can_be_interrupted() {
    let scene = Scene::with_a_revoked_token("{}").await;
    let path = format!("/v1/sessions/{SESSION}/turns/{}/interrupt", message(1));
    scene.runtime.call(Method::POST, &path, None).await;
    scene.runtime.wait_for("interrupted", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_push_does_not_wait_for_ever() {
    let scene = Scene::with_a_revoked_token(r#"{"credentialWaitMs":500}"#).await;
    let events = scene.runtime.wait_for("error", 1).await;
    let failure = &first(&events, "error")["failure"];
    assert_eq!(
        (
            &failure["stage"],
            &failure["subtype"],
            &failure["generation"]
        ),
        (
            &json!("agent_activity"),
            &json!("git_authentication_failed"),
            &json!(1)
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_agent_pushed_itself_is_found_among_many_branches() {
    let agent = "git commit --quiet --allow-empty -m own && git push --quiet origin HEAD";
    let scene = Scene::start(agent, "{}").await;
    let bare = scene.server.path("r");
    let head = scene.server.branch("r", "main").expect("it is there");
    let mut packed = vec!["# pack-refs with: peeled fully-peeled sorted ".to_owned()];
    let line = |number| format!("{head} refs/heads/a-branch-with-a-long-name-{number:04}");
    packed.extend((0..2000).map(line));
    std::fs::write(bare.join("packed-refs"), packed.join("\n") + "\n").expect("it is written");
    scene
        .runtime
        .put_workspace(workspace(&scene.server.url("r"), 1, &scene.server.issue()))
        .await;
    scene
        .runtime
        .put_turn(1, 1, 1, json!({ "autoCommit": true }))
        .await;
    let events = scene.runtime.wait_for("complete", 1).await;
    assert_eq!(first(&events, "autocommit_completed")["pushed"], false);
    assert_ne!(scene.server.branch("r", "main"), Some(head));
}

/// Puts a turn that publishes, and returns how it ended.
async fn publishing_turn(scene: &Scene, number: u32) -> Value {
    scene
        .runtime
        .put_turn(number, 1, 1, json!({ "autoCommit": true }))
        .await;
    let events = scene
        .runtime
        .wait_until("last", |event| {
            let kind = &event["event"]["type"];
            event["event"]["messageId"] == message(number)
                && (kind == "complete" || kind == "error")
        })
        .await;
    events.last().expect("there is one")["event"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_removed_and_conflicts_are_not_committed() {
    let scene = Scene::start("sh $1/script", "{}").await;
    let runtime = &scene.runtime;
    let become_ = |text: &str| {
        std::fs::write(scene.folder.path().join("script"), text).expect("it is written");
    };
    become_("echo 1 > change; touch .git/index.lock .git/HEAD.lock");
    runtime
        .put_workspace(workspace(&scene.server.url("r"), 1, &scene.server.issue()))
        .await;
    assert_eq!(publishing_turn(&scene, 1).await["type"], "complete");
    assert_eq!(git(&scene.server.path("r"), &["show", "main:change"]), "1");

    // Somebody else pushes meanwhile.
    let clone = scene.folder.path().join("clone");
    let bare = scene.server.path("r").to_string_lossy().into_owned();
    git(
        scene.folder.path(),
        &["clone", "--quiet", &bare, &clone.to_string_lossy()],
    );
    git(
        &clone,
        &["commit", "--quiet", "--allow-empty", "-m", "theirs"],
    );
    git(&clone, &["push", "--quiet", "origin", "main"]);
    become_("echo 2 > change");
    let end = publishing_turn(&scene, 2).await;
    assert_eq!(end["failure"]["subtype"], "git_checkout_conflict");

    become_(
        "git checkout --quiet -b side HEAD~1; echo 3 > change; git commit --quiet -am side; git checkout --quiet main; git merge side; true",
    );
    let before = git(&runtime.repo(), &["rev-parse", "HEAD"]);
    let end = publishing_turn(&scene, 3).await;
    assert_eq!(end["failure"]["subtype"], "git_checkout_conflict");
    assert_eq!(
        end["failure"]["detail"],
        "the workspace has unresolved merge conflicts"
    );
    assert_eq!(git(&runtime.repo(), &["rev-parse", "HEAD"]), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_cannot_be_fetched_into_costs_one_turn() {
    let scene = Scene::start("echo change >> change", "{}").await;
    let runtime = &scene.runtime;
    runtime
        .put_workspace(workspace(&scene.server.url("r"), 1, &scene.server.issue()))
        .await;
    let publish = async |number: u32, end: &str| {
        let finalization = json!({ "autoCommit": true });
        runtime.put_turn(number, 1, 1, finalization).await;
        runtime.wait_for(end, number).await
    };
    publish(1, "complete").await;
    let folder = runtime.session().join("runtime");
    let lock = folder.join("push.git/refs/heads/work.lock");
    std::fs::write(lock, "").expect("the repository is there");
    publish(2, "error").await;
    publish(3, "complete").await;
    let count = git(&scene.server.path("r"), &["rev-list", "--count", "main"]);
    assert_eq!(count, "4", "everything was pushed");
    let names = std::fs::read_dir(folder).expect("it is there").flatten();
    let mut names = names.map(|entry| entry.file_name());
    assert!(!names.any(|name| name.to_string_lossy().starts_with("temporary-")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_is_named_after_a_secret_is_neither_told_nor_pushed() {
    let scene = Scene::start("git checkout -q -b \"$PLAIN\"; echo x > change", "{}").await;
    let (runtime, secret) = (&scene.runtime, format!("ghp_{}", uuid::Uuid::new_v4()));
    let mut body = workspace(&scene.server.url("r"), 1, &scene.server.issue());
    body["env"] = json!({ "PLAIN": secret });
    runtime.put_workspace(body).await;
    for number in [1, 2] {
        let finalization = json!({ "autoCommit": true });
        runtime.put_turn(number, 1, 1, finalization).await;
        let events = runtime.wait_for("complete", number).await;
        assert!(!json!(events).to_string().contains(&secret));
        assert_eq!(first(&events, "autocommit_completed")["pushed"], false);
        assert!(first(&events, "complete")["branch"].is_null());
    }
    assert_eq!(scene.server.branch("r", &secret), None);
}
