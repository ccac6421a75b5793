//! The tables of a session, as numbered migrations. Only preparation creates them.

use worker::SqlStorage;

use crate::session::error::StoreError;

use super::rows::{Statement, integer, one};

/// One migration: the statements that lead from the version before to this one.
type Migration = &'static [&'static str];

/// Every migration, in order; the schema's version is how many were applied.
const MIGRATIONS: &[Migration] = &[
    &[
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
    ],
    STEPS_OF_ADMISSION,
];

/// The two steps of an admission, each of them one statement: what is inserted into these views goes to tables. A
/// statement costs several times what the rows that it writes do.
const STEPS_OF_ADMISSION: Migration = &[
    "CREATE VIEW rotation AS SELECT credential.generation, updated_at, sealed, fingerprint,
        pointer_message_id, pointer_stamp, skips, message_id,
        marker.generation AS marker_generation, expires_at, kind AS deadline_kind,
        at AS deadline_at FROM credential, marker, deadline",
    "CREATE TRIGGER rotate INSTEAD OF INSERT ON rotation BEGIN
        INSERT OR REPLACE INTO credential (id, generation, updated_at, sealed, fingerprint,
                pointer_message_id, pointer_stamp, skips)
            VALUES (1, NEW.generation, NEW.updated_at, NEW.sealed, NEW.fingerprint,
                NEW.pointer_message_id, NEW.pointer_stamp, NEW.skips);
        INSERT OR REPLACE INTO marker (message_id, generation, expires_at)
            VALUES (NEW.message_id, NEW.marker_generation, NEW.expires_at);
        INSERT OR REPLACE INTO deadline (kind, at) SELECT NEW.deadline_kind, NEW.deadline_at
            WHERE NEW.deadline_kind IS NOT NULL;
    END",
    "CREATE VIEW admission AS SELECT message.message_id, phase, intent, state, created_at, callback,
        event.kind AS event_kind, entity, payload, event.at AS event_at,
        deadline.kind AS deadline_kind, deadline.at AS deadline_at FROM message, event, deadline",
    "CREATE TRIGGER admit INSTEAD OF INSERT ON admission BEGIN
        INSERT INTO event (kind, entity, message_id, payload, at)
            VALUES (NEW.event_kind, NEW.entity, NEW.message_id, NEW.payload, NEW.event_at)
            ON CONFLICT (entity) DO NOTHING;
        INSERT INTO message (message_id, phase, intent, state, created_at, callback)
            VALUES (NEW.message_id, NEW.phase, NEW.intent, NEW.state, NEW.created_at, NEW.callback);
        DELETE FROM marker WHERE message_id = NEW.message_id;
        INSERT OR REPLACE INTO deadline (kind, at) SELECT NEW.deadline_kind, NEW.deadline_at
            WHERE NEW.deadline_kind IS NOT NULL;
    END",
];

/// Takes what the columns of the view are, in their order.
pub const INSERT_ROTATION: &str =
    "INSERT INTO rotation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
/// Takes what the columns of the view are, in their order.
pub const INSERT_ADMISSION: &str =
    "INSERT INTO admission VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Whether the object has a session at all. Reads only.
///
/// # Errors
/// Storage's.
pub fn exists(sql: &SqlStorage) -> Result<bool, StoreError> {
    let query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migration'";
    Ok(one(sql, query, &[])?.is_some())
}

/// The statements that bring the tables to the newest version; `exists` says whether there are tables.
///
/// # Errors
/// Storage's.
pub fn missing(sql: &SqlStorage, exists: bool) -> Result<Vec<Statement>, StoreError> {
    let mut statements: Vec<Statement> = Vec::new();
    let applied = if exists {
        let count = one(sql, "SELECT COUNT(*) FROM migration", &[])?;
        count.map_or(Ok(0), |mut row| row.integer("migration"))?
    } else {
        let versions =
            "CREATE TABLE migration (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL)";
        statements.push((versions, vec![]));
        0
    };
    let now = super::platform::now();
    for (migration, version) in MIGRATIONS.iter().zip(1..) {
        if version <= applied {
            continue;
        }
        statements.extend(migration.iter().map(|text| (*text, vec![])));
        let applied = "INSERT INTO migration (version, applied_at) VALUES (?, ?)";
        statements.push((applied, vec![integer(version), integer(now.as_millis())]));
    }
    Ok(statements)
}
