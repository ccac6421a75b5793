//! The secrets that a session has had in this process, for redaction.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use cloud_agent_wire::redact::Redactor;
use cloud_agent_wire::{Credential, Secret};

use crate::limits::{REDACTED_TOKENS_MAX, REDACTED_VALUES_MAX};
use crate::store::files::lock;

/// Collects secrets and keeps a redactor that knows them all.
///
/// A secret is known here before it is given to a child, and stays known after it was replaced: a child may print
/// it late.
pub struct Secrets {
    inner: Mutex<Inner>,
}

struct Inner {
    credentials: VecDeque<Credential>,
    values: VecDeque<Secret>,
    redactor: Arc<Redactor>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                credentials: VecDeque::new(),
                values: VecDeque::new(),
                redactor: Arc::new(Redactor::new([], [])),
            }),
        }
    }
}

impl Secrets {
    /// Adds what is not known yet. The oldest are forgotten when there are very many.
    pub fn learn<'a>(
        &self,
        credential: Option<&Credential>,
        values: impl IntoIterator<Item = &'a Secret>,
    ) {
        let mut inner = lock(&self.inner);
        let mut is_new = false;
        for value in values {
            if !inner
                .values
                .iter()
                .any(|known| known.expose() == value.expose())
            {
                inner.values.push_back(value.clone());
                is_new = true;
            }
        }
        if let Some(credential) = credential {
            let same = |known: &Credential| {
                known.username == credential.username
                    && known.token.expose() == credential.token.expose()
            };
            if !inner.credentials.iter().any(same) {
                inner.credentials.push_back(credential.clone());
                is_new = true;
            }
        }
        while inner.credentials.len() > REDACTED_TOKENS_MAX {
            inner.credentials.pop_front();
        }
        while inner.values.len() > REDACTED_VALUES_MAX {
            inner.values.pop_front();
        }
        if is_new {
            inner.redactor = Arc::new(Redactor::new(&inner.credentials, &inner.values));
        }
    }

    /// The redactor of now.
    pub fn redactor(&self) -> Arc<Redactor> {
        Arc::clone(&lock(&self.inner).redactor)
    }

    /// The tokens that were known, except `current`: none of them may be left anywhere.
    pub fn old_tokens(&self, current: Option<&Credential>) -> Vec<Secret> {
        lock(&self.inner)
            .credentials
            .iter()
            .map(|credential| &credential.token)
            .filter(|token| current.is_none_or(|now| now.token.expose() != token.expose()))
            .cloned()
            .collect()
    }
}
