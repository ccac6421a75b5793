use cloud_agent_wire::{
    AllowedHosts, FailureCode, FailureSubtype, Generation, MessageId, SessionId, Timestamp,
};
use serde_json::{Value, json};

use super::{ManagedFault, Provider, TokenReply, read_reply, token_request};
use crate::session::record::{AgentDefaults, RepositoryRecord, SessionRecord};
use crate::session::retry::next_delay_millis;

fn record(repository: RepositoryRecord) -> SessionRecord {
    let session_id: SessionId = "agent_0f8fad5b-d9cb-469f-a165-70867728950e"
        .parse()
        .unwrap();
    let message_id: MessageId = "msg_0123456789abABCDEFGHIJKLMN".parse().unwrap();
    SessionRecord {
        session_id,
        user_id: "user-1".to_owned().try_into().unwrap(),
        organization_id: None,
        kilo_session_id: "ses_1".to_owned(),
        created_on_platform: None,
        repository,
        upstream_branch: None,
        shallow: false,
        initial_message_id: message_id,
        agent: AgentDefaults {
            mode: "code".to_owned(),
            model: "m".to_owned(),
            variant: None,
        },
        agent_slugs: Vec::new(),
        finalization: cloud_agent_wire::Finalization::default(),
        created_at: Timestamp::from_millis(1),
        prepared_at: None,
        initiated_at: None,
        version: 1,
        callback: None,
        refused: None,
        managed: None,
        deleting_since: None,
    }
}

fn github() -> SessionRecord {
    record(RepositoryRecord::Github {
        repo: "acme/project".to_owned(),
    })
}

fn gitlab(url: &str) -> SessionRecord {
    record(RepositoryRecord::Gitlab {
        url: url.to_owned(),
    })
}

fn read(record: &SessionRecord, reply: Value) -> Result<String, ManagedFault> {
    let hosts = AllowedHosts::parse("127.0.0.1:3000").unwrap();
    let reply: Option<TokenReply> = serde_json::from_value(reply).ok();
    read_reply(record, reply, &hosts).map(|token| {
        assert_eq!(format!("{:?}", token.token), "[redacted]");
        token.author.map_or_else(String::new, |author| author.name)
    })
}

fn asked(record: &SessionRecord) -> (Provider, Value) {
    let (provider, request) = token_request(record).unwrap();
    (provider, serde_json::to_value(request).unwrap())
}

#[test]
fn the_service_is_asked_with_what_it_needs_and_nothing_else() {
    let (provider, request) = asked(&github());
    assert_eq!(provider, Provider::Github);
    assert_eq!(
        request,
        json!({ "githubRepo": "acme/project", "userId": "user-1", "allowUserAuthorization": false })
    );
    for (platform, expected) in [
        ("cloud-agent-web", true),
        ("slack", true),
        ("webhook", false),
    ] {
        let (_, request) = asked(&SessionRecord {
            organization_id: Some("org-1".to_owned()),
            created_on_platform: Some(platform.to_owned()),
            ..github()
        });
        assert_eq!(request["allowUserAuthorization"], expected, "{platform}");
        assert_eq!(request["orgId"], "org-1");
    }
    let (provider, request) = asked(&SessionRecord {
        created_on_platform: Some("slack".to_owned()),
        ..gitlab("https://gitlab.com/acme/project.git")
    });
    assert_eq!(provider, Provider::Gitlab);
    assert_eq!(
        request,
        json!({
            "repositoryUrl": "https://gitlab.com/acme/project.git",
            "userId": "user-1",
            "createdOnPlatform": "slack",
        })
    );
    let url = "https://git.example.com/r.git".to_owned();
    assert!(token_request(&record(RepositoryRecord::Git { url })).is_none());
}

#[test]
fn clone_urls_and_user_names_are_those_of_the_host() {
    let github = github().repository;
    assert_eq!(github.clone_url(), "https://github.com/acme/project.git");
    assert_eq!(github.username(), "x-access-token");
    let gitlab = gitlab("https://gitlab.com/acme/project.git").repository;
    assert_eq!(gitlab.clone_url(), "https://gitlab.com/acme/project.git");
    assert_eq!(gitlab.username(), "oauth2");
}

#[test]
fn both_names_of_a_github_token_and_its_author_are_read() {
    let author = json!({ "name": "app[bot]", "email": "1+app[bot]@users.noreply.github.com" });
    let reply =
        json!({ "success": true, "githubToken": "t", "gitAuthor": author, "source": "user" });
    assert_eq!(read(&github(), reply), Ok("app[bot]".to_owned()));
    let reply = json!({ "success": true, "token": "t", "installationId": "1" });
    assert_eq!(read(&github(), reply), Ok(String::new()));
}

#[test]
fn answers_without_a_token_become_typed_faults() {
    let url = "https://gitlab.com/acme/project.git";
    let unsuccessful = |reason: &str| json!({ "success": false, "reason": reason });
    for (record, reply, expected) in [
        (
            github(),
            unsuccessful("no_installation_found"),
            ManagedFault::NotInstalled,
        ),
        (
            github(),
            unsuccessful("repository_not_installed"),
            ManagedFault::NotInstalled,
        ),
        (
            github(),
            unsuccessful("invalid_repo_format"),
            ManagedFault::Refused,
        ),
        (
            github(),
            unsuccessful("invalid_org_id"),
            ManagedFault::Refused,
        ),
        (
            github(),
            unsuccessful("rpc_error"),
            ManagedFault::Unavailable,
        ),
        (github(), json!({ "success": false }), ManagedFault::Refused),
        (github(), Value::Null, ManagedFault::Unavailable),
        (
            github(),
            json!({ "success": true }),
            ManagedFault::Unavailable,
        ),
        (
            github(),
            json!({ "success": true, "token": "two words" }),
            ManagedFault::Unavailable,
        ),
        (
            gitlab(url),
            unsuccessful("no_integration_found"),
            ManagedFault::NotConnected,
        ),
        (
            gitlab(url),
            json!({ "success": true, "token": "" }),
            ManagedFault::NotConnected,
        ),
        (gitlab(url), Value::Null, ManagedFault::Unavailable),
    ] {
        assert_eq!(read(&record, reply.clone()), Err(expected), "{reply}");
    }
}

#[test]
fn the_token_of_one_gitlab_instance_is_not_sent_to_another() {
    let reply = |instance: &str| json!({ "success": true, "token": "t", "instanceUrl": instance });
    for (url, instance, is_given) in [
        ("https://gitlab.com/a/b.git", "https://gitlab.com", true),
        ("https://gitlab.com/a/b.git", "https://gitlab.com/", true),
        (
            "https://gitlab.com/a/b.git",
            "https://gitlab.com:443/api",
            true,
        ),
        ("https://evil.example/a/b.git", "https://gitlab.com", false),
        (
            "https://gitlab.com.evil.example/a",
            "https://gitlab.com",
            false,
        ),
        ("https://gitlab.com/a/b.git", "http://gitlab.com", false),
        ("https://gitlab.com/a/b.git", "gitlab.com", false),
        // A host of the development set-up stands in for any instance.
        ("http://127.0.0.1:3000/a.git", "https://gitlab.com", true),
        ("http://127.0.0.1:3001/a.git", "https://gitlab.com", false),
    ] {
        let result = read(&gitlab(url), reply(instance));
        assert_eq!(result.is_ok(), is_given, "{url} {instance}: {result:?}");
        if !is_given {
            assert_eq!(result, Err(ManagedFault::OtherInstance));
        }
    }
}

#[test]
fn faults_become_failures_that_are_tried_again_only_where_that_may_help() {
    use FailureCode::{InvalidDeliveryRequest, WorkspaceSetupFailed};
    let github = github().repository;
    let gitlab = gitlab("https://gitlab.com/a/b.git").repository;
    for (repository, fault, code, is_retried) in [
        (
            &github,
            ManagedFault::NotConfigured,
            WorkspaceSetupFailed,
            true,
        ),
        (
            &github,
            ManagedFault::Unavailable,
            WorkspaceSetupFailed,
            true,
        ),
        (
            &github,
            ManagedFault::NotInstalled,
            WorkspaceSetupFailed,
            false,
        ),
        (
            &github,
            ManagedFault::Refused,
            InvalidDeliveryRequest,
            false,
        ),
        (
            &gitlab,
            ManagedFault::NotConfigured,
            InvalidDeliveryRequest,
            false,
        ),
        (
            &gitlab,
            ManagedFault::Unavailable,
            InvalidDeliveryRequest,
            false,
        ),
        (
            &gitlab,
            ManagedFault::NotConnected,
            InvalidDeliveryRequest,
            false,
        ),
        (
            &gitlab,
            ManagedFault::OtherInstance,
            InvalidDeliveryRequest,
            false,
        ),
        (
            &gitlab,
            ManagedFault::NotInstalled,
            InvalidDeliveryRequest,
            false,
        ),
    ] {
        let failure = fault.failure(repository, Generation::new(3));
        assert_eq!(failure.code, code, "{fault:?}");
        assert_eq!(failure.generation, Generation::new(3));
        assert_eq!(
            next_delay_millis(&failure, 0).is_some(),
            is_retried,
            "{fault:?}"
        );
        let is_authentication = failure.subtype == Some(FailureSubtype::GitAuthenticationFailed);
        let is_expected = fault == ManagedFault::NotInstalled && repository == &github;
        assert_eq!(is_authentication, is_expected);
    }
}
