//! Callbacks: one report for each batch of messages, to the target of their admission, by the table of retries.

use cloud_agent_session::callback_request::StoredTarget;
use cloud_agent_session::projection::MessageFacts;
use cloud_agent_session::session::callback::{
    ANSWER_MILLIS_MAX, Answer, Attempt, CallbackState, RETRY_DELAYS_SECONDS,
};
use cloud_agent_session::session::message::MessageState;
use cloud_agent_session::session::sealing::{Sealed, SecretKind};
use cloud_agent_wire::{AllowedHosts, GateResult, RuntimeEvent, Secret, Submission};
use serde_json::{Value, json};

use crate::harness::delivering::{Delivering, complete, ready};
use crate::harness::fixtures::{CANARY, callback_target, message_id, prompt};
use crate::harness::session::Session;

/// A session with a callback and these messages, when the first is to be delivered.
fn with_callback(messages: &[char]) -> Delivering {
    let session = Session::with_callback(Some("1"));
    for digit in messages {
        session.send(prompt(*digit)).unwrap();
    }
    session.pass_millis(1_000);
    Delivering::of_session(session)
}

/// Delivers the head and lets it complete.
fn run(delivering: &Delivering, digit: char) {
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    delivering.happen([ready(digit, 1), complete(digit, 1)]);
}

#[track_caller]
fn due(delivering: &Delivering) -> Attempt {
    delivering.session.chores().expect("a callback is due")
}

/// The host of an attempt's target.
fn target(delivering: &Delivering, attempt: &Attempt) -> StoredTarget {
    let session = &delivering.session;
    let tables = session.store.tables();
    let sealed = Sealed::from_stored(tables.callback_targets[&attempt.target.0].clone());
    let record = session.record().unwrap();
    let opened = session
        .ring
        .open(
            SecretKind::CallbackTarget,
            record.sealing_context(),
            &sealed,
        )
        .unwrap();
    StoredTarget::from_opened(&opened).unwrap()
}

fn state(delivering: &Delivering) -> Option<CallbackState> {
    let tables = delivering.session.store.tables();
    tables
        .callbacks
        .values()
        .next()
        .map(|callback| callback.state)
}

#[test]
fn a_batch_is_reported_once_the_session_is_idle_by_the_message_that_ended_last() {
    let delivering = with_callback(&['a', 'b']);
    run(&delivering, 'a');
    assert_eq!(delivering.session.chores(), None);
    assert_eq!(state(&delivering), Some(CallbackState::Open));
    delivering.session.pass_millis(1_000);
    run(&delivering, 'b');
    delivering.check_alarm();
    delivering.ring();
    let attempt = due(&delivering);
    assert_eq!(attempt.message_id, message_id('b'));
    delivering.check_alarm();
    // One try at a time.
    assert_eq!(delivering.session.chores(), None);
    delivering.session.reported(&attempt, Answer::Status(204));
    assert_eq!(state(&delivering), None);
    assert!(delivering.session.store.is_at_rest());
    // The next message opens another batch.
    delivering.session.send(prompt('c')).unwrap();
    run(&delivering, 'c');
    assert_eq!(due(&delivering).message_id, message_id('c'));
}

#[test]
fn a_batch_is_reported_although_the_message_that_ended_last_has_no_target() {
    let delivering = with_callback(&['a']);
    delivering.session.replace_callback(None).unwrap();
    delivering.session.send(prompt('b')).unwrap();
    run(&delivering, 'a');
    delivering.ring();
    assert_eq!(delivering.session.chores(), None);
    assert_eq!(delivering.deadline("callback"), None);
    delivering.happen([ready('b', 1), complete('b', 1)]);
    assert_eq!(delivering.deadline("callback"), Some(0));
    delivering.check_alarm();
    delivering.ring();
    assert_eq!(due(&delivering).message_id, message_id('a'));
}

#[test]
fn a_session_without_a_callback_reports_nothing() {
    let delivering = Delivering::new(&['a']);
    run(&delivering, 'a');
    delivering.ring();
    assert_eq!(delivering.session.chores(), None);
    assert!(delivering.session.store.is_at_rest());
}

#[test]
fn tries_follow_the_table_and_then_the_callback_is_given_up() {
    let delivering = with_callback(&['a']);
    run(&delivering, 'a');
    let answers = [
        Answer::None,
        Answer::Status(429),
        Answer::Status(500),
        Answer::Status(599),
        Answer::None,
    ];
    for (failures, answer) in (0..).zip(answers) {
        let attempt = due(&delivering);
        assert_eq!(attempt.failures, failures);
        delivering.session.pass_millis(ANSWER_MILLIS_MAX);
        delivering.session.reported(&attempt, answer);
        delivering.check_alarm();
        let delay = RETRY_DELAYS_SECONDS.get(failures as usize);
        assert_eq!(
            delivering.deadline("callback"),
            delay.map(|seconds| seconds * 1_000)
        );
        if let Some(seconds) = delay {
            delivering.session.pass_millis(seconds * 1_000 - 1);
            assert_eq!(delivering.session.chores(), None);
            delivering.session.pass_millis(1);
        }
    }
    assert_eq!(RETRY_DELAYS_SECONDS, [60, 120, 240, 480]);
    assert_eq!(state(&delivering), None);
    delivering.ring();
    assert!(delivering.session.store.is_at_rest());
}

#[test]
fn other_answers_end_it_at_once() {
    for answer in [
        Answer::Status(301),
        Answer::Status(302),
        Answer::Status(400),
        Answer::Status(410),
        Answer::Refused("address not allowed"),
    ] {
        let delivering = with_callback(&['a']);
        run(&delivering, 'a');
        let attempt = due(&delivering);
        delivering.session.reported(&attempt, answer);
        assert_eq!(state(&delivering), None, "{answer:?}");
        assert_eq!(delivering.deadline("callback"), None);
    }
}

#[test]
fn a_try_that_died_with_its_object_is_made_again_at_once() {
    let delivering = with_callback(&['a']);
    run(&delivering, 'a');
    let lost = due(&delivering);
    delivering.session.store.restart(delivering.session.now());
    delivering.check_alarm();
    let again = due(&delivering);
    assert_eq!((lost.failures, again.failures), (0, 1));
    // What the lost one comes to after all changes nothing.
    delivering.session.reported(&lost, Answer::Status(500));
    assert!(matches!(
        state(&delivering),
        Some(CallbackState::Sending { failures: 1, .. })
    ));
    delivering.session.reported(&again, Answer::Status(200));
    assert_eq!(state(&delivering), None);
}

#[test]
fn a_try_that_never_comes_back_counts_as_failed_and_five_are_the_end() {
    let delivering = with_callback(&['a']);
    run(&delivering, 'a');
    for failures in 0..5 {
        assert_eq!(due(&delivering).failures, failures);
        let until = delivering.deadline("callback").unwrap();
        assert!(until > ANSWER_MILLIS_MAX);
        delivering.session.pass_millis(until);
    }
    assert_eq!(delivering.session.chores(), None);
    assert_eq!(state(&delivering), None);
}

#[test]
fn a_message_is_reported_to_the_target_of_its_admission() {
    let delivering = with_callback(&['a']);
    let other = callback_target("other.example.com");
    delivering.session.replace_callback(Some(&other)).unwrap();
    run(&delivering, 'a');
    let first = due(&delivering);
    let place = target(&delivering, &first).place();
    assert_eq!(place, "https://hooks.example.com/done");
    // The next batch goes elsewhere while the first is still owed.
    delivering.session.reported(&first, Answer::None);
    delivering.session.send(prompt('b')).unwrap();
    delivering.session.replace_callback(None).unwrap();
    run(&delivering, 'b');
    let second = due(&delivering);
    assert_eq!(second.message_id, message_id('b'));
    let place = target(&delivering, &second).place();
    assert_eq!(place, "https://other.example.com/done");
    delivering.session.reported(&second, Answer::Status(200));
    // A message that was admitted without one is not reported.
    delivering.session.send(prompt('c')).unwrap();
    run(&delivering, 'c');
    delivering.ring();
    assert_eq!(delivering.session.chores(), None);
    // Targets that nothing needs any more are gone.
    delivering.session.pass_millis(60_000);
    let again = due(&delivering);
    assert_eq!(again.id, first.id);
    delivering.session.reported(&again, Answer::Status(200));
    assert!(
        delivering
            .session
            .store
            .tables()
            .callback_targets
            .is_empty()
    );
}

#[test]
fn an_interrupt_and_an_unreadable_message_are_reported_as_well() {
    let delivering = with_callback(&['a', 'b']);
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    delivering.session.interrupt().unwrap();
    // The runtime has not answered, and the report does not wait for it.
    delivering.ring();
    assert_eq!(due(&delivering).message_id, message_id('b'));
    let delivering = with_callback(&['a']);
    delivering.session.store.tamper(|tables| {
        let row = tables.messages.values_mut().next().unwrap();
        row.intent = "{".into();
    });
    delivering.ring();
    assert_eq!(due(&delivering).message_id, message_id('a'));
}

#[test]
fn a_deleted_session_reports_nothing_any_more() {
    let delivering = with_callback(&['a']);
    run(&delivering, 'a');
    let attempt = due(&delivering);
    delivering.session.delete().unwrap();
    let before = delivering.session.store.durable();
    delivering.session.reported(&attempt, Answer::Status(500));
    assert_eq!(delivering.session.chores(), None);
    assert_eq!(delivering.session.store.durable(), before);
    let tables = &before.tables;
    assert!(tables.callbacks.is_empty() && tables.callback_targets.is_empty());
}

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
    let delivering = with_callback(&['a', 'b']);
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
    let delivering = with_callback(&['a']);
    run(&delivering, 'a');
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
    let delivering = with_callback(&['a']);
    run(&delivering, 'a');
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
