//! Who has the session's workspace: a runtime, or a sandbox that the object itself prepares it in. The rest of the
//! object knows no difference.

use cloud_agent_wire::{
    EventSequence, JournalEvent, MessageId, PutCredential, PutTurn, PutWorkspace, SessionId,
    StoreId, Timestamp, TurnReply,
};
use futures_util::StreamExt;
use std::time::Duration;
use wasm_bindgen::JsValue;
use worker::{ByteStream, Delay};

use crate::ndjson::LineSplitter;

use super::platform::now;
use super::runtime::{CallFault, EVENT_WAIT_MILLIS, RuntimeClient, Transport};
use super::sandbox::SandboxClient;

/// A read ends early after this many bytes: the next one acknowledges them, which lets the runtime forget them.
const READ_BYTES_MAX: usize = 1024 * 1024;
/// From a look at a sandbox that found nothing new until the next one.
const LOOK_AGAIN: Duration = Duration::from_millis(400);

/// The workspace's host.
pub enum Host<T> {
    /// `WORKSPACE_MODE=bootstrap`.
    Runtime(RuntimeClient<T>),
    /// `WORKSPACE_MODE=direct`.
    Sandbox(SandboxClient<T>),
}

impl<T: Transport> Host<T> {
    /// Asks which disk it has.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn store_id(&self) -> Result<StoreId, CallFault> {
        match self {
            Self::Runtime(runtime) => runtime.health().await.map(|health| health.store_id),
            Self::Sandbox(sandbox) => sandbox.store_id().await,
        }
    }

    /// Has a workspace prepared. A sandbox prepares it when it is given the turn.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn put_workspace(
        &self,
        session_id: &SessionId,
        store_id: &StoreId,
        workspace: &PutWorkspace,
    ) -> Result<(), CallFault> {
        match self {
            Self::Runtime(runtime) => runtime
                .put_workspace(session_id, store_id, workspace)
                .await
                .map(|_| ()),
            Self::Sandbox(_) => Ok(()),
        }
    }

    /// Hands over a turn in a workspace.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn put_turn(
        &self,
        session_id: &SessionId,
        store_id: &StoreId,
        turn: &PutTurn,
        workspace: &PutWorkspace,
    ) -> Result<TurnReply, CallFault> {
        match self {
            Self::Runtime(runtime) => {
                let message_id = turn.intent.message_id();
                runtime
                    .put_turn(session_id, message_id, store_id, turn)
                    .await
            }
            Self::Sandbox(sandbox) => {
                sandbox
                    .put_turn(session_id, store_id, turn, workspace)
                    .await
            }
        }
    }

    /// Brings an attached file. Takes longer than an alarm's handler may wait.
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
        match self {
            Self::Runtime(runtime) => {
                runtime
                    .put_attachment(session_id, name, store_id, content)
                    .await
            }
            Self::Sandbox(sandbox) => {
                sandbox
                    .put_attachment(session_id, name, store_id, content)
                    .await
            }
        }
    }

    /// Pushes a newer credential of the repository at `url` beside a running turn.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn put_credential(
        &self,
        session_id: &SessionId,
        store_id: &StoreId,
        url: &str,
        body: &PutCredential,
    ) -> Result<(), CallFault> {
        match self {
            Self::Runtime(runtime) => runtime
                .put_credential(session_id, store_id, body)
                .await
                .map(|_| ()),
            Self::Sandbox(sandbox) => {
                sandbox
                    .put_credential(session_id, store_id, url, body)
                    .await
            }
        }
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
        match self {
            Self::Runtime(runtime) => runtime.interrupt(session_id, message_id, store_id).await,
            Self::Sandbox(sandbox) => sandbox.interrupt(session_id, message_id, store_id).await,
        }
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
        match self {
            Self::Runtime(runtime) => runtime.delete(session_id, store_id).await,
            Self::Sandbox(sandbox) => sandbox.delete(session_id, store_id).await,
        }
    }

    /// Begins to read the events after `after`.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn events<'a>(
        &'a self,
        session_id: &'a SessionId,
        store_id: &'a StoreId,
        after: EventSequence,
    ) -> Result<Events<'a, T>, CallFault> {
        match self {
            Self::Runtime(runtime) => {
                let mut response = runtime.events(session_id, store_id, after).await?;
                Ok(Events::Streamed {
                    stream: response.stream().map_err(|_| CallFault::Unreachable)?,
                    lines: LineSplitter::default(),
                    bytes: 0,
                })
            }
            Self::Sandbox(sandbox) => Ok(Events::Looked {
                found: sandbox.events(session_id, store_id, after).await?,
                sandbox,
                session_id,
                store_id,
                after,
                until: now().plus_millis(EVENT_WAIT_MILLIS.into()),
            }),
        }
    }
}

/// Events as they come.
pub enum Events<'a, T> {
    /// A runtime sends them.
    Streamed {
        stream: ByteStream,
        lines: LineSplitter,
        bytes: usize,
    },
    /// A sandbox is looked at again and again.
    Looked {
        found: Vec<JournalEvent>,
        sandbox: &'a SandboxClient<T>,
        session_id: &'a SessionId,
        store_id: &'a StoreId,
        after: EventSequence,
        until: Timestamp,
    },
}

impl<T: Transport> Events<'_, T> {
    /// The next events, perhaps none, and what went wrong behind them; `None` when it is time for another read.
    pub async fn next(&mut self) -> Option<(Vec<JournalEvent>, Option<CallFault>)> {
        match self {
            Self::Streamed {
                stream,
                lines,
                bytes,
            } => {
                if *bytes > READ_BYTES_MAX {
                    return None;
                }
                let chunk = stream.next().await?.ok();
                let complete = chunk.and_then(|chunk| {
                    *bytes += chunk.len();
                    lines.push(&chunk).ok()
                });
                let (events, is_sound) =
                    complete.map_or_else(Default::default, |complete| decode(&complete));
                Some((events, (!is_sound).then_some(CallFault::Unreachable)))
            }
            Self::Looked {
                found,
                sandbox,
                session_id,
                store_id,
                after,
                until,
            } => {
                if found.is_empty() {
                    if now() >= *until {
                        return None;
                    }
                    Delay::from(LOOK_AGAIN).await;
                    match sandbox.events(session_id, store_id, *after).await {
                        Ok(events) => *found = events,
                        Err(fault) => return Some((Vec::new(), Some(fault))),
                    }
                }
                *after = found.last().map_or(*after, |event| event.seq);
                Some((std::mem::take(found), None))
            }
        }
    }
}

/// The events of complete lines up to the first that is none, and whether all are.
fn decode(lines: &[Vec<u8>]) -> (Vec<JournalEvent>, bool) {
    let mut events = Vec::new();
    for line in lines.iter().filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(event) => events.push(event),
            Err(_) => return (events, false),
        }
    }
    (events, true)
}
