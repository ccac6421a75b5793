//! Retention: old events go in bounded pieces, and a session that nobody uses goes as a whole.

use cloud_agent_session::session::claim::Work;
use cloud_agent_session::session::retention::{RETENTION_MILLIS, SWEPT_EVENTS_MAX};

use crate::harness::delivering::{Delivering, complete, line, ready};
use crate::harness::fixtures::prompt;
use crate::harness::session::Session;

const DAY_MILLIS: u64 = 86_400_000;

fn run(delivering: &Delivering, digit: char) {
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    delivering.happen([ready(digit, 1), complete(digit, 1)]);
    delivering.ring();
}

fn is_fenced(session: &Session) -> bool {
    session.record().unwrap().deleting_since.is_some()
}

#[test]
fn a_session_that_nobody_uses_is_deleted_after_ninety_days_from_its_last_use() {
    let delivering = Delivering::new(&['a']);
    run(&delivering, 'a');
    let session = &delivering.session;
    assert_eq!(
        session.store.alarm(),
        session.store.tables().deadlines.get("retention").copied()
    );
    session.pass_millis(RETENTION_MILLIS - 2_000);
    session.chores();
    assert!(!is_fenced(session));
    session.pass_millis(DAY_MILLIS);
    session.chores();
    assert!(is_fenced(session));
    delivering.check_alarm();
    // The rest is what a client's deletion has.
    assert_eq!(delivering.ring(), Work::Delete);
}

#[test]
fn a_session_that_is_used_stays_and_loses_its_old_events() {
    let delivering = Delivering::accepted(&['a']);
    for number in 0..700 {
        delivering.happen([line('a', number)]);
    }
    delivering.happen([complete('a', 1)]);
    delivering.ring();
    let session = &delivering.session;
    session.pass_millis(RETENTION_MILLIS / 2);
    session.send(prompt('b')).unwrap();
    run(&delivering, 'b');
    let before = session.store.tables().events.len();
    session.pass_millis(RETENTION_MILLIS / 2);
    session.chores();
    let after = session.store.tables().events.len();
    assert_eq!(before - after, SWEPT_EVENTS_MAX as usize);
    assert_eq!(delivering.deadline("retention"), Some(1_000));
    delivering.check_alarm();
    session.pass_millis(1_000);
    session.chores();
    session.pass_millis(1_000);
    session.chores();
    // What is left belongs to the message in the middle.
    assert_eq!(
        delivering.kinds(),
        [
            "cloud.message.queued",
            "cloud.message.sent",
            "cloud.message.completed"
        ]
    );
    assert!(!is_fenced(session));
    assert_eq!(session.store.tables().messages.len(), 2);
    let next = delivering.deadline("retention").unwrap();
    assert!(next > DAY_MILLIS && next <= RETENTION_MILLIS / 2);
    session.pass_millis(next);
    session.chores();
    assert!(is_fenced(session));
}

#[test]
fn a_session_with_work_is_not_deleted() {
    let delivering = Delivering::accepted(&['a']);
    let session = &delivering.session;
    session.pass_millis(2 * RETENTION_MILLIS);
    session.chores();
    session.pass_millis(1_000);
    session.chores();
    assert!(!is_fenced(session));
    assert_eq!(delivering.deadline("retention"), Some(DAY_MILLIS));
}
