//! Calls that the session owes its runtime beside deliveries: a newer credential, an interrupt, its own deletion.
//!
//! What is owed is stored, and the alarm repeats a call until the runtime has answered it.

use cloud_agent_wire::{
    Credential, Generation, MessageId, PutCredential, RuntimeErrorCode, StoreId,
};

use crate::session::delivery::{
    HandOverFault, on_contact, on_interrupt_answered, on_push_answered,
};
use crate::session::engine::Store;
use crate::session::error::StoreError;
use crate::session::managed::{on_resolved_again, on_unresolved_again};
use crate::session::view::DeliveryView;

use super::delivery::Delivery;
use super::hand_over::managed_credential;
use super::platform::now;
use super::runtime::{CallFault, Transport};

impl<T: Transport> Delivery<T> {
    /// Pushes the current credential beside a running turn.
    ///
    /// # Errors
    /// The store's.
    pub async fn push_credential(&self, generation: Generation) -> Result<(), StoreError> {
        let Some(view) = self.store.delivery_view(now())? else {
            return Ok(());
        };
        let Some(store_id) = view.link.store_id.clone() else {
            return Ok(());
        };
        let current = if view.record.repository.uses_session_credential() {
            self.credential(&view)
                .ok()
                .flatten()
                .filter(|_| view.generation() == generation)
                .map(|credential| (generation, credential))
        } else {
            self.newer_managed_credential(&view).await?
        };
        let Some((generation, credential)) = current else {
            return Ok(());
        };
        let body = PutCredential {
            generation,
            credential,
        };
        let session_id = &view.record.session_id;
        let url = view.record.repository.clone_url();
        match self
            .host
            .put_credential(session_id, &store_id, &url, &body)
            .await
        {
            Ok(()) => self.pushed(&store_id, generation),
            Err(fault) => {
                self.log_fault("put_credential", &fault);
                match fault {
                    // It has a newer one, or nothing to put it into: nothing is owed.
                    CallFault::Refused(
                        RuntimeErrorCode::StaleGeneration
                        | RuntimeErrorCode::NotFound
                        | RuntimeErrorCode::Gone,
                    ) => self.pushed(&store_id, generation),
                    fault => self.look_at_store(&fault).await,
                }
            }
        }
    }

    /// Another token of a managed repository than the one that the remote refused, once the service gives one.
    async fn newer_managed_credential(
        &self,
        view: &DeliveryView,
    ) -> Result<Option<(Generation, Credential)>, StoreError> {
        let token = match self.resolve(view).await {
            Ok(token) => token,
            Err(HandOverFault::NotYet) => return Ok(None),
            Err(_) => {
                self.apply(on_unresolved_again)?;
                return Ok(None);
            }
        };
        let fingerprint = self.config.sealing_keys.fingerprint(&token.token);
        let generation = self
            .apply(|view, now, settings| on_resolved_again(view, &fingerprint, now, settings))?
            .flatten();
        Ok(generation.map(|generation| (generation, managed_credential(view, token.token))))
    }

    fn pushed(&self, store_id: &StoreId, generation: Generation) -> Result<(), StoreError> {
        self.apply(|view, now, settings| {
            on_push_answered(view, store_id, generation, now, settings)
        })
        .map(|_| ())
    }

    /// Tells the runtime to stop a turn.
    ///
    /// # Errors
    /// The store's.
    pub async fn interrupt_turn(&self, message_id: &MessageId) -> Result<(), StoreError> {
        let Some(view) = self.store.delivery_view(now())? else {
            return Ok(());
        };
        let answered = match &view.link.store_id {
            // No runtime was ever spoken to, so none has the turn.
            None => Ok(()),
            Some(store_id) => {
                let session_id = &view.record.session_id;
                self.host.interrupt(session_id, message_id, store_id).await
            }
        };
        match answered {
            Ok(())
            | Err(CallFault::Refused(RuntimeErrorCode::NotFound | RuntimeErrorCode::Gone)) => self
                .apply(|view, now, settings| on_interrupt_answered(view, message_id, now, settings))
                .map(|_| ()),
            Err(fault) => {
                self.log_fault("interrupt", &fault);
                self.look_at_store(&fault).await
            }
        }
    }

    /// Another disk has nothing of what was owed to the old one.
    async fn look_at_store(&self, fault: &CallFault) -> Result<(), StoreError> {
        if *fault == CallFault::Refused(RuntimeErrorCode::StoreChanged)
            && let Ok(store_id) = self.host.store_id().await
        {
            self.apply(|view, now, settings| on_contact(view, &store_id, now, settings))?;
        }
        Ok(())
    }

    /// Has the runtime remove the session. True when it has nothing of it any more.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete_remote(&self) -> Result<bool, StoreError> {
        let Some(view) = self.store.delivery_view(now())? else {
            return Ok(true);
        };
        let Some(store_id) = view.link.store_id else {
            return Ok(true);
        };
        match self.host.delete(&view.record.session_id, &store_id).await {
            Ok(())
            | Err(CallFault::Refused(
                RuntimeErrorCode::NotFound
                | RuntimeErrorCode::Gone
                | RuntimeErrorCode::StoreChanged,
            )) => Ok(true),
            Err(fault) => {
                self.log_fault("delete", &fault);
                Ok(false)
            }
        }
    }
}
