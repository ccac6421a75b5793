//! The runtime's events: each has its effect once, on the delivery that it belongs to.

use cloud_agent_session::session::message::{MessageState, Phase};
use cloud_agent_session::telemetry::LogEvent;
use cloud_agent_wire::{
    FailureCode, FailureStage, FailureSubtype, Generation, RuntimeEvent, TurnState,
};

use crate::harness::delivering::{
    Delivering, complete, disk, error, failure, interrupted, line, ready, setup_failure,
};
use crate::harness::fixtures::message_id;

fn handed_over(messages: &[char]) -> Delivering {
    let delivering = Delivering::new(messages);
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    delivering
}

/// One message, which the runtime was given in vain and which is to be delivered again now.
fn due_again() -> Delivering {
    let delivering = handed_over(&['a']);
    delivering.session.pass_millis(600_000);
    delivering.ring();
    delivering.session.pass_millis(2_000);
    delivering
}

#[test]
fn ready_accepts_and_complete_completes() {
    let delivering = handed_over(&['a']);
    delivering.happen([ready('a', 1)]);
    let MessageState::Accepted {
        generation,
        store_id,
        active,
        ..
    } = delivering.state('a')
    else {
        panic!("it is not accepted");
    };
    assert_eq!(
        (generation, store_id, active),
        (Generation::new(1), disk(1), false)
    );
    assert_eq!(delivering.deadline("claim_lease"), None);
    assert_eq!(delivering.deadline("turn_watch"), Some(330_000));
    delivering.check_alarm();
    let record = delivering.session.record().unwrap();
    assert_eq!(record.prepared_at, Some(delivering.session.now()));
    assert_eq!(record.initiated_at, Some(delivering.session.now()));
    delivering.happen([line('a', 1)]);
    assert!(matches!(
        delivering.state('a'),
        MessageState::Accepted { active: true, .. }
    ));
    delivering.happen([complete('a', 1)]);
    assert_eq!(delivering.phase('a'), Phase::Completed);
    assert_eq!(
        delivering.kinds(),
        [
            "cloud.message.queued",
            "cloud.message.sent",
            "kilocode",
            "cloud.message.completed"
        ]
    );
    let record = delivering.session.record().unwrap();
    assert_eq!(record.upstream_branch.as_deref(), Some("main"));
}

#[test]
fn everything_of_a_turn_may_come_in_one_piece() {
    let delivering = handed_over(&['a']);
    let message_id = message_id('a');
    delivering.happen([
        ready('a', 1),
        line('a', 1),
        RuntimeEvent::AutocommitStarted {
            message_id: message_id.clone(),
        },
        RuntimeEvent::AutocommitCompleted {
            message_id,
            commit: Some("c0ffee".to_owned()),
            pushed: true,
        },
        complete('a', 1),
    ]);
    assert_eq!(delivering.phase('a'), Phase::Completed);
    assert_eq!(
        delivering.kinds(),
        [
            "cloud.message.queued",
            "cloud.message.sent",
            "kilocode",
            "autocommit_started",
            "autocommit_completed",
            "cloud.message.completed"
        ]
    );
}

#[test]
fn repeated_events_have_their_effect_once() {
    let events = [(1, ready('a', 1)), (2, line('a', 1)), (3, line('a', 2))];
    let orders: [&[usize]; 4] = [
        &[0, 1, 2],
        &[0, 0, 1, 1, 2, 2],
        &[0, 1, 0, 1, 2],
        &[0, 1, 2, 1, 0],
    ];
    for order in orders {
        for pieces in [1, 2, order.len()] {
            let delivering = handed_over(&['a']);
            let all: Vec<_> = order.iter().map(|index| events[*index].clone()).collect();
            for piece in all.chunks(all.len().div_ceil(pieces)) {
                delivering.read(&disk(1), piece);
            }
            assert_eq!(
                delivering.kinds(),
                [
                    "cloud.message.queued",
                    "cloud.message.sent",
                    "kilocode",
                    "kilocode"
                ],
                "{order:?} in {pieces} pieces"
            );
            let link = delivering.session.store.tables().runtime.clone();
            assert_eq!(link.unwrap().cursor.get(), 3, "{order:?}");
        }
    }
}

#[test]
fn a_crash_while_events_are_taken_over_repeats_and_loses_nothing() {
    use crate::harness::memory_store::Fault;
    for fault in [Fault::DieBefore(1), Fault::DieAfter(1)] {
        let delivering = handed_over(&['a']);
        let events = [(1, ready('a', 1)), (2, line('a', 1)), (3, line('a', 2))];
        delivering.read(&disk(1), &events[..1]);
        delivering.session.store.plan(Some(fault));
        let read = crate::harness::shell::apply(&delivering.session, |view, now, settings| {
            let events: Vec<_> = events[1..]
                .iter()
                .map(|(seq, event)| cloud_agent_wire::JournalEvent {
                    seq: cloud_agent_wire::EventSequence::new(*seq),
                    at: now,
                    event: event.clone(),
                })
                .collect();
            cloud_agent_session::session::journal::on_events(view, &disk(1), &events, now, settings)
        });
        assert!(read.is_err());
        delivering.session.store.restart(delivering.session.now());
        // The next read begins where the stored cursor says; a runtime may repeat what came before.
        delivering.read(&disk(1), &events);
        let lines = delivering.payloads("kilocode");
        let numbers: Vec<_> = lines.iter().map(|line| line["line"].as_u64()).collect();
        assert_eq!(numbers, [Some(1), Some(2)], "{fault:?}");
    }
}

#[test]
fn events_of_another_disk_are_none_of_ours() {
    let delivering = handed_over(&['a']);
    let before = delivering.session.store.durable();
    delivering.read(&disk(2), &[(1, ready('a', 1)), (2, complete('a', 1))]);
    assert_eq!(delivering.session.store.durable(), before);
}

#[test]
fn the_start_of_an_older_delivery_counts_since_the_agent_is_started_once() {
    let delivering = due_again();
    let claim = delivering.claim();
    assert_eq!(claim.submission.get(), 2);
    // The runtime says that the turn runs under the first delivery.
    delivering.contact(&disk(1));
    delivering.answer(&claim, &disk(1), 1, TurnState::Running);
    delivering.happen([ready('a', 1), complete('a', 1)]);
    assert_eq!(delivering.phase('a'), Phase::Completed);
}

#[test]
fn a_message_runs_under_the_delivery_that_its_start_names() {
    let delivering = due_again();
    delivering.hand_over(&delivering.claim());
    assert_eq!(delivering.submission('a'), 2);
    delivering.happen([ready('a', 1)]);
    assert_eq!(delivering.submission('a'), 1);
}

#[test]
fn only_the_first_agent_sets_when_the_session_was_prepared_and_initiated() {
    let delivering = Delivering::accepted(&['a', 'b']);
    let first = Some(delivering.session.now());
    delivering.happen([complete('a', 1)]);
    delivering.session.pass_millis(1_000);
    delivering.run('b');
    let record = delivering.session.record().unwrap();
    assert_eq!((record.prepared_at, record.initiated_at), (first, first));
}

#[test]
fn every_change_of_the_sessions_record_is_counted() {
    let delivering = Delivering::new(&['a']);
    let version = || delivering.session.record().unwrap().version;
    assert_eq!(version(), 1);
    delivering.hand_over(&delivering.claim());
    assert_eq!(version(), 1);
    delivering.happen([ready('a', 1)]);
    assert_eq!(version(), 2);
    delivering.happen([complete('a', 1)]);
    assert_eq!(version(), 3);
}

#[test]
fn the_start_of_a_newer_delivery_than_any_is_not_believed() {
    let delivering = handed_over(&['a']);
    delivering.happen([ready('a', 2)]);
    assert_eq!(delivering.phase('a'), Phase::Claimed);
}

#[test]
fn the_end_of_a_newer_delivery_than_any_is_not_believed() {
    let delivering = Delivering::accepted(&['a']);
    delivering.happen([complete('a', 2), interrupted('a', 2)]);
    assert_eq!(delivering.phase('a'), Phase::Accepted);
}

#[test]
fn a_failure_of_an_older_delivery_does_not_end_the_newer_one() {
    let delivering = due_again();
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    assert_eq!(delivering.submission('a'), 2);
    let late = setup_failure(FailureSubtype::GitBranchMissing);
    delivering.happen([error('a', 1, late)]);
    assert_eq!(delivering.phase('a'), Phase::Claimed);
    delivering.happen([ready('a', 2), complete('a', 2)]);
    assert_eq!(delivering.phase('a'), Phase::Completed);
}

#[test]
fn a_failure_under_the_delivery_that_the_runtime_named_ends_the_newer_one() {
    let delivering = due_again();
    let claim = delivering.claim();
    delivering.contact(&disk(1));
    delivering.answer(&claim, &disk(1), 1, TurnState::Running);
    let failed = setup_failure(FailureSubtype::GitBranchMissing);
    delivering.happen([error('a', 1, failed.clone())]);
    assert_eq!(delivering.failure('a'), failed);
}

#[test]
fn events_while_a_message_is_put_back_wait_for_its_next_delivery() {
    let delivering = handed_over(&['a']);
    delivering.session.pass_millis(600_000);
    delivering.ring();
    assert_eq!(delivering.phase('a'), Phase::Queued);
    let events = [(1, ready('a', 1)), (2, complete('a', 1))];
    delivering.read(&disk(1), &events);
    assert_eq!(delivering.phase('a'), Phase::Queued);
    delivering.session.pass_millis(2_000);
    let claim = delivering.claim();
    delivering.contact(&disk(1));
    delivering.answer(&claim, &disk(1), 1, TurnState::Completed);
    delivering.read(&disk(1), &events);
    assert_eq!(delivering.phase('a'), Phase::Completed);
}

#[test]
fn what_follows_the_end_of_a_turn_stays_in_the_journal_until_the_next_delivery() {
    let delivering = handed_over(&['a']);
    delivering.happen([ready('a', 1), complete('a', 1), line('a', 1)]);
    assert!(delivering.payloads("kilocode").is_empty());
    let link = delivering.session.store.tables().runtime.clone();
    assert_eq!(link.unwrap().cursor.get(), 2);
}

#[test]
fn what_the_runtime_says_of_ended_and_unknown_messages_changes_nothing() {
    let delivering = Delivering::accepted(&['a', 'b']);
    delivering.happen([complete('a', 1)]);
    let ended = delivering.state('a');
    let events = delivering.kinds();
    delivering.hand_over(&delivering.claim());
    let failed = failure(FailureCode::AssistantError, None);
    delivering.happen([
        ready('a', 1),
        complete('a', 1),
        interrupted('a', 1),
        error('a', 1, failed.clone()),
        ready('x', 1),
        complete('x', 1),
        error('x', 1, failed),
    ]);
    assert_eq!(delivering.state('a'), ended);
    assert_eq!(delivering.phase('b'), Phase::Claimed);
    assert_eq!(delivering.kinds(), events);
}

#[test]
fn an_agent_that_fails_ends_its_message_without_a_retry() {
    let delivering = Delivering::accepted(&['a', 'b']);
    let mut failed = failure(FailureCode::WrapperErrorAfterActivity, None);
    failed.stage = FailureStage::AgentActivity;
    delivering.happen([error('a', 1, failed.clone())]);
    assert_eq!(delivering.failure('a'), failed);
    let payload = delivering.payloads("cloud.message.failed");
    assert_eq!(payload[0]["accepted"], true);
    assert_eq!(payload[0]["completionSource"], "wrapper_failure");
    assert_eq!(payload[0]["delivery"], "sent");
    assert_eq!(delivering.claim().intent.message_id(), &message_id('b'));
}

#[test]
fn a_runtime_that_stopped_before_it_told_the_start_ends_the_message() {
    // The runtime writes down that a turn starts before it says so, and never starts it twice.
    let delivering = handed_over(&['a']);
    let mut stopped = failure(FailureCode::ContainerShutdown, None);
    stopped.stage = FailureStage::Interruption;
    delivering.happen([error('a', 1, stopped)]);
    assert_eq!(delivering.failure('a').code, FailureCode::ContainerShutdown);
    let payload = delivering.payloads("cloud.message.failed");
    assert_eq!(payload[0]["accepted"], true);
    assert_eq!(payload[0]["completionSource"], "wrapper_failure");
    assert_eq!(delivering.payloads("cloud.message.sent").len(), 1);
}

#[test]
fn the_log_says_how_a_message_ended_and_why() {
    let missing = setup_failure(FailureSubtype::GitBranchMissing);
    for (event, phase, code, subtype) in [
        (complete('a', 1), "completed", None, None),
        (interrupted('a', 1), "interrupted", None, None),
        (
            error('a', 1, missing.clone()),
            "failed",
            Some(missing.code),
            missing.subtype,
        ),
    ] {
        let delivering = handed_over(&['a']);
        delivering.happen([event]);
        let expected = LogEvent::MessageEnded {
            message_id: message_id('a'),
            phase,
            code,
            subtype,
        };
        assert!(delivering.session.store.log_lines().contains(&expected));
    }
}

#[test]
fn a_turn_that_ended_by_itself_is_interrupted() {
    let delivering = handed_over(&['a']);
    delivering.happen([interrupted('a', 1)]);
    assert_eq!(delivering.phase('a'), Phase::Interrupted);
    let delivering = Delivering::accepted(&['a']);
    delivering.happen([interrupted('a', 1)]);
    assert_eq!(delivering.phase('a'), Phase::Interrupted);
    let payload = delivering.payloads("cloud.message.failed");
    assert_eq!(payload[0]["status"], "interrupted");
    assert_eq!(payload[0]["completionSource"], "interrupt");
}

#[test]
fn lines_that_are_not_json_are_not_stored() {
    let delivering = Delivering::accepted(&['a']);
    let json = "{\"half\":".to_owned();
    delivering.happen([RuntimeEvent::Kilocode {
        message_id: message_id('a'),
        json,
    }]);
    assert!(delivering.payloads("kilocode").is_empty());
    delivering.happen([line('a', 1)]);
    assert_eq!(delivering.payloads("kilocode").len(), 1);
}
