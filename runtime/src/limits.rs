//! Every bound of the runtime in one table.

use std::time::Duration;

use cloud_agent_wire::agent_output::JSON_LINE_BYTES_MAX;
use serde::Deserialize;

/// Connections that are open at once: what git and agents need of the process's open files is left.
pub const CONNECTIONS_MAX: usize = 256;
/// Wait after a connection that the system could not give.
pub const ACCEPT_RETRY: Duration = Duration::from_secs(1);
/// Longest JSON body in bytes.
pub const JSON_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest body of a claim in bytes: anybody may send one.
pub const CLAIM_BODY_BYTES_MAX: usize = 8 * 1024;
/// Time that an attachment may take to arrive.
pub const ATTACHMENT_TIMEOUT: Duration = Duration::from_mins(2);
/// Largest attachment in bytes.
pub const ATTACHMENT_BYTES_MAX: u64 = 5 * 1024 * 1024;
/// Longest time that one `GET …/events` stays open.
pub const EVENTS_WAIT_MAX: Duration = Duration::from_secs(30);
/// Setup commands of a workspace.
pub const SETUP_COMMANDS_MAX: usize = 20;
/// Longest setup command in bytes.
pub const SETUP_COMMAND_BYTES_MAX: usize = 4096;
/// Environment variables of a session.
pub const ENV_ENTRIES_MAX: usize = 128;
/// Longest name of an environment variable in bytes.
pub const ENV_NAME_BYTES_MAX: usize = 256;
/// Longest value of an environment variable in bytes.
pub const ENV_VALUE_BYTES_MAX: usize = 16 * 1024;
/// Longest git token in bytes.
pub const TOKEN_BYTES_MAX: usize = 4096;
/// Longest user name for git, and longest author name and address, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Unacknowledged bytes of a session's journal before reading of the agent's output stops.
pub const JOURNAL_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Part of [`JOURNAL_BYTES_MAX`] that output may not use, so that the ends of turns always find room.
pub const JOURNAL_BYTES_RESERVED: u64 = 256 * 1024;
/// Size at which a journal segment is closed and the next one begun.
pub const JOURNAL_SEGMENT_BYTES: u64 = 512 * 1024;
const _: () = assert!(JOURNAL_BYTES_RESERVED < JOURNAL_BYTES_MAX);
const _: () = assert!(JOURNAL_SEGMENT_BYTES * 4 <= JOURNAL_BYTES_MAX);

const _: () = assert!((JSON_LINE_BYTES_MAX as u64) < JOURNAL_BYTES_MAX - JOURNAL_BYTES_RESERVED);

/// Most of a git child's output that is kept for classification, in bytes.
pub const CAPTURED_BYTES_MAX: usize = 64 * 1024;
/// Largest git configuration file that is rewritten, in bytes.
pub const GIT_CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// Tokens of a session that are remembered for redaction.
pub const REDACTED_TOKENS_MAX: usize = 32;

/// Variables and other secret values of a session that are remembered for redaction.
pub const REDACTED_VALUES_MAX: usize = 1024;
const _: () = assert!(2 * ENV_ENTRIES_MAX <= REDACTED_VALUES_MAX);

/// Time between two progress events of the same step.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(300);
/// Time that an interrupted agent has between the polite and the final signal.
pub const INTERRUPT_GRACE: Duration = Duration::from_secs(5);
/// Time that git in a workspace has to remove its locks when it is stopped.
pub const WORKSPACE_GIT_GRACE: Duration = Duration::from_secs(1);
/// Time that pipes may stay open after their process has ended.
pub const PIPE_GRACE: Duration = Duration::from_secs(2);
/// Most that is read from a pipe after its process has ended, in bytes: no pipe holds more.
pub const PIPE_BYTES_MAX: usize = 1024 * 1024;
/// Time that everything has to end in when the runtime is told to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(15);
/// Time that resolving the remote's name may take.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait between two tries to take `config.lock`.
pub const CONFIG_LOCK_WAIT: Duration = Duration::from_millis(50);
/// A `config.lock` that is older than this, or was seen for so long, was left by a process that is gone.
pub const CONFIG_LOCK_STALE: Duration = Duration::from_secs(10);
/// Time that one `config.lock` is waited for: it becomes stale within it.
pub const CONFIG_LOCK_PATIENCE: Duration = Duration::from_secs(15);
const _: () = assert!(CONFIG_LOCK_STALE.as_secs() + 2 <= CONFIG_LOCK_PATIENCE.as_secs());
/// Time that all configurations of a workspace are waited for.
pub const CONFIG_PATIENCE: Duration = Duration::from_secs(30);
const _: () = assert!(CONFIG_LOCK_PATIENCE.as_secs() <= CONFIG_PATIENCE.as_secs());

/// How long preparing and publishing may take, step by step.
///
/// The environment variable `RUNTIME_TEST_DEADLINES`, a JSON object of these fields in milliseconds, shortens
/// them for tests.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deadlines {
    /// Clone, fetch, checkout, setup command and push: longest silence.
    #[serde(rename = "inactivityMs", deserialize_with = "millis")]
    pub inactivity: Duration,
    /// Clone, fetch, checkout, setup command and push: longest run.
    #[serde(rename = "hardMs", deserialize_with = "millis")]
    pub hard: Duration,
    /// Other git commands.
    #[serde(rename = "shortMs", deserialize_with = "millis")]
    pub short: Duration,
    /// The whole preparation.
    #[serde(rename = "preparationMs", deserialize_with = "millis")]
    pub preparation: Duration,
    /// After this much time below 1,000 bytes a second git gives up a transfer itself. Whole seconds.
    #[serde(rename = "lowSpeedMs", deserialize_with = "millis")]
    pub low_speed: Duration,
    /// A push that was refused waits so long for a newer credential.
    #[serde(rename = "credentialWaitMs", deserialize_with = "millis")]
    pub credential_wait: Duration,
    /// A pushed credential that could not be tried is tried again after so long at most.
    #[serde(rename = "rotationRetryMs", deserialize_with = "millis")]
    pub rotation_retry: Duration,
    /// The head of a call may take so long to arrive, and a connection be idle for so long.
    #[serde(rename = "headMs", deserialize_with = "millis")]
    pub head: Duration,
    /// A JSON body may take so long to arrive.
    #[serde(rename = "bodyMs", deserialize_with = "millis")]
    pub body: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            inactivity: Duration::from_mins(2),
            hard: Duration::from_mins(5),
            short: Duration::from_mins(2),
            preparation: Duration::from_mins(8),
            low_speed: Duration::from_secs(30),
            credential_wait: Duration::from_mins(10),
            rotation_retry: Duration::from_secs(15),
            head: Duration::from_mins(1),
            body: Duration::from_secs(10),
        }
    }
}

fn millis<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}
