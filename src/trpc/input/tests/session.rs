use cloud_agent_wire::AllowedHosts;
use serde_json::{Value, json};

use super::{MESSAGE, SESSION, accepted, assert_refused, refused, said};
use crate::trpc::input::{
    CallbackChange, DeleteSession, GetMessageResult, GetSession, InitiateSession, Input,
    InterruptSession, UpdateSession, decode,
};

const NOT_A_SESSION: &str = "must be agent_ followed by a UUID";

#[test]
fn inputs_that_name_a_session_read_it() {
    let input = json!({"cloudAgentSessionId": SESSION, "messageId": MESSAGE});
    let only = json!({"cloudAgentSessionId": SESSION});
    let short = json!({"sessionId": SESSION, "extra": 1});
    let initiate: InitiateSession = accepted(&only, &());
    assert_eq!(initiate.cloud_agent_session_id.0.as_str(), SESSION);
    let get: GetSession = accepted(&input, &());
    assert_eq!(get.cloud_agent_session_id.0.as_str(), SESSION);
    let result: GetMessageResult = accepted(&input, &());
    assert_eq!(result.cloud_agent_session_id.0.as_str(), SESSION);
    assert_eq!(result.message_id.0.as_str(), MESSAGE);
    let interrupt: InterruptSession = accepted(&short, &());
    assert_eq!(interrupt.session_id.0.as_str(), SESSION);
    let delete: DeleteSession = accepted(&short, &());
    assert_eq!(delete.session_id.0.as_str(), SESSION);
}

#[test]
fn a_session_id_must_be_one() {
    fn assert_checked<T: Input<Rules = ()>>(field: &str) {
        for (value, message) in [
            (json!("agent_x"), NOT_A_SESSION),
            (json!(""), NOT_A_SESSION),
            (json!(5), "must be a string"),
            (Value::Null, "must be a string"),
            (json!([SESSION]), "must be a string"),
        ] {
            let issues = refused::<T>(&json!({ field: value, "messageId": MESSAGE }), &());
            assert_eq!(issues, [format!("{field}: {message}")]);
        }
        let issues = refused::<T>(&json!({}), &());
        assert_eq!(issues, [format!("{field}: is required")]);
    }
    assert_checked::<GetSession>("cloudAgentSessionId");
    assert_checked::<GetMessageResult>("cloudAgentSessionId");
    assert_checked::<InterruptSession>("sessionId");
    assert_checked::<DeleteSession>("sessionId");
}

#[test]
fn an_input_is_an_object() {
    for text in [
        None,
        Some("null"),
        Some("5"),
        Some("\"x\""),
        Some("[]"),
        Some("true"),
    ] {
        let issues = decode::<GetSession>(text, &()).unwrap_err();
        assert_eq!(said(&issues), [": must be an object"], "{text:?}");
    }
    let array = format!("[\"{SESSION}\"]");
    let issues = decode::<GetSession>(Some(&array), &()).unwrap_err();
    assert_eq!(said(&issues), [": must be an object"]);
}

#[test]
fn text_that_is_not_json_is_refused_with_its_place() {
    let good = format!(r#"{{"cloudAgentSessionId":"{SESSION}"}}"#);
    assert!(decode::<GetSession>(Some(&format!(" {good}\n")), &()).is_ok());
    for text in [
        "",
        "{",
        "{\"canary",
        &format!("{good}canary"),
        "{\"canary\": canary}",
        "canary",
    ] {
        let issues = decode::<GetSession>(Some(text), &()).unwrap_err();
        let said = said(&issues).concat();
        assert!(
            said.starts_with(": is not valid JSON (line 1, column "),
            "{said}"
        );
        assert!(!said.contains("canary"));
    }
}

#[test]
fn nesting_of_any_depth_is_read_without_recursion() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let extra = format!(r#"{{"cloudAgentSessionId":"{SESSION}","x":{deep}}}"#);
    assert!(decode::<GetSession>(Some(&extra), &()).is_ok());
    let field = format!(r#"{{"cloudAgentSessionId":{deep}}}"#);
    let issues = decode::<GetSession>(Some(&field), &()).unwrap_err();
    assert_eq!(said(&issues), ["cloudAgentSessionId: must be a string"]);
}

#[test]
fn a_message_id_must_be_one() {
    let base = json!({"cloudAgentSessionId": SESSION, "messageId": MESSAGE});
    let expected = "messageId: messageId must match msg_ followed by 12 lowercase hex characters and 14 base62 characters";
    assert_refused::<GetMessageResult>(
        &base,
        &(),
        &[
            (json!({"messageId": "msg_x"}), expected),
            (json!({"messageId": null}), "messageId: must be a string"),
            (json!({"messageId": "-"}), "messageId: is required"),
        ],
    );
}

#[test]
fn strict_inputs_have_no_other_keys() {
    let base = json!({"cloudAgentSessionId": SESSION});
    let extra = json!({"canary": 1});
    assert_refused::<InitiateSession>(
        &base,
        &(),
        &[(
            extra.clone(),
            ": must have no other keys; expected `cloudAgentSessionId`",
        )],
    );
    assert_refused::<GetMessageResult>(
        &base,
        &(),
        &[(
            extra.clone(),
            ": must have no other keys; expected `cloudAgentSessionId` or `messageId`",
        )],
    );
    assert_refused::<UpdateSession>(
        &base,
        &AllowedHosts::default(),
        &[(
            extra,
            ": must have no other keys; expected one of `cloudAgentSessionId`, `callbackTarget`, `gitToken`",
        )],
    );
}

#[test]
fn a_doubled_key_is_refused() {
    let text = format!(r#"{{"sessionId":"{SESSION}","sessionId":"{SESSION}"}}"#);
    let issues = decode::<DeleteSession>(Some(&text), &()).unwrap_err();
    assert_eq!(said(&issues), ["sessionId: must not be given twice"]);
}

fn updated(changes: &Value) -> UpdateSession {
    let base = json!({"cloudAgentSessionId": SESSION});
    accepted(&super::with(&base, changes), &AllowedHosts::default())
}

#[test]
fn an_update_keeps_clears_or_sets_the_callback() {
    assert!(matches!(updated(&json!({})).callback, CallbackChange::Keep));
    let cleared = updated(&json!({"callbackTarget": null}));
    assert!(matches!(cleared.callback, CallbackChange::Clear));
    let set = updated(&json!({
        "callbackTarget": {"url": "https://example.com/done?x=1", "headers": {"X-Key": "s3cret"}}
    }));
    let CallbackChange::Set(target) = set.callback else {
        panic!("must be set");
    };
    assert_eq!(target.url.as_str(), "https://example.com/done?x=1");
    assert_eq!(target.headers["X-Key"].expose(), "s3cret");
}

#[test]
fn an_update_may_bring_a_token_and_an_empty_one_is_none() {
    let token = |changes: Value| updated(&changes).git_token;
    assert_eq!(token(json!({"gitToken": "t"})).unwrap().expose(), "t");
    assert!(token(json!({"gitToken": ""})).is_none());
    assert!(token(json!({})).is_none());
}

#[test]
fn a_callback_is_checked_in_every_part() {
    let headers = |headers: Value| json!({"callbackTarget": {"url": "https://example.com/", "headers": headers}});
    let many = |count: usize| {
        let entries = (0..count).map(|index| (format!("x-{index}"), json!("")));
        headers(Value::Object(entries.collect()))
    };
    let base = json!({"cloudAgentSessionId": SESSION});
    let hosts = AllowedHosts::default();
    assert_refused::<UpdateSession>(
        &base,
        &hosts,
        &[
            (
                json!({"callbackTarget": {}}),
                "callbackTarget.url: is required",
            ),
            (
                json!({"callbackTarget": []}),
                "callbackTarget: must be an object",
            ),
            (
                json!({"callbackTarget": {"url": 1}}),
                "callbackTarget.url: must be a string",
            ),
            (
                json!({"callbackTarget": {"url": "http://example.com/"}}),
                "callbackTarget.url: must start with https://",
            ),
            (
                headers(json!([])),
                "callbackTarget.headers: must be an object",
            ),
            (
                headers(json!({"a": "b", "c": 1})),
                "callbackTarget.headers: entry 2: must be a string",
            ),
            (
                headers(json!({"Host": "internal"})),
                "callbackTarget.headers: entry 1: its name must not be a header of the connection",
            ),
            (
                headers(json!({"a b": "c"})),
                "callbackTarget.headers: entry 1: its name must be the name of an HTTP header",
            ),
            (
                headers(json!({"": "c"})),
                "callbackTarget.headers: entry 1: its name must be the name of an HTTP header",
            ),
            (
                headers(json!({"a": "b\r\nc: d"})),
                "callbackTarget.headers: entry 1: must be printable ASCII",
            ),
            (
                headers(json!({"a": "b".repeat(4097)})),
                "callbackTarget.headers: entry 1: must have at most 4096 characters",
            ),
            (
                headers(json!({"a".repeat(129): "b"})),
                "callbackTarget.headers: entry 1: must have at most 128 characters in its name",
            ),
            (
                many(51),
                "callbackTarget.headers: must have at most 50 entries",
            ),
        ],
    );
    super::assert_accepted::<UpdateSession>(
        &base,
        &hosts,
        &[
            many(50),
            headers(json!({"a": "b".repeat(4096)})),
            headers(json!({"a".repeat(128): "b\tc"})),
        ],
    );
}
