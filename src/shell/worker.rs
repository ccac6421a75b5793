//! The Worker: routes, tickets and tRPC; what is called is answered by a [`Caller`].

use js_sys::Promise;
use js_sys::futures::future_to_promise;
use wasm_bindgen::prelude::*;
use worker::{Env, Response, Result, event};

use crate::envelope::{Envelope, VERSION};
use crate::telemetry::LogEvent;
use crate::trpc::input::{self, decode};
use crate::trpc::request::{Parsed, RawRequest};
use crate::trpc::{self, Answer, CallError, Data, ErrorKey, Reply};

use super::caller::{CallResult, Caller, Command, health};
use super::config::config;
use super::platform::{self, now};
use super::request::{self, Head, Header};
use super::sockets;

#[event(start)]
fn start() {
    platform::chain_panic_hook();
}

/// Answers a request that `request.js` has described and whose body it has read.
#[wasm_bindgen]
pub fn answer(description: String, read_body: JsValue, env: Env) -> Promise {
    future_to_promise(async move {
        let answered = match serde_json::from_str::<Head>(&description) {
            Ok(head) => route(&head, &read_body, &env).await,
            Err(error) => Err(error.into()),
        };
        let response = answered.or_else(|error| {
            let fault = LogEvent::Fault {
                place: "worker",
                reason: error.to_string(),
            };
            worker::console_error!("{}", fault.to_line(None, now()));
            respond(&Reply::refusal(&CallError::internal()))
        })?;
        Ok(web_sys::Response::from(response).into())
    })
}

async fn route(head: &Head, read_body: &JsValue, env: &Env) -> Result<Response> {
    match head.path.as_str() {
        "/health" if head.method == "GET" => Response::from_json(&health()),
        "/stream" => sockets::follow(head, env).await,
        "/stream-ticket" => stream_ticket(head, read_body, env).await,
        path => match path.strip_prefix("/trpc/") {
            Some(procedures) => trpc(head, read_body, procedures, env).await,
            None => not_found(),
        },
    }
}

fn not_found() -> Result<Response> {
    let error = CallError::new(ErrorKey::NotFound, "Not found");
    respond(&Reply::refusal(&error))
}

/// Issues a ticket for the stream. Pages whose origin is listed may ask for one themselves.
async fn stream_ticket(head: &Head, read_body: &JsValue, env: &Env) -> Result<Response> {
    let origin = head.header(Header::Origin);
    let origin = origin
        .filter(|origin| config(env).is_ok_and(|config| config.allowed_origins.lists(origin)));
    let response = match (head.method.as_str(), &origin) {
        ("OPTIONS", Some(_)) => Response::empty()?.with_status(204),
        ("POST", _) => match issue_ticket(head, read_body, env).await {
            Ok(data) => platform::respond(data.as_str(), 200)?,
            Err(error) => respond(&Reply::refusal(&error))?,
        },
        _ => {
            let message = "Tickets are issued to POST only";
            let error = CallError::new(ErrorKey::MethodNotSupported, message);
            respond(&Reply::refusal(&error))?
        }
    };
    if let Some(origin) = origin {
        let headers = response.headers();
        headers.set("access-control-allow-origin", origin)?;
        headers.set("access-control-allow-methods", "POST")?;
        headers.set(
            "access-control-allow-headers",
            "authorization, content-type",
        )?;
        headers.set("access-control-max-age", "600")?;
        headers.append("vary", "origin")?;
    }
    Ok(response)
}

async fn issue_ticket(head: &Head, read_body: &JsValue, env: &Env) -> CallResult<Data> {
    let body = request::body(read_body)?;
    let caller = Caller::new(env, head);
    let config = caller.config()?;
    let user_id = caller.user(&config)?;
    let text = std::str::from_utf8(&body).unwrap_or_default();
    let input = decode::<input::IssueTicket>(Some(text), &())?;
    let object_name = user_id.object_name(&input.cloud_agent_session_id.0);
    let command = Command {
        object_name,
        envelope: Envelope {
            v: VERSION,
            input: serde_json::from_str(text).ok(),
            user_id,
            received_at: head.received_at,
            attempt: 1,
            message_id: None,
            attachment_fault: None,
            new_session: None,
            #[cfg(feature = "test-faults")]
            fault: None,
        },
        files: None,
    };
    caller.ask(sockets::TICKET_COMMAND, command).await
}

async fn trpc(head: &Head, read_body: &JsValue, path: &str, env: &Env) -> Result<Response> {
    let body = match head.method.as_str() {
        "GET" | "HEAD" => Vec::new(),
        _ => match request::body(read_body) {
            Ok(body) => body,
            Err(error) => return respond(&Reply::refusal(&error)),
        },
    };
    let raw = RawRequest {
        method: &head.method,
        path,
        query: &head.query,
        content_type: head.header(Header::ContentType),
        accept: head
            .header(Header::TrpcAccept)
            .or_else(|| head.header(Header::Accept)),
        body: &body,
    };
    let calls = match trpc::request::parse(raw) {
        Err(error) => return respond(&Reply::refusal(&error)),
        Ok(Parsed::NoContent) => return Ok(Response::empty()?.with_status(204)),
        Ok(Parsed::Calls(calls)) => calls,
    };
    let caller = Caller::new(env, head);
    // One after the other: calls of one batch for one session keep their order.
    let mut answers = Vec::with_capacity(calls.calls.len());
    for call in &calls.calls {
        let result = match &call.invocation {
            Ok(invocation) => caller.call(invocation).await,
            Err(error) => Err(error.clone()),
        };
        answers.push(Answer {
            path: &call.path,
            result,
        });
    }
    match answers.as_slice() {
        [answer] if !calls.batch => respond(&Reply::single(answer)),
        answers if calls.lines => respond(&Reply::lines(answers)),
        answers => respond(&Reply::batch(answers)),
    }
}

fn respond(reply: &Reply) -> Result<Response> {
    platform::respond(&reply.body, reply.status)
}
