//! The secret type, and the only code that may look inside it.
//!
//! `Secret` has no `Display`, no `Serialize` and a `Debug` that shows nothing, so a secret reaches a log line,
//! an event or a stored row only through a function of this module, and every such place can be found by its name.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serializer};
use serde_json::value::RawValue;

/// A text that must not be shown: a token, a key, the value of an environment variable. Zeroed when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes ownership of the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The text itself. Call this only where the secret is used: to authenticate, to seal, to redact.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether the text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Writes a secret into a request body for the runtime. For `#[serde(serialize_with = …)]` in this crate.
///
/// # Errors
/// Those of the serializer.
pub fn expose_in_body<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// Writes a map of secrets (environment variables) into a request body for the runtime.
///
/// # Errors
/// Those of the serializer.
pub fn expose_map_in_body<S, M>(secrets: &M, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    M: Borrow<BTreeMap<String, Secret>>,
{
    let mut map = serializer.serialize_map(None)?;
    for (key, secret) in secrets.borrow() {
        map.serialize_entry(key, secret.expose())?;
    }
    map.end()
}

/// Writes a map of JSON texts that may hold secrets into a request body for the runtime, as the JSON that they are.
///
/// # Errors
/// Those of the serializer; one when a text is not JSON.
pub fn expose_json_map_in_body<S, M>(texts: &M, serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    M: Borrow<BTreeMap<String, Secret>>,
{
    let mut map = serializer.serialize_map(None)?;
    for (key, text) in texts.borrow() {
        let json: &RawValue = serde_json::from_str(text.expose())
            .map_err(|_| serde::ser::Error::custom("a setting is not JSON"))?;
        map.serialize_entry(key, json)?;
    }
    map.end()
}

/// Reads what [`expose_json_map_in_body`] wrote: each value as its text.
///
/// # Errors
/// Those of the deserializer.
pub fn json_map_from_body<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Secret>, D::Error> {
    let map = BTreeMap::<String, Box<RawValue>>::deserialize(deserializer)?;
    let text = |json: Box<RawValue>| Secret::new(Box::<str>::from(json).into_string());
    Ok(map
        .into_iter()
        .map(|(key, json)| (key, text(json)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing() {
        let shown = format!("{:?}", Some(Secret::new("hunter2-token".to_owned())));
        assert_eq!(shown, "Some([redacted])");
    }
}
