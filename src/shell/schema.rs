//! The tables of a session, as numbered migrations. Only preparation creates them.

use worker::SqlStorage;

use crate::session::error::StoreError;

use super::rows::{integer, one, run};

/// One migration: the statements that lead from the version before to this one.
type Migration = &'static [&'static str];

/// Every migration, in order; the schema's version is how many were applied.
const MIGRATIONS: &[Migration] = &[&[
    // The session's record is read on every request, so what only some need stands in columns of its own.
    "CREATE TABLE session (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        record TEXT NOT NULL,
        profile TEXT NOT NULL,
        initial TEXT NOT NULL
    )",
    "CREATE TABLE secret (kind TEXT PRIMARY KEY, sealed TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE credential (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        generation INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        sealed TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        pointer_message_id TEXT,
        pointer_stamp INTEGER NOT NULL,
        skips INTEGER NOT NULL
    )",
    // An abandoned entry is a marker without an expiry.
    "CREATE TABLE marker (
        message_id TEXT PRIMARY KEY,
        generation INTEGER NOT NULL,
        expires_at INTEGER
    ) WITHOUT ROWID",
    // AUTOINCREMENT, so that a position is never used twice.
    "CREATE TABLE message (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id TEXT NOT NULL UNIQUE,
        phase TEXT NOT NULL,
        intent TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        callback INTEGER
    )",
    // Holds at most eleven rows, so that finding the head costs the same after ten thousand messages.
    "CREATE INDEX message_open ON message (position)
        WHERE phase IN ('queued', 'claimed', 'accepted')",
    "CREATE TABLE event (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        entity TEXT UNIQUE,
        message_id TEXT,
        payload TEXT NOT NULL,
        at INTEGER NOT NULL
    )",
    "CREATE TABLE runtime (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        store_id TEXT,
        cursor INTEGER NOT NULL,
        unreachable_since INTEGER,
        acknowledged INTEGER NOT NULL,
        last_event_at INTEGER,
        interrupts TEXT NOT NULL,
        preparing TEXT
    )",
    // Tickets that have opened a socket; one that has expired opens none anyway, and is removed.
    "CREATE TABLE ticket (nonce TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID",
    // Sealed, and never changed: messages and batches name the target that was set when they were admitted.
    "CREATE TABLE callback_target (id INTEGER PRIMARY KEY, sealed TEXT NOT NULL)",
    // What is to be reported. The open batch has no moment yet.
    "CREATE TABLE callback (
        id INTEGER PRIMARY KEY,
        message_id TEXT NOT NULL,
        terminal_at INTEGER NOT NULL,
        target INTEGER NOT NULL,
        state TEXT NOT NULL,
        at INTEGER
    )",
    "CREATE INDEX callback_at ON callback (at)",
    "CREATE TABLE deadline (kind TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID",
]];

/// Whether the object has a session at all. Reads only.
///
/// # Errors
/// Storage's.
pub fn exists(sql: &SqlStorage) -> Result<bool, StoreError> {
    let query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migration'";
    Ok(one(sql, query, vec![])?.is_some())
}

/// Applies the migrations that are missing. The caller runs it inside a transaction.
///
/// # Errors
/// Storage's.
pub fn migrate(sql: &SqlStorage) -> Result<(), StoreError> {
    run(
        sql,
        "CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL)",
        vec![],
    )?;
    let applied = match one(sql, "SELECT COUNT(*) FROM migration", vec![])? {
        Some(mut row) => usize::try_from(row.integer("migration")?).unwrap_or(usize::MAX),
        None => 0,
    };
    let now = super::platform::now();
    for (index, statements) in MIGRATIONS.iter().enumerate().skip(applied) {
        for statement in *statements {
            run(sql, statement, vec![])?;
        }
        run(
            sql,
            "INSERT INTO migration (version, applied_at) VALUES (?, ?)",
            vec![integer(index as u64 + 1), integer(now.as_millis())],
        )?;
    }
    Ok(())
}
