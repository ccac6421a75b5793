//! What the tests of hostile surroundings share: sessions of one runtime, an attacker's server, and the checks that
//! follow every case.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::support::runtime::{Runtime, message, turn};

/// The id of the session with this number.
pub fn session_id(number: u32) -> String {
    format!("agent_0f8fad5b-d9cb-469f-a165-{number:012}")
}

/// One of several sessions of a runtime.
pub struct SessionOf<'r> {
    runtime: &'r Runtime,
    id: String,
}

impl<'r> SessionOf<'r> {
    pub fn new(runtime: &'r Runtime, id: &str) -> Self {
        Self {
            runtime,
            id: id.to_owned(),
        }
    }

    pub fn folder(&self) -> PathBuf {
        self.runtime.root.join(&self.id)
    }

    pub fn repo(&self) -> PathBuf {
        self.folder().join("repo")
    }

    pub async fn put_workspace(&self, body: Value) {
        let path = format!("/v1/sessions/{}/workspace", self.id);
        let (status, reply) = self.runtime.call(Method::PUT, &path, Some(body)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{reply}");
    }

    /// Puts a turn whose submission is its number.
    pub async fn put_turn(&self, number: u32, generation: u64, finalization: Value) {
        let id = message(number);
        let body = turn(number, u64::from(number), generation, &finalization);
        let path = format!("/v1/sessions/{}/turns/{id}", self.id);
        let (status, reply) = self.runtime.call(Method::PUT, &path, Some(body)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{reply}");
    }

    pub async fn events(&self) -> Vec<Value> {
        let path = format!("/v1/sessions/{}/events?after=0&waitMs=0", self.id);
        let request = self.runtime.bare(Method::GET, &path);
        let request = request.bearer_auth(&self.runtime.token);
        let reply = request
            .header("x-store-id", &self.runtime.store)
            .send()
            .await;
        let text = reply.expect("it answers").text().await.expect("it is text");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("it is JSON"))
            .collect()
    }

    /// Waits for the end of a turn, and returns its event.
    pub async fn end(&self, number: u32) -> Value {
        for _ in 0..1800 {
            let events = self.events().await;
            let is_end = |event: &&Value| {
                let kind = event["event"]["type"].as_str().unwrap_or_default();
                event["event"]["submission"] == number
                    && ["complete", "error", "interrupted"].contains(&kind)
            };
            if let Some(end) = events.iter().find(is_end) {
                return end["event"].clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no end: {:#?}\n{}", self.events().await, self.runtime.log());
    }
}

/// Notes a row that did not end as expected, so that a run shows all of them.
pub fn note<T: PartialEq + std::fmt::Debug + Copy>(
    wrong: &mut Vec<String>,
    row: &str,
    seen: T,
    expected: T,
) {
    if seen != expected {
        wrong.push(format!("{row}: {seen:?} instead of {expected:?}"));
    }
}

/// What is told about the end of a turn: what clients read.
pub fn told(end: &Value) -> String {
    let failure = &end["failure"];
    if failure.is_null() {
        return end["type"].as_str().unwrap_or_default().to_owned();
    }
    let code = failure["code"].as_str().unwrap_or_default();
    let subtype = failure["subtype"].as_str().map(|word| format!(" / {word}"));
    // Details with numbers differ from run to run.
    let detail = failure["detail"].as_str().unwrap_or_default();
    let is_stable = !detail.bytes().any(|byte| byte.is_ascii_digit());
    let detail = if is_stable && !detail.is_empty() {
        format!(": {detail}")
    } else {
        String::new()
    };
    format!("{code}{}{detail}", subtype.unwrap_or_default())
}
