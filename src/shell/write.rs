//! One SQL statement for each kind of write.

use cloud_agent_wire::{Intent, MessageId, StoreId, Timestamp};
use worker::{SqlStorage, SqlStorageValue};

use crate::session::callback::Callback;
use crate::session::credential::CredentialRecord;
use crate::session::error::StoreError;
use crate::session::event::Entity;
use crate::session::message::MessageState;
use crate::session::record::CallbackTargetId;
use crate::session::retention::SWEPT_EVENTS_MAX;
use crate::session::step::{Step, Write};

use super::rows::{integer, optional_integer, optional_text, optional_time, run, text};

/// Whether the step makes a session, and so needs its tables.
pub fn creates_session(step: &Step) -> bool {
    step.iter()
        .any(|write| matches!(write, Write::CreateSession { .. }))
}

/// Whether those who follow the session have to be told of the step.
pub fn concerns_followers(step: &Step) -> bool {
    step.iter()
        .any(|write| matches!(write, Write::AppendEvent(_)))
}

/// Whether the step fences the session off.
pub fn ends_session(step: &Step) -> bool {
    step.iter()
        .any(|write| matches!(write, Write::ForgetSecrets))
}

/// Applies a write. The caller runs it inside a transaction.
///
/// # Errors
/// Storage's.
pub fn apply(sql: &SqlStorage, write: &Write) -> Result<(), StoreError> {
    if matches!(write, Write::ForgetSecrets) {
        for statement in [
            "DELETE FROM secret",
            "DELETE FROM callback",
            "DELETE FROM callback_target",
        ] {
            run(sql, statement, vec![])?;
        }
    }
    if let Write::AppendEvent(event) = write
        && let Entity::Newest(name) = &event.entity
    {
        let (from, to) = Entity::pieces(name);
        let pieces = "DELETE FROM event WHERE entity = ? OR (entity >= ? AND entity < ?)";
        run(sql, pieces, vec![text(name), text(&from), text(&to)])?;
    }
    let (statement, values) = statement(write)?;
    run(sql, statement, values)
}

/// Removes the targets that no open message, no batch and not the session itself needs.
const FORGET_CALLBACK_TARGETS: &str = "DELETE FROM callback_target WHERE id IS NOT ?
    AND id NOT IN (SELECT callback FROM message WHERE callback IS NOT NULL
        AND phase IN ('queued', 'claimed', 'accepted'))
    AND id NOT IN (SELECT target FROM callback)";

type Statement = (&'static str, Vec<SqlStorageValue>);

fn statement(write: &Write) -> Result<Statement, StoreError> {
    Ok(match write {
        Write::CreateSession {
            record,
            profile,
            initial,
        } => (
            "INSERT INTO session (id, record, profile, initial) VALUES (1, ?, ?, ?)",
            vec![json(record)?, json(profile)?, json(initial)?],
        ),
        Write::PutRecord(record) => ("UPDATE session SET record = ?", vec![json(record)?]),
        Write::PutSecret(kind, sealed) => (
            "INSERT OR REPLACE INTO secret (kind, sealed) VALUES (?, ?)",
            vec![text(kind.as_str()), text(sealed.as_str())],
        ),
        Write::PutCredential(credential) => put_credential(credential),
        Write::ForgetSecrets => ("DELETE FROM credential", vec![]),
        Write::PutMarker(marker) => (
            "INSERT OR REPLACE INTO marker (message_id, generation, expires_at) VALUES (?, ?, ?)",
            vec![
                text(marker.message_id.as_str()),
                integer(marker.generation.get()),
                optional_time(marker.expires_at),
            ],
        ),
        Write::RemoveMarker(message_id) => (
            "DELETE FROM marker WHERE message_id = ?",
            vec![text(message_id.as_str())],
        ),
        Write::AbandonMarkers { expired_at } => (
            "UPDATE marker SET expires_at = NULL WHERE expires_at <= ?",
            vec![integer(expired_at.as_millis())],
        ),
        Write::PutCallbackTarget(id, sealed) => (
            "INSERT OR REPLACE INTO callback_target (id, sealed) VALUES (?, ?)",
            vec![integer(id.0), text(sealed.as_str())],
        ),
        Write::ForgetCallbackTargets { except } => (
            FORGET_CALLBACK_TARGETS,
            vec![optional_integer(except.map(|id| id.0))],
        ),
        Write::PutCallback(callback) => put_callback(callback)?,
        Write::RemoveCallback(id) => ("DELETE FROM callback WHERE id = ?", vec![integer(id.0)]),
        // Ids rise with time, so the oldest events come first. Only as many are looked at as may be removed.
        Write::SweepEvents { until } => (
            "DELETE FROM event WHERE id IN (SELECT id FROM
                (SELECT id, at FROM event ORDER BY id LIMIT ?) WHERE at <= ?)",
            vec![
                integer(u64::from(SWEPT_EVENTS_MAX)),
                integer(until.as_millis()),
            ],
        ),
        Write::AppendMessage {
            intent,
            created_at,
            callback,
        } => append_message(intent, *created_at, *callback)?,
        Write::PutMessageState { position, state } => (
            "UPDATE message SET phase = ?, state = ? WHERE position = ?",
            vec![
                text(state.phase().as_str()),
                json(state)?,
                integer(position.0),
            ],
        ),
        Write::AppendEvent(event) => (
            "INSERT INTO event (kind, entity, message_id, payload, at) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (entity) DO NOTHING",
            vec![
                text(event.kind),
                optional_text(event.entity.name().as_deref()),
                optional_text(event.message_id.as_ref().map(MessageId::as_str)),
                text(&event.payload),
                integer(event.at.as_millis()),
            ],
        ),
        Write::PutRuntimeLink(link) => (
            "INSERT OR REPLACE INTO runtime (id, store_id, cursor, unreachable_since, acknowledged,
                last_event_at, interrupts, preparing) VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            vec![
                optional_text(link.store_id.as_ref().map(StoreId::as_str)),
                integer(link.cursor.get()),
                optional_time(link.unreachable_since),
                integer(link.acknowledged.get()),
                optional_time(link.last_event_at),
                json(&link.interrupts)?,
                match &link.preparing {
                    Some(preparing) => json(preparing)?,
                    None => SqlStorageValue::Null,
                },
            ],
        ),
        Write::PutDeadline(kind, Some(at)) => (
            "INSERT OR REPLACE INTO deadline (kind, at) VALUES (?, ?)",
            vec![text(kind.as_str()), integer(at.as_millis())],
        ),
        Write::PutDeadline(kind, None) => (
            "DELETE FROM deadline WHERE kind = ?",
            vec![text(kind.as_str())],
        ),
    })
}

fn append_message(
    intent: &Intent,
    created_at: Timestamp,
    callback: Option<CallbackTargetId>,
) -> Result<Statement, StoreError> {
    let state = MessageState::admitted();
    Ok((
        "INSERT INTO message (message_id, phase, intent, state, created_at, callback)
            VALUES (?, ?, ?, ?, ?, ?)",
        vec![
            text(intent.message_id().as_str()),
            text(state.phase().as_str()),
            json(intent)?,
            json(&state)?,
            integer(created_at.as_millis()),
            optional_integer(callback.map(|id| id.0)),
        ],
    ))
}

fn put_callback(callback: &Callback) -> Result<Statement, StoreError> {
    Ok((
        "INSERT OR REPLACE INTO callback (id, message_id, terminal_at, target, state, at)
            VALUES (?, ?, ?, ?, ?, ?)",
        vec![
            integer(callback.id.0),
            text(callback.message_id.as_str()),
            integer(callback.terminal_at.as_millis()),
            integer(callback.target.0),
            json(&callback.state)?,
            optional_time(callback.state.at()),
        ],
    ))
}

fn put_credential(credential: &CredentialRecord) -> Statement {
    (
        "INSERT OR REPLACE INTO credential (id, generation, updated_at, sealed, fingerprint,
                pointer_message_id, pointer_stamp, skips) VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
        vec![
            integer(credential.generation.get()),
            integer(credential.updated_at.as_millis()),
            text(credential.sealed.as_str()),
            text(&credential.fingerprint),
            optional_text(
                credential
                    .pointer
                    .message_id
                    .as_ref()
                    .map(MessageId::as_str),
            ),
            integer(credential.pointer.stamp.as_millis()),
            integer(credential.skips),
        ],
    )
}

fn json(value: &impl serde::Serialize) -> Result<SqlStorageValue, StoreError> {
    serde_json::to_string(value)
        .map(SqlStorageValue::String)
        .map_err(|error| StoreError::Failed(error.to_string()))
}
