//! What a delivery brings to the workspace beside its message: the branch, the agent's environment and configuration.

use std::collections::BTreeMap;

use cloud_agent_session::session::engine::Store as _;
use cloud_agent_session::session::preparation::{
    ENCRYPTED_SECRETS, KILOCODE_TOKEN, PrepareSession, ProfileSecrets,
};
use cloud_agent_session::session::record::{Profile, RepositoryRecord, SessionRecord};
use cloud_agent_session::session::sealing::SecretKind;
use cloud_agent_wire::{Branch, Secret};

use crate::harness::delivering::{Delivering, ready};
use crate::harness::fixtures::{CANARY, generic_git, preparation, prompt};
use crate::harness::session::Session;

fn on_branch(upstream_branch: Option<&str>) -> Delivering {
    let command = preparation(generic_git(), None);
    let session = Session::of(PrepareSession {
        record: SessionRecord {
            upstream_branch: upstream_branch.map(str::to_owned),
            ..command.record
        },
        ..command
    });
    session.send(prompt('a')).unwrap();
    session.pass_millis(1_000);
    Delivering::of_session(session)
}

fn branch(delivering: &Delivering) -> Branch {
    delivering.session.record().unwrap().branch()
}

fn secrets(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, text)| ((*name).to_owned(), Secret::new((*text).to_owned())))
        .collect()
}

fn exposed(secrets: &BTreeMap<String, Secret>) -> Vec<(&str, &str)> {
    let secrets = secrets.iter();
    secrets
        .map(|(name, secret)| (name.as_str(), secret.expose()))
        .collect()
}

#[test]
fn a_branch_must_exist_when_the_user_named_it_and_no_workspace_was_ready_yet() {
    let named = on_branch(Some("feature"));
    let feature = |strict| Branch {
        name: "feature".to_owned(),
        strict,
    };
    assert_eq!(branch(&named), feature(true));
    named.hand_over(&named.claim());
    assert_eq!(branch(&named), feature(true));
    named.happen([ready('a', 1)]);
    assert_eq!(branch(&named), feature(false));

    let unnamed = on_branch(None);
    let session_id = unnamed.session.record().unwrap().session_id;
    let own = Branch {
        name: format!("session/{session_id}"),
        strict: false,
    };
    assert_eq!(branch(&unnamed), own);
    unnamed.run('a');
    let main = Branch {
        name: "main".to_owned(),
        strict: false,
    };
    assert_eq!(branch(&unnamed), main);
}

#[test]
fn sealed_secrets_open_to_what_came_with_preparation() {
    let session = Session::generic_git(None);
    let (record, sealed) = session.store.profile_secrets().unwrap().unwrap();
    let opened = session
        .ring
        .open(SecretKind::Profile, record.sealing_context(), &sealed)
        .unwrap();
    let read = ProfileSecrets::from_sealable(&opened).unwrap();
    let expected = format!("{CANARY}-env");
    assert_eq!(exposed(&read.env), [("KEY", expected.as_str())]);
    assert!(read.settings.is_empty());
}

#[test]
fn secrets_are_bound_to_what_names_the_repository() {
    let url = || "https://git.example.com/r.git".to_owned();
    let repo = "acme/project".to_owned();
    for (repository, expected) in [
        (RepositoryRecord::Github { repo }, "acme/project".to_owned()),
        (RepositoryRecord::Gitlab { url: url() }, url()),
        (RepositoryRecord::Git { url: url() }, url()),
    ] {
        let record = preparation(repository, None).record;
        assert_eq!(record.sealing_context().repository, expected);
    }
}

#[test]
fn decrypted_secrets_replace_variables_and_nothing_replaces_the_models_token() {
    let with_token = ProfileSecrets {
        env: secrets(&[("A", "1"), ("B", "1"), ("KILOCODE_TOKEN", "1")]),
        settings: secrets(&[(KILOCODE_TOKEN, "token")]),
    };
    let decrypted = || secrets(&[("B", "2"), ("KILOCODE_TOKEN", "2")]);
    assert_eq!(
        exposed(&with_token.environment(decrypted())),
        [("A", "1"), ("B", "2"), ("KILOCODE_TOKEN", "token")]
    );
    let without = ProfileSecrets::default();
    assert_eq!(
        exposed(&without.environment(decrypted())),
        [("B", "2"), ("KILOCODE_TOKEN", "2")]
    );
}

#[test]
fn the_agent_gets_its_own_settings_and_the_system_prompt_as_json() {
    let brought = ProfileSecrets {
        env: BTreeMap::new(),
        settings: secrets(&[
            ("mcpServers", "{}"),
            ("gateThreshold", r#""high""#),
            (KILOCODE_TOKEN, "token"),
        ]),
    };
    let profile = Profile {
        append_system_prompt: Some("be \"brief\"".to_owned()),
        ..Profile::default()
    };
    assert_eq!(
        exposed(&brought.configuration(&profile)),
        [
            ("appendSystemPrompt", r#""be \"brief\"""#),
            ("gateThreshold", r#""high""#),
            ("mcpServers", "{}"),
        ]
    );
    let nothing = ProfileSecrets::default().configuration(&Profile::default());
    assert!(nothing.is_empty());
}

#[test]
fn encrypted_secrets_are_read_by_name() {
    let read = |text: &str| {
        let brought = ProfileSecrets {
            env: BTreeMap::new(),
            settings: secrets(&[(ENCRYPTED_SECRETS, text)]),
        };
        let encrypted = brought.encrypted()?;
        Some(encrypted.into_keys().collect::<Vec<_>>())
    };
    let one = r#"{"A":{"encryptedData":"AAAA","encryptedDEK":"AAAA"}}"#;
    assert_eq!(read(one), Some(vec!["A".to_owned()]));
    assert_eq!(read("[]"), None);
    assert_eq!(ProfileSecrets::default().encrypted(), Some(BTreeMap::new()));
}
