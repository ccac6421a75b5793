//! No error repeats input: a canary is put in every place of every input, in every type, and looked for.

use cloud_agent_wire::AllowedHosts;
use serde_json::{Value, json};

use super::{MESSAGE, SESSION, UUID};
use crate::trpc::CallError;
use crate::trpc::input::{
    DeleteSession, GetMessageResult, GetSession, InitiateSession, Input, InterruptSession,
    PrepareSession, SendMessage, UpdateSession, decode,
};

const CANARY: &str = "CANARY-4f1d";

/// Values of every type that hold the canary, and some that try to look like serde's own words.
fn canaries() -> Vec<Value> {
    let misleading = [
        format!("x`, expected {CANARY}"),
        format!("missing field `{CANARY}`"),
        format!("custom: {CANARY} at line 1 column 1"),
        format!(" at line {CANARY}"),
        format!("{CANARY}\n\u{0}é"),
        CANARY.repeat(20_000),
    ];
    let mut values = vec![
        json!(CANARY),
        json!([CANARY]),
        json!({CANARY: CANARY}),
        json!({CANARY: {CANARY: [CANARY]}}),
        json!([[{CANARY: 1}]]),
        json!(true),
        json!(7_777_777),
        json!(-7.5e30),
        Value::Null,
    ];
    values.extend(misleading.into_iter().map(Value::from));
    values
}

/// Every input that comes from `value` by putting `canary` in the place of one part, or beside it.
fn variants(value: &Value, canary: &Value) -> Vec<Value> {
    let mut all = vec![canary.clone()];
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                for changed in variants(member, canary) {
                    let mut object = members.clone();
                    object.insert(key.clone(), changed);
                    all.push(Value::Object(object));
                }
                let mut renamed = members.clone();
                renamed.remove(key);
                renamed.insert(CANARY.to_owned(), member.clone());
                all.push(Value::Object(renamed));
            }
            let mut object = members.clone();
            object.insert(CANARY.to_owned(), canary.clone());
            all.push(Value::Object(object));
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                for changed in variants(element, canary) {
                    let mut array = elements.clone();
                    array[index] = changed;
                    all.push(Value::Array(array));
                }
            }
        }
        _ => {}
    }
    all
}

/// Returns how many of the variants were refused.
fn hunt<T: Input>(good: &Value, rules: &T::Rules) -> usize {
    assert!(
        decode::<T>(Some(&good.to_string()), rules).is_ok(),
        "{good}"
    );
    let mut refused = 0;
    for canary in canaries() {
        for input in variants(good, &canary) {
            let text = input.to_string();
            // Whole, cut off in the middle, and with something behind it.
            let half = text.char_indices().nth(text.chars().count() / 2);
            let half = half.and_then(|(end, _)| text.get(..end)).unwrap_or("");
            let followed = format!("{text} {CANARY}");
            for text in [&*text, half, &followed] {
                if let Err(issues) = decode::<T>(Some(text), rules) {
                    let shown = format!("{:?} {:?}", CallError::from(issues.clone()), issues);
                    for forbidden in [CANARY, "7777777", "7.5"] {
                        assert!(!shown.contains(forbidden), "{shown}");
                    }
                    refused += 1;
                }
            }
        }
    }
    refused
}

#[test]
fn no_refusal_of_a_message_repeats_input() {
    let files = json!({"path": UUID, "files": [format!("{UUID}.png")]});
    let flat = json!({
        "cloudAgentSessionId": SESSION, "messageId": MESSAGE, "prompt": "p", "mode": "code",
        "model": "m", "variant": "v", "attachments": files, "autoCommit": true,
        "condenseOnComplete": true, "gitToken": "t", "githubToken": "t",
    });
    let images = json!({
        "cloudAgentSessionId": SESSION, "images": files,
        "payload": {"type": "prompt", "prompt": "p", "mode": "code", "model": "m", "variant": "v"},
    });
    let command = json!({
        "cloudAgentSessionId": SESSION,
        "payload": {"type": "command", "command": "c", "arguments": "a"},
    });
    for good in [flat, images, command] {
        assert!(hunt::<SendMessage>(&good, &()) > 100);
    }
}

#[test]
fn no_refusal_of_a_session_repeats_input() {
    let git = json!({
        "prompt": "p", "mode": "mine", "model": "m", "variant": "v",
        "gitUrl": "https://git.example.com/a", "gitToken": "t", "platform": "github",
        "envVars": {"A": "1"},
        "encryptedSecrets": {"B": {
            "encryptedData": "A", "encryptedDEK": "B", "algorithm": "rsa-aes-256-gcm", "version": 1,
        }},
        "setupCommands": ["x"], "mcpServers": {"x": {"url": "u"}}, "runtimeSkills": [1],
        "runtimeAgents": [{"slug": "mine", "name": "n", "model": "m", "variant": "v"}],
        "kiloCommands": [1], "upstreamBranch": "b", "autoCommit": true,
        "condenseOnComplete": true, "appendSystemPrompt": "p",
        "callbackTarget": {"url": "https://example.com/", "headers": {"a": "b"}},
        "kilocodeOrganizationId": UUID, "profileId": UUID, "createdOnPlatform": "c",
        "shallow": true, "gateThreshold": "off", "initialMessageId": MESSAGE,
        "autoInitiate": true, "devcontainer": false,
        "attachments": {"path": UUID, "files": [format!("{UUID}.png")]},
    });
    let github = json!({
        "prompt": "p", "mode": "code", "model": "m", "githubRepo": "a/b", "githubToken": "t",
        "initialPayload": {"type": "command", "command": "c", "arguments": "a"},
    });
    let hosts = AllowedHosts::default();
    for good in [git, github] {
        assert!(hunt::<PrepareSession>(&good, &hosts) > 100);
    }
    let update = json!({
        "cloudAgentSessionId": SESSION, "gitToken": "t",
        "callbackTarget": {"url": "https://example.com/", "headers": {"a": "b"}},
    });
    assert!(hunt::<UpdateSession>(&update, &hosts) > 100);
}

#[test]
fn no_refusal_of_a_plain_input_repeats_input() {
    let session = json!({"cloudAgentSessionId": SESSION});
    let message = json!({"cloudAgentSessionId": SESSION, "messageId": MESSAGE});
    let short = json!({"sessionId": SESSION});
    assert!(hunt::<InitiateSession>(&session, &()) > 20);
    assert!(hunt::<GetSession>(&session, &()) > 20);
    assert!(hunt::<GetMessageResult>(&message, &()) > 20);
    assert!(hunt::<InterruptSession>(&short, &()) > 20);
    assert!(hunt::<DeleteSession>(&short, &()) > 20);
}
