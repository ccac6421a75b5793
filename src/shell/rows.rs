//! Rows of SQL results as typed values. What cannot be read is a typed error, never a panic.

use std::fmt;

use cloud_agent_wire::Timestamp;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use worker::{SqlStorage, SqlStorageValue, Storage};

use crate::session::error::StoreError;

use super::platform;

/// A value of a column, or one to bind to a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Integer(i64),
    Text(String),
    /// What this code writes to no column: a fraction or bytes.
    Foreign,
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null | Self::Foreign => serializer.serialize_unit(),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the value of a column")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Integer(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(i64::try_from(number).map_or(Value::Foreign, Value::Integer))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
                Ok(Value::Foreign)
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            /// Bytes: JavaScript's JSON shows them as an object.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::Foreign)
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}

impl From<SqlStorageValue> for Value {
    fn from(value: SqlStorageValue) -> Self {
        match value {
            SqlStorageValue::Null => Self::Null,
            SqlStorageValue::Integer(number) => Self::Integer(number),
            SqlStorageValue::String(text) => Self::Text(text),
            SqlStorageValue::Boolean(_) | SqlStorageValue::Float(_) | SqlStorageValue::Blob(_) => {
                Self::Foreign
            }
        }
    }
}

impl From<Value> for SqlStorageValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Null | Value::Foreign => Self::Null,
            Value::Integer(number) => Self::Integer(number),
            Value::Text(text) => Self::String(text),
        }
    }
}

/// A statement and the values for its placeholders.
pub type Statement = (&'static str, Vec<Value>);

/// A row, read column by column from the left.
pub struct Row {
    values: std::vec::IntoIter<Value>,
}

impl Row {
    fn new(values: Vec<Value>) -> Self {
        Self {
            values: values.into_iter(),
        }
    }

    /// Passes over columns that must be NULL.
    pub fn nulls(&mut self, columns: usize, table: &'static str) -> Result<(), StoreError> {
        let mut passed = self.values.by_ref().take(columns);
        if passed.all(|value| value == Value::Null) {
            Ok(())
        } else {
            Err(StoreError::Unreadable(table))
        }
    }

    /// The next column, a text.
    pub fn text(&mut self, table: &'static str) -> Result<String, StoreError> {
        self.optional_text(table)?
            .ok_or(StoreError::Unreadable(table))
    }

    /// The next column, a text or NULL.
    pub fn optional_text(&mut self, table: &'static str) -> Result<Option<String>, StoreError> {
        match self.values.next() {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
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
            Some(Value::Integer(number)) => u64::try_from(number)
                .map(Some)
                .map_err(|_| StoreError::Unreadable(table)),
            Some(Value::Null) => Ok(None),
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

    /// The next column, rows as JSON text.
    pub fn rows(
        &mut self,
        table: &'static str,
    ) -> Result<impl Iterator<Item = Row> + use<>, StoreError> {
        rows_of(&self.text(table)?).map_err(|_| StoreError::Unreadable(table))
    }

    /// The next column, JSON text of a type.
    pub fn json<T: DeserializeOwned>(&mut self, table: &'static str) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(table)?).map_err(|_| StoreError::Unreadable(table))
    }
}

/// Runs statements, all or none of them.
///
/// # Errors
/// Storage's; then none of them happened.
pub fn commit(storage: &Storage, statements: &[Statement]) -> Result<(), StoreError> {
    platform::commit(storage, &json_text(statements)?).map_err(|error| failed(&error))
}

/// The first row of a query.
pub fn one(sql: &SqlStorage, query: &str, values: &[Value]) -> Result<Option<Row>, StoreError> {
    Ok(all(sql, query, values)?.next())
}

/// Every row of a query that has a bound.
pub fn all(
    sql: &SqlStorage,
    query: &str,
    values: &[Value],
) -> Result<impl Iterator<Item = Row> + use<>, StoreError> {
    let text = platform::query(sql, query, &json_text(values)?);
    let text = text.map_err(|error| failed(&error))?;
    rows_of(&text).map_err(|error| StoreError::Failed(error.to_string()))
}

/// The rows in JSON text that is an array of arrays.
fn rows_of(text: &str) -> serde_json::Result<impl Iterator<Item = Row> + use<>> {
    let rows: Vec<Vec<Value>> = serde_json::from_str(text)?;
    Ok(rows.into_iter().map(Row::new))
}

/// The rows of a query, read as they are asked for. To be dropped before any await.
pub fn cursor(
    sql: &SqlStorage,
    query: &str,
    values: Vec<Value>,
) -> Result<impl Iterator<Item = Result<Row, StoreError>> + use<>, StoreError> {
    let values: Vec<SqlStorageValue> = values.into_iter().map(SqlStorageValue::from).collect();
    let cursor = sql.exec(query, values).map_err(|error| failed(&error))?;
    Ok(cursor.raw().map(|values| {
        let values = values.map_err(|error| failed(&error))?;
        Ok(Row::new(values.into_iter().map(Value::from).collect()))
    }))
}

/// JSON text of what always serializes.
pub fn json_text(value: &(impl Serialize + ?Sized)) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(error.to_string()))
}

/// Storage's own error. Its text names tables and constraints, never values.
pub fn failed(error: &worker::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}

/// A number to bind. Times and counters stay far below 2^53, which JavaScript's numbers hold exactly.
pub fn integer(value: u64) -> Value {
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A text to bind.
pub fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// A number to bind, or NULL.
pub fn optional_integer(value: Option<u64>) -> Value {
    value.map_or(Value::Null, integer)
}

/// A moment to bind, or NULL.
pub fn optional_time(value: Option<Timestamp>) -> Value {
    optional_integer(value.map(Timestamp::as_millis))
}

/// A text to bind, or NULL.
pub fn optional_text(value: Option<&str>) -> Value {
    value.map_or(Value::Null, text)
}
