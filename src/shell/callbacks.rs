//! Sending callbacks: a task of its own for each try, since a receiver may take longer than an alarm may.
//!
//! The task is not trusted to live: the try is noted before it begins, and the alarm makes another one when this one
//! counts as lost.

use std::rc::Rc;

use wasm_bindgen::JsValue;
use worker::{
    AbortSignal, Fetch, Headers, Method, Request, RequestInit, RequestRedirect, Response,
};

use crate::callback_request::{CallbackRequest, StoredTarget};
use crate::config::Config;
use crate::session::callback::{ANSWER_MILLIS_MAX, Answer, Attempt};
use crate::session::engine::{self, Store};
use crate::session::error::StoreError;
use crate::session::sealing::SecretKind;
use crate::telemetry::LogEvent;

use super::platform::now;
use super::store::SqlStore;

/// A request, or why there is none; either with what may be shown of its target.
type Prepared = Result<(CallbackRequest, String), (&'static str, String)>;

/// What a try needs.
pub struct Sender {
    pub store: Rc<SqlStore>,
    pub config: Rc<Config>,
}

impl Sender {
    /// Makes a try and notes what came of it.
    pub async fn send(self, attempt: Attempt) {
        if let Err(error) = self.try_to_send(&attempt).await {
            self.store.log(&LogEvent::Fault {
                place: "callback",
                reason: error.to_string(),
            });
        }
        // Whatever was armed is waited for by the next event; a failure to arm is repaired by it as well.
        let _ = self.store.settle_alarm().await;
    }

    async fn try_to_send(&self, attempt: &Attempt) -> Result<(), StoreError> {
        let (answer, place) = match self.request(attempt)? {
            Ok((request, place)) => (post(&request).await, place),
            Err((reason, place)) => (Answer::Refused(reason), place),
        };
        engine::apply_callback(&*self.store, attempt, (answer, &place), now())
    }

    /// The request and what may be shown of its target, or why there is none.
    fn request(&self, attempt: &Attempt) -> Result<Prepared, StoreError> {
        let Some((record, sealed)) = self.store.callback_target(attempt.target)? else {
            return Ok(Err(("target is gone", String::new())));
        };
        let Some((_, Some(message))) = self.store.message(&attempt.message_id)? else {
            return Ok(Err(("message is gone", String::new())));
        };
        let target = self
            .config
            .sealing_keys
            .open(
                SecretKind::CallbackTarget,
                record.sealing_context(),
                &sealed,
            )
            .ok()
            .and_then(|text| StoredTarget::from_opened(&text));
        let Some(target) = target else {
            return Ok(Err(("target does not open", String::new())));
        };
        let place = target.place();
        let secret = self.config.callback_signing_secret.as_ref();
        let hosts = &self.config.allowed_hosts;
        Ok(match target.request(&record, &message, hosts, secret) {
            Ok(request) => Ok((request, place)),
            Err(reason) => Err((reason, place)),
        })
    }
}

/// Sends the request. A redirect is not followed: it would carry the headers to wherever it points.
async fn post(request: &CallbackRequest) -> Answer {
    let Ok(platform_request) = to_platform(request) else {
        return Answer::Refused("request cannot be made");
    };
    let timeout = u32::try_from(ANSWER_MILLIS_MAX).unwrap_or(u32::MAX);
    let signal = AbortSignal::from(web_sys::AbortSignal::timeout_with_u32(timeout));
    match Fetch::Request(platform_request)
        .send_with_signal(&signal)
        .await
    {
        Ok(response) => {
            let status = response.status_code();
            discard(response);
            Answer::Status(status)
        }
        Err(_) => Answer::None,
    }
}

/// Lets go of a body that nobody reads: a stream that is dropped is cancelled.
fn discard(mut response: Response) {
    drop(response.stream());
}

fn to_platform(request: &CallbackRequest) -> worker::Result<Request> {
    let headers = Headers::new();
    for (name, value) in request.exposed_headers() {
        headers.set(name, value)?;
    }
    let mut init = RequestInit::new();
    init.with_method(Method::Post)
        .with_headers(headers)
        .with_body(Some(JsValue::from_str(&request.body)))
        .with_redirect(RequestRedirect::Manual);
    Request::new_with_init(request.url.as_str(), &init)
}
