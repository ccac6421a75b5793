//! Rotation in workspaces whose git configuration the agent has worked on.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::git_server::{GitServer, git};
use support::runtime::{Runtime, SESSION, workspace};
use support::{Folder, files_with, make_old};

fn encoded(token: &str) -> String {
    percent_encoding::utf8_percent_encode(token, percent_encoding::NON_ALPHANUMERIC).to_string()
}

struct Scene {
    server: GitServer,
    root: Folder,
    runtime: Runtime,
    mode: &'static str,
    old: String,
}

impl Scene {
    /// A session that has had its first turn.
    async fn start(mode: &'static str) -> Self {
        let (server, root) = (GitServer::start().await, Folder::new());
        let runtime = run(&server, &root, mode).await;
        let old = server.issue();
        runtime
            .put_workspace(workspace(&server.url("r"), 1, &old))
            .await;
        runtime.put_turn(1, 1, 1, json!({})).await;
        runtime.wait_for("complete", 1).await;
        Self {
            server,
            root,
            runtime,
            mode,
            old,
        }
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.runtime.repo().join(".git").join(path);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("it is made");
        std::fs::write(path, content).expect("it is written");
    }

    /// A remote with the first token, as git writes it.
    fn config(&self, with: &str) -> String {
        let (token, host) = (encoded(&self.old), self.server.host());
        format!(
            "[core]\n\tx = {with}\n[remote \"origin\"]\n\turl = http://x-access-token:{token}@{host}/s.git\n"
        )
    }

    async fn restart(&mut self) {
        self.runtime.signal(rustix::process::Signal::KILL).await;
        self.runtime = run(&self.server, &self.root, self.mode).await;
    }

    /// Rotates to a new token, and returns the end of a turn with it.
    async fn rotate(&self) -> Value {
        self.rotate_to(2, &self.server.issue()).await
    }

    async fn rotate_to(&self, number: u32, token: &str) -> Value {
        let generation = u64::from(number);
        self.runtime
            .put_workspace(workspace(&self.server.url("r"), generation, token))
            .await;
        self.runtime
            .put_turn(number, generation, generation, json!({}))
            .await;
        let events = self
            .runtime
            .wait_until("last", |event| {
                event["event"]["submission"] == number && event["event"]["type"] != "ready"
            })
            .await;
        events.last().expect("there is one")["event"].clone()
    }

    /// Where the first token still is.
    fn left(&self) -> Vec<std::path::PathBuf> {
        files_with(self.root.path(), &[self.old.clone(), encoded(&self.old)])
    }
}

async fn run(server: &GitServer, root: &Folder, mode: &str) -> Runtime {
    let env = [
        ("DEV_ALLOWED_HOSTS", &*server.host()),
        ("ORIGIN_CREDENTIALS", mode),
    ];
    Runtime::start(root.path(), &env).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_token_goes_from_every_nested_configuration() {
    let scene = Scene::start("url").await;
    let repository = "ref: refs/heads/main\n";
    for folder in [
        "modules/hooks",
        "modules/group/logs",
        "modules/hooks/modules/inner",
        "worktrees/wt",
        "worktrees/wt/modules/refs",
    ] {
        scene.write(&format!("{folder}/HEAD"), repository);
        scene.write(&format!("{folder}/config"), scene.config("1"));
        scene.write(&format!("{folder}/config.worktree"), scene.config("1"));
    }
    scene.write("modules/hooks/config.lock", scene.config("copy"));
    scene.write("config.lock", scene.config("copy"));
    make_old(&scene.runtime.repo().join(".git/config.lock"));
    scene.write("worktrees/wt/config.lock", "");
    make_old(&scene.runtime.repo().join(".git/worktrees/wt/config.lock"));
    assert_eq!(scene.rotate().await["type"], "complete");
    assert_eq!(scene.left(), Vec::<std::path::PathBuf>::new());
    let inner = scene
        .runtime
        .repo()
        .join(".git/modules/hooks/modules/inner");
    let config = std::fs::read_to_string(inner.join("config")).expect("text");
    assert!(config.contains("[core]\n\tx = 1\n"), "{config}");
    assert!(
        config.contains("url = \"http://x-access-token:"),
        "{config}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_cannot_remove_the_old_token_says_so() {
    let scene = Scene::start("url").await;
    scene.write("modules/s/HEAD", "ref: refs/heads/main\n");
    scene.write("modules/s/config", scene.config("\"open"));
    let end = scene.rotate().await;
    assert_eq!(
        (&end["type"], &end["failure"]["detail"]),
        (
            &json!("error"),
            &json!("a git configuration is not one that git could read")
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_between_two_rotations_forgets_no_token() {
    let mut scene = Scene::start("url").await;
    let (token, host) = (encoded(&scene.old), scene.server.host());
    for key in ["lfs.URL.access", "url.URL.insteadOf"] {
        let key = key.replace("URL", &format!("http://x-access-token:{token}@{host}/"));
        git(&scene.runtime.repo(), &["config", &key, "value"]);
    }
    git(
        &scene.runtime.repo(),
        &[
            "config",
            "remote.fork.url",
            &format!("http://me:mine@{host}/f.git"),
        ],
    );
    scene.restart().await;
    assert_eq!(scene.rotate().await["type"], "complete");
    assert_eq!(scene.left(), Vec::<std::path::PathBuf>::new());
    let fork = git(&scene.runtime.repo(), &["remote", "get-url", "fork"]);
    assert_eq!(fork, format!("http://me:mine@{host}/f.git"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_within_a_rotation_forgets_no_token() {
    let mut scene = Scene::start("url").await;
    let repo = scene.runtime.repo();
    let submodule = format!(
        "http://x-access-token:{}@{}/s.git",
        encoded(&scene.old),
        scene.server.host()
    );
    git(&repo, &["config", "submodule.s.url", &submodule]);
    scene.write("modules/s/HEAD", "ref: refs/heads/main\n");
    scene.write("modules/s/config", scene.config("\"open"));
    // Two tokens get into the first file, and no further.
    let halfway = [scene.server.issue(), scene.server.issue()];
    for (token, number) in halfway.iter().zip(2..) {
        assert_eq!(scene.rotate_to(number, token).await["type"], "error");
        let url = git(&repo, &["config", "submodule.s.url"]);
        assert!(url.contains(&encoded(token).replace("%2D", "-")), "{url}");
        scene.restart().await;
    }
    // What the agent had made of its configuration meanwhile.
    let first = format!("http://x:{}@{}/", encoded(&halfway[0]), scene.server.host());
    git(&repo, &["config", &format!("url.{first}.insteadOf"), "x"]);
    std::fs::remove_dir_all(repo.join(".git/modules")).expect("it is there");
    assert_eq!(
        scene.rotate_to(4, &scene.server.issue()).await["type"],
        "complete"
    );
    for token in [&scene.old, &halfway[0], &halfway[1]] {
        let forms = [
            token.clone(),
            encoded(token),
            encoded(token).replace("%2D", "-"),
        ];
        let left = files_with(scene.root.path(), &forms);
        assert_eq!(left, Vec::<std::path::PathBuf>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_does_not_wait_for_locks() {
    let scene = Scene::start("url").await;
    scene.write("config.lock", "");
    scene
        .runtime
        .put_workspace(workspace(&scene.server.url("r"), 2, &scene.server.issue()))
        .await;
    // The first one was of the first turn.
    let rewrites = |events: Vec<Value>| {
        let step = |event: &&Value| event["event"]["step"] == "rewrite_origin";
        events.iter().filter(step).count()
    };
    while rewrites(scene.runtime.events(0, 0).await) < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let begun = std::time::Instant::now();
    let path = format!("/v1/sessions/{SESSION}");
    let (status, _) = scene.runtime.call(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_may_do_to_its_configuration_does_not_end_the_session() {
    for mode in ["helper", "url"] {
        let scene = Scene::start(mode).await;
        let config = scene.runtime.repo().join(".git/config");
        let content = std::fs::read(&config).expect("it is there");
        let content = [b"[user]\n\tname = Ren\xe9\n", content.as_slice()].concat();
        std::fs::write(&config, content).expect("it is written");
        if mode == "helper" {
            // Nothing has to change, so that somebody's lock does not matter.
            scene.write("config.lock", "");
        }
        assert_eq!(scene.rotate().await["type"], "complete", "{mode}");
        let content = std::fs::read(&config).expect("it is there");
        assert!(
            content.windows(5).any(|part| part == b"Ren\xe9\n"),
            "{mode}"
        );
    }
    let scene = Scene::start("helper").await;
    std::fs::remove_dir_all(scene.runtime.repo().join(".git")).expect("it is there");
    assert_eq!(scene.rotate().await["type"], "complete");
    assert!(
        scene.runtime.repo().join(".git/HEAD").exists(),
        "it was cloned anew"
    );

    let scene = Scene::start("helper").await;
    let git_folder = scene.runtime.repo().join(".git");
    std::fs::rename(&git_folder, scene.runtime.repo().join("moved")).expect("it is there");
    std::fs::write(&git_folder, "gitdir: moved\n").expect("it is new");
    assert_eq!(
        scene.rotate().await["failure"]["detail"],
        "the workspace's .git is not a folder"
    );
}
