//! One SQL statement for each kind of write, and one for each step of an admission.

use cloud_agent_wire::{Intent, MessageId, StoreId, Timestamp};

use crate::session::callback::Callback;
use crate::session::credential::{CredentialRecord, Marker};
use crate::session::error::StoreError;
use crate::session::event::{Entity, EventDraft};
use crate::session::message::MessageState;
use crate::session::record::CallbackTargetId;
use crate::session::retention::SWEPT_EVENTS_MAX;
use crate::session::step::{Step, Write};

use super::rows::{
    Statement, Value, integer, json_text, optional_integer, optional_text, optional_time, text,
};
use super::schema::{INSERT_ADMISSION, INSERT_ROTATION};

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

/// The statements of a step.
///
/// # Errors
/// A value cannot be stored.
pub fn statements(step: &[Write]) -> Result<Vec<Statement>, StoreError> {
    let mut statements = Vec::with_capacity(step.len());
    let mut rest = step;
    while let [write, after @ ..] = rest {
        rest = if let Some((statement, after)) = step_of_admission(rest)? {
            statements.push(statement);
            after
        } else {
            push(write, &mut statements)?;
            after
        };
    }
    Ok(statements)
}

/// The one statement for what one of the two steps of an admission begins with, and the writes behind that.
fn step_of_admission(writes: &[Write]) -> Result<Option<(Statement, &[Write])>, StoreError> {
    Ok(match writes {
        [
            Write::PutCredential(credential),
            Write::PutMarker(marker),
            after @ ..,
        ] => {
            let (deadline, after) = first_deadline(after);
            Some((rotate(credential, marker, deadline), after))
        }
        [
            Write::AppendEvent(event),
            Write::AppendMessage {
                intent,
                created_at,
                callback,
            },
            after @ ..,
        ] if is_about(event, intent) => {
            let after = match after {
                [Write::RemoveMarker(of), after @ ..] if of == intent.message_id() => after,
                after => after,
            };
            let (deadline, after) = first_deadline(after);
            let message = message_values(intent, *created_at, *callback)?;
            Some((admit(message, event, deadline), after))
        }
        _ => None,
    })
}

fn push(write: &Write, statements: &mut Vec<Statement>) -> Result<(), StoreError> {
    if matches!(write, Write::ForgetSecrets) {
        for text in [
            "DELETE FROM secret",
            "DELETE FROM callback",
            "DELETE FROM callback_target",
        ] {
            statements.push((text, vec![]));
        }
    }
    if let Write::AppendEvent(event) = write
        && let Entity::Newest(name) = &event.entity
    {
        let (from, to) = Entity::pieces(name);
        let pieces = "DELETE FROM event WHERE entity = ? OR (entity >= ? AND entity < ?)";
        statements.push((pieces, vec![text(name), text(&from), text(&to)]));
    }
    statements.push(statement(write)?);
    Ok(())
}

/// Whether an event is one that happens once, to this message.
fn is_about(event: &EventDraft, intent: &Intent) -> bool {
    matches!(event.entity, Entity::Once(_))
        && event.message_id.as_ref() == Some(intent.message_id())
}

/// The deadline that a step sets first, as values, and the writes behind it; without one both values are NULL.
fn first_deadline(writes: &[Write]) -> ([Value; 2], &[Write]) {
    match writes {
        [Write::PutDeadline(kind, Some(at)), after @ ..] => {
            ([text(kind.as_str()), integer(at.as_millis())], after)
        }
        _ => ([Value::Null, Value::Null], writes),
    }
}

/// A credential, the marker of the message that brought it, and a deadline, in one statement.
fn rotate(credential: &CredentialRecord, marker: &Marker, deadline: [Value; 2]) -> Statement {
    let mut values = credential_values(credential);
    values.extend(marker_values(marker));
    values.extend(deadline);
    (INSERT_ROTATION, values)
}

/// A message with its event, in place of its marker if it has one, and a deadline, in one statement.
fn admit(message: Vec<Value>, event: &EventDraft, deadline: [Value; 2]) -> Statement {
    let mut values = message;
    values.extend([
        text(event.kind),
        optional_text(event.entity.name().as_deref()),
        text(&event.payload),
        integer(event.at.as_millis()),
    ]);
    values.extend(deadline);
    (INSERT_ADMISSION, values)
}

/// Removes the targets that no open message, no batch and not the session itself needs.
const FORGET_CALLBACK_TARGETS: &str = "DELETE FROM callback_target WHERE id IS NOT ?
    AND id NOT IN (SELECT callback FROM message WHERE callback IS NOT NULL
        AND phase IN ('queued', 'claimed', 'accepted'))
    AND id NOT IN (SELECT target FROM callback)";

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
            marker_values(marker).into(),
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
                    None => Value::Null,
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
    Ok((
        "INSERT INTO message (message_id, phase, intent, state, created_at, callback)
            VALUES (?, ?, ?, ?, ?, ?)",
        message_values(intent, created_at, callback)?,
    ))
}

fn message_values(
    intent: &Intent,
    created_at: Timestamp,
    callback: Option<CallbackTargetId>,
) -> Result<Vec<Value>, StoreError> {
    let state = MessageState::admitted();
    Ok(vec![
        text(intent.message_id().as_str()),
        text(state.phase().as_str()),
        json(intent)?,
        json(&state)?,
        integer(created_at.as_millis()),
        optional_integer(callback.map(|id| id.0)),
    ])
}

fn marker_values(marker: &Marker) -> [Value; 3] {
    [
        text(marker.message_id.as_str()),
        integer(marker.generation.get()),
        optional_time(marker.expires_at),
    ]
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
        credential_values(credential),
    )
}

fn credential_values(credential: &CredentialRecord) -> Vec<Value> {
    let pointer = &credential.pointer;
    vec![
        integer(credential.generation.get()),
        integer(credential.updated_at.as_millis()),
        text(credential.sealed.as_str()),
        text(&credential.fingerprint),
        optional_text(pointer.message_id.as_ref().map(MessageId::as_str)),
        integer(pointer.stamp.as_millis()),
        integer(credential.skips),
    ]
}

fn json(value: &impl serde::Serialize) -> Result<Value, StoreError> {
    json_text(value).map(Value::Text)
}
