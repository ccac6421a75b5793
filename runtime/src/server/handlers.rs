//! The calls that change a session.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use cloud_agent_wire::{
    Health, MessageId, PutCredential, PutTurn, PutWorkspace, SessionId, VERSION,
};

use super::body::Bounds;
use super::errors::{Error, gone, json, no_such_session};
use super::{App, body};
use crate::session::Session;
use crate::workspace::spec::{Spec, check_credential};

type Reply = Result<Response<Body>, Error>;

pub async fn health(State(app): State<Arc<App>>) -> Response<Body> {
    let health = Health {
        version: VERSION,
        store_id: app.context.store.id().clone(),
        boot_id: app.context.boot_id.clone(),
        git: app.context.git_version.to_string(),
    };
    json(StatusCode::OK, &health)
}

pub async fn put_workspace(
    State(app): State<Arc<App>>,
    Path(session): Path<String>,
    request: Body,
) -> Reply {
    let id = app.session_id(&session)?;
    let request: PutWorkspace = body::read(request, Bounds::usual(&app)).await?;
    let spec = Spec::check(request, &app.context.config.allowed_hosts).map_err(Error::invalid)?;
    let session = app.find_or_create(&id).await?;
    Ok(json(StatusCode::ACCEPTED, &session.put_workspace(spec)?))
}

pub async fn put_credential(
    State(app): State<Arc<App>>,
    Path(session): Path<String>,
    request: Body,
) -> Reply {
    let session = app.find(&session).await?;
    let request: PutCredential = body::read(request, Bounds::usual(&app)).await?;
    check_credential(&request.credential).map_err(Error::invalid)?;
    Ok(json(
        StatusCode::ACCEPTED,
        &session.put_credential(request)?,
    ))
}

pub async fn put_turn(
    State(app): State<Arc<App>>,
    Path((session, message)): Path<(String, String)>,
    request: Body,
) -> Reply {
    let session_id = app.session_id(&session)?;
    let message = message_id(&message)?;
    let request: PutTurn = body::read(request, Bounds::usual(&app)).await?;
    if request.intent.message_id() != &message {
        return Err(Error::invalid(
            "intent.turn.messageId must be the path's message id",
        ));
    }
    let session = app.find_or_create(&session_id).await?;
    let reply = session.put_turn(&message, request).await?;
    Ok(json(StatusCode::ACCEPTED, &reply))
}

pub async fn interrupt(
    State(app): State<Arc<App>>,
    Path((session, message)): Path<(String, String)>,
) -> Reply {
    let session_id = app.session_id(&session)?;
    let message = message_id(&message)?;
    // Also of a session that is not known yet: the calls that bring the turn may come late.
    let session = app.find_or_create(&session_id).await?;
    session.interrupt(&message).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

pub async fn delete_session(State(app): State<Arc<App>>, Path(session): Path<String>) -> Reply {
    app.sessions.delete(&parse_session_id(&session)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl App {
    /// The id of a session that was not deleted.
    pub(super) fn session_id(&self, text: &str) -> Result<SessionId, Error> {
        let id = parse_session_id(text)?;
        if self.context.store.is_deleted(&id) {
            return Err(gone());
        }
        Ok(id)
    }

    /// A session that exists.
    pub(super) async fn find(&self, text: &str) -> Result<Arc<Session>, Error> {
        let id = self.session_id(text)?;
        self.sessions.find(&id).await?.ok_or_else(no_such_session)
    }

    /// A session, made if it is new.
    pub(super) async fn find_or_create(&self, id: &SessionId) -> Result<Arc<Session>, Error> {
        Ok(self.sessions.find_or_create(id).await?)
    }
}

fn parse_session_id(text: &str) -> Result<SessionId, Error> {
    text.parse()
        .map_err(|error| Error::invalid(format!("the session id {error}")))
}

fn message_id(text: &str) -> Result<MessageId, Error> {
    text.parse()
        .map_err(|error: cloud_agent_wire::ids::InvalidId| Error::invalid(error.to_string()))
}
