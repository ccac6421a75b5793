//! Reads rows into records. Each function reads the columns of its query in their order.

use cloud_agent_wire::{Generation, MessageId, Timestamp};

use crate::session::admission::KnownMessage;
use crate::session::callback::{Callback, CallbackState};
use crate::session::credential::{CredentialRecord, Marker, Pointer};
use crate::session::deadline::{DeadlineKind, Deadlines};
use crate::session::error::StoreError;
use crate::session::message::{MessageRecord, MessageState, Phase, QueuePosition};
use crate::session::record::CallbackTargetId;
use crate::session::sealing::Sealed;
use crate::session::view::Head;

use super::rows::Row;

/// Messages, with the columns in the order that [`head`] reads them.
pub const MESSAGES: &str =
    "SELECT message_id, position, callback, phase, created_at, intent, state FROM message";
/// The credential, with the columns in the order that [`credential`] reads them.
pub const CREDENTIAL_COLUMNS: &str = "credential.generation, updated_at, sealed, fingerprint,
    pointer_message_id, pointer_stamp, skips";
/// How many those are.
const CREDENTIAL_COLUMNS_COUNT: usize = 7;

/// Reads [`CREDENTIAL_COLUMNS`]; `None` when there is no credential.
pub fn credential(row: &mut Row) -> Result<Option<CredentialRecord>, StoreError> {
    const TABLE: &str = "credential";
    let Some(generation) = row.optional_integer(TABLE)? else {
        // A generation that is no number shows as NULL, and must not count as none.
        row.nulls(CREDENTIAL_COLUMNS_COUNT - 1, TABLE)?;
        return Ok(None);
    };
    Ok(Some(CredentialRecord {
        generation: Generation::new(generation),
        updated_at: row.time(TABLE)?,
        sealed: Sealed::from_stored(row.text(TABLE)?),
        fingerprint: row.text(TABLE)?,
        pointer: Pointer {
            message_id: row
                .optional_text(TABLE)?
                .map(|id| id.try_into().map_err(|_| StoreError::Unreadable(TABLE)))
                .transpose()?,
            stamp: row.time(TABLE)?,
        },
        skips: row.integer(TABLE)?,
    }))
}

/// Reads a generation and an expiry; `None` when there is no marker.
pub fn marker(row: &mut Row, message_id: Option<&MessageId>) -> Result<Option<Marker>, StoreError> {
    let generation = row.optional_integer("marker")?;
    let expires_at = row.optional_time("marker")?;
    Ok(generation
        .zip(message_id)
        .map(|(generation, message_id)| Marker {
            message_id: message_id.clone(),
            generation: Generation::new(generation),
            expires_at,
        }))
}

/// Reads a state and an intent; `None` when there is no such message.
pub fn known_message(row: &mut Row) -> Result<Option<KnownMessage>, StoreError> {
    const TABLE: &str = "message";
    let Some(state) = row.optional_text(TABLE)? else {
        return Ok(None);
    };
    let state: MessageState =
        serde_json::from_str(&state).map_err(|_| StoreError::Unreadable(TABLE))?;
    Ok(Some(KnownMessage {
        intent: row.json(TABLE).ok(),
        phase: state.phase(),
    }))
}

/// Reads the phases of the messages that have not ended: how many of them are not with the agent, and whether any is
/// being delivered.
pub fn open_phases(row: &mut Row) -> Result<(usize, bool), StoreError> {
    let phases = row.optional_text("message")?.unwrap_or_default();
    let others = |phase: Phase| {
        let phases = phases.split(',').filter(|stored| !stored.is_empty());
        phases.filter(|stored| *stored != phase.as_str()).count()
    };
    Ok((others(Phase::Accepted), others(Phase::Queued) > 0))
}

/// Reads kinds and moments.
pub fn deadlines(rows: impl Iterator<Item = Row>) -> Result<Deadlines, StoreError> {
    const TABLE: &str = "deadline";
    let mut deadlines = Deadlines::default();
    for mut row in rows {
        // A kind that this version does not know belongs to a later one; it is none of ours.
        if let Some(kind) = DeadlineKind::from_stored(&row.text(TABLE)?) {
            deadlines.set(kind, Some(row.time(TABLE)?));
        }
    }
    Ok(deadlines)
}

/// Reads a message's row; what cannot be read is named, so that it can be set aside.
pub fn head(mut row: Row) -> Result<Head, StoreError> {
    const TABLE: &str = "message";
    let message_id = row
        .text(TABLE)?
        .try_into()
        .map_err(|_| StoreError::Unreadable(TABLE))?;
    let position = QueuePosition(row.integer(TABLE)?);
    let callback = row.optional_integer(TABLE)?.map(CallbackTargetId);
    let phase = row.text(TABLE)?;
    let mut rest = || {
        Ok::<_, StoreError>(MessageRecord {
            position,
            callback,
            created_at: row.time(TABLE)?,
            intent: row.json(TABLE)?,
            state: row.json(TABLE)?,
        })
    };
    Ok(match rest() {
        Ok(message) => Head::Message(Box::new(message)),
        Err(_) => Head::Unreadable {
            position,
            message_id,
            is_delivered: [Phase::Claimed, Phase::Accepted]
                .iter()
                .any(|delivered| delivered.as_str() == phase),
            callback,
        },
    })
}

/// Reads a batch. One whose state cannot be read counts as lost at its last try, which ends it.
pub fn callback(mut row: Row) -> Result<Callback, StoreError> {
    const TABLE: &str = "callback";
    Ok(Callback {
        id: QueuePosition(row.integer(TABLE)?),
        message_id: row
            .text(TABLE)?
            .try_into()
            .map_err(|_| StoreError::Unreadable(TABLE))?,
        terminal_at: row.time(TABLE)?,
        target: CallbackTargetId(row.integer(TABLE)?),
        state: row.json(TABLE).unwrap_or(CallbackState::Sending {
            failures: u32::MAX,
            until: Timestamp::default(),
        }),
    })
}
