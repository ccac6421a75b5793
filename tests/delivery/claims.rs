//! What the alarm claims, when, and what becomes of a claim that is handed over.

use cloud_agent_session::session::attachment::{FileFault, attachments};
use cloud_agent_session::session::claim::{Owed, Work};
use cloud_agent_session::session::command::{SendMessage, TurnContent};
use cloud_agent_session::session::delivery::HandOverFault;
use cloud_agent_session::session::encrypted_secret::DecryptionFault;
use cloud_agent_session::session::managed::ManagedFault;
use cloud_agent_session::session::message::{MessageState, Phase};
use cloud_agent_wire::{Attachments, FailureCode, FailureStage, TurnState};

use crate::harness::delivering::{Delivering, complete, disk, ready};
use crate::harness::fixtures::{Vary, message_id, prompt};
use crate::harness::session::Session;

#[test]
fn the_oldest_message_is_claimed_with_the_current_credential() {
    let delivering = Delivering::new(&['b', 'a']);
    let claim = delivering.claim();
    assert_eq!(claim.intent.message_id(), &message_id('b'));
    assert_eq!((claim.submission.get(), claim.generation.get()), (1, 1));
    assert_eq!(delivering.phase('b'), Phase::Claimed);
    assert_eq!(delivering.phase('a'), Phase::Queued);
    // Should the object die now, the alarm hands the claim over again.
    assert_eq!(delivering.deadline("event_pull"), Some(1_000));
    assert_eq!(delivering.deadline("claim_lease"), Some(600_000));
    delivering.check_alarm();
}

#[test]
fn a_claim_has_the_files_of_its_message() {
    let files = || Attachments {
        path: "0f8fad5b-d9cb-469f-a165-70867728950e".to_owned(),
        files: vec!["screen.png".to_owned()],
    };
    let prompt_with = |attachments| TurnContent::Prompt {
        prompt: "look".to_owned(),
        attachments,
    };
    let slash_command = TurnContent::Command {
        command: "review".to_owned(),
        arguments: String::new(),
    };
    for (turn, expected) in [
        (prompt_with(Some(files())), Some(files())),
        (prompt_with(None), None),
        (slash_command, None),
    ] {
        assert_eq!(turn.attachments(), expected.as_ref());
        let session = Session::generic_git(Some("1"));
        let command = SendMessage {
            turn,
            ..prompt('a')
        };
        session.send(command).unwrap();
        session.pass_millis(1_000);
        let claim = Delivering::of_session(session).claim();
        assert_eq!(attachments(&claim.intent), expected.as_ref());
    }
}

#[test]
fn the_alarm_is_armed_for_a_message_when_the_drains_delay_is_over() {
    let session = Session::generic_git(Some("1"));
    session.send(prompt('a')).expect("it is admitted");
    let due = session.now().plus_millis(1_000);
    assert_eq!(session.store.alarm(), Some(due));
    assert_eq!(session.store.tables().deadlines.get("drain"), Some(&due));
}

#[test]
fn first_in_first_out_goes_by_admission_whatever_ids_and_clocks_say() {
    let delivering = Delivering::new(&['c']);
    delivering.session.set_now(delivering.session.now());
    for digit in ['a', 'b'] {
        // The clock is set back between the admissions.
        let earlier = delivering.session.now().as_millis() - 5_000;
        delivering
            .session
            .set_now(cloud_agent_wire::Timestamp::from_millis(earlier));
        delivering.session.send(prompt(digit)).unwrap();
    }
    for digit in ['c', 'a', 'b'] {
        let claim = delivering.claim();
        assert_eq!(claim.intent.message_id(), &message_id(digit));
        delivering.hand_over(&claim);
        delivering.happen([ready(digit, 1), complete(digit, 1)]);
        assert_eq!(delivering.phase(digit), Phase::Completed);
    }
    assert_eq!(delivering.ring(), Work::Rest);
    assert!(delivering.session.store.is_at_rest());
}

#[test]
fn nothing_else_is_claimed_while_a_message_is_delivered() {
    let delivering = Delivering::new(&['a', 'b']);
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    delivering.session.pass_millis(5_000);
    assert!(matches!(delivering.ring(), Work::Pull { .. }));
    delivering.happen([ready('a', 1)]);
    assert!(matches!(delivering.ring(), Work::Pull { .. }));
    assert_eq!(delivering.phase('b'), Phase::Queued);
    delivering.check_alarm();
    delivering.happen([complete('a', 1)]);
    // The next one is delivered at once.
    assert_eq!(delivering.deadline("drain"), Some(0));
    assert_eq!(delivering.claim().intent.message_id(), &message_id('b'));
}

#[test]
fn a_claim_that_nobody_answered_is_handed_over_again_under_the_same_number() {
    let delivering = Delivering::new(&['a']);
    let first = delivering.claim();
    delivering.session.store.kill();
    delivering.session.pass_millis(1_000);
    delivering.session.store.restart(delivering.session.now());
    assert_eq!(delivering.claim(), first);
    delivering.hand_over(&first);
    assert_eq!(delivering.submission('a'), 1);
}

#[test]
fn a_claim_takes_the_newest_credential_of_its_moment() {
    let delivering = Delivering::new(&['a']);
    let newer = prompt('b').with_token("2").received(1_000);
    delivering.session.send(newer).unwrap();
    assert_eq!(delivering.claim().generation.get(), 2);
}

#[test]
fn what_comes_of_a_claim_that_is_not_in_force_any_more_is_dropped() {
    let delivering = Delivering::new(&['a', 'b']);
    let first = delivering.claim();
    delivering.hand_over_fails(&first, &HandOverFault::Unreachable);
    delivering.session.pass_millis(1_000);
    let second = delivering.claim();
    assert_eq!(second.submission.get(), 2);
    let before = delivering.session.store.durable();
    for fault in [
        HandOverFault::Unreachable,
        HandOverFault::Unanswered,
        HandOverFault::Refused,
        HandOverFault::Outdated,
        HandOverFault::Unreadable,
    ] {
        delivering.hand_over_fails(&first, &fault);
        assert_eq!(delivering.session.store.durable(), before, "{fault:?}");
    }
    delivering.contact(&disk(1));
    delivering.answer(&first, &disk(1), 1, TurnState::Running);
    assert_eq!(delivering.state('a'), before.tables.messages[&1].state());
    // The same for a claim whose message has ended.
    delivering.hand_over_fails(&second, &HandOverFault::Refused);
    assert_eq!(delivering.phase('a'), Phase::Failed);
    let ended = delivering.state('a');
    delivering.answer(&second, &disk(1), 2, TurnState::Running);
    delivering.hand_over_fails(&second, &HandOverFault::Unreachable);
    assert_eq!(delivering.state('a'), ended);
}

#[test]
fn a_late_result_does_not_touch_the_next_message_whose_delivery_has_the_same_number() {
    let delivering = Delivering::new(&['a', 'b']);
    let late = delivering.claim();
    delivering.hand_over_fails(&late, &HandOverFault::Refused);
    assert_eq!(delivering.phase('a'), Phase::Failed);
    delivering.interrupt_answered('a');
    assert_eq!(delivering.claim().submission, late.submission);
    delivering.hand_over_fails(&late, &HandOverFault::Refused);
    assert_eq!(delivering.phase('b'), Phase::Claimed);
}

#[test]
fn a_hand_over_that_fails_ends_the_message_or_is_tried_again() {
    use HandOverFault::{
        NoManagedToken, Outdated, Overtaken, Refused, Unanswered, Unreachable, Unreadable,
    };
    let away = FailureCode::SandboxConnectFailed;
    // The fault, the phase after it, and the failure that it is recorded as.
    let rows = [
        (Unreachable, Phase::Queued, Some(away)),
        (Unanswered, Phase::Queued, Some(away)),
        (Outdated, Phase::Queued, Some(away)),
        (
            NoManagedToken(ManagedFault::Unavailable),
            Phase::Queued,
            Some(FailureCode::WorkspaceSetupFailed),
        ),
        (
            Refused,
            Phase::Failed,
            Some(FailureCode::InvalidDeliveryRequest),
        ),
        (
            Unreadable,
            Phase::Failed,
            Some(FailureCode::SessionMetadataMissing),
        ),
        (Overtaken, Phase::Claimed, None),
    ];
    for (fault, phase, code) in rows {
        let delivering = Delivering::new(&['a', 'b']);
        let claim = delivering.claim();
        delivering.hand_over_fails(&claim, &fault);
        assert_eq!(delivering.phase('a'), phase, "{fault:?}");
        delivering.check_alarm();
        match delivering.state('a') {
            MessageState::Queued {
                history,
                not_before,
            } => {
                let last = history.last_failure.unwrap();
                assert_eq!(Some(last.code), code, "{fault:?}");
                assert_eq!(not_before, delivering.session.store.alarm(), "{fault:?}");
            }
            MessageState::Failed { failure, .. } => {
                assert_eq!(Some(failure.code), code, "{fault:?}");
                assert_eq!(failure.stage, FailureStage::PreDispatch);
                // A message that cannot be delivered does not block the next.
                assert_eq!(
                    delivering.ring_owed(),
                    Some(Owed::Interrupt(message_id('a')))
                );
                delivering.interrupt_answered('a');
                assert_eq!(delivering.claim().intent.message_id(), &message_id('b'));
            }
            _ => assert_eq!(code, None),
        }
    }
}

#[test]
fn a_message_whose_secrets_or_files_cannot_be_brought_ends_and_says_why() {
    let not_decrypted = DecryptionFault::NoKey;
    let no_file = FileFault::Missing;
    for (fault, detail) in [
        (
            HandOverFault::NotDecrypted(not_decrypted),
            not_decrypted.detail(),
        ),
        (HandOverFault::NoFile(no_file), no_file.detail()),
    ] {
        let delivering = Delivering::new(&['a']);
        delivering.hand_over_fails(&delivering.claim(), &fault);
        let failure = delivering.failure('a');
        assert_eq!(failure.code, FailureCode::InvalidDeliveryRequest);
        assert_eq!(failure.detail.as_deref(), Some(detail));
    }
}

#[test]
fn a_message_that_cannot_be_read_is_set_aside_and_the_next_is_delivered() {
    for column in ["intent", "state"] {
        let delivering = Delivering::new(&['a', 'b']);
        delivering.session.store.tamper(|tables| {
            let row = tables.messages.get_mut(&1).unwrap();
            if column == "intent" {
                row.intent = "{}".into();
            } else {
                row.state = "not json".into();
            }
        });
        let claim = delivering.claim();
        assert_eq!(claim.intent.message_id(), &message_id('b'), "{column}");
        assert_eq!(
            delivering.failure('a').code,
            FailureCode::SessionMetadataMissing,
            "{column}"
        );
        let failed = delivering.payloads("cloud.message.failed");
        assert_eq!(failed.len(), 1, "{column}");
        assert_eq!(failed[0]["messageId"], message_id('a').as_str());
        delivering.check_alarm();
    }
}

#[test]
fn a_delivered_message_that_cannot_be_read_is_stopped_in_the_runtime() {
    let delivering = Delivering::accepted(&['a', 'b']);
    delivering.session.store.tamper(|tables| {
        tables.messages.get_mut(&1).unwrap().state = "not json".into();
    });
    let round = delivering.round();
    assert_eq!(round.owed, Some(Owed::Interrupt(message_id('a'))));
    assert_eq!(round.work, Work::Rest);
    assert_eq!(delivering.phase('a'), Phase::Failed);
    assert_eq!(delivering.deadline("turn_watch"), None);
    delivering.interrupt_answered('a');
    assert_eq!(delivering.claim().intent.message_id(), &message_id('b'));
}

#[test]
fn an_early_alarm_leaves_the_alarm_armed() {
    let delivering = Delivering::new(&['a']);
    let claim = delivering.claim();
    delivering.hand_over_fails(&claim, &HandOverFault::Unreachable);
    let alarm = delivering.session.store.alarm();
    assert_eq!(delivering.ring(), Work::Rest);
    assert_eq!(delivering.session.store.alarm(), alarm);
}

#[test]
fn a_claim_whose_workspace_is_never_ready_ends_with_its_lease() {
    let delivering = Delivering::new(&['a', 'b']);
    let claim = delivering.claim();
    delivering.hand_over(&claim);
    delivering.session.pass_millis(599_999);
    assert!(matches!(delivering.ring(), Work::Pull { .. }));
    delivering.session.pass_millis(1);
    assert_eq!(delivering.ring(), Work::Rest);
    assert_eq!(delivering.phase('a'), Phase::Queued);
    assert_eq!(delivering.deadline("retry"), Some(2_000));
    delivering.session.pass_millis(2_000);
    delivering.hand_over(&delivering.claim());
    delivering.session.pass_millis(600_000);
    // The table has no second retry. The runtime is told to stop before the next message is delivered.
    assert!(matches!(delivering.ring_owed(), Some(Owed::Interrupt(_))));
    let failure = delivering.failure('a');
    assert_eq!(failure.code, FailureCode::WorkspaceSetupFailed);
    assert_eq!(failure.subtype, None);
    let detail = failure.detail.as_deref();
    assert_eq!(detail, Some("the runtime did not finish preparing in time"));
}
