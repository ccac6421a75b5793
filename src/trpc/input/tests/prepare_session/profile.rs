//! The environment of a session and what is passed through to its agent.

use serde_json::{Map, Value, json};

use super::super::with;
use super::{check_accepted, check_refused, encrypted};

fn members(count: usize, value: &Value) -> Value {
    let entries = (0..count).map(|index| (format!("K{index}"), value.clone()));
    Value::Object(entries.collect::<Map<_, _>>())
}

#[test]
fn the_environment_is_checked_at_its_edges() {
    let env = |name: &str, value: &str| json!({"envVars": {name: value}});
    let form = "envVars: entry 1: its name must be the name of an environment variable";
    let reserved = "envVars: entry 1: its name must not be HOME, SESSION_ID or SESSION_HOME";
    check_refused(&[
        (
            json!({"envVars": members(51, &json!("v"))}),
            "envVars: must have at most 50 entries",
        ),
        (
            env(&"N".repeat(129), ""),
            "envVars: entry 1: its name must have at most 128 characters",
        ),
        (
            env("N", &"v".repeat(4097)),
            "envVars: entry 1: must have at most 4096 characters",
        ),
        (env("HOME", "x"), reserved),
        (env("SESSION_ID", "x"), reserved),
        (env("SESSION_HOME", "x"), reserved),
        (env("A=B", "x"), form),
        (env("A\n", "x"), form),
        (env("", "x"), "envVars: entry 1: its name must not be empty"),
        (env("A", "x\0"), "envVars: entry 1: must not contain NUL"),
        (
            json!({"envVars": {"A": 1}}),
            "envVars: entry 1: must be a string",
        ),
        (json!({"envVars": []}), "envVars: must be an object"),
        (json!({"envVars": null}), "envVars: must be an object"),
    ]);
    check_accepted(&[
        json!({"envVars": members(50, &json!("v"))}),
        env(&"N".repeat(128), &"v".repeat(4096)),
        env("home", "x"),
    ]);
}

#[test]
fn encrypted_secrets_are_checked_at_their_edges() {
    let secret = |changes: Value| json!({"encryptedSecrets": {"A": with(&encrypted(), &changes)}});
    check_refused(&[
        (
            json!({"encryptedSecrets": members(51, &encrypted())}),
            "encryptedSecrets: must have at most 50 entries",
        ),
        (
            json!({"encryptedSecrets": {"HOME": encrypted()}}),
            "encryptedSecrets: entry 1: its name must not be HOME, SESSION_ID or SESSION_HOME",
        ),
        (
            json!({"encryptedSecrets": {"A": []}}),
            "encryptedSecrets: entry 1: must be an object",
        ),
        (
            secret(json!({"encryptedDEK": "-"})),
            "encryptedSecrets: entry 1: encryptedDEK is required",
        ),
        (
            secret(json!({"algorithm": "canary"})),
            "encryptedSecrets: entry 1: must be one of rsa-aes-256-gcm",
        ),
        (
            secret(json!({"version": 2})),
            "encryptedSecrets: entry 1: must be one of 1",
        ),
        (
            secret(json!({"version": "1"})),
            "encryptedSecrets: entry 1: must be 1",
        ),
        (
            secret(json!({"encryptedData": "a".repeat(20 * 1024 + 1)})),
            "encryptedSecrets: entry 1: must have at most 20480 characters",
        ),
    ]);
    check_accepted(&[
        json!({"encryptedSecrets": members(50, &encrypted())}),
        secret(json!({"encryptedData": "a".repeat(20 * 1024)})),
    ]);
}

#[test]
fn what_only_the_agent_understands_is_bounded() {
    let agent = json!({"slug": "a", "name": "A"});
    let largest = "x".repeat(256 * 1024 - 2);
    let size = "must have at most 262144 bytes together with mcpServers, runtimeSkills, runtimeAgents and kiloCommands";
    check_refused(&[
        (
            json!({"mcpServers": members(21, &json!({}))}),
            "mcpServers: must have at most 20 entries",
        ),
        (
            json!({"mcpServers": {"x".repeat(101): {}}}),
            "mcpServers: entry 1: its name must have at most 100 characters",
        ),
        (
            json!({"mcpServers": {"x": 1}}),
            "mcpServers: entry 1: must be an object",
        ),
        (json!({"mcpServers": []}), "mcpServers: must be an object"),
        (
            json!({"runtimeAgents": {}}),
            "runtimeAgents: must be an array",
        ),
        (
            json!({"runtimeAgents": [agent, {"slug": "b"}]}),
            "runtimeAgents.1.name: is required",
        ),
        (
            json!({"runtimeAgents": vec![agent.clone(); 101]}),
            "runtimeAgents: must have at most 100 entries",
        ),
        (
            json!({"kiloCommands": format!("{largest}x")}),
            &format!("kiloCommands: {size}"),
        ),
        (
            json!({"runtimeSkills": largest, "kiloCommands": 1}),
            &format!("kiloCommands: {size}"),
        ),
    ]);
    check_accepted(&[
        json!({"mcpServers": members(20, &json!({}))}),
        json!({"mcpServers": {"x".repeat(100): {}}}),
        json!({"runtimeAgents": vec![agent; 100]}),
        json!({"kiloCommands": largest}),
    ]);
}
