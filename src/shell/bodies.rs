//! Request bodies, read up to a bound.

use futures_util::StreamExt;
use worker::Request;

use crate::limits::BODY_BYTES_MAX;
use crate::trpc::{CallError, ErrorKey};

/// Reads the body of a request from a client.
///
/// A body that says its length is read whole when the length is allowed; one that does not is read piece by piece
/// until it is too long.
///
/// # Errors
/// The body is larger than allowed, or the client stopped sending.
pub async fn read_body(request: &mut Request) -> Result<Vec<u8>, CallError> {
    let cut_off = |_| CallError::new(ErrorKey::BadRequest, "The request body could not be read");
    let declared = request.headers().get("content-length").ok().flatten();
    match declared.and_then(|length| length.parse::<usize>().ok()) {
        Some(length) if length > BODY_BYTES_MAX => Err(too_large()),
        Some(_) => request.bytes().await.map_err(cut_off),
        None => {
            // A request without a body has no stream either.
            let Ok(mut stream) = request.stream() else {
                return Ok(Vec::new());
            };
            let mut body = Vec::new();
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.map_err(cut_off)?;
                if body.len() + chunk.len() > BODY_BYTES_MAX {
                    return Err(too_large());
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        }
    }
}

fn too_large() -> CallError {
    let message = format!("The request body must be at most {BODY_BYTES_MAX} bytes");
    CallError::new(ErrorKey::PayloadTooLarge, message)
}
