//! From an HTTP request to calls. The input of a call stays text; its decoder parses it once.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use url::form_urlencoded;

use super::codes::ErrorKey;
use super::error::CallError;
use super::procedure::{Kind, Procedure};
use crate::limits;

/// The parts of an HTTP request that decide what is called.
#[derive(Debug, Clone, Copy)]
pub struct RawRequest<'a> {
    /// The method in capitals.
    pub method: &'a str,
    /// The path below `/trpc/`, as it was sent.
    pub path: &'a str,
    /// The query string without its question mark, as it was sent; empty when there is none.
    pub query: &'a str,
    /// The `content-type` header.
    pub content_type: Option<&'a str>,
    /// The `trpc-accept` header, or else `accept`.
    pub accept: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// What a request asks for.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// A `HEAD` request: status 204 and no body.
    NoContent,
    /// Calls.
    Calls(Request<'a>),
}

/// One or more calls.
#[derive(Debug)]
pub struct Request<'a> {
    /// In the order of the request; at least one.
    pub calls: Vec<Call<'a>>,
    /// Whether the reply is an array.
    pub batch: bool,
    /// Whether the reply is an array in lines, as `httpBatchStreamLink` reads it.
    pub lines: bool,
}

/// One call. Calls of a batch fail one by one.
#[derive(Debug)]
pub struct Call<'a> {
    /// The path that was called, cut to a bound.
    pub path: Cow<'static, str>,
    /// What to do, or why it cannot be done.
    pub invocation: Result<Invocation<'a>, CallError>,
}

/// A procedure and its input.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation<'a> {
    /// The procedure.
    pub procedure: Procedure,
    /// JSON text, possibly malformed; `None` is tRPC's `undefined`.
    pub input: Option<Cow<'a, str>>,
}

/// Splits a request into calls.
///
/// # Errors
/// Those that stand for the request as a whole and are answered with a single error object.
pub fn parse(raw: RawRequest<'_>) -> Result<Parsed<'_>, CallError> {
    if raw.method == "HEAD" {
        return Ok(Parsed::NoContent);
    }
    if raw.body.len() > limits::BODY_BYTES_MAX {
        return Err(CallError::new(
            ErrorKey::PayloadTooLarge,
            format!(
                "The request body must be at most {} bytes",
                limits::BODY_BYTES_MAX
            ),
        ));
    }
    if raw.method == Kind::Mutation.method() {
        require_json(raw.content_type)?;
    }
    let path = percent_decode(raw.path.trim_matches('/')).ok_or_else(|| {
        CallError::new(
            ErrorKey::BadRequest,
            "The path is not valid percent-encoding",
        )
    })?;
    let query = Query::parse(raw.query);
    let paths: Vec<&str> = if query.batch {
        path.split(',').collect()
    } else {
        vec![&path]
    };
    if paths.len() > limits::BATCH_CALLS_MAX {
        return Err(CallError::new(
            ErrorKey::BadRequest,
            format!("A batch has at most {} calls", limits::BATCH_CALLS_MAX),
        ));
    }
    let procedures: Vec<_> = paths
        .iter()
        .map(|path| Procedure::from_name(path))
        .collect();
    refuse_mixed_kinds(&procedures)?;
    let batch = query.batch;
    let lines = raw.accept.is_some_and(wants_lines);
    if lines && !batch {
        return Err(CallError::new(
            ErrorKey::BadRequest,
            "Streaming requests must be batched",
        ));
    }
    let mut inputs = Inputs::read(&raw, query, paths.len());
    let calls = paths
        .iter()
        .zip(procedures)
        .enumerate()
        .map(|(index, (path, procedure))| {
            let invocation = target(raw.method, path, procedure).and_then(|procedure| {
                let input = inputs.take(index)?;
                Ok(Invocation { procedure, input })
            });
            let path = procedure.map_or_else(
                || Cow::Owned(cut(path).to_owned()),
                |procedure| Cow::Borrowed(procedure.name()),
            );
            Call { path, invocation }
        })
        .collect();
    Ok(Parsed::Calls(Request {
        calls,
        batch,
        lines,
    }))
}

fn wants_lines(accept: &str) -> bool {
    accept
        .split(',')
        .any(|kind| kind.trim() == "application/jsonl")
}

fn require_json(content_type: Option<&str>) -> Result<(), CallError> {
    let message = match content_type {
        Some(value) => {
            let essence = value.split(';').next().unwrap_or_default();
            if essence.trim().eq_ignore_ascii_case("application/json") {
                return Ok(());
            }
            "Unsupported content-type; it must be application/json"
        }
        None => "Missing content-type header; it must be application/json",
    };
    Err(CallError::new(ErrorKey::UnsupportedMediaType, message))
}

fn refuse_mixed_kinds(procedures: &[Option<Procedure>]) -> Result<(), CallError> {
    let mut kinds = procedures
        .iter()
        .flatten()
        .map(|procedure| procedure.kind());
    let first = kinds.next();
    if kinds.all(|kind| Some(kind) == first) {
        Ok(())
    } else {
        Err(CallError::new(
            ErrorKey::BadRequest,
            "Queries and mutations cannot share a batch",
        ))
    }
}

fn target(method: &str, path: &str, procedure: Option<Procedure>) -> Result<Procedure, CallError> {
    let Some(procedure) = procedure else {
        return Err(CallError::new(
            ErrorKey::NotFound,
            format!("No procedure found on path \"{}\"", cut(path)),
        ));
    };
    let kind = procedure.kind();
    if method == kind.method() {
        Ok(procedure)
    } else {
        Err(CallError::new(
            ErrorKey::MethodNotSupported,
            format!(
                "The {} \"{}\" must be called with {}",
                kind.as_str(),
                procedure.name(),
                kind.method()
            ),
        ))
    }
}

fn cut(path: &str) -> &str {
    path.char_indices()
        .nth(limits::ECHOED_PATH_CHARS_MAX)
        .and_then(|(end, _)| path.get(..end))
        .unwrap_or(path)
}

/// Decodes percent-encoding. `None` when it is malformed or is not UTF-8.
fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

struct Query {
    batch: bool,
    input: Option<String>,
}

impl Query {
    /// The first value of each name counts; an empty input is none.
    fn parse(query: &str) -> Self {
        let mut batch = None;
        let mut input = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "batch" => _ = batch.get_or_insert(value == "1"),
                "input" => _ = input.get_or_insert(value.into_owned()),
                _ => {}
            }
        }
        Self {
            batch: batch.unwrap_or(false),
            input: input.filter(|input| !input.is_empty()),
        }
    }
}

/// The inputs of the calls, or the error that every call gets.
struct Inputs<'a>(Result<Vec<Option<Cow<'a, str>>>, CallError>);

impl<'a> Inputs<'a> {
    fn read(raw: &RawRequest<'a>, query: Query, calls: usize) -> Self {
        let text = if raw.method == Kind::Query.method() {
            Ok(query.input.map(Cow::Owned))
        } else if raw.body.is_empty() {
            Ok(None)
        } else {
            std::str::from_utf8(raw.body)
                .map(|text| Some(Cow::Borrowed(text)))
                .map_err(|_| CallError::new(ErrorKey::BadRequest, "The request body is not UTF-8"))
        };
        Self(text.and_then(|text| match text {
            Some(text) if query.batch => split(text, calls),
            Some(text) => Ok(vec![Some(text)]),
            None => Ok(vec![None; calls]),
        }))
    }

    fn take(&mut self, index: usize) -> Result<Option<Cow<'a, str>>, CallError> {
        match &mut self.0 {
            Ok(inputs) => Ok(inputs.get_mut(index).and_then(Option::take)),
            Err(error) => Err(error.clone()),
        }
    }
}

/// Splits the input of a batch, an object keyed by the index of the call.
fn split(text: Cow<'_, str>, calls: usize) -> Result<Vec<Option<Cow<'_, str>>>, CallError> {
    let inputs = match text {
        Cow::Borrowed(text) => keyed(text)?.map(|raw| raw.map(Cow::Borrowed)),
        Cow::Owned(text) => keyed(&text)?.map(|raw| raw.map(|raw| Cow::Owned(raw.to_owned()))),
    };
    Ok(inputs.into_iter().take(calls).collect())
}

fn keyed(text: &str) -> Result<[Option<&str>; limits::BATCH_CALLS_MAX], CallError> {
    let Keyed(inputs) = serde_json::from_str(text).map_err(|error: serde_json::Error| {
        let message = match error.classify() {
            Category::Data => {
                "The input of a batch must be an object keyed by the index of the call"
            }
            Category::Syntax | Category::Eof | Category::Io => "The input is not valid JSON",
        };
        CallError::new(ErrorKey::BadRequest, message)
    })?;
    Ok(inputs.map(|input| input.map(RawValue::get)))
}

/// The members of an object whose keys are indexes of calls; others are dropped.
struct Keyed<'a>([Option<&'a RawValue>; limits::BATCH_CALLS_MAX]);

impl<'de> Deserialize<'de> for Keyed<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyedVisitor;

        impl<'de> Visitor<'de> for KeyedVisitor {
            type Value = Keyed<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut inputs = Keyed([None; limits::BATCH_CALLS_MAX]);
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match index_of(&key).and_then(|index| inputs.0.get_mut(index)) {
                        Some(input) => *input = Some(map.next_value()?),
                        None => _ = map.next_value::<IgnoredAny>()?,
                    }
                }
                Ok(inputs)
            }
        }

        deserializer.deserialize_map(KeyedVisitor)
    }
}

/// Reads an index as JavaScript writes it: `0`, not `00` or `+0`.
fn index_of(key: &str) -> Option<usize> {
    let index = key.parse::<usize>().ok()?;
    (index.to_string() == key).then_some(index)
}

#[cfg(test)]
mod tests;
