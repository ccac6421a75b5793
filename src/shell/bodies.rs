//! Request bodies, read up to a bound.

use js_sys::futures::JsFuture;
use js_sys::{IteratorNext, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::ReadableStreamDefaultReader;
use worker::Request;

use crate::limits::BODY_BYTES_MAX;
use crate::trpc::{CallError, ErrorKey};

/// How much of a body that is too large is still taken in and thrown away. A client that is cut off while it writes
/// never reads why.
const DISCARDED_BYTES_MAX: usize = 8 * BODY_BYTES_MAX;

/// Reads the body of a request from a client.
///
/// A body that says its length is read whole when the length is allowed; any other is read piece by piece.
///
/// # Errors
/// The body is larger than allowed, or the client stopped sending.
pub async fn read_body(request: &mut Request) -> Result<Vec<u8>, CallError> {
    let declared = request.headers().get("content-length").ok().flatten();
    let declared = declared.and_then(|length| length.parse::<usize>().ok());
    if declared.is_some_and(|length| length <= BODY_BYTES_MAX) {
        return request.bytes().await.map_err(|_| cut_off());
    }
    // A request without a body has no stream either.
    let Some(stream) = request.inner().body() else {
        return Ok(Vec::new());
    };
    let reader = ReadableStreamDefaultReader::new(&stream).map_err(|_| cut_off())?;
    let (mut body, mut bytes) = (Vec::new(), 0);
    while let Some(chunk) = next_chunk(&reader).await.map_err(|_| cut_off())? {
        bytes += chunk.len();
        if bytes <= BODY_BYTES_MAX {
            body.extend_from_slice(&chunk);
        } else if bytes > DISCARDED_BYTES_MAX {
            break;
        } else {
            body = Vec::new();
        }
    }
    if bytes > BODY_BYTES_MAX {
        Err(too_large())
    } else {
        Ok(body)
    }
}

/// The next piece; `None` at the end.
async fn next_chunk(reader: &ReadableStreamDefaultReader) -> Result<Option<Vec<u8>>, JsValue> {
    // It has the shape of an iterator's result.
    let result: IteratorNext = JsFuture::from(reader.read()).await?.unchecked_into();
    if result.done() {
        return Ok(None);
    }
    Ok(Some(result.value().dyn_into::<Uint8Array>()?.to_vec()))
}

fn cut_off() -> CallError {
    CallError::new(ErrorKey::BadRequest, "The request body could not be read")
}

fn too_large() -> CallError {
    let message = format!("The request body must be at most {BODY_BYTES_MAX} bytes");
    CallError::new(ErrorKey::PayloadTooLarge, message)
}
