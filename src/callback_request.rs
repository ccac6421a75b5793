//! The request that reports a batch of messages: its body, its signature and its headers.

use std::collections::BTreeMap;

use cloud_agent_wire::{AllowedHosts, CallbackUrl, GateResult, MessageId, Secret, SessionId};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::projection::MessageFacts;
use crate::session::message::MessageState;
use crate::session::outcome::{CompletionData, CompletionSource, EndStatus, PublicFailure};
use crate::session::record::SessionRecord;

/// The header that proves where a callback comes from: `sha256=` and the body's HMAC in hexadecimal.
pub const SIGNATURE_HEADER: &str = "X-Signature";

/// A target as it is sealed.
#[derive(Debug, Deserialize)]
pub struct StoredTarget {
    url: String,
    headers: BTreeMap<String, Secret>,
}

/// A request to a receiver, ready to be sent.
#[derive(Debug)]
pub struct CallbackRequest {
    /// Where to. Checked against the hosts that may be private here.
    pub url: CallbackUrl,
    /// The headers of the target and those of the service.
    pub headers: Vec<(String, Secret)>,
    /// The body, JSON text.
    pub body: String,
}

/// What a callback says: the body of the request that reports a batch of messages to a `callbackTarget`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct CallbackPayload<'a> {
    /// The session.
    session_id: &'a SessionId,
    /// The session.
    cloud_agent_session_id: &'a SessionId,
    /// The message.
    execution_id: &'a MessageId,
    /// The message that ended last of those that are reported together.
    message_id: &'a MessageId,
    /// How it ended.
    status: EndStatus,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
    /// The branch that the workspace was on last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen_branch: Option<&'a str>,
    /// The agent's own id of the session.
    kilo_session_id: &'a str,
    /// What the agent's gate said.
    #[serde(skip_serializing_if = "Option::is_none")]
    gate_result: Option<GateResult>,
    /// The text of the agent's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_assistant_message_text: Option<&'a str>,
    /// What it came to, if it completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_data: Option<ReportedCompletion<'a>>,
    /// The same for every try to report it.
    idempotency_key: &'a MessageId,
}

/// What a completed message came to, as a callback says it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct ReportedCompletion<'a> {
    /// What the message's own event says.
    #[serde(flatten)]
    completion: CompletionData<'a>,
    /// The text of the agent's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_assistant_message_text: Option<&'a str>,
}

impl StoredTarget {
    /// Reads an opened target.
    #[must_use]
    pub fn from_opened(text: &Secret) -> Option<Self> {
        serde_json::from_str(text.expose()).ok()
    }

    /// What may be shown of a target: its origin and its path.
    #[must_use]
    pub fn place(&self) -> String {
        url::Url::parse(&self.url).map_or_else(
            |_| String::new(),
            |url| format!("{}{}", url.origin().ascii_serialization(), url.path()),
        )
    }

    /// The request that reports a message that has ended.
    ///
    /// The address was checked when the target was given, and is checked again: what may be called depends on the
    /// configuration in force.
    ///
    /// # Errors
    /// Why nothing may be sent.
    pub fn request(
        self,
        record: &SessionRecord,
        message: &MessageFacts,
        hosts: &AllowedHosts,
        signing_secret: Option<&Secret>,
    ) -> Result<CallbackRequest, &'static str> {
        let url = CallbackUrl::parse(&self.url, hosts).map_err(|_| "address not allowed")?;
        let body = body(record, message).ok_or("message has not ended")?;
        let mut headers: Vec<_> = self.headers.into_iter().collect();
        // What the service itself says comes last, and so takes the place of a header of the same name.
        let json = Secret::new("application/json".to_owned());
        headers.push(("Content-Type".to_owned(), json));
        if let Some(signature) = signing_secret.and_then(|secret| signature(secret, &body)) {
            headers.push((SIGNATURE_HEADER.to_owned(), Secret::new(signature)));
        }
        Ok(CallbackRequest { url, headers, body })
    }
}

impl CallbackRequest {
    /// The headers with their values exposed, to be sent.
    pub fn exposed_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
    }
}

fn body(record: &SessionRecord, message: &MessageFacts) -> Option<String> {
    let state = &message.state;
    let source = CompletionSource::of(state)?;
    let branch = record.upstream_branch.as_deref();
    let failure = PublicFailure::of(state);
    let completed = match state {
        MessageState::Completed {
            terminal_at,
            assistant,
            gate_result,
            ..
        } => Some(CompletionData {
            assistant_message_id: assistant.as_deref(),
            gate_result: *gate_result,
            last_seen_branch: branch,
            completed_at: *terminal_at,
            source,
        }),
        _ => None,
    };
    let text = completed.as_ref().and(message.answer.as_deref());
    let payload = CallbackPayload {
        session_id: &record.session_id,
        cloud_agent_session_id: &record.session_id,
        execution_id: &message.message_id,
        message_id: &message.message_id,
        status: EndStatus::of(state)?,
        error_message: failure.as_ref().map(|failure| failure.message.as_str()),
        last_seen_branch: branch,
        kilo_session_id: &record.kilo_session_id,
        gate_result: completed
            .as_ref()
            .and_then(|completed| completed.gate_result),
        last_assistant_message_text: text,
        completion_data: completed.map(|completion| ReportedCompletion {
            completion,
            last_assistant_message_text: text,
        }),
        idempotency_key: &message.message_id,
    };
    serde_json::to_string(&payload).ok()
}

/// `sha256=` and the hexadecimal HMAC-SHA-256 of the body.
fn signature(secret: &Secret, body: &str) -> Option<String> {
    let mut hmac = <Hmac<Sha256> as Mac>::new_from_slice(secret.expose().as_bytes()).ok()?;
    hmac.update(body.as_bytes());
    Some(format!("sha256={:x}", hmac.finalize().into_bytes()))
}
