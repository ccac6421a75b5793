//! The object's dealings with its runtime: what they share. Each kind has a file of its own.

use std::rc::Rc;

use cloud_agent_wire::{Secret, Timestamp};

use worker::Env;

use crate::config::Config;
use crate::session::command::Settings;
use crate::session::engine::{self, Store};
use crate::session::error::StoreError;
use crate::session::record::SessionRecord;
use crate::session::sealing::{Sealed, SecretKind};
use crate::session::step::Decision;
use crate::session::view::DeliveryView;
use crate::telemetry::LogEvent;

use super::host::Host;
use super::platform::now;
use super::runtime::CallFault;
use super::store::SqlStore;
use super::token_service::TokenService;

/// A session's storage and its runtime.
pub struct Delivery<T> {
    pub store: Rc<SqlStore>,
    pub host: Host<T>,
    pub config: Rc<Config>,
    pub env: Env,
    pub tokens: Rc<TokenService>,
}

impl<T> Delivery<T> {
    /// Applies something that came from outside to freshly loaded state.
    ///
    /// # Errors
    /// The store's.
    pub fn apply<R>(
        &self,
        decide: impl FnOnce(&DeliveryView, Timestamp, &Settings) -> Decision<R>,
    ) -> Result<Option<R>, StoreError> {
        let now = now();
        engine::apply(&*self.store, now, |view| {
            decide(view, now, &self.config.settings)
        })
    }

    /// Logs a call that failed.
    pub fn log_fault(&self, call: &'static str, fault: &CallFault) {
        self.store.log(&LogEvent::RuntimeCallFailed {
            call,
            reason: fault.reason(),
        });
    }

    /// Opens a sealed secret; a failure is logged, and means that the session cannot be delivered as it is.
    pub fn open(
        &self,
        record: &SessionRecord,
        kind: SecretKind,
        sealed: &Sealed,
    ) -> Option<Secret> {
        self.config
            .sealing_keys
            .open(kind, record.sealing_context(), sealed)
            .map_err(|error| {
                self.store.log(&LogEvent::Fault {
                    place: "open_secret",
                    reason: error.to_string(),
                });
            })
            .ok()
    }
}
