//! Callbacks: one report for each batch of messages, to the target of their admission, by the table of retries.

use cloud_agent_session::callback_request::StoredTarget;
use cloud_agent_session::session::callback::{
    ANSWER_MILLIS_MAX, Answer, Attempt, CallbackState, RETRY_DELAYS_SECONDS,
};
use cloud_agent_session::session::sealing::{Sealed, SecretKind};
use cloud_agent_session::telemetry::LogEvent;

use crate::harness::delivering::{Delivering, complete, ready};
use crate::harness::fixtures::{callback_target, message_id, prompt};

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
    let delivering = Delivering::with_callback(&['a', 'b']);
    delivering.run('a');
    assert_eq!(delivering.session.chores(), None);
    assert_eq!(state(&delivering), Some(CallbackState::Open));
    delivering.session.pass_millis(1_000);
    delivering.run('b');
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
    delivering.run('c');
    assert_eq!(due(&delivering).message_id, message_id('c'));
}

#[test]
fn a_batch_is_reported_although_the_message_that_ended_last_has_no_target() {
    let delivering = Delivering::with_callback(&['a']);
    delivering.session.replace_callback(None).unwrap();
    delivering.session.send(prompt('b')).unwrap();
    delivering.run('a');
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
fn a_batch_is_reported_by_the_latest_end_also_when_the_clock_was_set_back() {
    let delivering = Delivering::with_callback(&['a', 'b']);
    let started = delivering.session.now();
    delivering.session.pass_millis(5_000);
    delivering.run('a');
    delivering.session.set_now(started);
    delivering.run('b');
    let attempt = due(&delivering);
    assert_eq!(attempt.message_id, message_id('a'));
}

#[test]
fn a_message_that_ends_meanwhile_brings_no_other_batch_forward() {
    for is_answered in [true, false] {
        let delivering = Delivering::with_callback(&['a']);
        delivering.run('a');
        let attempt = due(&delivering);
        if is_answered {
            delivering.session.reported(&attempt, Answer::None);
        }
        for digit in ['b', 'c'] {
            delivering.session.send(prompt(digit)).unwrap();
        }
        let awaited = state(&delivering);
        delivering.run('b');
        assert_eq!(delivering.deadline("callback"), Some(0));
        assert_eq!(delivering.session.chores(), None);
        assert_eq!(state(&delivering), awaited);
    }
}

#[test]
fn what_becomes_of_one_batch_does_not_hide_the_next_that_is_due() {
    let delivering = Delivering::with_callback(&['a']);
    delivering.run('a');
    let first = due(&delivering);
    delivering.session.send(prompt('b')).unwrap();
    delivering.run('b');
    delivering.session.reported(&first, Answer::None);
    assert_eq!(delivering.deadline("callback"), Some(0));
    delivering.session.store.restart(delivering.session.now());
    assert_eq!(delivering.deadline("callback"), Some(0));
    assert_eq!(due(&delivering).message_id, message_id('b'));
}

#[test]
fn a_session_without_a_callback_reports_nothing() {
    let delivering = Delivering::new(&['a']);
    delivering.run('a');
    delivering.ring();
    assert_eq!(delivering.session.chores(), None);
    assert!(delivering.session.store.is_at_rest());
}

#[test]
fn tries_follow_the_table_and_then_the_callback_is_given_up() {
    let delivering = Delivering::with_callback(&['a']);
    delivering.run('a');
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
        let delivering = Delivering::with_callback(&['a']);
        delivering.run('a');
        let attempt = due(&delivering);
        delivering.session.reported(&attempt, answer);
        assert_eq!(state(&delivering), None, "{answer:?}");
        assert_eq!(delivering.deadline("callback"), None);
    }
}

#[test]
fn the_log_says_why_a_callback_is_tried_again_or_given_up() {
    for (answer, expected) in [
        (Answer::Status(500), "status 500"),
        (Answer::None, "no answer"),
        (Answer::Status(410), "status 410"),
        (
            Answer::Refused("address not allowed"),
            "address not allowed",
        ),
    ] {
        let delivering = Delivering::with_callback(&['a']);
        delivering.run('a');
        let attempt = due(&delivering);
        delivering.session.reported(&attempt, answer);
        let log = delivering.session.store.log_lines();
        let reasons: Vec<_> = log
            .iter()
            .filter_map(|line| match line {
                LogEvent::CallbackRetried { reason, .. }
                | LogEvent::CallbackGivenUp { reason, .. } => Some(reason.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(reasons, [expected]);
    }
}

#[test]
fn a_try_that_died_with_its_object_is_made_again_at_once() {
    let delivering = Delivering::with_callback(&['a']);
    delivering.run('a');
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
fn an_object_that_wakes_when_a_try_counts_as_lost_notes_nothing() {
    let delivering = Delivering::with_callback(&['a']);
    delivering.run('a');
    due(&delivering);
    let until = delivering.deadline("callback").unwrap();
    delivering.session.pass_millis(until);
    delivering.session.store.restart(delivering.session.now());
    assert_eq!(delivering.session.store.commits(), 0);
    assert_eq!(due(&delivering).failures, 1);
}

#[test]
fn a_try_that_never_comes_back_counts_as_failed_and_five_are_the_end() {
    let delivering = Delivering::with_callback(&['a']);
    delivering.run('a');
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
    let delivering = Delivering::with_callback(&['a']);
    let other = callback_target("other.example.com");
    delivering.session.replace_callback(Some(&other)).unwrap();
    delivering.run('a');
    let first = due(&delivering);
    let place = target(&delivering, &first).place();
    assert_eq!(place, "https://hooks.example.com/done");
    // The next batch goes elsewhere while the first is still owed.
    delivering.session.reported(&first, Answer::None);
    delivering.session.send(prompt('b')).unwrap();
    delivering.session.replace_callback(None).unwrap();
    delivering.run('b');
    let second = due(&delivering);
    assert_eq!(second.message_id, message_id('b'));
    let place = target(&delivering, &second).place();
    assert_eq!(place, "https://other.example.com/done");
    delivering.session.reported(&second, Answer::Status(200));
    // A message that was admitted without one is not reported.
    delivering.session.send(prompt('c')).unwrap();
    delivering.run('c');
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
fn a_target_that_replaced_another_is_kept_apart_from_the_next_one() {
    let delivering = Delivering::with_callback(&[]);
    let replace = |host| {
        let target = callback_target(host);
        delivering.session.replace_callback(Some(&target)).unwrap();
    };
    replace("second.example.com");
    delivering.session.send(prompt('a')).unwrap();
    replace("third.example.com");
    delivering.run('a');
    let place = target(&delivering, &due(&delivering)).place();
    assert_eq!(place, "https://second.example.com/done");
}

#[test]
fn an_interrupt_and_an_unreadable_message_are_reported_as_well() {
    let delivering = Delivering::with_callback(&['a', 'b']);
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    delivering.session.interrupt().unwrap();
    // The runtime has not answered, and the report does not wait for it.
    delivering.ring();
    assert_eq!(due(&delivering).message_id, message_id('b'));
    let delivering = Delivering::with_callback(&['a']);
    delivering.session.store.tamper(|tables| {
        let row = tables.messages.values_mut().next().unwrap();
        row.intent = "{".into();
    });
    delivering.ring();
    assert_eq!(due(&delivering).message_id, message_id('a'));
}

#[test]
fn a_deleted_session_reports_nothing_any_more() {
    let delivering = Delivering::with_callback(&['a']);
    delivering.run('a');
    let attempt = due(&delivering);
    delivering.session.delete().unwrap();
    let before = delivering.session.store.durable();
    delivering.session.reported(&attempt, Answer::Status(500));
    assert_eq!(delivering.session.chores(), None);
    assert_eq!(delivering.session.store.durable(), before);
    let tables = &before.tables;
    assert!(tables.callbacks.is_empty() && tables.callback_targets.is_empty());
}
