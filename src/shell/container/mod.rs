//! The Durable Object that owns the container of one sandbox, and the way to it.
//!
//! A caller sends the container's own requests, paths and all; see [`sandbox`]. The object starts a container when none
//! runs, hands the requests on, and stops the container when nobody has used it for a while.

mod boot;
mod calls;
mod owner;
mod stored_stop;

use std::rc::Rc;

use worker::{DurableObject, Env, Request, Response, Result, State, Stub, durable_object};

use crate::config::WORKSPACE_CONTAINER;

use super::config::config;
use super::platform::now;
use owner::Owner;

/// The way to a sandbox's container: takes any request, and hands it on to the port that the image serves.
///
/// # Errors
/// The binding is missing.
pub fn sandbox(env: &Env, name: &str) -> Result<Stub> {
    env.durable_object(WORKSPACE_CONTAINER)?.get_by_name(name)
}

/// The owner of one sandbox's container.
#[durable_object(alarm)]
pub struct WorkspaceContainer {
    owner: std::result::Result<Rc<Owner>, &'static str>,
}

impl DurableObject for WorkspaceContainer {
    fn new(state: State, env: Env) -> Self {
        let owner = config(&env)
            .map_err(|_| "the configuration is not complete")
            .and_then(|config| Owner::new(&state, config));
        Self { owner }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match &self.owner {
            Ok(owner) => owner.call(request).await,
            Err(reason) => calls::refuse_unavailable(reason),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        if let Ok(owner) = &self.owner {
            owner.ring(now()).await?;
        }
        Response::empty()
    }
}
