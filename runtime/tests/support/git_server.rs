//! Real smart HTTP through `git http-backend`, with tokens as passwords.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use base64::Engine as _;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::Folder;

/// What the server does instead of answering.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Packs never arrive.
    StallPacks,
    /// Logged-in requests are never answered.
    StallEverything,
    /// Logged-in requests are answered with 503.
    FailEverything,
    /// Logged-in requests are sent to another server.
    Redirect(u16),
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The password, if any.
    pub token: Option<String>,
    pub path: String,
}

pub struct GitServer {
    pub port: u16,
    root: Folder,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    root: std::path::PathBuf,
    tokens: Mutex<BTreeSet<String>>,
    seen: Mutex<Vec<Seen>>,
    fault: Mutex<Fault>,
    is_public: AtomicBool,
}

impl GitServer {
    pub async fn start() -> Self {
        let root = Folder::new();
        let shared = Arc::new(Shared {
            root: root.path().to_owned(),
            tokens: Mutex::default(),
            seen: Mutex::default(),
            fault: Mutex::new(Fault::None),
            is_public: AtomicBool::new(false),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("the server runs");
        });
        let server = Self {
            port,
            root,
            shared,
            task,
        };
        server.create(
            "r",
            &[
                ("main", "README.md", "hello\n"),
                ("other", "OTHER.md", "other\n"),
            ],
        );
        server
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}.git", self.host())
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(format!("{name}.git"))
    }

    /// Makes a repository with a commit for every row, each on its branch from the one before.
    pub fn create(&self, name: &str, commits: &[(&str, &str, &str)]) {
        let bare = self.path(name);
        git(
            self.root.path(),
            &[
                "init",
                "--quiet",
                "--bare",
                "-b",
                "main",
                &bare.to_string_lossy(),
            ],
        );
        git(&bare, &["config", "http.receivepack", "true"]);
        if commits.is_empty() {
            return;
        }
        let work = self.root.path().join(format!("{name}-work"));
        git(
            self.root.path(),
            &[
                "clone",
                "--quiet",
                &bare.to_string_lossy(),
                &work.to_string_lossy(),
            ],
        );
        for (branch, file, content) in commits {
            git(&work, &["checkout", "--quiet", "-B", branch]);
            std::fs::write(work.join(file), content).expect("the file is written");
            git(&work, &["add", "-A"]);
            git(&work, &["commit", "--quiet", "-m", file]);
            git(&work, &["push", "--quiet", "origin", branch]);
        }
    }

    /// Makes a repository that is like the first one, which takes less time than to make its commits anew.
    pub fn copy(&self, name: &str) {
        let copied = Command::new("cp")
            .arg("-r")
            .args([self.path("r"), self.path(name)])
            .status();
        assert!(copied.expect("it runs").success());
    }

    pub fn issue(&self) -> String {
        let token = super::token();
        self.shared
            .tokens
            .lock()
            .expect("no holder failed")
            .insert(token.clone());
        token
    }

    /// Lets a token in that the test has made itself.
    pub fn allow(&self, token: &str) {
        let mut tokens = self.shared.tokens.lock().expect("no holder failed");
        tokens.insert(token.to_owned());
    }

    pub fn revoke(&self, token: &str) {
        self.shared
            .tokens
            .lock()
            .expect("no holder failed")
            .remove(token);
    }

    pub fn set_fault(&self, fault: Fault) {
        *self.shared.fault.lock().expect("no holder failed") = fault;
    }

    /// Lets everybody read who brings no token. A wrong one is refused.
    pub fn make_public(&self) {
        self.shared.is_public.store(true, Ordering::Release);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no holder failed").clone()
    }

    pub fn forget(&self) {
        self.shared.seen.lock().expect("no holder failed").clear();
    }

    /// The commit of a branch; `None` when it does not exist.
    pub fn branch(&self, name: &str, branch: &str) -> Option<String> {
        let output = Command::new("git")
            .current_dir(self.path(name))
            .args([
                "rev-parse",
                "--verify",
                "--quiet",
                &format!("refs/heads/{branch}"),
            ])
            .output()
            .expect("git runs");
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs git for the test itself and returns what it printed.
pub fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args([
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@example.invalid",
        ])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let token = password(&parts.headers);
    shared.seen.lock().expect("no holder failed").push(Seen {
        token: token.clone(),
        path: parts.uri.path().to_owned(),
    });
    let is_push = parts.uri.to_string().contains("git-receive-pack");
    let is_allowed = match token {
        Some(token) => {
            let tokens = shared.tokens.lock().expect("no holder failed");
            tokens.contains(&token)
        }
        None => shared.is_public.load(Ordering::Acquire) && !is_push,
    };
    if !is_allowed {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")];
        return (StatusCode::UNAUTHORIZED, challenge, "no").into_response();
    }
    let fault = *shared.fault.lock().expect("no holder failed");
    let is_pack = parts.uri.path().ends_with("/git-upload-pack");
    match fault {
        Fault::StallEverything => return std::future::pending().await,
        Fault::FailEverything => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Fault::StallPacks if is_pack => {
            let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
            let begin = futures_util::stream::iter([Ok(Bytes::from_static(b"0"))]);
            let content_type = [(header::CONTENT_TYPE, "application/x-git-upload-pack-result")];
            return (content_type, Body::from_stream(begin.chain(never))).into_response();
        }
        Fault::Redirect(port) => {
            let target = format!("http://127.0.0.1:{port}{}", parts.uri);
            return (StatusCode::FOUND, [(header::LOCATION, target)]).into_response();
        }
        Fault::None | Fault::StallPacks => {}
    }
    let body = axum::body::to_bytes(body, 64 << 20)
        .await
        .expect("the body is small");
    backend(&shared.root, &parts, &body).await
}

fn password(headers: &HeaderMap) -> Option<String> {
    let value = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Basic ")?;
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(value)
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':')
        .map(|(_, password)| password.to_owned())
}

async fn backend(root: &Path, parts: &axum::http::request::Parts, body: &[u8]) -> Response<Body> {
    let header_text = |name: &str| {
        let value = parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "test")
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header_text("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header_text("content-encoding"))
        .env("GIT_PROTOCOL", header_text("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git http-backend runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    let body = body.to_vec();
    let feed = tokio::spawn(async move {
        // The backend may end before it has read everything.
        let _ = stdin.write_all(&body).await;
    });
    let output = child
        .wait_with_output()
        .await
        .expect("the backend ends")
        .stdout;
    feed.await.expect("feeding ends");
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("there are headers");
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").expect("the line is a header");
        response = if name == "Status" {
            response.status(value.split(' ').next().expect("there is a code"))
        } else {
            response.header(name, value)
        };
    }
    response
        .body(Body::from(output[end + 4..].to_vec()))
        .expect("the headers are valid")
}
