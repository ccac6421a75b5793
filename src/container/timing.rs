//! How long the owner of a container waits for what, in one table.

/// The longest that a call waits for a container that is being started. A session's alarm gives a call two seconds.
pub const CALL_WAIT_MILLIS: u64 = 1_500;
/// From a container's start until it must take calls.
pub const BOOT_MILLIS_MAX: u64 = 60_000;
/// From the first connection that a container refused after it was ready, until it counts as gone: a lost packet must
/// not end what it runs.
pub const DOUBT_MILLIS: u64 = 2_000;
/// The longest that one try to reach a container takes.
pub const PROBE_MILLIS_MAX: u32 = 500;
/// Between two tries to reach a container.
pub const PROBE_INTERVAL_MILLIS: u64 = 100;
/// From the signal that asks a container to end until it is destroyed. The runtime gives what it runs, and then its
/// readers, fifteen seconds each.
pub const STOP_GRACE_MILLIS: u64 = 35_000;
/// The longest that the removal of a container is waited for.
pub const REMOVAL_MILLIS_MAX: u64 = 20_000;
/// The longest that a start takes: a container that was ready once is waited for, removed, and another one booted.
pub const START_MILLIS_MAX: u64 = 2 * BOOT_MILLIS_MAX + REMOVAL_MILLIS_MAX;

const _: () = assert!(DOUBT_MILLIS < BOOT_MILLIS_MAX);
const _: () = assert!((PROBE_MILLIS_MAX as u64) < CALL_WAIT_MILLIS);
