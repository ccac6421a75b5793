//! Reads JSON bodies. Errors name the field and never repeat what was sent.

use std::time::Duration;

use axum::body::Body;
use cloud_agent_wire::RuntimeErrorCode;
use serde::de::DeserializeOwned;

use super::App;
use super::errors::Error;
use crate::limits::{CLAIM_BODY_BYTES_MAX, JSON_BODY_BYTES_MAX};

/// How much of a body is read, and for how long.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Most bytes.
    pub bytes: usize,
    /// The same for people.
    pub size: &'static str,
    /// Longest time.
    pub time: Duration,
}

impl Bounds {
    /// Of calls that bring the bearer token.
    pub fn usual(app: &App) -> Self {
        Self {
            bytes: JSON_BODY_BYTES_MAX,
            size: "1 MiB",
            time: app.context.config.deadlines.body,
        }
    }

    /// Of the call that everybody may make.
    pub fn of_a_claim(app: &App) -> Self {
        Self {
            bytes: CLAIM_BODY_BYTES_MAX,
            size: "8 KiB",
            ..Self::usual(app)
        }
    }
}

/// Reads a body of this shape.
///
/// # Errors
/// One for a body that is too large, too slow, broken, or of another shape.
pub async fn read<T: DeserializeOwned>(body: Body, bounds: Bounds) -> Result<T, Error> {
    let bytes = axum::body::to_bytes(body, bounds.bytes);
    let bytes = tokio::time::timeout(bounds.time, bytes)
        .await
        .map_err(|_| too_slow())?
        .map_err(|error| too_large_or_broken(&error, bounds))?;
    parse(&bytes)
}

/// The body did not arrive in time.
pub fn too_slow() -> Error {
    let message = "the body did not arrive in time";
    Error::new(RuntimeErrorCode::Unavailable, message)
}

fn too_large_or_broken(error: &axum::Error, bounds: Bounds) -> Error {
    let text = error.to_string();
    if text.contains("length limit") {
        let message = format!("the body must not be larger than {}", bounds.size);
        Error::new(RuntimeErrorCode::PayloadTooLarge, message)
    } else {
        Error::invalid("the body could not be read")
    }
}

/// Reads a body that has arrived whole.
///
/// # Errors
/// One that names the field.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        Error::invalid(describe(&path, error.inner()))
    })?;
    deserializer
        .end()
        .map_err(|_| Error::invalid("the body must be one JSON object"))?;
    Ok(value)
}

/// The sentence about a field. Of the parser's own message only the names of fields are used, which are ours.
fn describe(path: &str, error: &serde_json::Error) -> String {
    if error.is_syntax() || error.is_eof() {
        return "the body must be one JSON object".to_owned();
    }
    let text = error.to_string();
    let missing = text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'))
        .map(|(name, _)| name);
    match (path, missing) {
        (".", Some(name)) => format!("{name} is missing"),
        (path, Some(name)) => format!("{path}.{name} is missing"),
        (".", None) => "the body must be one JSON object".to_owned(),
        (path, None) if path.starts_with("env") => "env is malformed".to_owned(),
        (path, None) if path.starts_with("configuration") => {
            "configuration is malformed".to_owned()
        }
        (path, None) => format!("{path} is malformed"),
    }
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::{PutTurn, PutWorkspace};

    use super::parse;

    #[test]
    fn the_field_is_named_and_the_value_is_not_repeated() {
        let workspace = |text: &str| parse::<PutWorkspace>(text.as_bytes()).err();
        for (body, expected) in [
            ("canary", "the body must be one JSON object"),
            ("{\"canary", "the body must be one JSON object"),
            ("[]", "the body must be one JSON object"),
            ("{}", "repository is missing"),
            (r#"{"repository":{}}"#, "repository.url is missing"),
            (
                r#"{"repository":{"url":17}}"#,
                "repository.url is malformed",
            ),
            (r#"{"generation":"canary"}"#, "generation is malformed"),
            (r#"{"env":{"canary":1}}"#, "env is malformed"),
            (
                r#"{"credential":{"username":"u","token":["canary"]}}"#,
                "credential.token is malformed",
            ),
        ] {
            let error = workspace(body).expect("the row is invalid");
            assert_eq!(
                format!("{error:?}"),
                format!("Error {{ code: InvalidRequest, message: {expected:?} }}")
            );
        }
        let turn = r#"{"submission":1,"generation":1,"intent":{"turn":{"type":"prompt","messageId":"canary","prompt":"p"}}}"#;
        let error = parse::<PutTurn>(turn.as_bytes()).expect_err("the id is invalid");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}
