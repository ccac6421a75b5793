//! Runtimes that go away: out of reach, restarted, on another disk, without their journal.

use cloud_agent_session::session::claim::Work;
use cloud_agent_session::session::delivery::{
    Reading, on_journal_gone, on_pull_answered, on_pull_started,
};
use cloud_agent_session::session::message::Phase;
use cloud_agent_session::telemetry::LogEvent;
use cloud_agent_wire::{EventSequence, FailureCode, FailureStage, TurnState};

use crate::harness::delivering::{Delivering, complete, disk, failure, line, ready};
use crate::harness::shell::apply;

fn read_is_answered(delivering: &Delivering) {
    apply(&delivering.session, |view, now, settings| {
        on_pull_answered(view, &disk(1), now, settings)
    })
    .unwrap();
}

fn claimed() -> Delivering {
    let delivering = Delivering::new(&['a', 'b']);
    delivering.hand_over(&delivering.claim());
    delivering
}

#[test]
fn a_runtime_out_of_reach_for_a_minute_loses_the_agent_that_ran_there() {
    for (shows_something, stage) in [
        (false, FailureStage::PostDispatchNoActivity),
        (true, FailureStage::AgentActivity),
    ] {
        let delivering = Delivering::accepted(&['a', 'b']);
        if shows_something {
            delivering.happen([line('a', 1)]);
        }
        delivering.read_fails();
        assert_eq!(delivering.deadline("event_pull"), Some(2_000));
        delivering.session.pass_millis(59_999);
        delivering.read_fails();
        assert_eq!(delivering.phase('a'), Phase::Accepted);
        delivering.session.pass_millis(1);
        delivering.read_fails();
        let failure = delivering.failure('a');
        assert_eq!(failure.code, FailureCode::WrapperDisconnected);
        assert_eq!(failure.stage, stage);
        delivering.check_alarm();
    }
}

#[test]
fn a_claim_is_tried_again_when_its_runtime_is_lost() {
    let delivering = claimed();
    delivering.read_fails();
    delivering.session.pass_millis(60_000);
    delivering.read_fails();
    assert_eq!(delivering.phase('a'), Phase::Queued);
    assert_eq!(delivering.deadline("retry"), Some(1_000));
}

#[test]
fn reads_that_succeed_in_between_count_even_without_an_event() {
    let delivering = Delivering::accepted(&['a']);
    delivering.read_fails();
    for _ in 0..5 {
        delivering.session.pass_millis(25_000);
        read_is_answered(&delivering);
    }
    delivering.read_fails();
    assert_eq!(delivering.phase('a'), Phase::Accepted);
    // An event counts as well.
    delivering.session.pass_millis(59_000);
    delivering.happen([line('a', 1)]);
    delivering.session.pass_millis(2_000);
    delivering.read_fails();
    assert_eq!(delivering.phase('a'), Phase::Accepted);
}

#[test]
fn another_disk_has_nothing_of_the_turn() {
    let delivering = claimed();
    delivering.contact(&disk(2));
    assert_eq!(delivering.phase('a'), Phase::Queued);
    delivering.check_alarm();
    let log = delivering.session.store.log_lines();
    assert!(log.contains(&LogEvent::RuntimeReplaced { store_id: disk(2) }));
    drop(log);
    // The cursor belongs to the old disk.
    let link = delivering.session.store.tables().runtime.clone().unwrap();
    assert_eq!((link.store_id, link.cursor.get()), (Some(disk(2)), 0));
    delivering.session.pass_millis(1_000);
    let claim = delivering.claim();
    assert_eq!(claim.submission.get(), 2);
    delivering.contact(&disk(2));
    delivering.answer(&claim, &disk(2), 2, TurnState::Waiting);
    delivering.read(&disk(2), &[(1, ready('a', 2)), (2, complete('a', 2))]);
    assert_eq!(delivering.phase('a'), Phase::Completed);

    let delivering = Delivering::accepted(&['a', 'b']);
    delivering.contact(&disk(2));
    let failure = delivering.failure('a');
    assert_eq!(failure.code, FailureCode::ContainerShutdown);
    assert_eq!(failure.stage, FailureStage::PostDispatchNoActivity);
}

#[test]
fn the_reason_why_an_agent_may_start_again_is_stored() {
    let delivering = claimed();
    delivering.contact(&disk(2));
    let state = delivering.state('a');
    let last = state.history().unwrap().last_failure.clone();
    assert_eq!(last, Some(failure(FailureCode::ContainerShutdown, None)));
}

#[test]
fn the_first_contact_of_a_session_replaces_nothing() {
    let delivering = Delivering::new(&['a']);
    let claim = delivering.claim();
    delivering.contact(&disk(1));
    assert_eq!(delivering.phase('a'), Phase::Claimed);
    delivering.answer(&claim, &disk(1), 1, TurnState::Waiting);
    let log = delivering.session.store.log_lines();
    let replaced = |line: &LogEvent| matches!(line, LogEvent::RuntimeReplaced { .. });
    assert!(!log.iter().any(replaced));
}

#[test]
fn the_same_disk_again_changes_nothing() {
    let delivering = Delivering::accepted(&['a']);
    let before = delivering.session.store.durable();
    delivering.contact(&disk(1));
    assert_eq!(delivering.session.store.durable(), before);
}

#[test]
fn a_journal_that_is_gone_takes_the_turn_with_it() {
    let delivering = claimed();
    apply(&delivering.session, on_journal_gone).unwrap();
    assert_eq!(delivering.phase('a'), Phase::Queued);
    delivering.check_alarm();

    let delivering = Delivering::accepted(&['a', 'b']);
    apply(&delivering.session, on_journal_gone).unwrap();
    assert_eq!(
        delivering.failure('a').code,
        FailureCode::WrapperDisconnected
    );
    delivering.check_alarm();
}

#[test]
fn a_journal_that_is_not_there_yet_says_nothing() {
    let delivering = Delivering::new(&['a']);
    delivering.claim();
    delivering.contact(&disk(1));
    let before = delivering.session.store.durable();
    apply(&delivering.session, on_journal_gone).unwrap();
    assert_eq!(delivering.session.store.durable(), before);
}

#[test]
fn a_turn_that_ended_and_whose_end_is_never_told_is_not_waited_for_long() {
    let delivering = Delivering::new(&['a']);
    let claim = delivering.claim();
    delivering.contact(&disk(1));
    delivering.answer(&claim, &disk(1), 1, TurnState::Failed);
    delivering.session.pass_millis(60_000);
    delivering.ring();
    assert_eq!(delivering.phase('a'), Phase::Queued);
}

#[test]
fn a_read_begins_after_the_last_event_that_was_taken_over_while_a_store_has_the_turn() {
    let delivering = Delivering::new(&['a']);
    let begin = || {
        apply(&delivering.session, on_pull_started)
            .unwrap()
            .unwrap()
    };
    let session_id = delivering.session.record().unwrap().session_id;
    let after = |number| {
        Some(Reading {
            session_id: session_id.clone(),
            store_id: disk(1),
            after: EventSequence::new(number),
        })
    };
    assert_eq!(begin(), None);
    let claim = delivering.claim();
    assert_eq!(begin(), None);
    delivering.hand_over(&claim);
    assert_eq!(begin(), after(0));
    delivering.happen([ready('a', 1), line('a', 1)]);
    delivering.session.pass_millis(5_000);
    assert_eq!(begin(), after(2));
    assert_eq!(delivering.deadline("event_pull"), Some(10_000));
    delivering.happen([complete('a', 1)]);
    assert_eq!(begin(), None);
    assert_eq!(delivering.deadline("event_pull"), None);
}

#[test]
fn the_alarm_reads_events_itself_when_nobody_does() {
    let delivering = claimed();
    apply(&delivering.session, on_pull_started).unwrap();
    delivering.session.pass_millis(9_999);
    assert_eq!(delivering.ring(), Work::Pull { overdue: false });
    delivering.session.pass_millis(1);
    assert_eq!(delivering.ring(), Work::Pull { overdue: true });
    assert_eq!(delivering.deadline("event_pull"), Some(10_000));
    // An object that was constructed anew has no reader.
    delivering.session.store.restart(delivering.session.now());
    assert_eq!(delivering.deadline("event_pull"), Some(0));
    assert_eq!(delivering.ring(), Work::Pull { overdue: true });
}
