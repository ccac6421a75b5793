//! The runtime's program, started and called as the object does.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

pub const SESSION: &str = "agent_0f8fad5b-d9cb-469f-a165-70867728950e";

/// The id of the message with this number.
pub fn message(number: u32) -> String {
    format!("msg_0123456789ab{number:014}")
}

pub struct Runtime {
    pub url: String,
    pub store: String,
    pub token: String,
    pub root: PathBuf,
    child: Child,
    client: reqwest::Client,
    log: Arc<Mutex<String>>,
}

impl Runtime {
    /// Starts the program on a folder; `env` adds to its configuration.
    pub async fn start(root: &Path, env: &[(&str, &str)]) -> Self {
        let token = format!("bearer-{}", uuid::Uuid::new_v4());
        let mut command = Command::new(env!("CARGO_BIN_EXE_workspace-runtime"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("there is a PATH"))
            .env("PORT", "0")
            .env("RUNTIME_TOKEN", &token)
            .env("WORKSPACE_ROOT", root)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let mut stderr = child.stderr.take().expect("it is piped");
        let sink = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                sink.lock().expect("no holder failed").push_str(&text);
            }
        });
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it is readable");
        let url = line
            .trim_end()
            .strip_prefix("workspace-runtime listening on ")
            .unwrap_or_else(|| panic!("no address: {}", log.lock().expect("no holder failed")))
            .to_owned();
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client is made");
        let mut runtime = Self {
            url,
            store: String::new(),
            token,
            root: root.to_owned(),
            child,
            client,
            log,
        };
        let health = runtime.health().await;
        health["storeId"]
            .as_str()
            .expect("it is text")
            .clone_into(&mut runtime.store);
        runtime
    }

    pub async fn health(&self) -> Value {
        let reply = self
            .client
            .get(format!("{}/healthz", self.url))
            .send()
            .await;
        reply.expect("it answers").json().await.expect("it is JSON")
    }

    /// A call without any of the usual headers.
    pub fn bare(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self
            .bare(method, path)
            .bearer_auth(&self.token)
            .header("x-store-id", &self.store);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let reply = request.send().await.expect("it answers");
        let status = reply.status();
        (status, reply.json().await.unwrap_or(Value::Null))
    }

    pub async fn put_workspace(&self, body: Value) -> (StatusCode, Value) {
        self.call(
            Method::PUT,
            &format!("/v1/sessions/{SESSION}/workspace"),
            Some(body),
        )
        .await
    }

    /// Puts a turn that appends `prompt` to the notes.
    pub async fn put_turn(
        &self,
        number: u32,
        submission: u64,
        generation: u64,
        finalization: Value,
    ) -> Value {
        let id = message(number);
        let body = turn(number, submission, generation, &finalization);
        let path = format!("/v1/sessions/{SESSION}/turns/{id}");
        let (status, reply) = self.call(Method::PUT, &path, Some(body)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{reply}");
        reply
    }

    /// The events after a position that are there now.
    pub async fn events(&self, after: u64, wait_ms: u64) -> Vec<Value> {
        let path = format!("/v1/sessions/{SESSION}/events?after={after}&waitMs={wait_ms}");
        let reply = self
            .bare(Method::GET, &path)
            .bearer_auth(&self.token)
            .header("x-store-id", &self.store)
            .send()
            .await
            .expect("it answers");
        assert_eq!(reply.status(), StatusCode::OK);
        let text = reply.text().await.expect("it is text");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("it is JSON"))
            .collect()
    }

    /// Waits for an event of this type about this message and returns all events up to it. Acknowledges nothing.
    pub async fn wait_for(&self, kind: &str, number: u32) -> Vec<Value> {
        self.wait_until(kind, |event| {
            event["event"]["type"] == kind && event["event"]["messageId"] == message(number)
        })
        .await
    }

    pub async fn wait_until(&self, what: &str, is_last: impl Fn(&Value) -> bool) -> Vec<Value> {
        for _ in 0..300 {
            let events = self.events(0, 0).await;
            if let Some(index) = events.iter().position(&is_last) {
                return events[..=index].to_vec();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "no {what} event: {:#?}\n{}",
            self.events(0, 0).await,
            self.log()
        );
    }

    pub fn session(&self) -> PathBuf {
        self.root.join(SESSION)
    }

    pub fn repo(&self) -> PathBuf {
        self.session().join("repo")
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no holder failed").clone()
    }

    /// Lets the program have only so many files open.
    pub fn limit_open_files(&self, limit: u64) {
        let limit = rustix::process::Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        rustix::process::prlimit(Some(self.pid()), rustix::process::Resource::Nofile, limit)
            .expect("it is lower than before");
    }

    /// Sends a signal and waits for the end.
    pub async fn signal(&mut self, signal: rustix::process::Signal) -> Option<i32> {
        self.send(signal);
        self.ended().await
    }

    /// Sends a signal.
    pub fn send(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("it runs");
    }

    fn pid(&self) -> rustix::process::Pid {
        let pid = i32::try_from(self.child.id()).expect("it is a pid");
        rustix::process::Pid::from_raw(pid).expect("it is a pid")
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> Option<i32> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("it is a child") {
                return status.code();
            }
            assert!(tokio::time::Instant::now() < deadline, "it does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of a workspace request.
pub fn workspace(url: &str, generation: u64, token: &str) -> Value {
    json!({
        "repository": { "url": url },
        "branch": { "name": "main", "strict": false },
        "generation": generation,
        "credential": { "username": "x-access-token", "token": token },
    })
}

/// A turn that appends `prompt` and its number to the notes.
pub fn turn(number: u32, submission: u64, generation: u64, finalization: &Value) -> Value {
    let prompt = format!("prompt {number}");
    json!({
        "submission": submission,
        "generation": generation,
        "intent": {
            "turn": { "type": "prompt", "messageId": message(number), "prompt": prompt },
            "agent": { "mode": "code", "model": "none" },
            "finalization": finalization,
        },
    })
}

/// `AGENT_COMMAND` of a shell script; `$1` is the folder.
pub fn script(text: &str, folder: &Path) -> String {
    json!(["/bin/sh", "-c", text, "agent", folder]).to_string()
}

/// The first event of a type.
pub fn first<'e>(events: &'e [Value], kind: &str) -> &'e Value {
    let event = events.iter().find(|event| event["event"]["type"] == kind);
    &event.unwrap_or_else(|| panic!("no {kind} event in {events:#?}"))["event"]
}

/// The types of events, in order, without progress.
pub fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["event"]["type"].as_str())
        .filter(|kind| *kind != "preparing")
        .collect()
}
