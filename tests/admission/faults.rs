//! Deaths and failing writes between the two steps of an admission, and what a retry makes of them.

use cloud_agent_session::session::error::CommandError;
use cloud_agent_session::telemetry::LogEvent;

use crate::harness::fixtures::{Vary, after_start, arrival, message_id, prompt, token};
use crate::harness::memory_store::Fault;
use crate::harness::session::Session;

fn rotating() -> Session {
    let session = Session::generic_git(Some("prepared"));
    session.set_now(after_start(60_000));
    session
}

#[test]
fn a_message_is_visible_only_after_its_credential_is_durable() {
    for (fault, generation, marked, visible) in [
        (Fault::DieBefore(1), 1, false, false),
        (Fault::DieAfter(1), 2, true, false),
        (Fault::DieBefore(2), 2, true, false),
        (Fault::DieAfter(2), 2, false, true),
    ] {
        let session = rotating();
        session.store.plan(Some(fault));
        session
            .send(prompt('a').with_token("a").received(50_000))
            .unwrap_err();
        session.store.restart(session.now());
        let tables = session.store.durable().tables;
        assert_eq!(
            session.credential().unwrap().generation,
            generation,
            "{fault:?}"
        );
        assert_eq!(
            tables.markers.contains_key(&message_id('a')),
            marked,
            "{fault:?}"
        );
        assert_eq!(
            tables.message(&message_id('a')).is_some(),
            visible,
            "{fault:?}"
        );
        assert_eq!(tables.events.len(), usize::from(visible), "{fault:?}");
        assert_eq!(
            session.store.alarm(),
            tables.deadlines.values().min().copied()
        );
    }
}

#[test]
fn the_workers_retry_after_any_death_comes_to_the_same_end() {
    let fault_free = rotating();
    let command = || prompt('a').with_token("a").received(50_000);
    fault_free.send(command()).unwrap();
    let expected = fault_free.credential();
    for fault in [
        Fault::DieBefore(1),
        Fault::DieAfter(1),
        Fault::DieBefore(2),
        Fault::DieAfter(2),
        Fault::Refuse(1),
        Fault::Refuse(2),
    ] {
        let session = rotating();
        session.store.plan(Some(fault));
        session.send(command()).unwrap_err();
        session.store.restart(session.now());
        session.send(command().on_try(2)).unwrap();
        assert_eq!(session.credential(), expected, "{fault:?}");
        let tables = session.store.durable().tables;
        assert_eq!(
            tables.messages,
            fault_free.store.tables().messages,
            "{fault:?}"
        );
        assert_eq!(tables.events, fault_free.store.tables().events, "{fault:?}");
        assert!(tables.markers.is_empty(), "{fault:?}");
    }
}

#[test]
fn a_write_that_fails_fails_the_request_and_the_alarm_follows_what_was_committed() {
    for (fault, generation) in [(Fault::Refuse(1), 1), (Fault::Refuse(2), 2)] {
        let session = rotating();
        let before = session.store.alarm();
        session.store.plan(Some(fault));
        let answer = session.send(prompt('a').with_token("a").received(50_000));
        let failed = CommandError::Internal("The message could not be stored; send it again");
        assert_eq!(answer, Err(failed), "{fault:?}");
        assert_eq!(
            session.credential().unwrap().generation,
            generation,
            "{fault:?}"
        );
        assert_eq!(session.state(&message_id('a')), None, "{fault:?}");
        let expected = if generation == 2 {
            Some(session.now().plus_millis(900_000))
        } else {
            before
        };
        assert_eq!(
            session.store.alarm(),
            expected,
            "{fault:?}: the marker's expiry, or what it was"
        );
    }
}

#[test]
fn the_log_tells_of_a_rotation_whose_message_could_not_be_stored() {
    for (fault, rotations) in [(Fault::Refuse(1), 0), (Fault::Refuse(2), 1)] {
        let session = rotating();
        let before = session.store.log_lines().len();
        session.store.plan(Some(fault));
        assert!(session.send(prompt('a').with_token("a")).is_err());
        let lines = session.store.log_lines();
        let told = |is_told: fn(&LogEvent) -> bool| {
            lines[before..].iter().filter(|line| is_told(line)).count()
        };
        let rotated = told(|line| matches!(line, LogEvent::CredentialRotated { .. }));
        assert_eq!(rotated, rotations, "{fault:?}");
        let grew =
            |line: &LogEvent| matches!(line, LogEvent::CredentialRotated { changed: true, .. });
        assert_eq!(told(grew), rotations, "{fault:?}");
        let admitted = told(|line| matches!(line, LogEvent::MessageAdmitted { .. }));
        assert_eq!(admitted, 0, "{fault:?}");
    }
}

/// Message `a` received at 50 s applied its token and is not admitted.
fn half_admitted() -> Session {
    let session = rotating();
    session.store.plan(Some(Fault::Refuse(2)));
    session
        .send(prompt('a').with_token("a").received(50_000))
        .unwrap_err();
    session.store.plan(None);
    session
}

#[test]
fn a_clients_retry_brings_a_newer_token_but_never_an_older_one() {
    for (name, offset, current) in [
        ("a", 50_000, "a"),
        ("newer", 55_000, "newer"),
        ("older", 45_000, "a"),
        // The same moment cannot be told apart; what came last counts.
        ("other", 50_000, "other"),
    ] {
        let session = half_admitted();
        session
            .send(prompt('a').with_token(name).received(offset))
            .unwrap();
        let credential = session.credential().unwrap();
        assert_eq!(credential.token, token(current).expose(), "{name}");
        assert_eq!(credential.owner, Some(message_id('a')), "{name}");
        assert!(session.store.tables().markers.is_empty(), "{name}");
    }
}

#[test]
fn a_retry_without_a_token_is_admitted_and_ends_the_marker() {
    let session = half_admitted();
    session.send(prompt('a').received(55_000)).unwrap();
    assert_eq!(session.credential().unwrap().token, token("a").expose());
    assert!(session.store.tables().markers.is_empty());
}

#[test]
fn a_late_retry_does_not_bring_its_token_back_once_another_message_has_set_one() {
    for newer_than_b in [false, true] {
        let session = half_admitted();
        session
            .send(prompt('b').with_token("b").received(55_000))
            .unwrap();
        let offset = if newer_than_b { 58_000 } else { 50_000 };
        for attempt in [2, 3] {
            session
                .send(
                    prompt('a')
                        .with_token("late")
                        .received(offset)
                        .on_try(attempt),
                )
                .unwrap();
        }
        let credential = session.credential().unwrap();
        assert_eq!(credential.token, token("b").expose());
        assert_eq!(credential.owner, Some(message_id('b')));
        assert_eq!(session.store.tables().messages.len(), 2);
    }
}

#[test]
fn a_retry_after_the_markers_end_is_a_replay() {
    // Persisting removes the marker in the same step, so a later retry cannot apply a token by way of it.
    let session = half_admitted();
    session
        .send(prompt('a').with_token("a").received(50_000))
        .unwrap();
    let before = session.store.durable();
    session
        .send(prompt('a').with_token("newer").received(59_000))
        .unwrap();
    assert_eq!(session.store.durable(), before);
}

#[test]
fn an_update_that_dies_is_repeated_by_the_worker() {
    for fault in [Fault::DieBefore(1), Fault::DieAfter(1), Fault::Refuse(1)] {
        let session = rotating();
        session.store.plan(Some(fault));
        let stamp = after_start(50_000);
        session.rotate(&token("u"), arrival(stamp, 1)).unwrap_err();
        session.store.restart(session.now());
        session.rotate(&token("u"), arrival(stamp, 2)).unwrap();
        let credential = session.credential().unwrap();
        assert_eq!(
            (credential.token.as_str(), credential.generation),
            (token("u").expose(), 2),
            "{fault:?}"
        );
    }
}

#[test]
fn a_preparation_that_fails_leaves_an_empty_object() {
    for fault in [Fault::DieBefore(1), Fault::Refuse(1)] {
        let session = Session::empty();
        session.store.plan(Some(fault));
        let command = crate::harness::fixtures::preparation(
            crate::harness::fixtures::generic_git(),
            Some(token("prepared")),
        );
        let ingredients = [
            &session.ingredients(),
            &session.ingredients(),
            &session.ingredients(),
        ];
        cloud_agent_session::session::engine::prepare(
            &session.store,
            command,
            session.now(),
            ingredients,
        )
        .unwrap_err();
        session.store.restart(session.now());
        assert_eq!(session.store.durable(), Session::empty().store.durable());
    }
}
