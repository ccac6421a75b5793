//! The line of JSON that the agent gets on its standard input.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::intent::{Agent, Finalization, Intent, Turn};
use crate::secret::Secret;

/// What the line holds: the message's content, and what the session was prepared with for its agent.
#[derive(Serialize)]
struct Line<'a> {
    turn: Value,
    agent: &'a Agent,
    finalization: &'a Finalization,
    configuration: BTreeMap<&'a str, &'a RawValue>,
}

/// The line, with its end. Attached files lie in the folder `attachments`, and stand in
/// `turn.attachments.localPaths` in the order of their names.
///
/// # Errors
/// A configuration that is not JSON, which no request brings.
pub fn line(
    intent: &Intent,
    configuration: &BTreeMap<String, Secret>,
    attachments: &str,
) -> serde_json::Result<Vec<u8>> {
    // A line break can only be white space in JSON, and the whole must be one line.
    let one_line = |text: &Secret| text.expose().replace(['\n', '\r'], " ");
    let texts: BTreeMap<&str, String> = configuration
        .iter()
        .map(|(name, text)| (name.as_str(), one_line(text)))
        .collect();
    let mut raw = BTreeMap::new();
    for (name, text) in &texts {
        raw.insert(*name, serde_json::from_str(text)?);
    }
    let mut line = serde_json::to_vec(&Line {
        turn: turn(&intent.turn, attachments)?,
        agent: &intent.agent,
        finalization: &intent.finalization,
        configuration: raw,
    })?;
    line.push(b'\n');
    Ok(line)
}

fn turn(turn: &Turn, folder: &str) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(turn)?;
    if let Turn::Prompt {
        attachments: Some(attachments),
        ..
    } = turn
        && let Some(shown) = value.get_mut("attachments").and_then(Value::as_object_mut)
    {
        let paths = attachments
            .files
            .iter()
            .map(|name| Value::from(format!("{folder}/{name}")))
            .collect();
        shown.insert("localPaths".to_owned(), Value::Array(paths));
    }
    Ok(value)
}

/// The names under which an MCP server's configuration holds secrets.
const SECRET_MEMBERS: [&str; 3] = ["environment", "env", "headers"];

/// The values in a configuration that are secrets: every text below a member that holds variables or headers.
#[must_use]
pub fn secrets_of(configuration: &BTreeMap<String, Secret>) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for text in configuration.values() {
        if let Ok(value) = serde_json::from_str::<Value>(text.expose()) {
            collect(&value, false, &mut secrets);
        }
    }
    secrets
}

fn collect(value: &Value, is_secret: bool, secrets: &mut Vec<Secret>) {
    match value {
        Value::String(text) if is_secret => secrets.push(Secret::new(text.clone())),
        Value::Array(values) => {
            for value in values {
                collect(value, is_secret, secrets);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                let is_secret = is_secret || SECRET_MEMBERS.contains(&name.as_str());
                collect(value, is_secret, secrets);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{line, secrets_of};
    use crate::intent::Intent;
    use crate::secret::Secret;

    fn intent(attachments: &Value) -> Intent {
        serde_json::from_value(json!({
            "turn": {
                "type": "prompt",
                "messageId": "msg_0123456789abABCDEFGHIJKLMN",
                "prompt": "two\nlines",
                "attachments": attachments,
            },
            "agent": { "mode": "code", "model": "m" },
            "finalization": { "condenseOnComplete": true },
        }))
        .expect("it is an intent")
    }

    fn configuration(name: &str, text: &str) -> BTreeMap<String, Secret> {
        [(name.to_owned(), Secret::new(text.to_owned()))].into()
    }

    #[test]
    fn everything_is_one_line_and_what_is_the_agents_alone_is_repeated_as_it_is() {
        let servers =
            "{\n  \"a\": { \"type\": \"local\", \"port\": 1.50,\r\n \"text\": \"x\\ny\" }\n}";
        let bytes = line(
            &intent(&Value::Null),
            &configuration("mcpServers", servers),
            "/files",
        )
        .expect("it is JSON");
        let text = String::from_utf8(bytes).expect("it is text");
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.ends_with('\n'));
        assert!(text.contains(r#""port": 1.50"#), "{text}");
        let value: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(value["configuration"]["mcpServers"]["a"]["text"], "x\ny");
        assert_eq!(value["turn"]["prompt"], "two\nlines");
        assert_eq!(value["agent"]["mode"], "code");
        assert_eq!(value["finalization"]["condenseOnComplete"], true);
        assert_eq!(value["turn"].get("attachments"), None);
    }

    #[test]
    fn attached_files_are_named_with_their_paths() {
        let files = json!({ "path": "p", "files": ["b.png", "a.txt"] });
        let bytes = line(&intent(&files), &BTreeMap::new(), "/files");
        let value: Value = serde_json::from_slice(&bytes.expect("it is JSON")).expect("JSON");
        assert_eq!(
            value["turn"]["attachments"],
            json!({
                "path": "p",
                "files": ["b.png", "a.txt"],
                "localPaths": ["/files/b.png", "/files/a.txt"],
            })
        );
        assert_eq!(value["configuration"], json!({}));
    }

    #[test]
    fn values_of_variables_and_headers_are_secrets() {
        let servers = json!({
            "a": { "command": ["run"], "environment": { "KEY": "first" } },
            "b": { "url": "https://h", "headers": { "authorization": "second", "x": ["third"] } },
        });
        let secrets = secrets_of(&configuration("mcpServers", &servers.to_string()));
        let shown: Vec<_> = secrets.iter().map(Secret::expose).collect();
        assert_eq!(shown, ["first", "second", "third"]);
    }
}
