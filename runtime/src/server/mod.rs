//! The HTTP interface.

mod access;
mod attachments;
mod body;
pub mod connections;
mod errors;
mod events;
mod handlers;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::middleware;
use axum::routing::{delete, get, post, put};
use cloud_agent_wire::Secret;
use cloud_agent_wire::routes::{CLAIM, HEALTH, template};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::session::Registry;

/// Reads a JSON body that has arrived whole.
///
/// # Errors
/// The sentence that the caller is answered with.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    body::parse(bytes).map_err(errors::Error::into_message)
}

/// What every handler shares.
pub struct App {
    context: Arc<Context>,
    sessions: Registry,
    /// The bearer token; absent until somebody claims the runtime.
    token: Mutex<Option<Secret>>,
    /// Fires when nothing new is taken.
    stopping: CancellationToken,
    /// Fires when the last events are written, so that streams end.
    drained: CancellationToken,
}

impl App {
    /// Nothing is open yet.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            token: Mutex::new(context.config.token.clone()),
            sessions: Registry::new(Arc::clone(&context)),
            context,
            stopping: CancellationToken::new(),
            drained: CancellationToken::new(),
        })
    }

    /// Takes nothing new, ends everything that runs, and lets readers have the last events.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.sessions.stop().await;
        self.drained.cancel();
    }

    /// The routes.
    pub fn router(self: &Arc<Self>) -> Router {
        let guarded = Router::new()
            .route(template::WORKSPACE, put(handlers::put_workspace))
            .route(template::CREDENTIAL, put(handlers::put_credential))
            .route(template::TURN, put(handlers::put_turn))
            .route(template::INTERRUPT, post(handlers::interrupt))
            .route(template::EVENTS, get(events::get))
            .route(template::ATTACHMENT, put(attachments::put))
            .route(template::SESSION, delete(handlers::delete_session))
            .method_not_allowed_fallback(errors::no_such_route)
            .route_layer(middleware::from_fn(access::run_to_the_end))
            .route_layer(middleware::from_fn_with_state(
                Arc::clone(self),
                access::check,
            ));
        Router::new()
            .route(HEALTH, get(handlers::health))
            .route(CLAIM, post(access::claim))
            .merge(guarded)
            .fallback(errors::no_such_route)
            .with_state(Arc::clone(self))
    }
}
