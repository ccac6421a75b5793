//! The next stop of a container, in storage together with the alarm that brings it about.

use cloud_agent_wire::Timestamp;
use js_sys::futures::JsFuture;
use worker::{SqlStorage, Storage};

use crate::container::lifecycle::Stop;
use crate::session::error::StoreError;
use crate::session::timing::FLOOR_DELAY_MILLIS;

use super::super::platform;
use super::super::rows::{commit, integer, one};

const TABLE: &str = "container_stop";

/// What is stored; nothing when nothing is to be done.
pub fn load(sql: &SqlStorage) -> Result<Option<Stop>, StoreError> {
    let exists = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'container_stop'";
    if one(sql, exists, &[])?.is_none() {
        return Ok(None);
    }
    let Some(mut row) = one(sql, "SELECT is_forced, at FROM container_stop", &[])? else {
        return Ok(None);
    };
    let is_forced = row.integer(TABLE)? != 0;
    let at = row.time(TABLE)?;
    Ok(Some(if is_forced {
        Stop::Forced { at }
    } else {
        Stop::Idle { at }
    }))
}

/// Stores the next stop and arms the alarm, or removes both. The alarm is part of the same commit.
pub async fn save(storage: &Storage, stop: Option<Stop>, now: Timestamp) -> worker::Result<()> {
    let Some(stop) = stop else {
        // The object is left as if it had never been used, so that it costs nothing. Nothing can come in between.
        let disarmed = platform::arm(storage, None)?;
        storage.delete_all().await?;
        JsFuture::from(disarmed).await?;
        return Ok(());
    };
    let is_forced = u64::from(matches!(stop, Stop::Forced { .. }));
    let values = vec![integer(is_forced), integer(stop.at().as_millis())];
    let table = "CREATE TABLE IF NOT EXISTS container_stop (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        is_forced INTEGER NOT NULL,
        at INTEGER NOT NULL
    )";
    let replace = "INSERT OR REPLACE INTO container_stop (id, is_forced, at) VALUES (1, ?, ?)";
    commit(storage, &[(table, vec![]), (replace, values)])
        .map_err(|error| worker::Error::RustError(error.to_string()))?;
    // One that is due waits for something that is under way; ringing at once would loop.
    let at = stop.at().max(now.plus_millis(FLOOR_DELAY_MILLIS));
    JsFuture::from(platform::arm(storage, Some(at))?).await?;
    Ok(())
}
