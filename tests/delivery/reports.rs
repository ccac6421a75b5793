//! What a report of a batch says, and where it may go.

use cloud_agent_session::callback_request::StoredTarget;
use cloud_agent_session::projection::MessageFacts;
use cloud_agent_session::session::message::MessageState;
use cloud_agent_wire::{AllowedHosts, GateResult, RuntimeEvent, Secret, Submission};
use serde_json::{Value, json};

use crate::harness::delivering::{Delivering, ready};
use crate::harness::fixtures::{CANARY, callback_target, message_id};

/// The request of an attempt, under a signing secret.
fn request(delivering: &Delivering, digit: char, secret: Option<&str>) -> (String, Vec<String>) {
    let session = &delivering.session;
    let facts = MessageFacts {
        message_id: message_id(digit),
        created_at: session.now(),
        state: delivering.state(digit),
        answer: Some("It is done.".to_owned()),
    };
    let secret = secret.map(|text| Secret::new(text.to_owned()));
    let opened = callback_target("hooks.example.com");
    let target = StoredTarget::from_opened(&opened).unwrap();
    let record = session.record().unwrap();
    let request = target
        .request(&record, &facts, &AllowedHosts::default(), secret.as_ref())
        .unwrap();
    assert!(!request.body.contains(CANARY));
    assert!(!format!("{:?}", request.headers).contains(CANARY));
    let headers = request.exposed_headers();
    let headers = headers.map(|(name, value)| format!("{name}: {value}"));
    let headers = headers.collect();
    (request.body, headers)
}

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[test]
fn a_report_says_what_became_of_the_message() {
    let delivering = Delivering::with_callback(&['a', 'b']);
    delivering.hand_over(&delivering.claim());
    let info = json!({"id": "m", "role": "assistant"});
    let line = json!({"event": "message.updated", "properties": {"info": info}});
    delivering.happen([
        ready('a', 1),
        RuntimeEvent::Kilocode {
            message_id: message_id('a'),
            json: line.to_string(),
        },
        RuntimeEvent::Complete {
            message_id: message_id('a'),
            submission: Submission::new(1),
            branch: Some("main".to_owned()),
            gate_result: Some(GateResult::Pass),
        },
    ]);
    let MessageState::Completed { terminal_at, .. } = delivering.state('a') else {
        panic!("it did not complete");
    };
    let record = delivering.session.record().unwrap();
    let (body, headers) = request(&delivering, 'a', None);
    assert_eq!(
        parsed(&body),
        json!({
            "sessionId": record.session_id,
            "cloudAgentSessionId": record.session_id,
            "executionId": message_id('a'),
            "messageId": message_id('a'),
            "status": "completed",
            "lastSeenBranch": "main",
            "kiloSessionId": "ses_1",
            "gateResult": "pass",
            "lastAssistantMessageText": "It is done.",
            "completionData": {
                "assistantMessageId": "m",
                "gateResult": "pass",
                "lastSeenBranch": "main",
                "completedAt": terminal_at,
                "source": "assistant_message_event",
                "lastAssistantMessageText": "It is done.",
            },
            "idempotencyKey": message_id('a'),
        })
    );
    assert_eq!(
        headers,
        [
            format!("authorization: {CANARY}"),
            "Content-Type: application/json".to_owned()
        ]
    );
    delivering.session.interrupt().unwrap();
    let (body, _) = request(&delivering, 'b', None);
    let body = parsed(&body);
    assert_eq!(body["status"], "interrupted");
    let reason = "Pending queued message interrupted by user";
    assert_eq!(body["errorMessage"], reason);
    assert!(body.get("lastAssistantMessageText").is_none());
    assert!(body.get("completionData").is_none());
}

#[test]
fn a_report_is_signed_over_its_body() {
    use hmac::{Hmac, Mac};
    let delivering = Delivering::with_callback(&['a']);
    delivering.run('a');
    let (body, headers) = request(&delivering, 'a', Some("signing secret"));
    let mut hmac = Hmac::<sha2::Sha256>::new_from_slice(b"signing secret").unwrap();
    hmac.update(body.as_bytes());
    let signature = headers.last().unwrap();
    let expected = format!("X-Signature: sha256={:x}", hmac.finalize().into_bytes());
    assert_eq!(*signature, expected);
    assert_ne!(headers, request(&delivering, 'a', Some("another")).1);
}

#[test]
fn an_address_that_is_not_allowed_any_more_is_not_called() {
    let delivering = Delivering::with_callback(&['a']);
    delivering.run('a');
    let facts = MessageFacts {
        message_id: message_id('a'),
        created_at: delivering.session.now(),
        state: delivering.state('a'),
        answer: None,
    };
    let record = delivering.session.record().unwrap();
    for host in ["127.0.0.1:9", "169.254.169.254", "localhost"] {
        let target = StoredTarget::from_opened(&callback_target(host)).unwrap();
        let refused = target.request(&record, &facts, &AllowedHosts::default(), None);
        assert_eq!(refused.err(), Some("address not allowed"), "{host}");
    }
}
