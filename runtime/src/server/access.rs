//! Who may call: the bearer token, and the store that the caller means.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use cloud_agent_wire::routes::STORE_ID_HEADER;
use cloud_agent_wire::{Claim, RuntimeErrorCode, Secret, is_runtime_token};
use subtle::ConstantTimeEq;

use super::body::Bounds;
use super::errors::{Error, stopping};
use super::{App, body};
use crate::store::files::lock;

/// Lets a request through that brings the token and names this store.
pub async fn check(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response<Body>, Error> {
    check_token(&app, request.headers())?;
    let store = request.headers().get(STORE_ID_HEADER);
    if store.and_then(|store| store.to_str().ok()) != Some(app.context.store.id().as_str()) {
        return Err(Error::new(
            RuntimeErrorCode::StoreChanged,
            "x-store-id must name this runtime's store",
        ));
    }
    if app.stopping.is_cancelled() {
        return Err(stopping());
    }
    Ok(next.run(request).await)
}

/// Runs a call to its end although its caller hangs up, which the object does after two seconds: what a call has begun
/// must not stop half-way.
pub async fn run_to_the_end(request: Request, next: Next) -> Result<Response<Body>, Error> {
    let running = tokio::spawn(next.run(request));
    running.await.map_err(|error| {
        tracing::error!(error = %error, "a call failed");
        Error::new(RuntimeErrorCode::Internal, "the call failed")
    })
}

/// Gives a runtime without a token its token.
pub async fn claim(State(app): State<Arc<App>>, request: Body) -> Result<Response<Body>, Error> {
    let claim: Claim = body::read(request, Bounds::of_a_claim(&app)).await?;
    if !is_runtime_token(claim.token.expose()) {
        return Err(Error::invalid(
            "token must be at least 16 printable ASCII characters without spaces",
        ));
    }
    let mut token = lock(&app.token);
    match &*token {
        Some(known) if !is_same(known, claim.token.expose()) => Err(unauthorized()),
        Some(_) => Ok(StatusCode::OK.into_response()),
        None => {
            tracing::info!("the runtime was claimed");
            *token = Some(claim.token);
            Ok(StatusCode::OK.into_response())
        }
    }
}

fn check_token(app: &App, headers: &HeaderMap) -> Result<(), Error> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match (&*lock(&app.token), given) {
        (Some(known), Some(given)) if is_same(known, given) => Ok(()),
        _ => Err(unauthorized()),
    }
}

/// Compares in a time that tells nothing about where two texts differ.
fn is_same(known: &Secret, given: &str) -> bool {
    known.expose().as_bytes().ct_eq(given.as_bytes()).into()
}

fn unauthorized() -> Error {
    Error::new(
        RuntimeErrorCode::Unauthorized,
        "the bearer token is missing or wrong",
    )
}
