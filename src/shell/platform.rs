//! What the platform offers and the `worker` crate does not bind: synchronous transactions, alarms at a moment,
//! bounded waits, and the panic hook.

use cloud_agent_wire::{MessageId, Timestamp};
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use worker::Storage;

use crate::mint;
use crate::session::sealing::NonceBytes;

#[wasm_bindgen]
extern "C" {
    /// The parts of a Durable Object's storage that are bound here.
    type RawStorage;

    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &RawStorage,
        run: &mut dyn FnMut() -> Result<(), JsValue>,
    ) -> Result<(), JsValue>;

    #[wasm_bindgen(method, catch, js_name = setAlarm)]
    fn set_alarm(this: &RawStorage, at_millis: f64) -> Result<Promise, JsValue>;

    #[wasm_bindgen(method, catch, js_name = deleteAlarm)]
    fn delete_alarm(this: &RawStorage) -> Result<Promise, JsValue>;
}

fn raw(storage: &Storage) -> &RawStorage {
    storage.as_raw().unchecked_ref()
}

/// Runs `run` inside a transaction: all of its SQL happens, or, when it fails, none.
pub fn transaction_sync(
    storage: &Storage,
    run: &mut dyn FnMut() -> worker::Result<()>,
) -> worker::Result<()> {
    raw(storage)
        .transaction_sync(&mut || run().map_err(JsValue::from))
        .map_err(worker::Error::from)
}

/// Arms the alarm at `at`, or disarms it. The write belongs to the same commit as the SQL before it.
///
/// The promise settles when the platform has taken the write; the reply waits for it to be durable by itself.
pub fn arm(storage: &Storage, at: Option<Timestamp>) -> worker::Result<Promise> {
    // Milliseconds since 1970 fit a double exactly. The platform takes no moment at or before the beginning of 1970, which
    // is what a damaged row may say.
    #[allow(clippy::cast_precision_loss)]
    let armed = match at {
        Some(at) => raw(storage).set_alarm(at.as_millis().max(1) as f64),
        None => raw(storage).delete_alarm(),
    };
    armed.map_err(worker::Error::from)
}

/// The platform's clock, which stands still while code runs.
pub fn now() -> Timestamp {
    // Milliseconds since 1970 are a whole number far below 2^53.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let millis = js_sys::Date::now() as u64;
    Timestamp::from_millis(millis)
}

/// Fresh random bytes.
///
/// # Errors
/// The platform gives none, which does not happen.
pub fn random<const N: usize>() -> worker::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|_| worker::Error::RustError("no randomness".to_owned()))?;
    Ok(bytes)
}

/// A fresh nonce.
///
/// # Errors
/// As [`random`].
pub fn nonce() -> worker::Result<NonceBytes> {
    random()
}

/// A fresh message id.
///
/// # Errors
/// As [`random`].
pub fn message_id() -> worker::Result<MessageId> {
    mint::message_id(now(), random()?)
        .ok_or_else(|| worker::Error::RustError("no message id".to_owned()))
}

/// Shows a panic's place and text on the console, then lets the hook before do its work.
///
/// The hook before is the `worker` crate's: it fails the request at once and has the module made anew. Setting
/// another hook in its place would leave the request hanging.
pub fn chain_panic_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        console_error_panic_hook::hook(info);
        before(info);
    }));
}
