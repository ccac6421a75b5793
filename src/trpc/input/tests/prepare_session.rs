mod profile;

use cloud_agent_wire::AllowedHosts;
use serde_json::{Value, json};

use super::{MESSAGE, UUID, accepted, assert_accepted, assert_refused, refused, with};
use crate::session::command::TurnContent;
use crate::trpc::input::{PrepareSession, RepositoryInput};

fn base() -> Value {
    json!({
        "prompt": "Fix the test",
        "mode": "code",
        "model": "m",
        "gitUrl": "https://git.example.com/acme/repo.git",
    })
}

fn prepared(changes: &Value) -> PrepareSession {
    accepted(&with(&base(), changes), &AllowedHosts::default())
}

fn check_refused(table: &[(Value, &str)]) {
    assert_refused::<PrepareSession>(&base(), &AllowedHosts::default(), table);
}

fn check_accepted(table: &[Value]) {
    assert_accepted::<PrepareSession>(&base(), &AllowedHosts::default(), table);
}

fn encrypted() -> Value {
    json!({
        "encryptedData": "AAAA",
        "encryptedDEK": "BBBB",
        "algorithm": "rsa-aes-256-gcm",
        "version": 1,
    })
}

#[test]
fn a_session_is_read_whole() {
    let session = prepared(&json!({
        "variant": "high",
        "gitToken": "t1",
        "githubToken": 5,
        "upstreamBranch": "feature/x",
        "shallow": true,
        "autoCommit": true,
        "gateThreshold": "warning",
        "envVars": {"A": "1", "B": ""},
        "encryptedSecrets": {"C": encrypted()},
        "setupCommands": ["npm ci", "make"],
        "mcpServers": {"x": {"command": ["a"]}},
        "runtimeSkills": [{"name": "s"}],
        "runtimeAgents": [{"slug": "my-agent", "name": "Mine", "prompt": "p", "model": "m"}],
        "kiloCommands": {"k": 1},
        "callbackTarget": {"url": "https://example.com/cb"},
        "kilocodeOrganizationId": UUID,
        "profileId": UUID,
        "createdOnPlatform": "slack",
        "initialMessageId": MESSAGE,
        "autoInitiate": true,
        "devcontainer": false,
        "operationKey": UUID,
    }));
    let RepositoryInput::Git { url, token } = &session.repository else {
        panic!("must be generic git");
    };
    assert_eq!(url.as_str(), "https://git.example.com/acme/repo.git");
    assert_eq!(token.as_ref().unwrap().expose(), "t1");
    assert_eq!(session.initial_message_id.unwrap().as_str(), MESSAGE);
    assert!(session.auto_initiate && session.shallow);
    assert_eq!(session.env_vars["A"].expose(), "1");
    assert_eq!(
        session.encrypted_secrets["C"].encrypted_key.as_str(),
        "BBBB"
    );
    assert_eq!(session.setup_commands, ["npm ci", "make"]);
    assert_eq!(session.gate_threshold.unwrap().as_str(), "warning");
    let configuration = &session.agent_configuration;
    let text = |part: &Option<cloud_agent_wire::Secret>| part.as_ref().unwrap().expose().to_owned();
    assert_eq!(
        text(&configuration.mcp_servers),
        r#"{"x":{"command":["a"]}}"#
    );
    assert_eq!(text(&configuration.runtime_skills), r#"[{"name":"s"}]"#);
    assert!(text(&configuration.runtime_agents).contains("prompt"));
    assert_eq!(text(&configuration.kilo_commands), r#"{"k":1}"#);
    assert_eq!(
        serde_json::to_value(&session.runtime_agents).unwrap(),
        json!([{"slug": "my-agent", "name": "Mine", "model": "m"}])
    );
    assert_eq!(
        session.callback_target.unwrap().url.as_str(),
        "https://example.com/cb"
    );
    assert_eq!(session.organization_id.unwrap().as_str(), UUID);
}

#[test]
fn a_session_needs_little() {
    let session = prepared(&json!({}));
    assert!(!session.auto_initiate && !session.shallow);
    assert!(session.env_vars.is_empty() && session.setup_commands.is_empty());
    assert!(session.callback_target.is_none());
    assert_eq!(
        session.turn,
        TurnContent::Prompt {
            prompt: "Fix the test".to_owned(),
            attachments: None,
        }
    );
}

#[test]
fn the_repository_is_told_by_its_fields() {
    let github = json!({"gitUrl": "-", "githubRepo": "acme/repo.js", "gitToken": "not used \n"});
    let session = prepared(&github);
    assert!(
        matches!(&session.repository, RepositoryInput::Github { repo } if repo.as_str() == "acme/repo.js")
    );
    let session = prepared(&json!({"platform": "gitlab", "gitToken": "not used \n"}));
    assert!(matches!(session.repository, RepositoryInput::Gitlab { .. }));
    for changes in [
        json!({}),
        json!({"gitToken": ""}),
        json!({"platform": "github"}),
    ] {
        let session = prepared(&changes);
        assert!(matches!(
            session.repository,
            RepositoryInput::Git { token: None, .. }
        ));
    }
}

#[test]
fn a_repository_is_checked() {
    let github = |repo: &str| json!({"gitUrl": "-", "githubRepo": repo});
    let form = "githubRepo: must be owner/name";
    check_refused(&[
        (
            json!({"githubRepo": "a/b"}),
            "gitUrl: githubRepo and gitUrl cannot be given together",
        ),
        (
            json!({"gitUrl": "-"}),
            "githubRepo: one of githubRepo and gitUrl is required",
        ),
        (
            json!({"platform": "bitbucket"}),
            "platform: bitbucket is not supported",
        ),
        (
            json!({"platform": "gitea"}),
            "platform: must be one of github, gitlab, bitbucket",
        ),
        (
            json!({"gitUrl": "http://git.example.com/a"}),
            "gitUrl: must start with https://",
        ),
        (github("a"), form),
        (github("a/b/c"), form),
        (github("../.."), form),
        (github("a/"), form),
        (github("a b/c"), form),
        (
            github(&format!("a/{}", "b".repeat(254))),
            "githubRepo: must have at most 255 characters",
        ),
        (
            json!({"gitToken": "a b"}),
            "gitToken: must be 1 to 4096 printable ASCII characters without spaces",
        ),
        (
            json!({"gitToken": "a".repeat(4097)}),
            "gitToken: must be 1 to 4096 printable ASCII characters without spaces",
        ),
    ]);
    check_accepted(&[
        github(&format!("a/{}", "b".repeat(253))),
        json!({"gitToken": "a".repeat(4096)}),
    ]);
    for url in [
        "https://user:canary@git.example.com/a",
        "https://127.0.0.1/canary",
        "ssh://git@example.com/canary",
        "https://git.example.com/a?canary",
        "canary",
    ] {
        let issues = refused::<PrepareSession>(
            &with(&base(), &json!({"gitUrl": url})),
            &AllowedHosts::default(),
        );
        assert_eq!(issues.len(), 1);
        assert!(issues[0].starts_with("gitUrl: ") && !issues[0].contains("canary"));
    }
}

#[test]
fn a_private_host_is_allowed_where_it_is_configured() {
    let hosts = AllowedHosts::parse("127.0.0.1:8080").unwrap();
    let local = json!({
        "gitUrl": "http://127.0.0.1:8080/repo.git",
        "callbackTarget": {"url": "http://127.0.0.1:8080/cb"},
    });
    accepted::<PrepareSession>(&with(&base(), &local), &hosts);
    let issues = refused::<PrepareSession>(&with(&base(), &local), &AllowedHosts::default());
    assert_eq!(issues.len(), 2, "every broken rule is told: {issues:?}");
}

#[test]
fn other_fields_are_checked_at_their_edges() {
    let branch = "upstreamBranch: must be a branch name of at most 255 letters, digits, dots, dashes, underscores and slashes, or refs/pull/N/head or refs/merge-requests/N/head";
    check_refused(&[
        (json!({"prompt": "-"}), "prompt: is required"),
        (json!({"prompt": ""}), "prompt: No prompt provided"),
        (
            json!({"prompt": "x".repeat(100_001)}),
            "prompt: must have at most 100000 characters",
        ),
        (json!({"mode": "-"}), "mode: is required"),
        (json!({"model": "-"}), "model: is required"),
        (
            json!({"setupCommands": vec!["x"; 21]}),
            "setupCommands: must have at most 20 entries",
        ),
        (
            json!({"setupCommands": ["ok", "x".repeat(501)]}),
            "setupCommands.1: must have at most 500 characters",
        ),
        (
            json!({"setupCommands": ["a\0"]}),
            "setupCommands.0: must not contain NUL",
        ),
        (json!({"upstreamBranch": "b".repeat(256)}), branch),
        (json!({"upstreamBranch": ""}), branch),
        (json!({"upstreamBranch": "--upload-pack=x"}), branch),
        (json!({"upstreamBranch": "a b"}), branch),
        (
            json!({"createdOnPlatform": "x".repeat(101)}),
            "createdOnPlatform: must have at most 100 characters",
        ),
        (
            json!({"appendSystemPrompt": "x".repeat(10_001)}),
            "appendSystemPrompt: must have at most 10000 characters",
        ),
        (
            json!({"kilocodeOrganizationId": "x"}),
            "kilocodeOrganizationId: must be a UUID",
        ),
        (json!({"profileId": 1}), "profileId: must be a string"),
        (
            json!({"gateThreshold": "some"}),
            "gateThreshold: must be one of off, all, warning, critical",
        ),
        (json!({"shallow": 1}), "shallow: must be a boolean"),
        (
            json!({"devcontainer": true}),
            "devcontainer: devcontainers are not supported",
        ),
    ]);
    check_accepted(&[
        json!({"prompt": "x".repeat(100_000)}),
        json!({"setupCommands": vec!["x".repeat(500); 20]}),
        json!({"upstreamBranch": "b".repeat(255)}),
        json!({"upstreamBranch": "refs/pull/7/head"}),
        json!({"createdOnPlatform": "x".repeat(100)}),
        json!({"appendSystemPrompt": "x".repeat(10_000)}),
    ]);
}

#[test]
fn a_mode_must_be_known() {
    let agents = json!([{"slug": "mine", "name": "Mine"}]);
    let required = "appendSystemPrompt: is required with the mode custom";
    check_refused(&[
        (
            json!({"mode": "mine"}),
            "mode: must be a built-in mode or the slug of a runtime agent",
        ),
        (json!({"mode": "custom"}), required),
        (
            json!({"mode": "custom", "appendSystemPrompt": " \n"}),
            required,
        ),
    ]);
    check_accepted(&[
        json!({"mode": "mine", "runtimeAgents": agents}),
        json!({"mode": "custom", "appendSystemPrompt": "Be brief."}),
        json!({"mode": "architect"}),
    ]);
}

#[test]
fn an_initial_payload_is_the_first_turn() {
    let session = prepared(&json!({
        "prompt": "",
        "initialPayload": {"type": "command", "command": "init", "arguments": "-x"},
    }));
    assert_eq!(
        session.turn,
        TurnContent::Command {
            command: "init".to_owned(),
            arguments: "-x".to_owned(),
        }
    );
    let session = prepared(&json!({"initialPayload": {"type": "prompt", "prompt": "Other"}}));
    assert!(matches!(session.turn, TurnContent::Prompt { prompt, .. } if prompt == "Other"));
    let files = json!({"path": UUID, "files": [format!("{UUID}.png")]});
    check_refused(&[
        (
            json!({"initialPayload": {"type": "prompt"}}),
            "initialPayload.prompt: is required",
        ),
        (
            json!({"initialPayload": {"type": "command"}}),
            "initialPayload.command: is required",
        ),
        (
            json!({"initialPayload": {"type": "command", "command": "x"}, "images": files}),
            "attachments: Attachments cannot be attached to slash commands",
        ),
    ]);
}

#[test]
fn every_broken_rule_is_told() {
    let issues = refused::<PrepareSession>(
        &with(
            &base(),
            &json!({
                "prompt": " ",
                "mode": "custom",
                "platform": "bitbucket",
                "devcontainer": true,
                "callbackTarget": {"url": "https://10.0.0.1/"},
            }),
        ),
        &AllowedHosts::default(),
    );
    let fields: Vec<_> = issues
        .iter()
        .filter_map(|issue| issue.split_once(':').map(|(field, _)| field))
        .collect();
    assert_eq!(
        fields,
        [
            "devcontainer",
            "prompt",
            "platform",
            "callbackTarget.url",
            "appendSystemPrompt"
        ]
    );
}
