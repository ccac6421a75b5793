//! Records of a session that outlive the process. None of them holds a secret.

use std::fs;
use std::io;
use std::path::Path;

use cloud_agent_wire::{Generation, MessageId, Submission, TurnState};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::files::{self, Durability};
use super::paths::SessionPaths;

/// Says that a workspace is complete, and what it is a workspace of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceRecord {
    /// The repository's URL without credentials.
    pub url: String,
    /// The credential generation that the remote accepted.
    pub generation: Generation,
    /// The machine's boot in which this was written. Another one means that the machine may have lost what was not
    /// yet on its disk, so the credential is proved and put into force anew.
    pub machine_boot: String,
    /// The newest commit of the workspace that the remote is known to have.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub published: Option<String>,
}

/// What became of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnRecord {
    /// The message.
    pub message_id: MessageId,
    /// The delivery that the turn runs under.
    pub submission: Submission,
    /// How far it is.
    pub state: TurnState,
    /// Whether the agent was started: then it never is again.
    pub started: bool,
}

impl TurnRecord {
    /// A turn that was interrupted before its agent started: no submission of it ever starts one.
    pub fn stopped(message: &MessageId, submission: Submission) -> Self {
        Self {
            message_id: message.clone(),
            submission,
            state: TurnState::Interrupted,
            started: false,
        }
    }

    /// Whether a newer submission may start the agent.
    pub fn may_run_again(&self) -> bool {
        !self.started && matches!(self.state, TurnState::Waiting | TurnState::Failed)
    }

    /// Whether nothing more happens.
    pub fn is_over(&self) -> bool {
        !matches!(self.state, TurnState::Waiting | TurnState::Running)
    }
}

/// Reads a record; `None` when there is none.
///
/// # Errors
/// Those of the file system, and `InvalidData` when the file is no such record.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(content) => serde_json::from_slice(&content)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The record of a session's workspace; `None` when there is none, or when it is no such record: the workspace is
/// then made anew.
///
/// # Errors
/// Those of the file system.
pub fn read_workspace(paths: &SessionPaths) -> io::Result<Option<WorkspaceRecord>> {
    match read(&paths.workspace_record()) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(
                sessionId = paths.session_id(),
                "the record of a workspace is damaged"
            );
            Ok(None)
        }
        record => record,
    }
}

/// Writes a record.
///
/// # Errors
/// Those of the file system.
pub fn write<T: Serialize>(path: &Path, record: &T, durability: Durability) -> io::Result<()> {
    files::replace(path, &serde_json::to_vec(record)?, None, durability)
}

/// The record of a turn; `None` when the turn was never put.
///
/// Turns that are not over stand in a folder of their own, so that a restart finds them at once.
///
/// # Errors
/// Those of the file system, and `InvalidData` when a file is no turn record.
pub fn read_turn(paths: &SessionPaths, message: &MessageId) -> io::Result<Option<TurnRecord>> {
    let over: Option<TurnRecord> = read(&paths.turn(message))?;
    let open: Option<TurnRecord> = read(&paths.open_turn(message))?;
    Ok(match (over, open) {
        (Some(over), Some(open)) if open.submission > over.submission => Some(open),
        (over, open) => over.or(open),
    })
}

/// Writes a turn's record where its state belongs. That the agent was started survives a power failure; anything
/// else may be repeated after one.
///
/// # Errors
/// Those of the file system.
pub fn write_turn(paths: &SessionPaths, record: &TurnRecord) -> io::Result<()> {
    let open = paths.open_turn(&record.message_id);
    if record.is_over() {
        write(&paths.turn(&record.message_id), record, Durability::Content)?;
        files::remove_file(&open)
    } else if record.started {
        write(&open, record, Durability::Power)
    } else {
        write(&open, record, Durability::Process)
    }
}

/// The turns that were not over when the process ended.
///
/// # Errors
/// Those of the file system, and `InvalidData` when the file of a turn that is over is no turn record.
pub fn open_turns(paths: &SessionPaths) -> io::Result<Vec<TurnRecord>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(paths.open_turns())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let Some(open) = read_open_turn(&path)? else {
            continue;
        };
        let over: Option<TurnRecord> = read(&paths.turn(&open.message_id))?;
        if over.is_some_and(|over| over.submission >= open.submission) {
            files::remove_file(&path)?;
        } else {
            records.push(open);
        }
    }
    Ok(records)
}

/// A power failure may tear a record that was not written for good, and only turns whose agent was not started have
/// such a one. Its file still names the turn.
fn read_open_turn(path: &Path) -> io::Result<Option<TurnRecord>> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(path = %path.display(), "the record of a waiting turn is damaged");
            let name = path.file_stem().and_then(|stem| stem.to_str());
            let message_id = name.and_then(|name| name.parse().ok());
            Ok(message_id.map(|message_id| TurnRecord {
                message_id,
                submission: Submission::default(),
                state: TurnState::Waiting,
                started: false,
            }))
        }
        record => record,
    }
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::{Submission, TurnState};

    use super::{TurnRecord, open_turns, read_turn, write, write_turn};
    use crate::store::files::{self, Durability};
    use crate::store::paths::SessionPaths;

    #[test]
    fn a_turn_is_open_until_it_is_over_whatever_a_crash_leaves() {
        let base = std::env::temp_dir().join(format!("records-{}", uuid::Uuid::new_v4()));
        let paths = SessionPaths::new(base.clone());
        for folder in [
            base.clone(),
            paths.runtime(),
            paths.turns(),
            paths.open_turns(),
        ] {
            files::private_directory(&folder).expect("the folder is made");
        }
        let record = |submission, state| TurnRecord {
            message_id: "msg_0123456789abABCDEFGHIJKLMN"
                .parse()
                .expect("the id is valid"),
            submission: Submission::new(submission),
            state,
            started: false,
        };
        let waiting = record(1, TurnState::Waiting);
        let id = &waiting.message_id;
        let failed = record(1, TurnState::Failed);
        write_turn(&paths, &waiting).expect("it is written");
        assert_eq!(
            open_turns(&paths).expect("they are read"),
            [record(1, TurnState::Waiting)]
        );
        // A crash between the two steps of ending a turn leaves both files.
        write(&paths.turn(id), &failed, Durability::Process).expect("it is written");
        assert_eq!(
            read_turn(&paths, id).expect("it is read"),
            Some(failed.clone())
        );
        assert_eq!(open_turns(&paths).expect("they are read"), []);
        // A newer submission of a failed turn opens it again.
        let again = record(2, TurnState::Waiting);
        write_turn(&paths, &again).expect("it is written");
        assert_eq!(
            read_turn(&paths, id).expect("it is read"),
            Some(again.clone())
        );
        assert_eq!(open_turns(&paths).expect("they are read"), [again]);
        std::fs::remove_dir_all(&base).expect("the folder is there");
    }
}
