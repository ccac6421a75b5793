//! Where a session reports what became of its messages.

use std::collections::BTreeMap;

use cloud_agent_wire::{AllowedHosts, CallbackUrl, Secret};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::shape::{Entries, Entry, entry_value, present};
use crate::limits;
use crate::trpc::issue::{Issue, Violation};

/// Headers that say where and how a request travels, which the URL and the body decide.
const CONNECTION_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "transfer-encoding",
    "upgrade",
];

/// The field `callbackTarget`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(
    test,
    derive(ts_rs::TS),
    ts(optional_fields, rename = "CallbackTarget")
)]
pub struct CallbackFields {
    /// An https URL.
    pub url: String,
    /// Headers to send with each report.
    #[serde(default, deserialize_with = "present")]
    #[cfg_attr(test, ts(type = "Record<string, string>", optional))]
    pub headers: Option<Entries<Header>>,
}

/// A header of a callback. Its value may be a secret.
#[derive(Debug, Clone)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

impl Entry for Header {
    const ENTRIES_MAX: usize = limits::CALLBACK_HEADERS_MAX;

    fn read(name: String, value: &RawValue) -> Result<Self, Violation> {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Violation::format(
                "its name must be the name of an HTTP header",
            ));
        }
        if CONNECTION_HEADERS
            .iter()
            .any(|header| name.eq_ignore_ascii_case(header))
        {
            return Err(Violation::format(
                "its name must not be a header of the connection",
            ));
        }
        if name.len() > limits::HEADER_NAME_BYTES_MAX {
            return Err(Violation::too_big(
                limits::HEADER_NAME_BYTES_MAX,
                "characters in its name",
            ));
        }
        let value: Secret = entry_value(value)?;
        let text = value.expose();
        if text.len() > limits::HEADER_VALUE_BYTES_MAX {
            return Err(Violation::too_big(
                limits::HEADER_VALUE_BYTES_MAX,
                "characters",
            ));
        }
        if !text.bytes().all(|byte| matches!(byte, b'\t' | 0x20..=0x7E)) {
            return Err(Violation::format("must be printable ASCII"));
        }
        Ok(Self { name, value })
    }
}

/// A checked callback.
#[derive(Debug, Clone)]
pub struct CallbackTarget {
    /// Where to send reports.
    pub url: CallbackUrl,
    /// Headers to send with each.
    pub headers: BTreeMap<String, Secret>,
}

impl CallbackTarget {
    /// Checks the field against the hosts that may be private here.
    pub(super) fn check(fields: CallbackFields, hosts: &AllowedHosts) -> Result<Self, Issue> {
        let url = CallbackUrl::parse(&fields.url, hosts).map_err(|error| {
            Issue::within(
                &["callbackTarget", "url"],
                Violation::format(error.message()),
            )
        })?;
        let Entries(headers) = fields.headers.unwrap_or(Entries(Vec::new()));
        Ok(Self {
            url,
            headers: headers
                .into_iter()
                .map(|header| (header.name, header.value))
                .collect(),
        })
    }
}
