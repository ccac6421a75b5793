//! The Worker: routes, tickets and tRPC; what is called is answered by a [`Caller`].

use cloud_agent_wire::Timestamp;
use worker::{Context, Env, Headers, Method, Request, Response, Result, Url, event};

use crate::envelope::{Envelope, VERSION};
use crate::telemetry::LogEvent;
use crate::trpc::input::{self, decode};
use crate::trpc::request::{self, Parsed, RawRequest};
use crate::trpc::{Answer, CallError, Data, ErrorKey, Reply, envelope};

use super::bodies::read_body;
use super::caller::{CallResult, Caller, Command, health};
use super::config::config;
use super::platform::{self, now};
use super::sockets;

#[event(start)]
fn start() {
    platform::chain_panic_hook();
}

#[event(fetch)]
async fn fetch(mut request: Request, env: Env, _context: Context) -> Result<Response> {
    let received_at = now();
    match route(&mut request, &env, received_at).await {
        Ok(response) => Ok(response),
        Err(error) => {
            let fault = LogEvent::Fault {
                place: "worker",
                reason: error.to_string(),
            };
            worker::console_error!("{}", fault.to_line(None, now()));
            respond(&Reply::refusal(&CallError::internal()))
        }
    }
}

async fn route(request: &mut Request, env: &Env, received_at: Timestamp) -> Result<Response> {
    let url = request.url()?;
    match url.path() {
        "/health" if request.method() == Method::Get => Response::from_json(&health()),
        "/stream" => sockets::follow(request, &url, env).await,
        "/stream-ticket" => stream_ticket(request, env, received_at).await,
        path => match path.strip_prefix("/trpc/") {
            Some(procedures) => trpc(request, procedures, &url, env, received_at).await,
            None => not_found(),
        },
    }
}

fn not_found() -> Result<Response> {
    let error = CallError::new(ErrorKey::NotFound, "Not found");
    respond(&Reply::refusal(&error))
}

/// Issues a ticket for the stream. Pages whose origin is listed may ask for one themselves.
async fn stream_ticket(
    request: &mut Request,
    env: &Env,
    received_at: Timestamp,
) -> Result<Response> {
    let origin = request.headers().get("origin")?;
    let origin = origin
        .filter(|origin| config(env).is_ok_and(|config| config.allowed_origins.lists(origin)));
    let response = match (request.method(), &origin) {
        (Method::Options, Some(_)) => Response::empty()?.with_status(204),
        (Method::Post, _) => match issue_ticket(request, env, received_at).await {
            Ok(data) => json(data.as_str(), 200)?,
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
        headers.set("access-control-allow-origin", &origin)?;
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

async fn issue_ticket(
    request: &mut Request,
    env: &Env,
    received_at: Timestamp,
) -> CallResult<Data> {
    let body = read_body(request).await?;
    let caller = Caller::new(env, request.headers(), received_at);
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
            received_at,
            attempt: 1,
            message_id: None,
            attachment_fault: None,
            new_session: None,
        },
        files: None,
    };
    caller.ask(sockets::TICKET_COMMAND, command).await
}

fn json(text: &str, status: u16) -> Result<Response> {
    let headers = Headers::new();
    headers.set("content-type", envelope::CONTENT_TYPE)?;
    Ok(Response::ok(text)?
        .with_status(status)
        .with_headers(headers))
}

async fn trpc(
    request: &mut Request,
    path: &str,
    url: &Url,
    env: &Env,
    received_at: Timestamp,
) -> Result<Response> {
    let body = match request.method() {
        Method::Get | Method::Head => Vec::new(),
        _ => match read_body(request).await {
            Ok(body) => body,
            Err(error) => return respond(&Reply::refusal(&error)),
        },
    };
    let headers = request.headers();
    let content_type = headers.get("content-type")?;
    let accept = match headers.get("trpc-accept")? {
        None => headers.get("accept")?,
        own => own,
    };
    let method = request.method().to_string();
    let raw = RawRequest {
        method: &method,
        path,
        query: url.query().unwrap_or_default(),
        content_type: content_type.as_deref(),
        accept: accept.as_deref(),
        body: &body,
    };
    let calls = match request::parse(raw) {
        Err(error) => return respond(&Reply::refusal(&error)),
        Ok(Parsed::NoContent) => return Ok(Response::empty()?.with_status(204)),
        Ok(Parsed::Calls(calls)) => calls,
    };
    let caller = Caller::new(env, request.headers(), received_at);
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
    let response = json(reply.body.as_str(), reply.status)?;
    response.headers().set("vary", envelope::VARY)?;
    Ok(response)
}
