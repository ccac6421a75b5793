//! The rules of the architecture that the compiler does not check, each with its reason.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A source file without comments and without its tests.
struct Source {
    /// Relative to the repository, with `/` between its parts.
    path: String,
    lines: Vec<(usize, String)>,
}

/// Every file of production code under a folder.
fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    collect(&root.join(folder), &mut files);
    files.sort();
    let sources: Vec<_> = files
        .iter()
        .filter_map(|file| {
            let path = file.strip_prefix(root).unwrap().to_str().unwrap();
            let path = path.replace('\\', "/");
            // The declarations are written by a test and compiled for it alone.
            let is_test = path.contains("/tests/")
                || path.ends_with("tests.rs")
                || path == "src/declarations.rs";
            (!is_test).then(|| Source {
                lines: production_lines(&fs::read_to_string(file).unwrap()),
                path,
            })
        })
        .collect();
    assert!(!sources.is_empty(), "{folder} has no sources");
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn production_lines(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<_> = text.lines().collect();
    // What a type looks like to clients is declared beside it, for the test that writes the declarations.
    let is_end = |pair: &[&str]| matches!(pair, [mark, next] if mark.trim() == "#[cfg(test)]" && !next.contains("appears_as!"));
    let tests = lines.windows(2).position(is_end);
    if let Some(next) = tests.and_then(|tests| lines.get(tests + 1)) {
        // Anything else that is compiled for tests only would hide what comes after it.
        assert!(
            next.trim().starts_with("mod "),
            "tests stand at the end of a file: {next}"
        );
    }
    lines
        .iter()
        .take(tests.unwrap_or(lines.len()))
        .enumerate()
        .map(|(index, line)| {
            let code = line.split("//").next().unwrap_or_default();
            (index + 1, code.to_owned())
        })
        .collect()
}

/// Whether a line of code has the name, not as a part of a longer one.
fn has_name(line: &str, name: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(name).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let after = line.get(start + name.len()..);
        let after = after.and_then(|text| text.chars().next());
        let ends_open = name.ends_with(is_part) && after.is_some_and(is_part);
        let starts_open = name.starts_with(is_part) && before.is_some_and(is_part);
        !ends_open && !starts_open
    })
}

/// Fails with every place that has one of the names, and the rule's reason.
#[track_caller]
fn forbid(sources: &[Source], names: &[&str], rule: &str) {
    let mut found = String::new();
    for source in sources {
        for (number, line) in &source.lines {
            for name in names.iter().filter(|name| has_name(line, name)) {
                let _ = writeln!(found, "  {}:{number} names {name}", source.path);
            }
        }
    }
    assert!(found.is_empty(), "{rule}\n{found}");
}

/// Everything but the shell.
fn pure() -> Vec<Source> {
    let mut sources = sources("src");
    sources.retain(|source| !source.path.starts_with("src/shell/"));
    sources
}

#[test]
fn only_the_shell_knows_the_platform() {
    // What decides must run in a native test and in a simulation exactly as it runs in production.
    forbid(
        &pure(),
        &["worker::", "js_sys", "wasm_bindgen", "web_sys"],
        "Only src/shell names the platform: everything else is compiled and tested natively.",
    );
}

#[test]
fn decisions_read_no_clock_and_make_no_randomness() {
    // Times, ids and nonces are arguments. A simulation could not replay a decision that finds them by itself.
    forbid(
        &pure(),
        &[
            "getrandom",
            "SystemTime",
            "Instant",
            "std::env",
            "std::fs",
            "std::net",
            "std::thread",
        ],
        "Outside src/shell nothing reads a clock, makes randomness or touches the machine: they are arguments.",
    );
}

#[test]
fn decisions_wait_for_nothing() {
    // Between loading and committing nothing may come in between, and every await lets something.
    forbid(
        &pure(),
        &["async", ".await", "futures_util"],
        "Outside src/shell nothing is asynchronous: an admission is one section that nothing can interrupt.",
    );
}

#[test]
fn only_the_shell_writes_to_the_console() {
    // A log line is a typed event that can hold no secret; a printed text could hold anything.
    let mut all = sources("src");
    all.extend(sources("wire/src"));
    forbid(
        &all,
        &["println!", "print!", "eprintln!", "eprint!", "dbg!"],
        "What is logged is a telemetry::LogEvent, which has no place for a secret.",
    );
    forbid(
        &pure(),
        &["console_log!", "console_warn!", "console_error!"],
        "Only src/shell writes to the console; decisions return what is to be logged.",
    );
}

#[test]
fn the_session_knows_nothing_of_what_is_built_on_it() {
    // It is the core: the wire format of clients can change without it, and its tests need no request.
    let session = sources("src/session");
    let above = [
        "crate::trpc",
        "crate::shell",
        "crate::commands",
        "crate::container",
        "crate::stream",
        "crate::projection",
        "crate::envelope",
        "crate::config",
        "crate::direct",
        "crate::ndjson",
        "crate::mint",
    ];
    forbid(
        &session,
        &above,
        "src/session decides in its own words: the layers above it translate, never the other way round.",
    );
}

#[test]
fn the_layer_of_clients_knows_nothing_of_storage() {
    // Decoding a request must not depend on what is stored: what is malformed is refused before anything is loaded.
    forbid(
        &sources("src/trpc"),
        &[
            "crate::shell",
            "session::engine",
            "session::step",
            "session::sealing",
        ],
        "src/trpc decodes and answers; it neither loads nor stores.",
    );
}

#[test]
fn the_commands_of_direct_mode_know_nothing_of_the_session() {
    // What a sandbox is told follows from a request as a runtime gets it: whoever changes the session changes no script.
    forbid(
        &sources("src/direct"),
        &[
            "crate::shell",
            "crate::trpc",
            "crate::config",
            "crate::session",
        ],
        "src/direct turns requests into commands and answers into events; it neither loads nor stores.",
    );
}

#[test]
fn the_owner_of_a_container_knows_nothing_of_what_runs_in_it() {
    // A container is started, handed calls and stopped in the same way, whatever image it is made of.
    forbid(
        &sources("src/container"),
        &[
            "crate::shell",
            "crate::session",
            "crate::trpc",
            "crate::stream",
            "crate::config",
        ],
        "src/container decides about containers: sessions and clients are not its business.",
    );
}

#[test]
fn the_stream_decides_without_storage_and_without_the_other_clients() {
    // What a socket is sent depends on what its shell read for it, and a frame is no reply to a call.
    forbid(
        &sources("src/stream"),
        &[
            "crate::shell",
            "crate::trpc",
            "crate::config",
            "session::engine",
            "session::step",
            "session::sealing",
        ],
        "src/stream says what is sent; the shell reads it from storage and writes it to sockets.",
    );
}

/// Where production code may look into a secret, and what for.
const EXPOSES: &[(&str, &str)] = &[
    ("src/auth.rs", "signs and compares"),
    (
        "src/callback_request.rs",
        "reads an opened target, signs, and gives headers to be sent",
    ),
    (
        "src/session/admission.rs",
        "compares the new token with the current one",
    ),
    (
        "src/direct/command.rs",
        "quotes the authenticated URL for a command, which is a secret then",
    ),
    (
        "src/direct/turn.rs",
        "quotes the session's variables for its agent, in a program that is a secret then",
    ),
    ("src/session/credential.rs", "checks the form of a token"),
    (
        "src/session/encrypted_secret.rs",
        "reads the private key and hands it to the platform",
    ),
    ("src/session/preparation.rs", "reads opened secrets back"),
    (
        "src/session/sealing.rs",
        "seals, fingerprints and reads the keys",
    ),
    ("src/shell/sandbox.rs", "sends commands in bodies"),
    ("src/shell/transport.rs", "authenticates to the runtime"),
    ("src/stream/ticket.rs", "signs and verifies tickets"),
    ("src/trpc/input/callback.rs", "checks the form of a header"),
    ("src/trpc/input/profile.rs", "checks the form of a variable"),
];

#[test]
fn secrets_are_exposed_where_they_are_used_and_nowhere_else() {
    let rule = "A secret is exposed only to authenticate, to seal, to compare or to check its form. A file that has \
        such a use is added to this list together with it:";
    let list: Vec<_> = EXPOSES
        .iter()
        .map(|(path, use_)| format!("  {path}: {use_}"))
        .collect();
    let rule = format!("{rule}\n{}\n", list.join("\n"));
    let mut others = sources("src");
    others.retain(|source| EXPOSES.iter().all(|(path, _)| source.path != *path));
    forbid(&others, &[".expose()", "Secret::expose"], &rule);
    // A list that names more than there is would let the next use in unseen.
    for (path, _) in EXPOSES {
        let sources = sources("src");
        let source = sources.iter().find(|source| source.path == *path);
        let exposes = source.is_some_and(|source| {
            let mut lines = source.lines.iter();
            lines.any(|(_, line)| line.contains(".expose()"))
        });
        assert!(
            exposes,
            "{path} exposes nothing any more: take it off the list"
        );
    }
}

/// Where the wire looks into a secret, and what for.
const WIRE_EXPOSES: &[&str] = &[
    // Writes them into bodies.
    "wire/src/secret.rs",
    // Repeats an agent's configuration on its standard input.
    "wire/src/agent_input.rs",
    // Looks for them in what was printed.
    "wire/src/redact.rs",
    // Writes one into a URL, which is a secret then.
    "wire/src/url_encoding.rs",
];

#[test]
fn few_modules_of_the_wire_look_into_secrets() {
    // Everything that leaves for a workspace with a secret in it goes through functions that can be found by name.
    let mut wire = sources("wire/src");
    wire.retain(|source| !WIRE_EXPOSES.contains(&source.path.as_str()));
    forbid(
        &wire,
        &[
            "expose_secret",
            "ExposeSecret",
            ".expose()",
            "Secret::expose",
        ],
        "Only the listed modules of the wire look into secrets.",
    );
}

#[test]
fn what_is_forbidden_elsewhere_is_found_where_it_is_allowed() {
    // A search that finds nothing at all would keep every rule.
    let shell = sources("src/shell");
    for name in [
        "worker::",
        "wasm_bindgen",
        "getrandom",
        "async",
        ".await",
        ".expose()",
    ] {
        let mut lines = shell.iter().flat_map(|source| &source.lines);
        assert!(
            lines.any(|(_, line)| has_name(line, name)),
            "src/shell has no {name}"
        );
    }
    assert!(!has_name("let asynchronous = my_worker::new();", "async"));
    assert!(!has_name(
        "let asynchronous = my_worker::new();",
        "worker::"
    ));
}
