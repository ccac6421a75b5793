//! Interrupts, watches and deletion: what ends messages from outside, and what the runtime is still owed.

use cloud_agent_session::session::claim::{Owed, Work};
use cloud_agent_session::session::delivery::{HandOverFault, is_in_force};
use cloud_agent_session::session::engine::Store as _;
use cloud_agent_session::session::error::CommandError;
use cloud_agent_session::session::message::Phase;
use cloud_agent_session::session::timing::{INTERRUPT_MILLIS_MAX, RUNTIME_LOST_MILLIS};
use cloud_agent_wire::{FailureCode, TurnState};

use crate::harness::delivering::{Delivering, complete, disk, line, ready};
use crate::harness::fixtures::{arrival, message_id, prompt, token};
use crate::harness::session::Session;

#[test]
fn an_interrupt_stops_everything_that_has_not_ended() {
    let delivering = Delivering::accepted(&['a', 'b', 'c']);
    delivering.session.interrupt().unwrap();
    for digit in ['a', 'b', 'c'] {
        assert_eq!(delivering.phase(digit), Phase::Interrupted, "{digit}");
    }
    assert_eq!(delivering.payloads("cloud.message.failed").len(), 3);
    delivering.check_alarm();
    // Only the one that was out has to be stopped in the runtime.
    assert_eq!(
        delivering.ring_owed(),
        Some(Owed::Interrupt(message_id('a')))
    );
    delivering.interrupt_answered('a');
    assert_eq!(delivering.ring(), Work::Rest);
    assert!(delivering.session.store.is_at_rest());
    // Nothing is left to stop.
    let before = delivering.session.store.durable();
    delivering.session.interrupt().unwrap();
    assert_eq!(delivering.session.store.durable(), before);
}

#[test]
fn nothing_new_is_delivered_before_the_runtime_has_stopped_the_old() {
    let delivering = Delivering::accepted(&['a']);
    delivering.session.interrupt().unwrap();
    delivering.session.send(prompt('b')).unwrap();
    assert_eq!(
        delivering.ring_owed(),
        Some(Owed::Interrupt(message_id('a')))
    );
    delivering.session.pass_millis(1_000);
    assert_eq!(delivering.ring(), Work::Rest);
    assert_eq!(delivering.phase('b'), Phase::Queued);
    delivering.check_alarm();
    delivering.session.pass_millis(1_000);
    assert_eq!(
        delivering.ring_owed(),
        Some(Owed::Interrupt(message_id('a')))
    );
    delivering.interrupt_answered('a');
    assert_eq!(delivering.claim().intent.message_id(), &message_id('b'));
}

#[test]
fn what_else_is_due_does_not_ring_the_alarm_without_pause_meanwhile() {
    let delivering = Delivering::accepted(&['a']);
    let now = delivering.session.now();
    delivering
        .session
        .rotate(&token("2"), arrival(now, 1))
        .unwrap();
    assert_eq!(delivering.deadline("push_owed"), Some(0));
    delivering.session.interrupt().unwrap();
    assert_eq!(
        delivering.ring_owed(),
        Some(Owed::Interrupt(message_id('a')))
    );
    for _ in 0..10 {
        delivering.ring_when_due();
        let alarm = delivering.session.store.alarm().unwrap();
        assert!(alarm > delivering.session.now());
    }
}

#[test]
fn a_runtime_that_never_answers_an_interrupt_does_not_hold_the_queue_for_long() {
    let delivering = Delivering::accepted(&['a']);
    delivering.session.interrupt().unwrap();
    delivering.session.send(prompt('b')).unwrap();
    let until = delivering.session.now().plus_millis(70_000);
    while delivering.session.now() < until {
        if let Work::Deliver(claim) = delivering.ring_when_due() {
            assert_eq!(claim.intent.message_id(), &message_id('b'));
            return;
        }
    }
    panic!("the queue stands still");
}

#[test]
fn an_interrupt_without_an_answer_holds_the_queue_for_a_minute() {
    let delivering = Delivering::accepted(&['a']);
    delivering.session.interrupt().unwrap();
    delivering.session.send(prompt('b')).unwrap();
    delivering.session.pass_millis(RUNTIME_LOST_MILLIS - 1);
    assert_eq!(delivering.ring(), Work::Rest);
    delivering.session.pass_millis(1);
    assert_eq!(delivering.claim().intent.message_id(), &message_id('b'));
}

#[test]
fn a_runtime_that_stays_away_is_told_less_and_less_often_and_at_once_when_it_is_back() {
    let delivering = Delivering::accepted(&['a']);
    delivering.session.interrupt().unwrap();
    let (mut told, mut last) = (vec![], delivering.session.now());
    while delivering.deadline("interrupt_owed").is_some() {
        if delivering.round_when_due().owed == Some(Owed::Interrupt(message_id('a'))) {
            told.push(delivering.session.now().millis_since(last));
            last = delivering.session.now();
        }
        assert!(told.len() < 200, "it is told for ever");
    }
    // Two seconds apart at first, minutes at the end, and then no more.
    assert!(told[1..8].iter().all(|millis| *millis == 2_000), "{told:?}");
    assert!(told.last().is_some_and(|millis| *millis > 300_000));
    assert!(delivering.session.store.is_at_rest());
    // The turn may still run there.
    delivering.contact(&disk(1));
    assert_eq!(
        delivering.ring_owed(),
        Some(Owed::Interrupt(message_id('a')))
    );
}

#[test]
fn a_runtime_is_told_to_stop_a_turn_for_an_hour() {
    for (age_millis, is_told_again) in [
        (INTERRUPT_MILLIS_MAX - 1, true),
        (INTERRUPT_MILLIS_MAX, false),
    ] {
        let delivering = Delivering::accepted(&['a']);
        delivering.session.interrupt().unwrap();
        delivering.session.pass_millis(age_millis);
        assert_eq!(
            delivering.ring_owed(),
            Some(Owed::Interrupt(message_id('a')))
        );
        let next = delivering.deadline("interrupt_owed");
        assert_eq!(next.is_some(), is_told_again, "{age_millis}");
    }
}

#[test]
fn another_disk_has_nothing_to_stop_and_the_queue_goes_on() {
    let delivering = Delivering::accepted(&['a']);
    delivering.session.interrupt().unwrap();
    delivering.session.send(prompt('b')).unwrap();
    delivering.ring();
    delivering.session.pass_millis(1_000);
    delivering.ring();
    delivering.contact(&disk(2));
    assert_eq!(delivering.deadline("drain"), Some(0));
    assert_eq!(delivering.deadline("interrupt_owed"), None);
    assert_eq!(delivering.claim().intent.message_id(), &message_id('b'));
}

#[test]
fn a_message_that_may_be_out_is_stopped_in_the_runtime_wherever_it_stands() {
    // Claimed, and the runtime's answer is lost.
    let lost = Delivering::new(&['a']);
    let claim = lost.claim();
    lost.contact(&disk(1));
    lost.hand_over_fails(&claim, &HandOverFault::Unanswered);
    // Put back by its lease.
    let late = Delivering::new(&['a']);
    late.hand_over(&late.claim());
    late.session.pass_millis(600_000);
    late.ring();
    // Handed over twice, since the object died in between, and the second time in vain.
    let again = Delivering::new(&['a']);
    again.claim();
    again.contact(&disk(1));
    again.session.pass_millis(1_000);
    let claim = again.claim();
    again.hand_over_fails(&claim, &HandOverFault::Unreachable);
    // Handed over, and neither an answer nor an event ever came.
    let silent = Delivering::new(&['a']);
    silent.claim();
    silent.contact(&disk(1));
    silent.session.pass_millis(600_000);
    silent.ring();
    // The same, and a reader that an earlier message left behind could not read either.
    let unread = Delivering::new(&['a']);
    unread.claim();
    unread.contact(&disk(1));
    unread.read_fails();
    unread.session.pass_millis(60_000);
    unread.read_fails();
    for delivering in [lost, late, again, silent, unread] {
        assert_eq!(delivering.phase('a'), Phase::Queued);
        delivering.session.interrupt().unwrap();
        assert_eq!(
            delivering.ring_owed(),
            Some(Owed::Interrupt(message_id('a')))
        );
    }
    // One that no runtime was ever given needs no word.
    let never = Delivering::new(&['a']);
    never.session.interrupt().unwrap();
    assert_eq!(never.ring(), Work::Rest);
}

#[test]
fn what_a_stopped_turn_still_says_changes_nothing() {
    let delivering = Delivering::new(&['a']);
    let claim = delivering.claim();
    delivering.contact(&disk(1));
    delivering.session.interrupt().unwrap();
    let ended = delivering.state('a');
    delivering.answer(&claim, &disk(1), 1, TurnState::Running);
    delivering.happen([ready('a', 1), line('a', 1), complete('a', 1)]);
    delivering.hand_over_fails(&claim, &HandOverFault::Unreachable);
    assert_eq!(delivering.state('a'), ended);
    assert!(!delivering.kinds().contains(&"cloud.message.sent"));
}

#[test]
fn an_agent_that_shows_nothing_for_too_long_is_stopped() {
    let delivering = Delivering::accepted(&['a', 'b']);
    delivering.session.pass_millis(300_000);
    delivering.happen([line('a', 1)]);
    delivering.session.pass_millis(329_999);
    delivering.ring();
    assert_eq!(delivering.phase('a'), Phase::Accepted);
    delivering.session.pass_millis(1);
    assert_eq!(
        delivering.ring_owed(),
        Some(Owed::Interrupt(message_id('a')))
    );
    assert_eq!(delivering.failure('a').code, FailureCode::WrapperNoOutput);
    delivering.interrupt_answered('a');
    assert_eq!(delivering.claim().intent.message_id(), &message_id('b'));
}

#[test]
fn an_agent_that_never_ends_is_stopped() {
    let delivering = Delivering::accepted(&['a']);
    for number in 0..12 * 60 {
        delivering.session.pass_millis(60_000);
        delivering.happen([line('a', number)]);
        if delivering.phase('a') == Phase::Accepted {
            delivering.ring();
        }
    }
    assert_eq!(delivering.failure('a').code, FailureCode::SystemInterrupt);
}

#[test]
fn an_object_that_was_away_reads_events_before_it_gives_an_agent_up() {
    let delivering = Delivering::accepted(&['a']);
    delivering.session.pass_millis(3_600_000);
    delivering.session.store.restart(delivering.session.now());
    assert!(matches!(delivering.ring(), Work::Pull { .. }));
    assert_eq!(delivering.phase('a'), Phase::Accepted);
    delivering.happen([complete('a', 1)]);
    assert_eq!(delivering.phase('a'), Phase::Completed);
}

#[test]
fn an_object_that_wakes_with_nothing_to_read_leaves_the_alarm_alone() {
    let delivering = Delivering::new(&['a']);
    let alarm = delivering.session.store.alarm();
    delivering.session.store.restart(delivering.session.now());
    assert_eq!(delivering.session.store.alarm(), alarm);
    assert_eq!(delivering.deadline("event_pull"), None);
}

#[test]
fn an_object_that_wakes_while_it_is_deleted_leaves_the_deletion_alone() {
    let delivering = Delivering::accepted(&['a']);
    delivering.session.delete().unwrap();
    assert_eq!(delivering.ring(), Work::Delete);
    let before = delivering.session.store.durable();
    let alarm = delivering.session.store.alarm();
    delivering.session.store.restart(delivering.session.now());
    assert_eq!(delivering.session.store.durable(), before);
    assert_eq!(delivering.session.store.alarm(), alarm);
}

#[test]
fn a_deleted_session_is_gone_for_clients_and_its_secrets_for_everybody() {
    let delivering = Delivering::accepted(&['a', 'b']);
    delivering.session.delete().unwrap();
    let tables = delivering.session.store.tables();
    assert!(tables.secrets.is_empty());
    assert_eq!(tables.credential, None);
    let not_found = CommandError::SessionNotFound;
    let before = delivering.session.store.durable();
    assert_eq!(delivering.session.send(prompt('c')), Err(not_found.clone()));
    assert_eq!(delivering.session.interrupt(), Err(not_found.clone()));
    assert_eq!(
        delivering
            .session
            .initiate(arrival(delivering.session.now(), 1)),
        Err(not_found.clone())
    );
    // What was under way has no effect any more.
    delivering.happen([line('a', 1), complete('a', 1)]);
    delivering.contact(&disk(2));
    assert_eq!(delivering.session.store.durable(), before);
    assert_eq!(delivering.session.delete(), Err(not_found.clone()));
    assert_eq!(Session::empty().delete(), Err(not_found));
}

#[test]
fn nothing_more_is_handed_over_once_the_session_is_being_deleted() {
    let delivering = Delivering::new(&['a']);
    let claim = delivering.claim();
    let session = &delivering.session;
    let is_wanted = || {
        let view = session.store.delivery_view(session.now());
        let view = view.expect("the store works").expect("there are rows");
        is_in_force(&view, &claim)
    };
    assert!(is_wanted());
    session.delete().expect("there is a session");
    assert!(!is_wanted());
}

#[test]
fn a_runtime_is_asked_to_delete_for_ten_minutes() {
    let delivering = Delivering::accepted(&['a']);
    delivering.session.delete().unwrap();
    let mut asked = 0;
    while delivering.ring_when_due() == Work::Delete {
        asked += 1;
        delivering.check_alarm();
    }
    // Every two seconds.
    assert_eq!(asked, 300);
    assert_eq!(delivering.ring(), Work::Erase);
}
