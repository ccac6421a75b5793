//! The line of JSON that the agent gets on its standard input.

use std::collections::BTreeMap;

use crate::intent::{Intent, Turn};
use crate::json_tokens::{Token, Tokens, unquoted};
use crate::secret::Secret;

/// The line, with its end: the message's content, and what the session was prepared with for its agent, which is JSON
/// already. Attached files lie in the folder `attachments`, and stand in `turn.attachments.localPaths` in the order of
/// their names.
///
/// # Errors
/// None that an intent has.
pub fn line(
    intent: &Intent,
    configuration: &BTreeMap<String, Secret>,
    attachments: &str,
) -> serde_json::Result<String> {
    let mut line = with_local_paths(serde_json::to_string(intent)?, intent, attachments)?;
    line.pop();
    line.push_str(",\"configuration\":{");
    for (number, (name, text)) in configuration.iter().enumerate() {
        if number > 0 {
            line.push(',');
        }
        line.push_str(&serde_json::to_string(name)?);
        line.push(':');
        // A line break can only be white space in JSON, and the whole must be one line.
        line.push_str(&text.expose().replace(['\n', '\r'], " "));
    }
    line.push_str("}}\n");
    Ok(line)
}

/// The text of an intent, with the paths of its files as the last member of its attachments.
fn with_local_paths(json: String, intent: &Intent, folder: &str) -> serde_json::Result<String> {
    /// What follows the members of the attachments. No text of the intent can hold it: its quotes would be escaped.
    const END: &str = "}},\"agent\":";
    let Turn::Prompt {
        attachments: Some(attachments),
        ..
    } = &intent.turn
    else {
        return Ok(json);
    };
    let Some((before, behind)) = json.split_once(END) else {
        return Ok(json);
    };
    let files = attachments.files.iter();
    let paths: Vec<_> = files.map(|name| [folder, name].join("/")).collect();
    let paths = serde_json::to_string(&paths)?;
    Ok([before, ",\"localPaths\":", &paths, END, behind].concat())
}

/// The names under which an MCP server's configuration holds secrets.
const SECRET_MEMBERS: [&str; 3] = ["environment", "env", "headers"];

/// The values in a configuration that are secrets: every text below a member that holds variables or headers.
#[must_use]
pub fn secrets_of(configuration: &BTreeMap<String, Secret>) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for text in configuration.values() {
        collect(text.expose(), &mut secrets);
    }
    secrets
}

fn collect(json: &str, secrets: &mut Vec<Secret>) {
    let mut depth = 0_usize;
    // The depth of the member whose texts are secrets, and whether it was just named.
    let mut secret_at = None;
    let mut is_named = false;
    for token in Tokens(json) {
        match token {
            Token::Name(name) if secret_at.is_none() => {
                let name = unquoted(name).unwrap_or_default();
                is_named = SECRET_MEMBERS.contains(&name.as_str());
            }
            Token::Text(text) => {
                if secret_at.is_some() || is_named {
                    secrets.extend(unquoted(text).map(Secret::new));
                }
                is_named = false;
            }
            Token::Number(_) => is_named = false,
            Token::Open(_) => {
                if is_named {
                    secret_at = Some(depth);
                }
                depth += 1;
                is_named = false;
            }
            Token::Close(_) => {
                depth = depth.saturating_sub(1);
                if secret_at == Some(depth) {
                    secret_at = None;
                }
            }
            Token::Name(_) | Token::Other(_) => {}
        }
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
        let text = line(
            &intent(&Value::Null),
            &configuration("mcpServers", servers),
            "/files",
        )
        .expect("it is JSON");
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
        let text = line(&intent(&files), &BTreeMap::new(), "/files");
        let value: Value = serde_json::from_str(&text.expect("it is JSON")).expect("JSON");
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
