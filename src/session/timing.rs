//! How long things may take that are not configured, in one table.

/// From a claim until its agent must have been started: the runtime ends every preparation well before that.
pub const CLAIM_LEASE_MILLIS: u64 = 10 * 60 * 1_000;
/// From a sign of life of the task that reads events until the alarm reads them itself.
pub const EVENT_PULL_BACKSTOP_MILLIS: u64 = 10_000;
/// From the beginning of the task that sends followers what is stored until the alarm takes it for dead.
pub const REPLAY_BACKSTOP_MILLIS: u64 = 5_000;
/// The least time between two alarms that find the same work, so that nothing can loop hot.
pub const FLOOR_DELAY_MILLIS: u64 = 1_000;
/// How long a runtime may be out of reach before what it was doing counts as lost.
pub const RUNTIME_LOST_MILLIS: u64 = 60_000;
/// From a call to the runtime that is owed and failed until the next try.
pub const OWED_RETRY_MILLIS: u64 = 2_000;
/// How long a runtime that does not answer is told to stop a turn. One that comes back later is told then.
pub const INTERRUPT_MILLIS_MAX: u64 = 60 * 60 * 1_000;
/// From a managed token that the remote refused before the agent's start until the next delivery.
pub const MANAGED_REFUSAL_DELAY_MILLIS: u64 = 2_000;
/// From a managed token that was refused again until the service is asked for another one.
pub const MANAGED_RETRY_MILLIS: u64 = 15_000;
/// The longest that the service of managed tokens is waited for.
pub const MANAGED_ANSWER_MILLIS_MAX: u64 = 15_000;
/// The longest that an agent may work on one message.
pub const TURN_MILLIS_MAX: u64 = 12 * 60 * 60 * 1_000;
/// How long a deletion asks a runtime that does not answer before it goes on without it.
pub const DELETION_MILLIS_MAX: u64 = 10 * 60 * 1_000;
/// What a turn's watch grants after the object itself was away, so that its events are read first.
pub const WAKE_GRACE_MILLIS: u64 = 60_000;
