//! What a start does about the sessions that an earlier process left.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use cloud_agent_wire::{Generation, MessageId, RuntimeEvent, SessionId, Submission, TurnState};

use super::registry::remove;
use super::worker::shutdown_failure;
use crate::context::Context;
use crate::journal::Journal;
use crate::store::files;
use crate::store::paths::SessionPaths;
use crate::store::records::{self, TurnRecord};
use crate::workspace::cold;

/// Clears away half workspaces and, in the background, deleted sessions, and ends the turns that were not over.
///
/// # Errors
/// Those of the file system when the store itself cannot be read. Trouble with one session is logged only.
pub fn recover(context: &Arc<Context>) -> io::Result<()> {
    for id in context.store.sessions()? {
        if let Err(error) = recover_session(context, &id) {
            tracing::error!(sessionId = %id, error = %error, "a session could not be recovered");
        }
    }
    Ok(())
}

fn recover_session(context: &Arc<Context>, id: &SessionId) -> io::Result<()> {
    let paths = context.store.session(id);
    if context.store.is_deleted(id) {
        let owner = context.owner();
        // Nobody waits for it, and the agent decided how much there is to remove.
        std::thread::spawn(move || {
            if let Err(error) = remove(&paths, owner) {
                tracing::error!(sessionId = paths.session_id(), error = %error, "a deleted session could not be removed");
            }
        });
        return Ok(());
    }
    context.store.create_session(id)?;
    files::remove_temporaries(paths.base())?;
    files::remove_temporaries(&paths.runtime())?;
    files::remove_temporaries(&paths.open_turns())?;
    files::remove_temporaries(&paths.agent_credential_folder())?;
    if records::read_workspace(&paths)?.is_none() {
        cold::remove(&paths)?;
    }
    let open = records::open_turns(&paths)?;
    if open.is_empty() {
        return Ok(());
    }
    let mut ended = HashMap::new();
    let journal = Journal::open(&paths.journal(), |event| {
        if let Some((message, submission, state)) = terminal_state(&event.event) {
            ended.insert((message.clone(), submission), state);
        }
    })?;
    let generation: Option<Generation> = records::read(&paths.generation())?;
    for record in open {
        let ended = ended.get(&(record.message_id.clone(), record.submission));
        if let Err(error) = end(&paths, &journal, record, ended.copied(), generation) {
            tracing::error!(sessionId = %id, error = %error, "a turn could not be ended");
        }
    }
    Ok(())
}

/// Ends a turn that an earlier process left, unless its end is in the journal already.
fn end(
    paths: &SessionPaths,
    journal: &Journal,
    record: TurnRecord,
    ended: Option<TurnState>,
    generation: Option<Generation>,
) -> io::Result<()> {
    let state = if let Some(state) = ended {
        state
    } else {
        tracing::warn!(sessionId = paths.session_id(), messageId = %record.message_id, "ended a turn that an earlier process left");
        journal.append(RuntimeEvent::Error {
            message_id: record.message_id.clone(),
            submission: record.submission,
            failure: shutdown_failure(record.started, generation.unwrap_or_default()),
        })?;
        TurnState::Failed
    };
    journal.sync()?;
    records::write_turn(paths, &TurnRecord { state, ..record })
}

/// The turn that an event ends, and the state that it is left in.
fn terminal_state(event: &RuntimeEvent) -> Option<(&MessageId, Submission, TurnState)> {
    match event {
        RuntimeEvent::Complete {
            message_id,
            submission,
            ..
        } => Some((message_id, *submission, TurnState::Completed)),
        RuntimeEvent::Interrupted {
            message_id,
            submission,
        } => Some((message_id, *submission, TurnState::Interrupted)),
        RuntimeEvent::Error {
            message_id,
            submission,
            ..
        } => Some((message_id, *submission, TurnState::Failed)),
        _ => None,
    }
}
