//! Rows of SQL results as typed values. What cannot be read is a typed error, never a panic.

use cloud_agent_wire::Timestamp;
use serde::de::DeserializeOwned;
use worker::{SqlStorage, SqlStorageValue};

use crate::session::error::StoreError;

/// A row, read column by column from the left.
pub struct Row {
    values: std::vec::IntoIter<SqlStorageValue>,
}

impl Row {
    /// Passes over columns.
    pub fn skip(&mut self, columns: usize) {
        self.values.by_ref().take(columns).for_each(drop);
    }

    /// The next column, a text.
    pub fn text(&mut self, table: &'static str) -> Result<String, StoreError> {
        self.optional_text(table)?
            .ok_or(StoreError::Unreadable(table))
    }

    /// The next column, a text or NULL.
    pub fn optional_text(&mut self, table: &'static str) -> Result<Option<String>, StoreError> {
        match self.values.next() {
            Some(SqlStorageValue::String(text)) => Ok(Some(text)),
            Some(SqlStorageValue::Null) => Ok(None),
            _ => Err(StoreError::Unreadable(table)),
        }
    }

    /// The next column, a number that is not negative.
    pub fn integer(&mut self, table: &'static str) -> Result<u64, StoreError> {
        self.optional_integer(table)?
            .ok_or(StoreError::Unreadable(table))
    }

    /// The next column, a number that is not negative, or NULL.
    pub fn optional_integer(&mut self, table: &'static str) -> Result<Option<u64>, StoreError> {
        match self.values.next() {
            Some(SqlStorageValue::Integer(number)) => u64::try_from(number)
                .map(Some)
                .map_err(|_| StoreError::Unreadable(table)),
            Some(SqlStorageValue::Null) => Ok(None),
            _ => Err(StoreError::Unreadable(table)),
        }
    }

    /// The next column, a moment.
    pub fn time(&mut self, table: &'static str) -> Result<Timestamp, StoreError> {
        self.integer(table).map(Timestamp::from_millis)
    }

    /// The next column, a moment or NULL.
    pub fn optional_time(&mut self, table: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.optional_integer(table)?.map(Timestamp::from_millis))
    }

    /// The next column, JSON text of a type.
    pub fn json<T: DeserializeOwned>(&mut self, table: &'static str) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(table)?).map_err(|_| StoreError::Unreadable(table))
    }
}

/// Runs a statement that gives no rows.
pub fn run(
    sql: &SqlStorage,
    statement: &str,
    values: Vec<SqlStorageValue>,
) -> Result<(), StoreError> {
    sql.exec(statement, values)
        .map(|_| ())
        .map_err(|error| failed(&error))
}

/// The first row of a query.
pub fn one(
    sql: &SqlStorage,
    query: &str,
    values: Vec<SqlStorageValue>,
) -> Result<Option<Row>, StoreError> {
    let cursor = sql.exec(query, values).map_err(|error| failed(&error))?;
    cursor.raw().next().map(row).transpose()
}

/// Every row of a query that has a bound.
pub fn all(
    sql: &SqlStorage,
    query: &str,
    values: Vec<SqlStorageValue>,
) -> Result<Vec<Row>, StoreError> {
    let cursor = sql.exec(query, values).map_err(|error| failed(&error))?;
    cursor.raw().map(row).collect()
}

/// The values of one row.
pub fn row(values: worker::Result<Vec<SqlStorageValue>>) -> Result<Row, StoreError> {
    values
        .map(|values| Row {
            values: values.into_iter(),
        })
        .map_err(|error| failed(&error))
}

/// Storage's own error. Its text names tables and constraints, never values.
pub fn failed(error: &worker::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

/// A number to bind. Times and counters stay far below 2^53, which JavaScript's numbers hold exactly.
pub fn integer(value: u64) -> SqlStorageValue {
    SqlStorageValue::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A text to bind.
pub fn text(value: &str) -> SqlStorageValue {
    SqlStorageValue::String(value.to_owned())
}

/// A number to bind, or NULL.
pub fn optional_integer(value: Option<u64>) -> SqlStorageValue {
    value.map_or(SqlStorageValue::Null, integer)
}

/// A moment to bind, or NULL.
pub fn optional_time(value: Option<Timestamp>) -> SqlStorageValue {
    optional_integer(value.map(Timestamp::as_millis))
}

/// A text to bind, or NULL.
pub fn optional_text(value: Option<&str>) -> SqlStorageValue {
    value.map_or(SqlStorageValue::Null, text)
}
