//! Git servers that send the client elsewhere, echo, stall, and answer nonsense.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::page::{self, Result, assert_hides};
use crate::scene::{SessionOf, note, session_id, told};
use crate::support::process_scan::ProcessScan;
use crate::support::runtime::{Runtime, workspace};
use crate::support::{Folder, files_with, processes_of, token, until};

const TIMEOUT: &str = "a timeout, and no refused credential";
const FAILS: &str = "fails";
const EMPTY: &str = "counts as an empty repository";
const REFUSED: &str = "a refused credential";

/// What the servers do, and what is expected.
const ROWS: &[(&str, &str)] = &[
    ("sends everybody to another host", FAILS),
    ("sends whoever has logged in to another host", FAILS),
    (
        "sends whoever has logged in to another host for good",
        FAILS,
    ),
    (
        "sends the request for the pack to another host with 307",
        FAILS,
    ),
    (
        "sends the request for the pack to another host with 308",
        FAILS,
    ),
    (
        "is a dumb server whose alternates are on another host",
        FAILS,
    ),
    ("is a dumb server whose alternates are files", FAILS),
    (
        "refuses with 403 and repeats the credential with terminal escapes",
        REFUSED,
    ),
    ("refuses the login and repeats the credential", REFUSED),
    ("asks for Negotiate, NTLM and Digest", FAILS),
    ("asks for a login of another protocol only", FAILS),
    ("never answers", TIMEOUT),
    ("sends headers and stalls", TIMEOUT),
    ("sends the references and stalls with the pack", TIMEOUT),
    ("sends a byte a second", TIMEOUT),
    ("never stops listing references", TIMEOUT),
    (
        "never stops sending progress that repeats the credential",
        TIMEOUT,
    ),
    ("never stops sending headers", FAILS),
    ("breaks the connection inside the pack", FAILS),
    ("sends garbage as the pack", FAILS),
    ("announces 2 GiB and ends", FAILS),
    ("answers with HTML", EMPTY),
    ("answers with nothing", FAILS),
    ("answers no HTTP", FAILS),
    (
        "answers with a version of git's protocol that does not exist",
        FAILS,
    ),
    ("lists a reference that is an option", FAILS),
    ("lists a reference outside of its folder", FAILS),
    ("lists a reference with a control character", FAILS),
    ("reports an error that repeats the credential", FAILS),
    ("says 429", FAILS),
    ("says 500", FAILS),
    ("says 404", FAILS),
];

/// What a server answers to a request.
enum Reply {
    /// These bytes, and the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing for ever.
    Stall(Vec<u8>),
    /// These bytes, one a second.
    Trickle(Vec<u8>),
    /// The first bytes, and then the others over and over.
    Endless(Vec<u8>, Vec<u8>),
}

/// A server that keeps every request and answers as a row says.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(behaviour: &'static str, attacker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                tokio::spawn(answer(stream, behaviour, attacker, Arc::clone(&seen)));
            }
        });
        Self {
            port,
            requests,
            task,
        }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no holder failed").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers a connection. What the client does then is its own affair, so errors mean nothing.
async fn answer(
    mut stream: TcpStream,
    behaviour: &'static str,
    attacker: u16,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 64 * 1024 {
        if !matches!(stream.read(&mut byte).await, Ok(1)) {
            return;
        }
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    seen.lock().expect("no holder failed").push(head.clone());
    let reply = reply(behaviour, &head, attacker);
    let drain = async {
        let mut rest = [0; 4096];
        while matches!(stream.read(&mut rest).await, Ok(1..)) {}
    };
    let _ = tokio::time::timeout(Duration::from_millis(50), drain).await;
    match reply {
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Reply::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            std::future::pending::<()>().await;
        }
        Reply::Trickle(bytes) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Reply::Endless(first, again) => {
            let mut is_open = stream.write_all(&first).await.is_ok();
            while is_open {
                is_open = stream.write_all(&again).await.is_ok();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

const COMMIT: &str = "1234567890123456789012345678901234567890";

fn line(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

/// Git's list of references with one more of this name.
fn references(name: &str) -> String {
    let capabilities = "side-band-64k ofs-delta shallow no-progress agent=x";
    [
        line("# service=git-upload-pack\n"),
        "0000".to_owned(),
        line(&format!(
            "{COMMIT} HEAD\0{capabilities} symref=HEAD:refs/heads/main\n"
        )),
        line(&format!("{COMMIT} {name}\n")),
    ]
    .concat()
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

fn open_ended(kind: &str, body: &str) -> Vec<u8> {
    let kind = format!("Content-Type: application/x-git-upload-pack-{kind}\r\n");
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{kind}\r\n{body}").into_bytes()
}

fn to(status: &str, attacker: u16, path: &str) -> Vec<u8> {
    let location = format!("Location: http://127.0.0.1:{attacker}{path}\r\n");
    http(status, &location, "")
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines();
    lines
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// The credential as it came, and decoded.
fn echoed(head: &str) -> String {
    use base64::Engine as _;
    let sent = header(head, "authorization").unwrap_or_default();
    let encoded = sent.strip_prefix("Basic ").unwrap_or_default();
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
    let decoded = String::from_utf8_lossy(&decoded.unwrap_or_default()).into_owned();
    format!("\u{1b}[31m{sent}\u{1b}[0m {decoded}\n")
}

#[allow(clippy::too_many_lines, reason = "it is a table")]
fn reply(behaviour: &str, head: &str, attacker: u16) -> Reply {
    let mut words = head.split(' ');
    let (is_post, path) = (words.next() == Some("POST"), words.next().unwrap_or("/"));
    let basic = "WWW-Authenticate: Basic realm=\"git\"\r\n";
    let has_login = header(head, "authorization").is_some();
    let list = |name: &str| open_ended("advertisement", &(references(name) + "0000"));
    let good = || list("refs/heads/main");
    let pack = |body: &str| open_ended("result", &(line("NAK\n") + body));
    Reply::Bytes(match behaviour {
        "sends everybody to another host" => to("302 Found", attacker, path),
        "asks for Negotiate, NTLM and Digest" => http(
            "401 Unauthorized",
            "WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\nWWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n",
            "",
        ),
        "asks for a login of another protocol only" => http(
            "407 Proxy Authentication Required",
            "Proxy-Authenticate: Basic realm=\"x\"\r\n",
            "",
        ),
        "answers no HTTP" => b"SSH-2.0-x\r\n".to_vec(),
        "never answers" => return Reply::Stall(Vec::new()),
        "is a dumb server whose alternates are on another host"
        | "is a dumb server whose alternates are files"
            if has_login =>
        {
            let objects = format!("http://127.0.0.1:{attacker}/objects\n");
            match path {
                path if path.contains("info/refs") => http(
                    "200 OK",
                    "Content-Type: text/plain\r\n",
                    &format!("{COMMIT}\trefs/heads/main\n"),
                ),
                path if path.ends_with("/HEAD") => http("200 OK", "", "ref: refs/heads/main\n"),
                path if path.ends_with("/http-alternates") && behaviour.ends_with("host") => {
                    http("200 OK", "", &objects)
                }
                path if path.ends_with("/alternates") => http("200 OK", "", "/etc\n../../x\n"),
                _ => http("404 Not Found", "", ""),
            }
        }
        _ if !has_login => http("401 Unauthorized", basic, ""),
        "sends whoever has logged in to another host" => to("302 Found", attacker, path),
        "sends whoever has logged in to another host for good" => {
            to("301 Moved Permanently", attacker, path)
        }
        "sends the request for the pack to another host with 307" if is_post => {
            to("307 Temporary Redirect", attacker, path)
        }
        "sends the request for the pack to another host with 308" if is_post => {
            to("308 Permanent Redirect", attacker, path)
        }
        "refuses with 403 and repeats the credential with terminal escapes" => http(
            "403 Forbidden",
            "Content-Type: text/plain\r\n",
            &echoed(head),
        ),
        "refuses the login and repeats the credential" => http(
            "401 Unauthorized",
            &format!("{basic}Content-Type: text/plain\r\n"),
            &echoed(head),
        ),
        "sends headers and stalls" => return Reply::Stall(open_ended("advertisement", "")),
        "sends the references and stalls with the pack" if is_post => {
            return Reply::Stall(open_ended("result", "0008"));
        }
        "sends a byte a second" => return Reply::Trickle(good()),
        "never stops listing references" => {
            let (first, mut again) = (references("refs/heads/main"), String::new());
            for number in 0..50 {
                again += &line(&format!("{COMMIT} refs/heads/b{number}\n"));
            }
            return Reply::Endless(open_ended("advertisement", &first), again.into_bytes());
        }
        "never stops sending progress that repeats the credential" if is_post => {
            let progress = line(&format!("\u{2}{}", echoed(head)));
            return Reply::Endless(pack(""), progress.into_bytes());
        }
        "never stops sending headers" => {
            let header = format!("X-Padding: {}\r\n", "x".repeat(1000)).into_bytes();
            return Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), header);
        }
        "breaks the connection inside the pack" if is_post => pack("0100\u{1}PACK"),
        "sends garbage as the pack" if is_post => {
            pack(&(line("\u{1}PACK\0\0\0\u{2}\0\0\0\u{1}garbage, and more of it") + "0000"))
        }
        "announces 2 GiB and ends" => {
            let kind = "Content-Type: application/x-git-upload-pack-advertisement";
            format!("HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n{kind}\r\n\r\n").into_bytes()
        }
        "answers with HTML" => http(
            "200 OK",
            "Content-Type: text/html\r\n",
            "<html>hello</html>",
        ),
        "answers with nothing" => Vec::new(),
        "answers with a version of git's protocol that does not exist" => open_ended(
            "advertisement",
            &(line("# service=git-upload-pack\n") + "0000" + &line("version 9\n") + "0000"),
        ),
        "lists a reference that is an option" => list("refs/heads/--upload-pack=touch"),
        "lists a reference outside of its folder" => list("refs/heads/../../../../escaped"),
        "lists a reference with a control character" => list("refs/heads/a\u{1b}[31mb"),
        "reports an error that repeats the credential" => open_ended(
            "advertisement",
            &(line("# service=git-upload-pack\n")
                + "0000"
                + &line(&format!("ERR {}", echoed(head)))),
        ),
        "says 429" => http("429 Too Many Requests", "", ""),
        "says 500" => http("500 Internal Server Error", "", ""),
        "says 404" => http("404 Not Found", "", ""),
        _ if is_post => pack("0000"),
        _ => good(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_servers_get_nothing_and_stop_nothing() {
    let (root, token) = (Folder::new(), token());
    let attacker = Server::start("refuses the login and repeats the credential", 0).await;
    let mut servers = Vec::new();
    for (behaviour, _) in ROWS {
        servers.push(Server::start(behaviour, attacker.port).await);
    }
    let hosts: Vec<_> = servers
        .iter()
        .map(|server| format!("127.0.0.1:{}", server.port))
        .collect();
    let hosts = hosts.join(",");
    let deadlines = r#"{"inactivityMs":6000,"hardMs":12000,"shortMs":6000,"lowSpeedMs":2000}"#;
    let env = [
        ("DEV_ALLOWED_HOSTS", &*hosts),
        ("RUNTIME_TEST_DEADLINES", deadlines),
    ];
    let scan = ProcessScan::start(vec![token.clone()]);
    let runtime = Runtime::start(root.path(), &env).await;
    let sessions: Vec<_> = (0..)
        .zip(&servers)
        .map(|(number, _)| SessionOf::new(&runtime, &session_id(number)))
        .collect();
    // A few at a time: all of them at once would take each other the time that they have.
    let (mut results, mut wrong) = (Vec::new(), Vec::new());
    let all: Vec<_> = ROWS.iter().zip(sessions.iter().zip(&servers)).collect();
    for some in all.chunks(6) {
        let each = some
            .iter()
            .map(|(row, (session, server))| case(row, session, server, &token));
        for (result, problems) in futures_util::future::join_all(each).await {
            results.push(result);
            wrong.extend(problems);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let findings = scan.finish();
    assert_eq!(findings.leaks, Vec::<String>::new());
    assert!(findings.transports > 0, "git was seen at work");
    assert_hides(&runtime.log(), &token);
    for request in attacker.requests() {
        assert!(header(&request, "authorization").is_none(), "{request}");
        assert_hides(&request, &token);
    }
    until("everything is gone", || {
        processes_of(&runtime.store).is_empty()
    })
    .await;
    let own = ["runtime/credential", "credential/token"];
    let left = files_with(root.path(), &[&token]).into_iter();
    let left: Vec<_> = left
        .filter(|path| !own.iter().any(|own| path.ends_with(own)))
        .collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
    page::check("servers", &results);
}

async fn case(
    row: &(&str, &str),
    session: &SessionOf<'_>,
    server: &Server,
    token: &str,
) -> (Result, Vec<String>) {
    let (behaviour, expected) = *row;
    let url = format!("http://127.0.0.1:{}/r.git", server.port);
    session.put_workspace(workspace(&url, 1, token)).await;
    session.put_turn(1, 1, json!({})).await;
    let end = session.end(1).await;
    let code = end["failure"]["code"].as_str().unwrap_or_default();
    let subtype = end["failure"]["subtype"].as_str().unwrap_or_default();
    let row = format!("{behaviour}: {end}");
    let mut wrong = Vec::new();
    let is_error = end["type"] == "error";
    note(&mut wrong, &row, is_error, expected != EMPTY);
    match expected {
        TIMEOUT => note(&mut wrong, &row, subtype, "git_clone_timeout"),
        REFUSED => note(&mut wrong, &row, subtype, "git_authentication_failed"),
        _ => {}
    }
    for event in session.events().await {
        assert_hides(&event.to_string(), token);
    }
    note(&mut wrong, &row, session.repo().exists(), !is_error);
    let result = Result {
        input: behaviour.to_owned(),
        expected: expected.to_owned(),
        // Where nothing is asked of the class, it depends on which of git's own errors comes first.
        seen: if expected == FAILS && is_error {
            code.to_owned()
        } else {
            told(&end)
        },
    };
    (result, wrong)
}
