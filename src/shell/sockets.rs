//! The way to a session's stream: tickets over HTTP, and the upgrade to a WebSocket.

use cloud_agent_wire::Timestamp;
use worker::{Env, Headers, Request, RequestInit, Response, Result, WebSocket};

use crate::config::Config;
use crate::session::engine::Store;
use crate::stream::connection::Connection;
use crate::stream::error::StreamError;
use crate::stream::request::StreamRequest;
use crate::stream::ticket::{self, Ticket};

use super::config::config;
use super::platform::now;
use super::request::{Head, Header};
use super::store::SqlStore;

/// Where an object is asked for a socket.
const OBJECT_PATH: &str = "/stream";
/// What an object is asked for a ticket as.
pub const TICKET_COMMAND: &str = "issueTicket";

/// Answers a client that wants to follow a session: the socket of the session's object, or why not.
///
/// # Errors
/// The platform's.
pub async fn follow(head: &Head, env: &Env) -> Result<Response> {
    match follow_checked(head, env).await {
        Ok(response) => response,
        Err(error) => refuse(error),
    }
}

async fn follow_checked(
    head: &Head,
    env: &Env,
) -> std::result::Result<Result<Response>, StreamError> {
    let upgrade = head.header(Header::Upgrade);
    let is_upgrade = upgrade.is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
    if head.method != "GET" || !is_upgrade {
        return Err(StreamError::NotAnUpgrade);
    }
    let query = &head.query;
    let config = config(env).map_err(|_| StreamError::Internal)?;
    let (wanted, ticket) = checked(query, &config)?;
    if !config.allowed_origins.allows(head.header(Header::Origin)) {
        return Err(StreamError::ForbiddenOrigin);
    }
    // The object checks the ticket again: it alone knows whether it was used.
    let object = ticket.user_id.object_name(&wanted.session_id);
    let headers = Headers::new();
    #[cfg(feature = "test-faults")]
    if let Some(fault) = head.header(Header::TestFault) {
        let _ = headers.set(super::faults::HEADER, fault);
    }
    Ok(ask_object(&object, query, headers, env).await)
}

async fn ask_object(name: &str, query: &str, headers: Headers, env: &Env) -> Result<Response> {
    headers.set("upgrade", "websocket")?;
    let mut init = RequestInit::new();
    init.with_headers(headers);
    let request = Request::new_with_init(&format!("https://session{OBJECT_PATH}?{query}"), &init)?;
    env.durable_object("SESSIONS")?
        .get_by_name(name)?
        .fetch_with_request(request)
        .await
}

/// Opens a socket to the session. The object's part: from the ticket's use to the first frames nothing is awaited.
///
/// # Errors
/// Why not.
pub fn open(
    store: &SqlStore,
    config: &Config,
    request: &Request,
) -> std::result::Result<WebSocket, StreamError> {
    let url = request.url().map_err(|_| StreamError::Internal)?;
    let (wanted, ticket) = checked(url.query().unwrap_or_default(), config)?;
    let record = store.live_record().map_err(|_| StreamError::Internal)?;
    let is_owner = record.is_some_and(|record| {
        record.session_id == wanted.session_id && record.user_id == ticket.user_id
    });
    if !is_owner {
        return Err(StreamError::SessionNotFound);
    }
    let now = now();
    if !store.followers.has_room(now) {
        return Err(StreamError::TooManySockets);
    }
    store.use_ticket(&ticket, now)?;
    let latest = store.latest_event_id().map_err(|_| StreamError::Internal)?;
    let cursor = wanted.start.cursor(latest.unwrap_or(0));
    #[cfg(feature = "test-faults")]
    let now = super::faults::opened_at(now);
    let connection = Connection::new(wanted.session_id, now, cursor, wanted.filter);
    store
        .followers
        .accept(store, connection)
        .map_err(|_| StreamError::Internal)
}

/// What the client wants, and its ticket, unused tickets and used ones alike.
fn checked(
    query: &str,
    config: &Config,
) -> std::result::Result<(StreamRequest, Ticket), StreamError> {
    let wanted = StreamRequest::parse(query, parse_iso)?;
    let ticket = wanted.ticket.as_deref();
    let ticket = ticket::verify(ticket, &wanted.session_id, &config.auth_secret, now())?;
    Ok((wanted, ticket))
}

/// A time as JavaScript reads it.
fn parse_iso(text: &str) -> Option<Timestamp> {
    let millis = js_sys::Date::parse(text);
    // `Date` reaches less than 2^53 milliseconds in both directions, which a double holds exactly.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (millis >= 0.0).then(|| Timestamp::from_millis(millis as u64))
}

/// Answers a close with the same code. One that no endpoint may send means that the other end gave none.
pub fn answer_close(socket: &WebSocket, code: usize, reason: &str) {
    let code = u16::try_from(code)
        .ok()
        .filter(|code| (1000..5000).contains(code) && !matches!(code, 1004..=1006 | 1015));
    // A socket that was closed from here has nothing left to answer.
    let _ = socket.close(code, code.map(|_| reason));
}

/// The answer to a client that gets no socket.
///
/// # Errors
/// The platform's.
pub fn refuse(error: StreamError) -> Result<Response> {
    let headers = Headers::new();
    headers.set("content-type", "application/json")?;
    Ok(Response::ok(error.to_frame())?
        .with_status(error.status())
        .with_headers(headers))
}
