//! Credentials that the remote refuses, and newer ones while a message is being delivered.

use cloud_agent_session::session::claim::{Owed, Work};
use cloud_agent_session::session::delivery::on_push_answered;
use cloud_agent_session::session::message::Phase;
use cloud_agent_session::telemetry::LogEvent;
use cloud_agent_wire::{FailureCode, FailureSubtype, Generation, RuntimeEvent, TurnState};

use crate::harness::delivering::{Delivering, complete, disk, error, ready, setup_failure};
use crate::harness::fixtures::{Vary, arrival, message_id, prompt, token};
use crate::harness::shell::apply;

const WAIT_MILLIS: u64 = 600_000;

fn refuse(delivering: &Delivering, submission: u64) {
    let refused = setup_failure(FailureSubtype::GitAuthenticationFailed);
    delivering.happen([error('a', submission, refused)]);
}

fn refused() -> Delivering {
    let delivering = Delivering::new(&['a', 'b']);
    delivering.hand_over(&delivering.claim());
    refuse(&delivering, 1);
    delivering
}

fn rotate(delivering: &Delivering, name: &str) {
    let now = delivering.session.now();
    delivering
        .session
        .rotate(&token(name), arrival(now, 1))
        .unwrap();
}

fn pushed(delivering: &Delivering, generation: u64) {
    apply(&delivering.session, |view, now, settings| {
        on_push_answered(view, &disk(1), Generation::new(generation), now, settings)
    })
    .unwrap();
}

/// The generations of the pushes that the log says were taken.
fn taken(delivering: &Delivering) -> Vec<u64> {
    let log = delivering.session.store.log_lines();
    log.iter()
        .filter_map(|line| match line {
            LogEvent::CredentialPushed { generation } => Some(generation.get()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_refused_credential_is_waited_for_and_not_tried_again() {
    let delivering = refused();
    assert_eq!(delivering.phase('a'), Phase::Queued);
    let required = delivering.payloads("cloud.credential.required");
    assert_eq!(required.len(), 1);
    assert_eq!(required[0]["generation"], 1);
    assert_eq!(required[0]["messageId"], message_id('a').as_str());
    // However often the alarm rings until the wait ends.
    for _ in 0..3 {
        delivering.session.pass_millis(100_000);
        assert_eq!(delivering.ring(), Work::Rest);
        delivering.check_alarm();
    }
    assert_eq!(delivering.phase('a'), Phase::Queued);
    assert_eq!(delivering.submission('a'), 1);
}

#[test]
fn every_message_that_would_use_a_refused_credential_fails_when_the_wait_ends() {
    let delivering = refused();
    delivering.session.pass_millis(WAIT_MILLIS - 1);
    delivering.ring();
    assert_eq!(delivering.phase('a'), Phase::Queued);
    delivering.session.pass_millis(1);
    // The runtime had the first one and is told that it is over.
    assert_eq!(
        delivering.ring_owed(),
        Some(Owed::Interrupt(message_id('a')))
    );
    delivering.interrupt_answered('a');
    assert_eq!(delivering.ring(), Work::Rest);
    for digit in ['a', 'b'] {
        let failure = delivering.failure(digit);
        assert_eq!(
            failure.subtype,
            Some(FailureSubtype::GitAuthenticationFailed)
        );
        assert_eq!(failure.generation, Generation::new(1));
    }
}

#[test]
fn a_newer_credential_ends_the_wait_at_once() {
    for by_message in [true, false] {
        let delivering = refused();
        delivering.session.pass_millis(5_000);
        delivering.ring();
        if by_message {
            let command = prompt('c').with_token("2").received(10_000);
            delivering.session.send(command).unwrap();
        } else {
            rotate(&delivering, "2");
        }
        assert_eq!(delivering.deadline("drain"), Some(0));
        let claim = delivering.claim();
        assert_eq!(claim.intent.message_id(), &message_id('a'));
        assert_eq!((claim.submission.get(), claim.generation.get()), (2, 2));
        assert_eq!(delivering.deadline("credential_wait"), None);
    }
}

#[test]
fn the_same_token_again_does_not_end_the_wait() {
    let delivering = refused();
    delivering.session.pass_millis(5_000);
    rotate(&delivering, "1");
    assert_eq!(delivering.ring(), Work::Rest);
    assert_eq!(delivering.phase('a'), Phase::Queued);
}

#[test]
fn a_refusal_of_an_older_credential_is_followed_by_a_try_with_the_current_one() {
    let delivering = Delivering::new(&['a']);
    delivering.hand_over(&delivering.claim());
    rotate(&delivering, "2");
    refuse(&delivering, 1);
    assert!(delivering.payloads("cloud.credential.required").is_empty());
    delivering.session.pass_millis(1_000);
    let claim = delivering.claim();
    assert_eq!((claim.submission.get(), claim.generation.get()), (2, 2));
}

#[test]
fn the_wait_counts_from_the_first_refusal() {
    let delivering = refused();
    delivering.session.pass_millis(300_000);
    let refused = RuntimeEvent::CredentialRefused {
        generation: Generation::new(1),
    };
    delivering.happen([refused]);
    delivering.ring();
    assert_eq!(delivering.deadline("credential_wait"), Some(300_000));
    assert_eq!(delivering.payloads("cloud.credential.required").len(), 1);
}

#[test]
fn another_refusal_of_the_same_credential_neither_lengthens_the_wait_nor_is_told_again() {
    let delivering = Delivering::accepted(&['a', 'b']);
    let refused = RuntimeEvent::CredentialRefused {
        generation: Generation::new(1),
    };
    delivering.happen([refused.clone()]);
    delivering.session.pass_millis(200_000);
    delivering.happen([refused, complete('a', 1)]);
    assert_eq!(delivering.payloads("cloud.credential.required").len(), 1);
    assert_eq!(delivering.ring(), Work::Rest);
    assert_eq!(
        delivering.deadline("credential_wait"),
        Some(WAIT_MILLIS - 200_000)
    );
}

#[test]
fn a_running_turn_is_pushed_every_newer_credential_until_the_runtime_has_it() {
    let delivering = Delivering::accepted(&['a']);
    rotate(&delivering, "2");
    assert_eq!(delivering.deadline("push_owed"), Some(0));
    delivering.check_alarm();
    let push = |generation| Some(Owed::Push(Generation::new(generation)));
    assert_eq!(delivering.ring_owed(), push(2));
    // No answer: the alarm owes the next try.
    assert_eq!(delivering.deadline("push_owed"), Some(2_000));
    delivering.session.pass_millis(2_000);
    assert_eq!(delivering.ring_owed(), push(2));
    // Another one comes while the first is on its way.
    rotate(&delivering, "3");
    pushed(&delivering, 2);
    assert_eq!(delivering.deadline("push_owed"), Some(0));
    assert_eq!(delivering.ring_owed(), push(3));
    pushed(&delivering, 3);
    assert_eq!(delivering.deadline("push_owed"), None);
    assert!(matches!(delivering.ring(), Work::Pull { .. }));
    delivering.happen([complete('a', 1)]);
    assert_eq!(delivering.phase('a'), Phase::Completed);
}

#[test]
fn an_answer_to_a_push_counts_once_and_takes_nothing_back() {
    let delivering = Delivering::accepted(&['a']);
    rotate(&delivering, "2");
    rotate(&delivering, "3");
    for generation in [3, 3, 2] {
        pushed(&delivering, generation);
        assert_eq!(taken(&delivering), [3]);
        assert_eq!(delivering.ring_owed(), None);
    }
}

#[test]
fn what_the_runtime_on_a_disk_that_is_gone_had_is_not_counted() {
    let pushing = Delivering::accepted(&['a']);
    rotate(&pushing, "2");
    pushing.ring();
    pushing.contact(&disk(2));
    let before = pushing.session.store.durable();
    pushed(&pushing, 2);
    assert_eq!(pushing.session.store.durable(), before);
    assert!(taken(&pushing).is_empty());

    let handing_over = Delivering::new(&['a']);
    let claim = handing_over.claim();
    handing_over.contact(&disk(1));
    handing_over.contact(&disk(2));
    let before = handing_over.session.store.durable();
    handing_over.answer(&claim, &disk(1), 1, TurnState::Waiting);
    assert_eq!(handing_over.session.store.durable(), before);
}

#[test]
fn a_hand_over_with_the_current_credential_owes_no_push() {
    let delivering = Delivering::new(&['a']);
    delivering.hand_over(&delivering.claim());
    assert_eq!(delivering.deadline("push_owed"), None);
}

#[test]
fn a_late_answer_that_tells_of_no_newer_credential_writes_nothing() {
    let delivering = Delivering::new(&['a']);
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    delivering.happen([ready('a', 1), complete('a', 1)]);
    delivering.session.store.plan(None);
    delivering.answer(&claim, &disk(1), 1, TurnState::Completed);
    assert_eq!(delivering.session.store.commits(), 0);
}

#[test]
fn a_hand_over_that_is_answered_again_does_not_take_back_what_was_pushed_since() {
    let delivering = Delivering::new(&['a']);
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    rotate(&delivering, "2");
    pushed(&delivering, 2);
    delivering.hand_over(&claim);
    assert_eq!(delivering.ring_owed(), None);
}

#[test]
fn a_credential_that_came_during_the_hand_over_is_pushed_after_it() {
    let delivering = Delivering::new(&['a']);
    let claim = delivering.claim();
    delivering.contact(&disk(1));
    rotate(&delivering, "2");
    delivering.answer(&claim, &disk(1), 1, TurnState::Waiting);
    assert_eq!(delivering.ring_owed(), Some(Owed::Push(Generation::new(2))));
}

#[test]
fn a_push_that_an_alarm_found_nobody_for_is_owed_at_once_after_the_hand_over() {
    let delivering = Delivering::new(&['a']);
    let claim = delivering.claim();
    rotate(&delivering, "2");
    assert!(matches!(delivering.ring(), Work::Deliver(_)));
    assert_eq!(delivering.deadline("push_owed"), None);
    delivering.hand_over(&claim);
    assert_eq!(delivering.deadline("push_owed"), Some(0));
    assert_eq!(delivering.ring_owed(), Some(Owed::Push(Generation::new(2))));
}

#[test]
fn the_start_of_an_agent_tells_which_credential_it_has() {
    // The answer to the hand-over is lost, and what the runtime says next is that the agent starts.
    let delivering = Delivering::new(&['a']);
    delivering.claim();
    delivering.contact(&disk(1));
    delivering.happen([ready('a', 1)]);
    assert_eq!(delivering.deadline("push_owed"), None);
    assert!(matches!(delivering.ring(), Work::Pull { .. }));

    let delivering = Delivering::new(&['a']);
    delivering.claim();
    delivering.contact(&disk(1));
    rotate(&delivering, "2");
    delivering.ring();
    delivering.happen([ready('a', 1)]);
    assert_eq!(delivering.deadline("push_owed"), Some(0));
    assert_eq!(delivering.ring_owed(), Some(Owed::Push(Generation::new(2))));
}

#[test]
fn nothing_is_pushed_while_no_turn_is_there() {
    let delivering = Delivering::accepted(&['a']);
    delivering.happen([complete('a', 1)]);
    rotate(&delivering, "2");
    assert_eq!(delivering.ring(), Work::Rest);
    assert!(delivering.session.store.is_at_rest());
}

#[test]
fn an_agent_whose_runtime_waits_for_a_credential_may_show_nothing() {
    let delivering = Delivering::accepted(&['a']);
    let refused = RuntimeEvent::CredentialRefused {
        generation: Generation::new(1),
    };
    delivering.happen([refused]);
    delivering.session.pass_millis(400_000);
    delivering.ring();
    assert_eq!(delivering.phase('a'), Phase::Accepted);
    // From the newer credential on it has its time again.
    rotate(&delivering, "2");
    assert_eq!(delivering.ring_owed(), Some(Owed::Push(Generation::new(2))));
    pushed(&delivering, 2);
    delivering.session.pass_millis(329_999);
    delivering.ring();
    assert_eq!(delivering.phase('a'), Phase::Accepted);
    delivering.session.pass_millis(1);
    assert_eq!(
        delivering.ring_owed(),
        Some(Owed::Interrupt(message_id('a')))
    );
    assert_eq!(delivering.failure('a').code, FailureCode::WrapperNoOutput);
}

#[test]
fn an_agent_that_hangs_beside_a_refused_push_is_given_up() {
    let delivering = Delivering::accepted(&['a']);
    rotate(&delivering, "2");
    delivering.ring();
    pushed(&delivering, 2);
    let refused = RuntimeEvent::CredentialRefused {
        generation: Generation::new(2),
    };
    delivering.happen([refused]);
    // Nobody can tell whether the runtime waits for a newer one or the agent goes on with the one before.
    delivering.session.pass_millis(WAIT_MILLIS + 329_999);
    delivering.ring();
    assert_eq!(delivering.phase('a'), Phase::Accepted);
    delivering.session.pass_millis(1);
    delivering.ring();
    assert_eq!(delivering.failure('a').code, FailureCode::WrapperNoOutput);
}

#[test]
fn a_push_that_is_never_answered_does_not_keep_a_lost_runtime_from_being_given_up() {
    let delivering = Delivering::accepted(&['a', 'b']);
    rotate(&delivering, "2");
    let (mut pushes, started) = (0, delivering.session.now());
    while delivering.phase('a') == Phase::Accepted {
        let round = delivering.round_when_due();
        if round.work == (Work::Pull { overdue: true }) {
            delivering.read_fails();
        }
        pushes += usize::from(round.owed == Some(Owed::Push(Generation::new(2))));
        let millis = delivering.session.now().millis_since(started);
        assert!(millis < 80_000, "it is never given up");
    }
    assert_eq!(
        delivering.failure('a').code,
        FailureCode::WrapperDisconnected
    );
    assert!(pushes >= 20, "{pushes} tries");
}

#[test]
fn a_refused_push_starts_the_wait_and_leaves_the_turn_alone() {
    let delivering = Delivering::accepted(&['a', 'b']);
    rotate(&delivering, "2");
    delivering.ring();
    pushed(&delivering, 2);
    let refused = RuntimeEvent::CredentialRefused {
        generation: Generation::new(2),
    };
    delivering.happen([refused]);
    assert_eq!(delivering.phase('a'), Phase::Accepted);
    let required = delivering.payloads("cloud.credential.required");
    assert_eq!(required[0]["generation"], 2);
    delivering.happen([complete('a', 1)]);
    // The next message would use it, so it waits.
    assert_eq!(delivering.ring(), Work::Rest);
    assert_eq!(delivering.phase('b'), Phase::Queued);
    rotate(&delivering, "3");
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    delivering.happen([ready('b', 1), complete('b', 1)]);
    assert_eq!(delivering.phase('b'), Phase::Completed);
}
