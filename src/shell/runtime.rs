//! Calls to the runtime: a transport trait, which [`super::transport`] implements, and a typed client on top.

use cloud_agent_wire::{
    EventSequence, Health, MessageId, PutCredential, PutTurn, PutWorkspace, RuntimeError,
    RuntimeErrorCode, SessionId, StoreId, TurnReply, VERSION, WorkspaceReply, routes,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsValue;
use worker::{Method, Response};

/// Longest an outside call may hold the alarm's handler: while it runs no other deadline can ring.
pub const CALL_TIMEOUT_MILLIS: u32 = 2_000;
/// How long one attached file may take.
const FILE_TIMEOUT_MILLIS: u32 = 30_000;
/// How long a read of events stays open.
pub const EVENT_WAIT_MILLIS: u32 = 5_000;
/// What a read of events may take beyond that.
const EVENT_GRACE_MILLIS: u32 = 3_000;

/// Why a call gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFault {
    /// No connection, no reply in time, or one that makes no sense.
    Unreachable,
    /// The runtime refused, with its reason.
    Refused(RuntimeErrorCode),
    /// The runtime, or something before it, answered with a status that has no reason.
    Status(u16),
}

impl CallFault {
    /// The fault as a word for log lines.
    pub fn reason(&self) -> String {
        match self {
            Self::Unreachable => "unreachable".to_owned(),
            Self::Refused(code) => format!("{code:?}"),
            Self::Status(status) => format!("status {status}"),
        }
    }
}

/// A request to a runtime, before an adapter knows where that is.
pub struct Call {
    pub method: Method,
    pub path: String,
    pub store_id: Option<StoreId>,
    pub body: Body,
    /// After so long the call, its reply's body included, is given up.
    pub timeout_millis: u32,
}

/// What a request carries.
pub enum Body {
    None,
    Json(String),
    /// A stream of bytes.
    File(JsValue),
}

/// How a runtime is reached.
pub trait Transport {
    /// Sends a request and returns the reply's head; the body may still be coming.
    ///
    /// # Errors
    /// [`CallFault::Unreachable`].
    async fn send(&self, call: &Call) -> Result<Response, CallFault>;
}

/// The runtime's calls as functions.
pub struct RuntimeClient<T> {
    transport: T,
}

impl<T: Transport> RuntimeClient<T> {
    /// A client over a transport.
    pub const fn new(transport: T) -> Self {
        Self { transport }
    }

    /// Asks who is there. A runtime that speaks another version counts as none.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn health(&self) -> Result<Health, CallFault> {
        let call = Call {
            method: Method::Get,
            path: routes::HEALTH.to_owned(),
            store_id: None,
            body: Body::None,
            timeout_millis: CALL_TIMEOUT_MILLIS,
        };
        let health: Health = self.json(&call).await?;
        if health.version == VERSION {
            Ok(health)
        } else {
            Err(CallFault::Unreachable)
        }
    }

    /// Has a workspace prepared.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn put_workspace(
        &self,
        session_id: &SessionId,
        store_id: &StoreId,
        body: &PutWorkspace,
    ) -> Result<WorkspaceReply, CallFault> {
        self.put(routes::workspace(session_id), store_id, body)
            .await
    }

    /// Hands over a turn.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn put_turn(
        &self,
        session_id: &SessionId,
        message_id: &MessageId,
        store_id: &StoreId,
        body: &PutTurn,
    ) -> Result<TurnReply, CallFault> {
        self.put(routes::turn(session_id, message_id), store_id, body)
            .await
    }

    /// Brings an attached file, streamed. Takes longer than an alarm's handler may wait.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn put_attachment(
        &self,
        session_id: &SessionId,
        name: &str,
        store_id: &StoreId,
        content: JsValue,
    ) -> Result<(), CallFault> {
        let call = Call {
            method: Method::Put,
            path: routes::attachment(session_id, name),
            store_id: Some(store_id.clone()),
            body: Body::File(content),
            timeout_millis: FILE_TIMEOUT_MILLIS,
        };
        checked(&self.transport, &call).await.map(|_| ())
    }

    /// Pushes a newer credential beside a running turn.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn put_credential(
        &self,
        session_id: &SessionId,
        store_id: &StoreId,
        body: &PutCredential,
    ) -> Result<WorkspaceReply, CallFault> {
        self.put(routes::credential(session_id), store_id, body)
            .await
    }

    /// Has a turn stopped.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn interrupt(
        &self,
        session_id: &SessionId,
        message_id: &MessageId,
        store_id: &StoreId,
    ) -> Result<(), CallFault> {
        let path = routes::interrupt(session_id, message_id);
        self.order(Method::Post, path, store_id).await
    }

    /// Has everything of a session removed.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn delete(
        &self,
        session_id: &SessionId,
        store_id: &StoreId,
    ) -> Result<(), CallFault> {
        self.order(Method::Delete, routes::session(session_id), store_id)
            .await
    }

    /// A call without a body whose reply says nothing but that it was taken.
    async fn order(
        &self,
        method: Method,
        path: String,
        store_id: &StoreId,
    ) -> Result<(), CallFault> {
        let call = Call {
            method,
            path,
            store_id: Some(store_id.clone()),
            body: Body::None,
            timeout_millis: CALL_TIMEOUT_MILLIS,
        };
        checked(&self.transport, &call).await.map(|_| ())
    }

    /// Opens the stream of events after `after`, lines of [`cloud_agent_wire::JournalEvent`].
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn events(
        &self,
        session_id: &SessionId,
        store_id: &StoreId,
        after: EventSequence,
    ) -> Result<Response, CallFault> {
        let call = Call {
            method: Method::Get,
            path: routes::events(session_id, after, u64::from(EVENT_WAIT_MILLIS)),
            store_id: Some(store_id.clone()),
            body: Body::None,
            timeout_millis: EVENT_WAIT_MILLIS + EVENT_GRACE_MILLIS,
        };
        checked(&self.transport, &call).await
    }

    async fn put<R: DeserializeOwned>(
        &self,
        path: String,
        store_id: &StoreId,
        body: &impl Serialize,
    ) -> Result<R, CallFault> {
        let body = serde_json::to_string(body).map_err(|_| CallFault::Unreachable)?;
        let call = Call {
            method: Method::Put,
            path,
            store_id: Some(store_id.clone()),
            body: Body::Json(body),
            timeout_millis: CALL_TIMEOUT_MILLIS,
        };
        self.json(&call).await
    }

    async fn json<R: DeserializeOwned>(&self, call: &Call) -> Result<R, CallFault> {
        let mut response = checked(&self.transport, call).await?;
        let text = response.text().await.map_err(|_| CallFault::Unreachable)?;
        serde_json::from_str(&text).map_err(|_| CallFault::Unreachable)
    }
}

/// A reply with a successful status.
///
/// # Errors
/// [`CallFault`].
pub async fn checked(transport: &impl Transport, call: &Call) -> Result<Response, CallFault> {
    let mut response = transport.send(call).await?;
    let status = response.status_code();
    if (200..300).contains(&status) {
        return Ok(response);
    }
    let text = response.text().await.map_err(|_| CallFault::Unreachable)?;
    Err(
        serde_json::from_str::<RuntimeError>(&text).map_or(CallFault::Status(status), |error| {
            CallFault::Refused(error.code)
        }),
    )
}
