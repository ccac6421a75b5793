//! What the platform offers and the `worker` crate does not bind: SQL in one crossing, alarms at a moment, bounded waits,
//! and the panic hook.

use cloud_agent_wire::{MessageId, Timestamp};
use js_sys::futures::JsFuture;
use js_sys::{Array, Promise};
use wasm_bindgen::prelude::*;
use worker::{Env, Response, SqlStorage, Storage};

use crate::mint;
use crate::session::sealing::NonceBytes;

#[wasm_bindgen]
extern "C" {
    /// The parts of a Durable Object's storage that are bound here.
    type RawStorage;

    #[wasm_bindgen(method, catch, js_name = setAlarm)]
    fn set_alarm(this: &RawStorage, at_millis: f64) -> Result<Promise, JsValue>;

    #[wasm_bindgen(method, catch, js_name = deleteAlarm)]
    fn delete_alarm(this: &RawStorage) -> Result<Promise, JsValue>;
}

fn raw(storage: &Storage) -> &RawStorage {
    storage.as_raw().unchecked_ref()
}

#[wasm_bindgen(module = "/src/shell/platform.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = query)]
    fn query_in_js(sql: &JsValue, statement: &str, values: &str) -> Result<String, JsValue>;

    #[wasm_bindgen(catch, js_name = commit)]
    fn commit_in_js(storage: &JsValue, statements: &str) -> Result<(), JsValue>;

    #[wasm_bindgen(js_name = ask)]
    fn ask_in_js(env: &JsValue, object_name: &str, command: &str, body: &str) -> Promise;

    /// The answer of a session's object, once the alarm's write was taken.
    #[wasm_bindgen(js_name = answerWhenArmed)]
    pub fn answer_when_armed(text: &str, status: u16, armed: Option<Promise>) -> Promise;

    #[wasm_bindgen(catch, js_name = respond)]
    fn respond_in_js(text: &str, status: u16) -> Result<web_sys::Response, JsValue>;
}

/// Runs a query. Takes its values as a JSON array, and returns its rows as a JSON array of arrays.
///
/// # Errors
/// The platform's.
pub fn query(sql: &SqlStorage, statement: &str, values: &str) -> worker::Result<String> {
    query_in_js(sql.as_ref(), statement, values).map_err(worker::Error::from)
}

/// Runs statements, all or none of them. Takes a JSON array of pairs, the statement and its values.
///
/// # Errors
/// The platform's; then none of the statements happened.
pub fn commit(storage: &Storage, statements: &str) -> worker::Result<()> {
    commit_in_js(storage.as_raw().as_ref(), statements).map_err(worker::Error::from)
}

/// Asks a session's object. Returns the status and the text of its answer.
///
/// # Errors
/// The platform's.
pub async fn ask(
    env: &Env,
    object_name: &str,
    command: &str,
    body: &str,
) -> worker::Result<(u16, String)> {
    let answer = ask_in_js(env, object_name, command, body);
    let answer: Array = JsFuture::from(answer).await?.unchecked_into();
    // The platform's statuses are small whole numbers.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let status = answer.get(0).as_f64().unwrap_or_default() as u16;
    Ok((status, answer.get(1).as_string().unwrap_or_default()))
}

/// A reply to a client, with the headers that all replies have.
///
/// # Errors
/// The platform's.
pub fn respond(text: &str, status: u16) -> worker::Result<Response> {
    Ok(respond_in_js(text, status)?.into())
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
