//! What those who follow a session are told beside the stored events: while things go on, and when they connect.

use cloud_agent_session::session::deadline::DeadlineKind;
use cloud_agent_session::session::engine::{self, Store};
use cloud_agent_session::session::event::{self, EventDraft};
use cloud_agent_session::session::message::MessageRecord;
use cloud_agent_session::session::step::Draft;
use cloud_agent_session::session::view::Head;
use cloud_agent_session::session::volatile;
use cloud_agent_session::stream::snapshot::{Sources, still_relevant};
use cloud_agent_wire::{FailureCode, FailureSubtype, PrepareStep, RuntimeEvent};
use serde_json::{Value, json};

use crate::harness::delivering::{
    Delivering, complete, disk, error, failure, line, ready, setup_failure,
};
use crate::harness::fixtures::{SETTINGS, START, message_id, prompt};

fn preparing(step: PrepareStep, percent: Option<u8>) -> RuntimeEvent {
    RuntimeEvent::Preparing { step, percent }
}

fn output(digit: char, text: &str) -> RuntimeEvent {
    RuntimeEvent::Output {
        message_id: message_id(digit),
        text: text.to_owned(),
    }
}

fn handed_over(messages: &[char]) -> Delivering {
    let delivering = Delivering::new(messages);
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    delivering.session.store.take_told();
    delivering
}

fn shown(events: Vec<EventDraft>) -> Vec<(&'static str, Value)> {
    let shown = events.into_iter().map(|event| {
        let payload = serde_json::from_str(&event.payload).expect("payloads are JSON");
        (event.kind, payload)
    });
    shown.collect()
}

fn told(delivering: &Delivering) -> Vec<(&'static str, Value)> {
    shown(delivering.session.store.take_told())
}

/// What a client that connects now is told.
fn snapshot(delivering: &Delivering) -> Vec<(&'static str, Value)> {
    let store = &delivering.session.store;
    let now = delivering.session.now();
    let view = store.delivery_view(now).unwrap().unwrap();
    let tables = store.tables();
    let newest_first = tables.messages.iter().rev().map(|(position, row)| {
        let intent = serde_json::from_str(&row.intent).unwrap();
        MessageRecord {
            position: cloud_agent_session::session::message::QueuePosition(*position),
            intent,
            created_at: row.created_at,
            callback: None,
            state: row.state(),
        }
    });
    let sources = Sources {
        record: view.record,
        link: view.link,
        open: store.open_messages().unwrap(),
        never_started: still_relevant(newest_first),
        latest_event_id: tables.last_event_id,
    };
    shown(sources.events(now))
}

fn kinds(events: &[(&'static str, Value)]) -> Vec<&'static str> {
    events.iter().map(|(kind, _)| *kind).collect()
}

#[test]
fn preparation_is_told_and_not_stored_and_only_a_new_step_changes_the_status() {
    let delivering = handed_over(&['a']);
    let stored = delivering.kinds();
    delivering.happen([preparing(PrepareStep::Clone, Some(10))]);
    let status =
        json!({"type": "preparing", "step": "cloning", "message": "Cloning the repository"});
    assert_eq!(
        told(&delivering),
        [
            (
                "preparing",
                json!({"step": "cloning", "message": "Cloning the repository", "percent": 10})
            ),
            ("cloud.status", json!({"cloudStatus": status})),
        ]
    );
    delivering.happen([preparing(PrepareStep::Clone, Some(20))]);
    assert_eq!(kinds(&told(&delivering)), ["preparing"]);
    delivering.happen([preparing(PrepareStep::Setup, None)]);
    assert_eq!(kinds(&told(&delivering)), ["preparing", "cloud.status"]);
    assert_eq!(delivering.kinds(), stored);
    delivering.happen([ready('a', 1)]);
    let ready = told(&delivering);
    assert_eq!(ready[0].1["step"], "ready");
    assert_eq!(ready[1].1, json!({"cloudStatus": {"type": "ready"}}));
}

#[test]
fn output_is_told_and_not_stored_while_the_cursor_moves_on() {
    let delivering = handed_over(&['a']);
    delivering.happen([ready('a', 1)]);
    let stored = delivering.kinds();
    told(&delivering);
    delivering.happen([output('a', "line \"1\"")]);
    let data = json!({"messageId": message_id('a'), "content": "line \"1\"", "source": "stdout"});
    assert_eq!(told(&delivering), [("output", data)]);
    assert_eq!(delivering.kinds(), stored);
    // What was read before is not told again.
    delivering.read(&disk(1), &[(2, output('a', "line \"1\""))]);
    assert_eq!(told(&delivering), []);
}

#[test]
fn a_line_of_output_tells_how_many_before_it_were_left_out() {
    let mut line = volatile::output("{}", &message_id('a'), START);
    volatile::tell_skipped(&mut line, 3);
    let data = json!({
        "messageId": message_id('a'),
        "content": "{}",
        "source": "stdout",
        "skippedLines": 3,
    });
    assert_eq!(shown(vec![line]), [(volatile::OUTPUT, data)]);
}

#[test]
fn committing_is_a_status_of_its_own() {
    let delivering = handed_over(&['a']);
    delivering.happen([ready('a', 1)]);
    told(&delivering);
    let message_id = message_id('a');
    delivering.happen([RuntimeEvent::AutocommitStarted {
        message_id: message_id.clone(),
    }]);
    assert_eq!(
        told(&delivering)[0].1["cloudStatus"]["type"],
        json!("finalizing")
    );
    delivering.happen([RuntimeEvent::AutocommitCompleted {
        message_id,
        commit: None,
        pushed: false,
    }]);
    assert_eq!(told(&delivering)[0].1["cloudStatus"]["type"], "ready");
}

#[test]
fn a_message_that_cannot_start_leaves_an_error_status() {
    let delivering = handed_over(&['a']);
    delivering.happen([preparing(PrepareStep::Checkout, None)]);
    told(&delivering);
    let missing = setup_failure(FailureSubtype::GitBranchMissing);
    delivering.happen([error('a', 1, missing)]);
    let status = json!({"type": "error", "message": "The branch does not exist"});
    let told = told(&delivering);
    assert_eq!(told[0].1["step"], "failed");
    assert_eq!(told[1], ("cloud.status", json!({"cloudStatus": status})));
}

#[test]
fn a_failure_after_the_start_is_no_failure_of_the_workspace() {
    let delivering = Delivering::accepted(&['a']);
    told(&delivering);
    delivering.happen([error('a', 1, failure(FailureCode::AssistantError, None))]);
    assert_eq!(told(&delivering), []);
}

#[test]
fn a_client_that_connects_learns_what_waits_and_how_far_the_preparation_is() {
    let delivering = Delivering::new(&['a', 'b']);
    let before = snapshot(&delivering);
    assert_eq!(
        kinds(&before),
        ["connected", "cloud.message.queued", "cloud.message.queued"]
    );
    assert_eq!(before[0].1["cloudStatus"], json!({"type": "preparing"}));
    assert_eq!(before[0].1["latestEventId"], 2);
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    delivering.happen([preparing(PrepareStep::Clone, Some(7))]);
    let during = snapshot(&delivering);
    assert_eq!(
        kinds(&during),
        [
            "connected",
            "preparing",
            "cloud.status",
            "cloud.message.queued",
            "cloud.message.queued"
        ]
    );
    assert_eq!(during[0].1["cloudStatus"]["step"], "cloning");
    assert_eq!(during[1].1["percent"], 7);
    delivering.happen([ready('a', 1)]);
    let after = snapshot(&delivering);
    assert_eq!(kinds(&after), ["connected", "cloud.message.queued"]);
    assert_eq!(after[0].1["cloudStatus"], json!({"type": "ready"}));
    assert_eq!(after[1].1["messageId"], json!(message_id('b')));
}

#[test]
fn a_message_that_never_started_is_shown_until_a_later_one_has() {
    let delivering = Delivering::new(&['a', 'b']);
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    let missing = setup_failure(FailureSubtype::GitBranchMissing);
    delivering.happen([error('a', 1, missing)]);
    let shown = snapshot(&delivering);
    assert_eq!(
        kinds(&shown),
        [
            "cloud.message.queued",
            "cloud.message.failed",
            "connected",
            "cloud.message.queued"
        ]
    );
    assert_eq!(shown[1].1["messageId"], json!(message_id('a')));
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    delivering.happen([ready('b', 1), complete('b', 1)]);
    assert_eq!(kinds(&snapshot(&delivering)), ["connected"]);
    delivering
        .session
        .send(prompt('c'))
        .expect("it is admitted");
    let now = delivering.session.now();
    engine::interrupt(&delivering.session.store, now, &SETTINGS).unwrap();
    let shown = snapshot(&delivering);
    assert_eq!(
        kinds(&shown),
        ["cloud.message.queued", "cloud.message.failed", "connected"]
    );
    assert_eq!(shown[1].1["status"], "interrupted");
}

#[test]
fn followers_are_told_when_something_was_stored_or_is_shown_to_them_only() {
    let delivering = Delivering::accepted(&['a']);
    let store = &delivering.session.store;
    let decide = |told: Option<EventDraft>| {
        let mut draft = Draft::new(store.deadlines().unwrap());
        draft.tell(told);
        engine::perform(store, draft.finish(())).unwrap();
    };
    let before = store.tellings();
    decide(None);
    assert_eq!(store.tellings(), before);
    let sent = event::sent(&message_id('a'), delivering.session.now());
    decide(Some(sent));
    assert_eq!(store.tellings(), before + 1);
    delivering.happen([line('a', 1)]);
    assert_eq!(store.tellings(), before + 2);
}

#[test]
fn a_preparation_that_is_over_is_forgotten() {
    let delivering = handed_over(&['a']);
    delivering.happen([preparing(PrepareStep::Clone, None)]);
    let now = delivering.session.now();
    engine::interrupt(&delivering.session.store, now, &SETTINGS).unwrap();
    let view = delivering.session.store.delivery_view(now).unwrap();
    assert_eq!(view.unwrap().link.preparing, None);
    let open = delivering.session.store.open_messages().unwrap();
    assert!(!open.iter().any(|head| matches!(head, Head::Message(_))));
}

#[test]
fn the_alarm_takes_up_what_followers_have_not_had() {
    let delivering = Delivering::accepted(&['a']);
    let now = delivering.session.now();
    delivering.session.store.tamper(|tables| {
        tables.deadlines.insert(DeadlineKind::Replay.as_str(), now);
    });
    delivering.ring();
    delivering.session.chores();
    assert_eq!(delivering.deadline(DeadlineKind::Replay.as_str()), None);
}
