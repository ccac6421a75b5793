//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use cloud_agent_wire::Timestamp;

/// Now. A clock before 1970 reads as 1970.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
