//! Calls to a container: handed on as they are, with both bodies streamed.

use std::rc::Rc;

use cloud_agent_wire::routes::STORE_ID_HEADER;
use cloud_agent_wire::{RuntimeError, RuntimeErrorCode};
use js_sys::Array;
use js_sys::futures::JsFuture;
use wasm_bindgen::prelude::*;
use worker::{Request, Response, Result};

use crate::container::lifecycle::Admission;

use super::super::platform::now;
use super::boot::begin;
use super::owner::Owner;

/// What a runtime answers that was not claimed with this token.
const UNAUTHORIZED: u16 = RuntimeErrorCode::Unauthorized.status();

#[wasm_bindgen]
extern "C" {
    /// A pipe of the platform's own, through which bytes go without being looked at.
    type IdentityTransformStream;

    #[wasm_bindgen(constructor)]
    fn new() -> IdentityTransformStream;

    #[wasm_bindgen(method, getter)]
    fn readable(this: &IdentityTransformStream) -> web_sys::ReadableStream;

    #[wasm_bindgen(method, getter)]
    fn writable(this: &IdentityTransformStream) -> web_sys::WritableStream;
}

impl Owner {
    /// Hands a call on to the container, which is started when none runs.
    ///
    /// # Errors
    /// The platform's.
    pub async fn call(self: &Rc<Self>, request: Request) -> Result<Response> {
        let names_store = request.headers().has(STORE_ID_HEADER)?;
        let is_running = self.container.running();
        let admission = self.with(|life| life.on_call(names_store, is_running, now()));
        if admission == Admission::StoreGone {
            return refuse(
                RuntimeErrorCode::StoreChanged,
                "the container has ended, and its disk is gone",
            );
        }
        // Before anything outside is touched: what is started has a stop.
        self.save().await?;
        let reply = self.admitted(admission, request).await;
        match reply {
            Ok(reply) => self.until_its_end(reply),
            Err(error) => {
                self.ended().await;
                Err(error)
            }
        }
    }

    async fn admitted(
        self: &Rc<Self>,
        mut admission: Admission,
        request: Request,
    ) -> Result<Response> {
        if admission == Admission::Wait {
            self.wait_for_boot().await;
            admission = self.with(|life| life.after_wait());
        }
        match admission {
            Admission::Forward => self.forward(request).await,
            Admission::NotReady => {
                refuse(RuntimeErrorCode::NotReady, "the container is being started")
            }
            _ => refuse_unavailable("the container could not be started"),
        }
    }

    async fn forward(&self, request: Request) -> Result<Response> {
        let bound = web_sys::AbortSignal::timeout_with_u32(self.image.call_millis_max);
        let ended = self.calls.borrow().signal();
        let signal = web_sys::AbortSignal::any(&Array::of2(&bound, &ended));
        let init = web_sys::RequestInit::new();
        init.set_signal(Some(&signal));
        let request = web_sys::Request::new_with_request_and_init(request.inner(), &init)?;
        let reply = self.port()?.fetch_request(Request::from(request)).await;
        let is_unknown_token = |reply: &Response| reply.status_code() == UNAUTHORIZED;
        if reply.as_ref().map_or(true, is_unknown_token) {
            self.with(|life| life.on_call_failed(now()));
        }
        match reply {
            Ok(reply) => Ok(reply),
            Err(_) => refuse_unavailable("the container did not answer"),
        }
    }

    /// The reply, with the call counted as under way until its body has ended or nobody reads it any more.
    fn until_its_end(self: &Rc<Self>, reply: Response) -> Result<Response> {
        let reply = web_sys::Response::from(reply);
        let pipe = IdentityTransformStream::new();
        let piped = reply.body().map(|body| body.pipe_to(&pipe.writable()));
        let readable = piped.as_ref().map(|_| pipe.readable());
        let owner = Rc::clone(self);
        // Nobody waits for it.
        let _ = begin(Box::pin(async move {
            if let Some(piped) = piped {
                let _ = JsFuture::from(piped).await;
            }
            owner.ended().await;
        }));
        // A response says of itself what a new one needs: status and headers.
        let head: &web_sys::ResponseInit = reply.unchecked_ref();
        let tracked =
            web_sys::Response::new_with_opt_readable_stream_and_init(readable.as_ref(), head)?;
        Ok(tracked.into())
    }

    /// The container has ended, and with it every call that it has not answered.
    pub(super) fn break_calls(&self) {
        self.calls.borrow().abort();
        if let Ok(fresh) = web_sys::AbortController::new() {
            *self.calls.borrow_mut() = fresh;
        }
    }

    async fn ended(&self) {
        self.with(|life| life.on_call_ended(now()));
        // What is stored is a bound, and the next call stores it again.
        let _ = self.save().await;
    }
}

fn refuse(code: RuntimeErrorCode, sentence: &str) -> Result<Response> {
    let error = RuntimeError {
        code,
        message: sentence.to_owned(),
    };
    let body = serde_json::to_string(&error)?;
    Ok(Response::ok(body)?.with_status(code.status()))
}

/// The reply of an owner that has no container to hand the call on to.
///
/// # Errors
/// The platform's.
pub fn refuse_unavailable(sentence: &str) -> Result<Response> {
    refuse(RuntimeErrorCode::Unavailable, sentence)
}
