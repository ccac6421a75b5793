//! What an agent can do to the files of its workspace. The next turn rotates the credential and publishes.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use futures_util::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::page::{self, Result, assert_hides};
use crate::scene::{SessionOf, note, session_id, told};
use crate::support::git_server::{GitServer, git};
use crate::support::runtime::{Runtime, script, workspace};
use crate::support::{Folder, files_with, make_old, processes_of, token, until};

const WORKS: &str = "works";
const FAILS: &str = "fails and says why";

/// What was done, and what is expected.
const ROWS: &[(&str, &str)] = &[
    (".git is a file that names another folder", FAILS),
    (".git is a link to a folder outside", FAILS),
    (".git is a pipe", FAILS),
    (".git is gone", WORKS),
    (".git is empty, inside of another repository", FAILS),
    (".git/config is a link to a file outside", FAILS),
    (".git/config is a pipe", FAILS),
    (".git/config is a folder", FAILS),
    (".git/config is gone", FAILS),
    (".git/config is larger than 1 MiB", FAILS),
    (".git/config is nothing that git could read", FAILS),
    (".git/config cannot be read by others", WORKS),
    (".git/HEAD is a pipe", FAILS),
    (".git/HEAD names a branch outside of its folder", FAILS),
    (".git/HEAD names a branch that is an option", WORKS),
    (".git/index is a pipe", FAILS),
    (".git/index is garbage", FAILS),
    (".git/objects is a link to nowhere", FAILS),
    (
        ".git/objects borrows from a folder that is not there",
        WORKS,
    ),
    (".git/hooks has every hook", WORKS),
    (".git/info/attributes names a filter", WORKS),
    ("a lock on the index is left", WORKS),
    ("a lock on HEAD is left", WORKS),
    ("a lock on the branch is left", WORKS),
    ("a lock on the remote's branch is left", WORKS),
    ("a lock on packed references is left", WORKS),
    (
        "a new lock on the configuration with the old token is left",
        WORKS,
    ),
    ("an old lock on the configuration is left", WORKS),
    ("a lock on the configuration is of the year 2100", WORKS),
    (
        "a lock on the configuration is a link to a file outside",
        WORKS,
    ),
    ("the repository is a link to a folder outside", WORKS),
    (
        "the folder of attachments is a link to a folder outside",
        WORKS,
    ),
    (
        "the folder of the agent's credential is a link to a folder outside",
        WORKS,
    ),
    ("the agent's credential is a link to a file outside", WORKS),
    ("the home is a link to a folder outside", WORKS),
    ("the home's .gitconfig is a link to a file outside", WORKS),
    ("the home's .gitconfig is a pipe", FAILS),
    ("the notes are a link to a file outside", FAILS),
    ("the notes are a pipe", FAILS),
    ("the notes are a folder", FAILS),
    ("a thousand folders are nested", WORKS),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_workspaces_lead_nowhere_else() {
    futures_util::future::join(story("helper"), story("url")).await;
}

async fn story(mode: &'static str) {
    let (server, outer, outside) = (GitServer::start().await, Folder::new(), Folder::new());
    // The store lies in a repository that is none of its business.
    git(outer.path(), &["init", "--quiet", "-b", "main"]);
    git(
        outer.path(),
        &["commit", "--quiet", "--allow-empty", "-m", "outer"],
    );
    let before = git(outer.path(), &["rev-parse", "HEAD"]);
    std::fs::write(outside.path().join("file"), "[core]\n\tx = outside\n").expect("it is written");
    let root = outer.path().join("store");
    let host = server.host();
    // Git waits for ever for what is a pipe; the agent does not, and leaves it to the runtime.
    let program = env!("CARGO_BIN_EXE_workspace-runtime");
    let agent = format!("timeout 5 {program} agent || [ -p .git/HEAD ] || [ -p .git/index ]");
    let agent = script(&agent, outside.path());
    let env = [
        ("DEV_ALLOWED_HOSTS", &*host),
        ("AGENT_COMMAND", &*agent),
        ("ORIGIN_CREDENTIALS", mode),
        (
            "RUNTIME_TEST_DEADLINES",
            r#"{"inactivityMs":6000,"hardMs":30000,"shortMs":6000,"lowSpeedMs":5000}"#,
        ),
    ];
    let runtime = Runtime::start(&root, &env).await;
    let (old, new) = (token(), token());
    server.allow(&old);
    let rows: Vec<_> = ROWS.iter().zip(0..).collect();
    for (_, number) in &rows {
        let name = format!("r{number}");
        server.copy(&name);
        let session = SessionOf::new(&runtime, &session_id(*number));
        session
            .put_workspace(workspace(&server.url(&name), 1, &old))
            .await;
        session.put_turn(1, 1, json!({})).await;
    }
    for (_, number) in &rows {
        let session = SessionOf::new(&runtime, &session_id(*number));
        assert_eq!(session.end(1).await["type"], "complete");
    }
    server.allow(&new);
    server.revoke(&old);
    let (mut results, mut wrong) = (Vec::new(), Vec::new());
    let each = rows.iter().map(|((done, expected), number)| {
        let scene = (&runtime, &server, outside.path());
        case(scene, (done, expected, mode), *number, [&old, &new])
    });
    // A few wait for something that never comes.
    let mut ended = futures_util::stream::iter(each).buffered(6);
    while let Some((result, problems)) = ended.next().await {
        results.push(result);
        wrong.extend(problems);
    }
    drop(ended);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(git(outer.path(), &["rev-parse", "HEAD"]), before, "{mode}");
    assert_eq!(
        git(outer.path(), &["diff", "--cached", "--name-only"]),
        "",
        "{mode}"
    );
    let file = std::fs::read_to_string(outside.path().join("file")).expect("text");
    assert_eq!(file, "[core]\n\tx = outside\n", "{mode}");
    let names = std::fs::read_dir(outside.path())
        .expect("it is there")
        .flatten();
    let names: Vec<_> = names
        .map(|entry| entry.file_name())
        .filter(|name| name != "file")
        .collect();
    assert!(
        names
            .iter()
            .all(|name| name.to_string_lossy().starts_with("own-")),
        "{mode}: {names:?}"
    );
    assert!(
        files_with(outside.path(), &[&old, &new]).is_empty(),
        "{mode}"
    );
    for token in [&old, &new] {
        assert_hides(&runtime.log(), token);
    }
    until("everything is gone", || {
        processes_of(&runtime.store).is_empty()
    })
    .await;
    if mode == "helper" {
        page::check("workspaces", &results);
    }
}

async fn case(
    (runtime, server, outside): (&Runtime, &GitServer, &Path),
    (done, expected, mode): (&str, &str, &str),
    number: u32,
    [old, new]: [&str; 2],
) -> (Result, Vec<String>) {
    let mut wrong = Vec::new();
    let session = SessionOf::new(runtime, &session_id(number));
    // A folder of its own, so that rows do not see each other.
    let own = outside.join(format!("own-{number}"));
    std::fs::create_dir(&own).expect("it is new");
    break_workspace(done, &session, outside, &own, old);
    let kept = std::fs::read_dir(&own).expect("it is there").count();
    if done.contains("attachments") {
        let path = format!(
            "/v1/sessions/{}/attachments/{}.png",
            session_id(number),
            uuid::Uuid::new_v4()
        );
        let request = runtime.bare(Method::PUT, &path).bearer_auth(&runtime.token);
        let request = request.header("x-store-id", &runtime.store).body("picture");
        let status = request.send().await.expect("it answers").status();
        assert_eq!(status, StatusCode::CREATED, "{done}");
    }
    let url = server.url(&format!("r{number}"));
    session.put_workspace(workspace(&url, 2, new)).await;
    session.put_turn(2, 2, json!({ "autoCommit": true })).await;
    let end = session.end(2).await;
    let verdict = if end["type"] == "complete" {
        WORKS
    } else {
        FAILS
    };
    // A token in the URL has to be replaced where the helper's file alone changes.
    let row = format!("{mode}, {done}: {end}");
    note(&mut wrong, &row, verdict, expected);
    let now = std::fs::read_dir(&own).expect("it is there").count();
    note(&mut wrong, &row, now, kept);
    for event in session.events().await {
        assert_hides(&event.to_string(), old);
        assert_hides(&event.to_string(), new);
    }
    if verdict == WORKS {
        let left = files_with(&session.folder(), &[old]);
        note(&mut wrong, &row, &left, &Vec::new());
    }
    let result = Result {
        input: done.to_owned(),
        expected: expected.to_owned(),
        seen: told(&end),
    };
    (result, wrong)
}

fn replace_with_link(path: &Path, target: &Path) {
    if path.is_dir() {
        std::fs::remove_dir_all(path).expect("it is there");
    } else {
        let _ = std::fs::remove_file(path);
    }
    symlink(target, path).expect("it is new");
}

fn replace_with_pipe(path: &Path) {
    let _ = std::fs::remove_file(path);
    let status = Command::new("mkfifo").arg(path).status();
    assert!(status.expect("it runs").success());
}

fn left_behind(path: &Path, content: &str, is_old: bool) {
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("it is made");
    std::fs::write(path, content).expect("it is written");
    if is_old {
        make_old(path);
    }
}

#[allow(clippy::too_many_lines, reason = "it is a table")]
fn break_workspace(done: &str, session: &SessionOf<'_>, outside: &Path, own: &Path, old: &str) {
    let (repo, folder) = (session.repo(), session.folder());
    let dot_git = repo.join(".git");
    let write = |name: &str, content: &str| {
        std::fs::write(dot_git.join(name), content).expect("it is written");
    };
    match done {
        ".git is a file that names another folder" => {
            std::fs::rename(&dot_git, repo.join("moved")).expect("it is there");
            std::fs::write(&dot_git, "gitdir: moved\n").expect("it is new");
        }
        ".git is a link to a folder outside" => {
            let copied = Command::new("cp")
                .arg("-r")
                .arg(&dot_git)
                .arg(own.join("git"))
                .status();
            assert!(copied.expect("it runs").success());
            replace_with_link(&dot_git, &own.join("git"));
        }
        ".git is a pipe" => {
            std::fs::remove_dir_all(&dot_git).expect("it is there");
            replace_with_pipe(&dot_git);
        }
        ".git is gone" => std::fs::remove_dir_all(&dot_git).expect("it is there"),
        ".git is empty, inside of another repository" => {
            std::fs::remove_dir_all(&dot_git).expect("it is there");
            std::fs::create_dir(&dot_git).expect("it is new");
            write("config", "[core]\n\tbare = false\n");
        }
        ".git/config is a link to a file outside" => {
            replace_with_link(&dot_git.join("config"), &outside.join("file"));
        }
        ".git/config is a pipe" => replace_with_pipe(&dot_git.join("config")),
        ".git/config is a folder" => {
            std::fs::remove_file(dot_git.join("config")).expect("it is there");
            std::fs::create_dir(dot_git.join("config")).expect("it is new");
        }
        ".git/config is gone" => std::fs::remove_file(dot_git.join("config")).expect("it is there"),
        ".git/config is larger than 1 MiB" => write("config", &"# x\n".repeat(300_000)),
        ".git/config is nothing that git could read" => write("config", "[core\n"),
        ".git/config cannot be read by others" => {
            let status = Command::new("chmod")
                .arg("600")
                .arg(dot_git.join("config"))
                .status();
            assert!(status.expect("it runs").success());
        }
        ".git/HEAD is a pipe" => replace_with_pipe(&dot_git.join("HEAD")),
        ".git/HEAD names a branch outside of its folder" => {
            write("HEAD", "ref: ../../../escaped\n");
        }
        ".git/HEAD names a branch that is an option" => write("HEAD", "ref: refs/heads/--force\n"),
        ".git/index is a pipe" => replace_with_pipe(&dot_git.join("index")),
        ".git/index is garbage" => write("index", "garbage"),
        ".git/objects is a link to nowhere" => {
            replace_with_link(&dot_git.join("objects"), &outside.join("nowhere"));
        }
        ".git/objects borrows from a folder that is not there" => {
            std::fs::create_dir_all(dot_git.join("objects/info")).expect("it is made");
            write(
                "objects/info/alternates",
                "/nowhere/objects\n../../../../x\n",
            );
        }
        ".git/hooks has every hook" => {
            std::fs::create_dir_all(dot_git.join("hooks")).expect("it is made");
            for hook in [
                "pre-commit",
                "commit-msg",
                "post-commit",
                "pre-push",
                "reference-transaction",
            ] {
                let path = dot_git.join("hooks").join(hook);
                let text = format!("#!/bin/sh\ntouch {}/ran\nexit 1\n", own.display());
                std::fs::write(&path, text).expect("it is written");
                let status = Command::new("chmod").arg("755").arg(path).status();
                assert!(status.expect("it runs").success());
            }
        }
        ".git/info/attributes names a filter" => {
            std::fs::create_dir_all(dot_git.join("info")).expect("it is made");
            write("info/attributes", "* filter=unknown\n");
        }
        "a lock on the index is left" => write("index.lock", ""),
        "a lock on HEAD is left" => write("HEAD.lock", ""),
        "a lock on the branch is left" => {
            left_behind(&dot_git.join("refs/heads/main.lock"), "", false);
        }
        "a lock on the remote's branch is left" => {
            left_behind(&dot_git.join("refs/remotes/origin/main.lock"), "", false);
        }
        "a lock on packed references is left" => write("packed-refs.lock", ""),
        "a new lock on the configuration with the old token is left" => {
            left_behind(&dot_git.join("config.lock"), &format!("# {old}\n"), false);
        }
        "an old lock on the configuration is left" => {
            left_behind(&dot_git.join("config.lock"), "", true);
        }
        "a lock on the configuration is of the year 2100" => {
            let path = dot_git.join("config.lock");
            std::fs::write(&path, "").expect("it is written");
            let status = Command::new("touch")
                .args(["-d", "2100-01-01"])
                .arg(path)
                .status();
            assert!(status.expect("it runs").success());
        }
        "a lock on the configuration is a link to a file outside" => {
            let link = dot_git.join("config.lock");
            symlink(outside.join("file"), &link).expect("it is new");
            let status = Command::new("touch")
                .args(["-h", "-d", "1 hour ago"])
                .arg(&link)
                .status();
            assert!(status.expect("it runs").success());
        }
        "the repository is a link to a folder outside" => {
            std::fs::rename(&repo, own.join("repo")).expect("it is there");
            symlink(own.join("repo"), &repo).expect("it is new");
        }
        "the folder of attachments is a link to a folder outside" => {
            replace_with_link(&folder.join("attachments"), own);
        }
        "the folder of the agent's credential is a link to a folder outside" => {
            replace_with_link(&folder.join("credential"), own);
        }
        "the agent's credential is a link to a file outside" => {
            std::fs::create_dir_all(folder.join("credential")).expect("it is made");
            replace_with_link(&folder.join("credential/token"), &outside.join("file"));
        }
        "the home is a link to a folder outside" => replace_with_link(&folder.join("home"), own),
        "the home's .gitconfig is a link to a file outside" => {
            replace_with_link(&folder.join("home/.gitconfig"), &outside.join("file"));
        }
        "the home's .gitconfig is a pipe" => replace_with_pipe(&folder.join("home/.gitconfig")),
        "the notes are a link to a file outside" => {
            replace_with_link(&repo.join("NOTES.md"), &outside.join("file"));
        }
        "the notes are a pipe" => replace_with_pipe(&repo.join("NOTES.md")),
        "the notes are a folder" => {
            std::fs::remove_file(repo.join("NOTES.md")).expect("it is there");
            std::fs::create_dir(repo.join("NOTES.md")).expect("it is new");
        }
        "a thousand folders are nested" => {
            let deep = "d/".repeat(1000);
            std::fs::create_dir_all(repo.join(deep)).expect("they are made");
        }
        _ => panic!("nothing is known of {done}"),
    }
}
