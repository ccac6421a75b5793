use cloud_agent_wire::{Attachments, Finalization, Secret};
use serde_json::{Value, json};

use super::{
    MESSAGE, SESSION, UUID, accepted, assert_accepted, assert_refused, refused, said, with,
};
use crate::session::command::TurnContent;
use crate::trpc::input::{SendMessage, check_git_token, decode};

fn flat() -> Value {
    json!({
        "cloudAgentSessionId": SESSION,
        "prompt": "Fix the test",
        "mode": "code",
        "model": "anthropic/claude-sonnet-4.5",
    })
}

fn payload(payload: &Value) -> Value {
    json!({"cloudAgentSessionId": SESSION, "payload": payload})
}

fn prompt_of(message: &SendMessage) -> (&str, Option<&Attachments>) {
    match &message.turn {
        TurnContent::Prompt {
            prompt,
            attachments,
        } => (prompt, attachments.as_ref()),
        TurnContent::Command { .. } => panic!("must be a prompt"),
    }
}

#[test]
fn half_of_a_character_is_no_text() {
    let whole = flat().to_string();
    let cut = whole.replace("Fix the test", r"Fix \ud83d");
    assert_ne!(cut, whole);
    let issues = decode::<SendMessage>(Some(&cut), &()).unwrap_err();
    assert!(said(&issues)[0].starts_with(": is not valid JSON"));
}

#[test]
fn the_flat_form_is_read_whole() {
    let message: SendMessage = accepted(
        &with(
            &flat(),
            &json!({
                "messageId": MESSAGE,
                "variant": "high",
                "autoCommit": true,
                "condenseOnComplete": false,
                "gitToken": "glpat-1",
                "githubToken": {"ignored": 1},
                "unknown": [1],
            }),
        ),
        &(),
    );
    assert_eq!(message.session_id.as_str(), SESSION);
    assert_eq!(message.message_id.as_ref().unwrap().as_str(), MESSAGE);
    assert_eq!(prompt_of(&message), ("Fix the test", None));
    let agent = message.agent.clone().unwrap();
    assert_eq!(agent.mode.as_str(), "code");
    assert_eq!(agent.model.as_str(), "anthropic/claude-sonnet-4.5");
    assert_eq!(agent.variant.unwrap().as_str(), "high");
    assert_eq!(
        message.finalization,
        Finalization {
            auto_commit: Some(true),
            condense_on_complete: Some(false),
        }
    );
    assert_eq!(message.git_token.unwrap().expose(), "glpat-1");
}

#[test]
fn absent_fields_stay_absent() {
    let message: SendMessage = accepted(&with(&flat(), &json!({"messageId": null})), &());
    assert!(message.message_id.is_none());
    assert!(message.git_token.is_none());
    assert!(message.agent.unwrap().variant.is_none());
    assert_eq!(message.finalization, Finalization::default());
    let empty: SendMessage = accepted(&with(&flat(), &json!({"gitToken": ""})), &());
    assert!(empty.git_token.is_none());
}

#[test]
fn a_prompt_payload_is_the_same_as_the_flat_form() {
    let message: SendMessage = accepted(
        &payload(&json!({"type": "prompt", "prompt": "Go", "mode": "ask", "model": "m"})),
        &(),
    );
    assert_eq!(prompt_of(&message), ("Go", None));
    assert_eq!(message.agent.unwrap().mode.as_str(), "ask");
}

#[test]
fn a_command_payload_names_no_agent() {
    for (arguments, expected) in [
        (json!({}), ""),
        (json!({"arguments": " $1  $ARGUMENTS "}), " $1  $ARGUMENTS "),
    ] {
        let command = with(&json!({"type": "command", "command": "review"}), &arguments);
        let message: SendMessage = accepted(&payload(&command), &());
        assert_eq!(
            message.turn,
            TurnContent::Command {
                command: "review".to_owned(),
                arguments: expected.to_owned(),
            }
        );
        assert!(message.agent.is_none());
    }
}

#[test]
fn a_complete_flat_form_wins_over_a_payload_of_any_kind() {
    for ignored in [json!(5), json!({"type": "command", "command": "x"})] {
        let both = with(&flat(), &json!({"payload": ignored}));
        let message: SendMessage = accepted(&both, &());
        assert_eq!(prompt_of(&message).0, "Fix the test");
    }
    let incomplete = json!({"mode": "-", "payload": {"type": "command", "command": "x"}});
    let message: SendMessage = accepted(&with(&flat(), &incomplete), &());
    assert!(matches!(message.turn, TurnContent::Command { .. }));
}

#[test]
fn what_a_form_lacks_is_named() {
    let bare = json!({"cloudAgentSessionId": SESSION});
    assert_eq!(
        refused::<SendMessage>(&bare, &()),
        [
            "prompt: is required",
            "mode: is required",
            "model: is required"
        ]
    );
    assert_refused::<SendMessage>(
        &flat(),
        &(),
        &[
            (
                json!({"cloudAgentSessionId": "-"}),
                "cloudAgentSessionId: is required",
            ),
            (json!({"prompt": "-"}), "prompt: is required"),
            (json!({"mode": "-"}), "mode: is required"),
            (json!({"model": "-"}), "model: is required"),
        ],
    );
    for (part, expected) in [
        (json!({}), "payload.type: is required"),
        (
            json!({"type": "x"}),
            "payload.type: must be one of prompt, command",
        ),
        (
            json!({"type": {"prompt": null}}),
            "payload.type: must be a string",
        ),
        (json!([]), "payload: must be an object"),
        (json!(null), "payload: must be an object"),
        (json!({"type": "command"}), "payload.command: is required"),
        (
            json!({"type": "command", "command": ""}),
            "payload.command: must not be empty",
        ),
        (
            json!({"type": "command", "command": "x", "arguments": 1}),
            "payload.arguments: must be a string",
        ),
        (
            json!({"type": "prompt", "mode": "code", "model": "m"}),
            "payload.prompt: is required",
        ),
        (
            json!({"type": "prompt", "prompt": " ", "mode": "code", "model": "m"}),
            "payload.prompt: No prompt provided",
        ),
        (
            json!({"type": "prompt", "prompt": "x", "mode": "custom", "model": "m"}),
            "payload.mode: custom can only be chosen when a session is prepared",
        ),
    ] {
        assert_eq!(
            refused::<SendMessage>(&payload(&part), &()),
            [expected],
            "{part}"
        );
    }
}

#[test]
fn fields_are_checked_at_their_edges() {
    let format = "mode: must be lowercase letters, digits and dashes, and start with a letter";
    let model = "model: must be letters, digits, dots, underscores, dashes, slashes and colons";
    assert_accepted::<SendMessage>(
        &flat(),
        &(),
        &[
            json!({"prompt": "x".repeat(100_000)}),
            json!({"prompt": "é".repeat(100_000)}),
            json!({"prompt": "𝄞".repeat(50_000)}),
            json!({"mode": "a".repeat(100)}),
            json!({"model": "m".repeat(255)}),
            json!({"model": "a-Z.0_9/x:free"}),
            json!({"variant": "v".repeat(50)}),
        ],
    );
    assert_refused::<SendMessage>(
        &flat(),
        &(),
        &[
            (
                json!({"prompt": "x".repeat(100_001)}),
                "prompt: must have at most 100000 characters",
            ),
            (
                json!({"prompt": format!("{}x", "𝄞".repeat(50_000))}),
                "prompt: must have at most 100000 characters",
            ),
            (
                json!({"mode": "a".repeat(101)}),
                "mode: must have at most 100 characters",
            ),
            (json!({"mode": ""}), "mode: must not be empty"),
            (json!({"mode": "Code"}), format),
            (json!({"mode": "1a"}), format),
            (json!({"mode": "a b"}), format),
            (
                json!({"mode": "custom"}),
                "mode: custom can only be chosen when a session is prepared",
            ),
            (
                json!({"model": "m".repeat(256)}),
                "model: must have at most 255 characters",
            ),
            (json!({"model": ""}), "model: must not be empty"),
            (json!({"model": "a b"}), model),
            (json!({"model": "é"}), model),
            (
                json!({"variant": "v".repeat(51)}),
                "variant: must have at most 50 characters",
            ),
            (json!({"variant": "v1"}), "variant: must be letters"),
            (json!({"variant": ""}), "variant: must not be empty"),
            (
                json!({"autoCommit": "true"}),
                "autoCommit: must be a boolean",
            ),
            (json!({"autoCommit": null}), "autoCommit: must be a boolean"),
            (json!({"gitToken": 5}), "gitToken: must be a string"),
            (
                json!({"messageId": "msg_"}),
                "messageId: messageId must match msg_ followed by 12 lowercase hex characters and 14 base62 characters",
            ),
        ],
    );
}

#[test]
fn a_blank_prompt_needs_attachments() {
    let files = json!({"path": UUID, "files": [format!("{UUID}.pdf")]});
    for prompt in ["", " \n\t "] {
        let blank = with(&flat(), &json!({"prompt": prompt}));
        assert_eq!(
            refused::<SendMessage>(&blank, &()),
            ["prompt: No prompt provided"]
        );
        let message: SendMessage = accepted(&with(&blank, &json!({"attachments": files})), &());
        assert_eq!(prompt_of(&message).0, prompt);
    }
}

#[test]
fn attachments_keep_their_order_and_images_become_attachments() {
    let files = vec![
        format!("{UUID}.png"),
        format!("{UUID}.JPG"),
        format!("{UUID}.gif"),
    ];
    let given = json!({"path": UUID, "files": files});
    let message: SendMessage = accepted(&with(&flat(), &json!({"attachments": given})), &());
    let expected = Attachments {
        path: UUID.to_owned(),
        files: files.clone(),
    };
    assert_eq!(prompt_of(&message).1, Some(&expected));

    let images = json!({"path": UUID, "files": [files[0], files[2]]});
    let message: SendMessage = accepted(&with(&flat(), &json!({"images": images})), &());
    assert_eq!(
        prompt_of(&message).1.unwrap().files,
        [files[0].clone(), files[2].clone()]
    );
}

#[test]
fn attachments_are_checked_in_every_part() {
    let files = |files: Value| json!({"attachments": {"path": UUID, "files": files}});
    let images = |files: Value| json!({"images": {"path": UUID, "files": files}});
    let good = json!([format!("{UUID}.png")]);
    let many = |count| json!(vec![format!("{UUID}.png"); count]);
    let name = "must be a UUID and an extension of letters and digits";
    let first = format!("attachments.files.0: {name}");
    let second = format!("attachments.files.1: {name}");
    assert_accepted::<SendMessage>(
        &flat(),
        &(),
        &[
            files(many(5)),
            files(json!([format!("{UUID}.{}", "a".repeat(91))])),
        ],
    );
    assert_refused::<SendMessage>(
        &flat(),
        &(),
        &[
            (
                files(many(6)),
                "attachments.files: must have at most 5 entries",
            ),
            (files(json!([])), "attachments.files: must not be empty"),
            (images(json!([])), "images.files: must not be empty"),
            (files(json!(["a.png"])), &first),
            (
                files(json!([format!("{UUID}.png"), format!("{UUID}.")])),
                &second,
            ),
            (files(json!([format!("{UUID}.tar.gz")])), &first),
            (files(json!([format!("../{UUID}.png")])), &first),
            (files(json!([format!("{UUID}.{}", "a".repeat(92))])), &first),
            (files(json!([1])), "attachments.files.0: must be a string"),
            (files(json!("x")), "attachments.files: must be an array"),
            (
                json!({"attachments": [UUID, good]}),
                "attachments: must be an object",
            ),
            (
                json!({"attachments": {"files": good}}),
                "attachments.path: is required",
            ),
            (
                json!({"attachments": {"path": "..", "files": good}}),
                "attachments.path: must be a UUID",
            ),
            (
                images(json!([format!("{UUID}.pdf")])),
                "images.files.0: must be a UUID and one of the extensions png, jpg, jpeg, webp and gif",
            ),
            (
                json!({
                    "attachments": {"path": UUID, "files": good},
                    "images": {"path": UUID, "files": good},
                }),
                "attachments: attachments and images cannot be given together",
            ),
            (
                json!({
                    "prompt": "-",
                    "payload": {"type": "command", "command": "x"},
                    "attachments": {"path": UUID, "files": good},
                }),
                "attachments: Attachments cannot be attached to slash commands",
            ),
        ],
    );
}

#[test]
fn a_git_token_is_checked_where_it_is_used() {
    let any: SendMessage = accepted(&with(&flat(), &json!({"gitToken": "a b\n"})), &());
    let check = |text: &str| check_git_token(&Secret::new(text.to_owned()));
    let refusal = |text: &str| super::said(&[check(text).unwrap_err()]).concat();
    let format = "gitToken: must be 1 to 4096 printable ASCII characters without spaces";
    assert_eq!(
        super::said(&[check_git_token(&any.git_token.unwrap()).unwrap_err()]),
        [format]
    );
    for text in ["a", "!~", &"a".repeat(4096)] {
        assert!(check(text).is_ok());
    }
    for text in [" ", "a\u{7f}", "é", "a\0", "a\tb"] {
        assert_eq!(refusal(text), format);
    }
    assert_eq!(refusal(""), format);
    assert_eq!(refusal(&"a".repeat(4097)), format);
}
