//! Request bodies, read up to a bound.

use futures_util::StreamExt;
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
    let cut_off = |_| CallError::new(ErrorKey::BadRequest, "The request body could not be read");
    let declared = request.headers().get("content-length").ok().flatten();
    let declared = declared.and_then(|length| length.parse::<usize>().ok());
    if declared.is_some_and(|length| length <= BODY_BYTES_MAX) {
        return request.bytes().await.map_err(cut_off);
    }
    // A request without a body has no stream either.
    let Ok(mut stream) = request.stream() else {
        return Ok(Vec::new());
    };
    let (mut body, mut bytes) = (Vec::new(), 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(cut_off)?;
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

fn too_large() -> CallError {
    let message = format!("The request body must be at most {BODY_BYTES_MAX} bytes");
    CallError::new(ErrorKey::PayloadTooLarge, message)
}
