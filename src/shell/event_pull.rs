//! Reading the runtime's events: a task of its own, since a stream stays open far longer than an alarm may.
//!
//! The task is not trusted to live. Everything that it takes over is committed together with its cursor, and a
//! deadline that it moves along has the alarm start another one when it is gone.

use std::time::Duration;

use cloud_agent_wire::{RuntimeErrorCode, StoreId};
use worker::Delay;

use crate::session::delivery::{
    Reading, on_contact, on_journal_gone, on_pull_answered, on_pull_failed, on_pull_started,
    reading,
};
use crate::session::engine::Store;
use crate::session::error::StoreError;
use crate::session::journal::on_events;
use crate::telemetry::LogEvent;

use super::delivery::Delivery;
use super::host::Events;
use super::platform::now;
use super::runtime::{CallFault, Transport};

/// The least time between the beginnings of two reads of which the first brought nothing.
const READ_MILLIS_MIN: u64 = 1_000;

impl<T: Transport> Delivery<T> {
    /// Reads events until no message is being delivered, or reading fails.
    ///
    /// `is_wanted` turns false when another task has taken this one's place.
    pub async fn follow(&self, is_wanted: &impl Fn() -> bool) {
        while is_wanted() {
            match self.read_once(is_wanted).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let reason = error.to_string();
                    self.store.log(&LogEvent::Fault {
                        place: "event_pull",
                        reason,
                    });
                    return;
                }
            }
        }
    }

    /// One read. True when there is reason for another.
    async fn read_once(&self, is_wanted: &impl Fn() -> bool) -> Result<bool, StoreError> {
        let started = self.apply(on_pull_started)?.flatten();
        let Some(Reading {
            session_id,
            store_id,
            after,
        }) = started
        else {
            return Ok(false);
        };
        if !self.recall_secrets().await? {
            self.apply(on_pull_failed)?;
            return Ok(false);
        }
        let asked = now();
        let outcome = match self.host.events(&session_id, &store_id, after).await {
            Ok(events) => self.take_over(&store_id, events, is_wanted).await?,
            Err(fault) => Err(fault),
        };
        match outcome {
            Ok(has_events) => {
                let took = now().millis_since(asked);
                if !has_events && took < READ_MILLIS_MIN {
                    // A read stays open until there is something to read, unless something before the runtime ends it.
                    Delay::from(Duration::from_millis(READ_MILLIS_MIN - took)).await;
                }
                Ok(true)
            }
            Err(fault) => {
                self.log_fault("events", &fault);
                self.recover(&fault, &store_id).await
            }
        }
    }

    /// Commits events as they come. Whether there were any.
    async fn take_over(
        &self,
        store_id: &StoreId,
        mut events: Events<'_, T>,
        is_wanted: &impl Fn() -> bool,
    ) -> Result<Result<bool, CallFault>, StoreError> {
        let mut has_events = false;
        while let Some(next) = events.next().await {
            let (events, fault) = next;
            if !events.is_empty() {
                has_events = true;
                self.answered(store_id)?;
                self.apply(|view, now, settings| {
                    on_events(view, store_id, &events, now, settings)
                })?;
            }
            if let Some(fault) = fault {
                return Ok(Err(fault));
            }
            if !is_wanted() || !self.still_delivering()? {
                break;
            }
        }
        self.answered(store_id)?;
        Ok(Ok(has_events))
    }

    /// The runtime is in reach: it has told something, or come to the end of a read in good order.
    fn answered(&self, store_id: &StoreId) -> Result<(), StoreError> {
        self.apply(|view, now, settings| on_pull_answered(view, store_id, now, settings))
            .map(|_| ())
    }

    fn still_delivering(&self) -> Result<bool, StoreError> {
        Ok(self
            .store
            .delivery_view(now())?
            .is_some_and(|view| reading(&view).is_some()))
    }

    /// What a failed read means. True when another can be tried at once.
    async fn recover(&self, fault: &CallFault, asked: &StoreId) -> Result<bool, StoreError> {
        match fault {
            CallFault::Refused(RuntimeErrorCode::StoreChanged) => {
                let store_id = self.host.store_id().await.ok();
                // Two runtimes behind one address would be asked in turns for ever.
                if let Some(store_id) = store_id.filter(|store_id| store_id != asked) {
                    self.apply(|view, now, settings| on_contact(view, &store_id, now, settings))?;
                    return Ok(true);
                }
            }
            CallFault::Refused(RuntimeErrorCode::NotFound | RuntimeErrorCode::Gone) => {
                self.apply(on_journal_gone)?;
                return Ok(false);
            }
            _ => {}
        }
        self.apply(on_pull_failed)?;
        Ok(false)
    }
}
