//! The ways to a runtime. The configuration chooses one of them.

use cloud_agent_wire::{Secret, SessionId, routes};
use wasm_bindgen::JsValue;
use worker::{Env, Fetch, Fetcher, Headers, Request, RequestInit, RequestRedirect, Response, Stub};

use crate::config::{Config, RUNTIME_SERVICE, RuntimeBinding};
use crate::projection::sandbox_id;

use super::container::sandbox;
use super::runtime::{Body, Call, CallFault, Transport};

/// What a binding's requests carry as their origin. It resolves to nothing and is not looked at.
const BINDING_ORIGIN: &str = "http://runtime";

/// A runtime, wherever it is.
pub struct Adapter {
    place: Place,
    /// Opens the runtime. A container that runs commands has no use for it, and its agent could read it.
    token: Option<Secret>,
}

enum Place {
    Service(Fetcher),
    /// Without a slash at the end.
    Url(String),
    /// The owner of the session's container.
    Container(Stub),
}

impl Adapter {
    /// The way that is configured, for one session: a container belongs to one.
    ///
    /// # Errors
    /// The binding is not what its name says.
    pub fn new(env: &Env, config: &Config, session_id: &SessionId) -> worker::Result<Self> {
        let place = match &config.runtime {
            RuntimeBinding::Service => Place::Service(env.service(RUNTIME_SERVICE)?),
            RuntimeBinding::Url(base) => Place::Url(base.clone()),
            RuntimeBinding::Container => Place::Container(sandbox(env, &sandbox_id(session_id))?),
        };
        let is_open = config.direct.is_some() && matches!(place, Place::Container(_));
        let token = (!is_open).then(|| config.runtime_token.clone());
        Ok(Self { place, token })
    }

    fn request(&self, call: &Call) -> worker::Result<Request> {
        let headers = Headers::new();
        if let Some(token) = &self.token {
            headers.set("authorization", &format!("Bearer {}", token.expose()))?;
        }
        if let Some(store_id) = &call.store_id {
            headers.set(routes::STORE_ID_HEADER, store_id.as_str())?;
        }
        let body = match &call.body {
            Body::None => None,
            Body::Json(text) => {
                headers.set("content-type", "application/json")?;
                Some(JsValue::from_str(text))
            }
            Body::File(stream) => {
                headers.set("content-type", "application/octet-stream")?;
                Some(stream.clone())
            }
        };
        let mut init = RequestInit::new();
        init.with_method(call.method.clone())
            .with_headers(headers)
            .with_body(body)
            // A redirect would carry the token to wherever it points.
            .with_redirect(RequestRedirect::Manual);
        let init = web_sys::RequestInit::from(&init);
        let timeout = web_sys::AbortSignal::timeout_with_u32(call.timeout_millis);
        init.set_signal(Some(&timeout));
        let origin = match &self.place {
            Place::Url(base) => base,
            Place::Service(_) | Place::Container(_) => BINDING_ORIGIN,
        };
        let url = format!("{origin}{}", call.path);
        Ok(web_sys::Request::new_with_str_and_init(&url, &init)?.into())
    }
}

impl Transport for Adapter {
    async fn send(&self, call: &Call) -> Result<Response, CallFault> {
        let request = self.request(call).map_err(|_| CallFault::Unreachable)?;
        match &self.place {
            Place::Url(_) => Fetch::Request(request).send().await,
            Place::Service(service) => service.fetch_request(request).await,
            Place::Container(owner) => owner.fetch_with_request(request).await,
        }
        .map_err(|_| CallFault::Unreachable)
    }
}
