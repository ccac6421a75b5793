//! What the agent answers: versions of its messages in the log, and the completion that names them.

use cloud_agent_session::projection::{self, MessageFacts};
use cloud_agent_session::session::engine::Store as _;
use cloud_agent_session::session::journal::on_events;
use cloud_agent_session::session::message::MessageState;
use cloud_agent_session::session::step::Write;
use cloud_agent_wire::{FailureCode, GateResult, JournalEvent, RuntimeEvent, SessionId};
use serde_json::{Value, json};

use crate::harness::delivering::{
    Delivering, complete, disk, error, failure, interrupted, line, ready, setup_failure,
};
use crate::harness::fixtures::{SETTINGS, message_id};

fn says(line: &Value) -> RuntimeEvent {
    RuntimeEvent::Kilocode {
        message_id: message_id('a'),
        json: line.to_string(),
    }
}

fn answer(id: &str, parent: &str) -> RuntimeEvent {
    let info = json!({"id": id, "role": "assistant", "parentID": parent});
    says(&json!({"event": "message.updated", "properties": {"info": info}}))
}

fn part(id: &str, text: &str) -> RuntimeEvent {
    let part = json!({"id": id, "messageID": "m", "type": "text", "text": text});
    says(&json!({"event": "message.part.updated", "properties": {"part": part}}))
}

fn delta(id: &str, text: &str) -> RuntimeEvent {
    let delta = json!({"messageID": "m", "partID": id, "field": "text", "delta": text});
    says(&json!({"event": "message.part.delta", "properties": delta}))
}

/// The ids and names of the agent's events, oldest first.
fn log(delivering: &Delivering) -> Vec<(u64, String)> {
    let tables = delivering.session.store.tables();
    let rows = tables
        .events
        .iter()
        .filter(|(_, row)| row.kind == "kilocode");
    rows.map(|(id, row)| (*id, row.entity.as_deref().unwrap_or_default().to_owned()))
        .collect()
}

#[test]
fn a_newer_version_takes_the_place_of_the_older_under_a_new_id() {
    let delivering = Delivering::accepted(&['a']);
    delivering.happen([
        part("p1", "one"),
        line('a', 1),
        part("p2", "two"),
        part("p1", "one and a half"),
    ]);
    let names = |rows: Vec<(u64, String)>| rows.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    let (ids, entities) = names(log(&delivering));
    assert_eq!(ids, [4, 5, 6]);
    assert_eq!(entities, ["", "part/m/p2", "part/m/p1"]);
    let newest = delivering.payloads("kilocode");
    assert_eq!(newest[2]["properties"]["part"]["text"], "one and a half");
    let removed = json!({"messageID": "m", "partID": "p2"});
    let removed = json!({"event": "message.part.removed", "properties": removed});
    delivering.happen([says(&removed)]);
    let (ids, entities) = names(log(&delivering));
    assert_eq!(ids, [4, 6, 7]);
    assert_eq!(entities, ["", "part/m/p1", "part/m/p2"]);
}

#[test]
fn the_pieces_of_a_streamed_part_go_when_its_whole_comes() {
    let delivering = Delivering::accepted(&['a']);
    delivering.happen([
        part("p", ""),
        delta("p", "a"),
        delta("p", "b"),
        delta("p2", "c"),
    ]);
    assert_eq!(log(&delivering).len(), 4);
    delivering.happen([part("p", "ab")]);
    let entities: Vec<_> = log(&delivering).into_iter().map(|(_, name)| name).collect();
    assert_eq!(entities, ["part/m/p2#5", "part/m/p"]);
}

#[test]
fn an_entity_of_the_agents_never_meets_one_of_the_sessions() {
    let delivering = Delivering::accepted(&['a']);
    for id in ["../queued-message/x", "x/y", ""] {
        delivering.happen([answer(id, message_id('a').as_str())]);
    }
    let names: Vec<_> = log(&delivering).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["", "", ""]);
}

#[test]
fn a_completion_names_the_newest_answer_and_the_gate() {
    let delivering = Delivering::accepted(&['a']);
    let turn = message_id('a');
    delivering.happen([
        answer("m1", turn.as_str()),
        answer("m", turn.as_str()),
        answer("of-a-subagent", "another"),
        RuntimeEvent::Complete {
            message_id: turn,
            submission: cloud_agent_wire::Submission::new(1),
            branch: Some("main".to_owned()),
            gate_result: Some(GateResult::Fail),
        },
    ]);
    let now = delivering.session.now();
    assert_eq!(
        delivering.payloads("cloud.message.completed"),
        [json!({
            "messageId": message_id('a'),
            "status": "completed",
            "delivery": "sent",
            "accepted": true,
            "completionSource": "assistant_message_event",
            "assistantMessageId": "m",
            "gateResult": "fail",
            "completionData": {
                "assistantMessageId": "m",
                "gateResult": "fail",
                "lastSeenBranch": "main",
                "completedAt": now,
                "source": "assistant_message_event",
            },
        })]
    );
    let result = result_of(&delivering, Some("text"));
    assert_eq!(
        result["assistant"],
        json!({"messageId": "m", "text": "text"})
    );
    assert_eq!(result["gateResult"], "fail");
}

#[test]
fn a_turn_without_an_answer_completes_for_another_reason() {
    let delivering = Delivering::accepted(&['a']);
    delivering.happen([line('a', 1), complete('a', 1)]);
    let payloads = delivering.payloads("cloud.message.completed");
    assert_eq!(payloads[0]["completionSource"], "idle_reconciliation");
    assert!(payloads[0].get("assistantMessageId").is_none());
    assert!(result_of(&delivering, None).get("assistant").is_none());
}

fn result_of(delivering: &Delivering, answer: Option<&str>) -> Value {
    let session_id: SessionId = delivering.session.record().unwrap().session_id;
    let facts = MessageFacts {
        message_id: message_id('a'),
        created_at: delivering.session.now(),
        state: delivering.state('a'),
        answer: answer.map(str::to_owned),
    };
    serde_json::to_value(projection::message_result(session_id, facts)).unwrap()
}

#[test]
fn results_have_the_fields_of_their_status_and_no_others() {
    let queued = Delivering::new(&['a']);
    let claimed = Delivering::new(&['a']);
    claimed.claim();
    let running = Delivering::accepted(&['a']);
    let completed = Delivering::accepted(&['a']);
    completed.happen([complete('a', 1)]);
    let failed = Delivering::accepted(&['a']);
    failed.happen([error('a', 1, failure(FailureCode::AssistantError, None))]);
    let undelivered = Delivering::new(&['a']);
    undelivered.hand_over(&undelivered.claim());
    let gone = setup_failure(cloud_agent_wire::FailureSubtype::GitBranchMissing);
    undelivered.happen([error('a', 1, gone)]);
    let stopped = Delivering::accepted(&['a']);
    stopped.happen([interrupted('a', 1)]);
    let withdrawn = Delivering::new(&['a']);
    withdrawn.session.interrupt().unwrap();
    for (delivering, status, accepted, source) in [
        (queued, "queued", false, None),
        (claimed, "queued", false, None),
        (running, "running", true, None),
        (completed, "completed", true, Some("idle_reconciliation")),
        (failed, "failed", true, Some("wrapper_failure")),
        (undelivered, "failed", false, Some("delivery_failure")),
        (stopped, "interrupted", true, Some("interrupt")),
        (withdrawn, "interrupted", false, Some("interrupt")),
    ] {
        let result = result_of(&delivering, None);
        let has = |field: &str| result.get(field).is_some();
        assert_eq!(result["status"], status);
        assert_eq!(has("acceptedAt"), accepted, "{result}");
        assert_eq!(has("terminalAt"), source.is_some(), "{result}");
        let given = result.get("completionSource").and_then(Value::as_str);
        assert_eq!(given, source, "{result}");
        let unfinished = matches!(status, "failed" | "interrupted");
        assert_eq!(has("failure"), unfinished, "{result}");
        // The event says the same.
        if unfinished {
            let event = &delivering.payloads("cloud.message.failed")[0];
            assert_eq!(event["failure"], result["failure"]);
            assert_eq!(event["error"], result["failure"]["message"]);
            assert_eq!(event["completionSource"], result["completionSource"]);
        }
        let terminal = matches!(
            delivering.state('a'),
            MessageState::Completed { .. }
                | MessageState::Failed { .. }
                | MessageState::Interrupted { .. }
        );
        assert_eq!(terminal, source.is_some());
    }
}

#[test]
fn the_facts_of_a_failure_are_shown_in_part_and_without_control_characters() {
    let delivering = Delivering::accepted(&['a']);
    let mut failed = failure(FailureCode::AssistantError, None);
    failed.detail = Some(format!("exit\u{7} code\n{}", "1".repeat(600)));
    delivering.happen([error('a', 1, failed)]);
    let event = &delivering.payloads("cloud.message.failed")[0];
    let facts = format!("exit code{}", "1".repeat(503));
    assert_eq!(facts.len(), 512);
    assert_eq!(
        event["failure"]["message"],
        format!("The agent reported an error: {facts}")
    );
}

#[test]
fn activity_is_written_once_for_each_answer() {
    let delivering = Delivering::new(&['a']);
    delivering.hand_over(&delivering.claim());
    delivering.happen([ready('a', 1), answer("m", message_id('a').as_str())]);
    let before = delivering.state('a');
    assert!(matches!(
        &before,
        MessageState::Accepted { active: true, assistant: Some(id), .. } if id == "m"
    ));
    let now = delivering.session.now();
    let view = delivering.session.store.delivery_view(now);
    let view = view.unwrap().unwrap();
    for event in [line('a', 1), answer("m", message_id('a').as_str())] {
        let seq = view.link.cursor.next();
        let event = JournalEvent {
            seq,
            at: now,
            event,
        };
        let decision = on_events(&view, &disk(1), &[event], now, &SETTINGS);
        let mut writes = decision.steps.iter().flat_map(|step| &step.writes);
        assert!(!writes.any(|write| matches!(write, Write::PutMessageState { .. })));
    }
}
