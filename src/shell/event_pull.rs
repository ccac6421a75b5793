//! Reading the runtime's events: a task of its own, since a stream stays open far longer than an alarm may.
//!
//! The task is not trusted to live. Everything that it takes over is committed together with its cursor, and a
//! deadline that it moves along has the alarm start another one when it is gone.

use cloud_agent_wire::{JournalEvent, RuntimeErrorCode, StoreId};
use futures_util::StreamExt;
use worker::Response;

use crate::ndjson::LineSplitter;
use crate::session::delivery::{
    Reading, on_contact, on_events, on_journal_gone, on_pull_failed, on_pull_started, reading,
};
use crate::session::engine::{self, Store};
use crate::session::error::StoreError;
use crate::telemetry::LogEvent;

use super::platform::now;
use super::runtime::{CallFault, RuntimeClient, Transport};
use super::store::SqlStore;

/// A read ends early after this many bytes: the next one acknowledges them, which lets the runtime forget them.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// Reads events until no message is being delivered, or reading fails.
pub async fn follow<T: Transport>(store: &SqlStore, runtime: &RuntimeClient<T>) {
    loop {
        match read_once(store, runtime).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                store.log(&LogEvent::Fault {
                    place: "event_pull",
                    reason: error.to_string(),
                });
                return;
            }
        }
    }
}

/// One read. True when there is reason for another.
async fn read_once<T: Transport>(
    store: &SqlStore,
    runtime: &RuntimeClient<T>,
) -> Result<bool, StoreError> {
    let started = engine::apply(store, now(), |view| on_pull_started(view, now()))?;
    let Some(Some(Reading {
        session_id,
        store_id,
        after,
    })) = started
    else {
        return Ok(false);
    };
    let reply = runtime.events(&session_id, &store_id, after).await;
    let outcome = match reply {
        Ok(response) => take_over(store, &store_id, response).await?,
        Err(fault) => Err(fault),
    };
    match outcome {
        Ok(()) => Ok(true),
        Err(fault) => {
            store.log(&LogEvent::RuntimeCallFailed {
                call: "events",
                reason: fault.reason(),
            });
            recover(store, runtime, &fault).await
        }
    }
}

/// Commits the events of a reply as they come.
async fn take_over(
    store: &SqlStore,
    store_id: &StoreId,
    mut response: Response,
) -> Result<Result<(), CallFault>, StoreError> {
    let Ok(mut stream) = response.stream() else {
        return Ok(Err(CallFault::Unreachable));
    };
    let mut lines = LineSplitter::default();
    let mut bytes = 0;
    while let Some(chunk) = stream.next().await {
        let Ok(chunk) = chunk else {
            return Ok(Err(CallFault::Unreachable));
        };
        bytes += chunk.len();
        let Ok(complete) = lines.push(&chunk) else {
            return Ok(Err(CallFault::Unreachable));
        };
        let mut events = Vec::with_capacity(complete.len());
        for line in complete.iter().filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<JournalEvent>(line) {
                Ok(event) => events.push(event),
                Err(_) => return Ok(Err(CallFault::Unreachable)),
            }
        }
        if !events.is_empty() {
            engine::apply(store, now(), |view| {
                on_events(view, store_id, &events, now())
            })?;
        }
        if bytes > READ_BYTES_MAX || !still_delivering(store)? {
            break;
        }
    }
    Ok(Ok(()))
}

fn still_delivering(store: &SqlStore) -> Result<bool, StoreError> {
    Ok(store
        .delivery_view(now())?
        .is_some_and(|view| reading(&view).is_some()))
}

/// What a failed read means. True when another can be tried at once.
async fn recover<T: Transport>(
    store: &SqlStore,
    runtime: &RuntimeClient<T>,
    fault: &CallFault,
) -> Result<bool, StoreError> {
    match fault {
        CallFault::Refused(RuntimeErrorCode::StoreChanged) => {
            if let Ok(health) = runtime.health().await {
                engine::apply(store, now(), |view| {
                    on_contact(view, &health.store_id, now())
                })?;
                return Ok(true);
            }
        }
        CallFault::Refused(RuntimeErrorCode::NotFound | RuntimeErrorCode::Gone) => {
            engine::apply(store, now(), |view| on_journal_gone(view, now()))?;
            return Ok(false);
        }
        _ => {}
    }
    engine::apply(store, now(), |view| on_pull_failed(view, now()))?;
    Ok(false)
}
