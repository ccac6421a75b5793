//! A client's request as the Worker is handed it: described and read by `request.js`, so that WebAssembly is entered
//! once for it.

use cloud_agent_wire::Timestamp;
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use worker::js_sys::Uint8Array;

use crate::limits::BODY_BYTES_MAX;
use crate::trpc::{CallError, ErrorKey};

/// Headers that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    Accept,
    Authorization,
    ContentType,
    InternalApiKey,
    Origin,
    TrpcAccept,
    Upgrade,
    #[cfg(feature = "test-faults")]
    TestFault,
}

/// All of them, with their names, in the order in which `request.js` describes them.
const HEADERS: &[(Header, &str)] = &[
    (Header::Accept, "accept"),
    (Header::Authorization, "authorization"),
    (Header::ContentType, "content-type"),
    (Header::InternalApiKey, "x-internal-api-key"),
    (Header::Origin, "origin"),
    (Header::TrpcAccept, "trpc-accept"),
    (Header::Upgrade, "upgrade"),
    #[cfg(feature = "test-faults")]
    (Header::TestFault, super::faults::HEADER),
];

/// The names of the headers that `request.js` is to describe.
#[wasm_bindgen(js_name = headerNames)]
#[must_use]
pub fn header_names() -> Vec<String> {
    HEADERS.iter().map(|(_, name)| (*name).to_owned()).collect()
}

/// How long a body may be.
#[wasm_bindgen(js_name = bodyBytesMax)]
#[must_use]
pub fn body_bytes_max() -> usize {
    BODY_BYTES_MAX
}

/// Everything of a request but its body.
#[derive(Debug, Deserialize)]
pub struct Head {
    /// When the request reached the Worker, before its body came.
    pub received_at: Timestamp,
    /// The method, as the client wrote it.
    pub method: String,
    /// The path, with its slash.
    pub path: String,
    /// The query without its question mark; empty when there is none.
    pub query: String,
    headers: Vec<Option<String>>,
}

impl Head {
    /// A header's value.
    pub fn header(&self, header: Header) -> Option<&str> {
        let mut described = HEADERS.iter().zip(&self.headers);
        described
            .find(|((of, _), _)| *of == header)
            .and_then(|(_, value)| value.as_deref())
    }
}

/// The body, from what `request.js` made of it.
///
/// # Errors
/// The body is larger than allowed, or the client stopped sending.
pub fn body(read: &JsValue) -> Result<Vec<u8>, CallError> {
    match read.dyn_ref::<Uint8Array>() {
        Some(bytes) => Ok(bytes.to_vec()),
        None if read == "too-large" => {
            let message = format!("The request body must be at most {BODY_BYTES_MAX} bytes");
            Err(CallError::new(ErrorKey::PayloadTooLarge, message))
        }
        None => {
            let message = "The request body could not be read";
            Err(CallError::new(ErrorKey::BadRequest, message))
        }
    }
}
