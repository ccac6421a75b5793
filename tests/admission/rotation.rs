//! When the token of a message becomes the credential: every row of the table.

use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_agent_session::session::admission::{Acknowledgement, Delivery};
use cloud_agent_session::session::command::SendMessage;
use cloud_agent_session::session::record::RepositoryRecord;
use cloud_agent_session::session::sealing::KeyRing;
use cloud_agent_session::telemetry::LogEvent;
use cloud_agent_wire::Secret;

use crate::harness::fixtures::{Vary, after_start, arrival, message_id, prompt, token};
use crate::harness::memory_store::Fault;
use crate::harness::session::Session;

/// How old the credential in force is when the tests of the table send a message.
const CREDENTIAL_STAMP: i64 = 60_000;

fn queued(digit: char) -> Acknowledgement {
    Acknowledgement {
        message_id: message_id(digit),
        delivery: Delivery::Queued,
    }
}

/// A session whose credential was set by message `b`, which is admitted.
fn owned_by_b() -> Session {
    let session = Session::generic_git(None);
    session.set_now(after_start(600_000));
    let command = prompt('b').with_token("b").received(CREDENTIAL_STAMP);
    session.send(command).unwrap();
    session
}

/// Has message `digit` apply its token and die before it is admitted.
fn apply_only(session: &Session, command: SendMessage) {
    session.store.plan(Some(Fault::DieAfter(1)));
    session.send(command).unwrap_err();
    session.store.restart(session.now());
}

/// A session whose credential was set by message `a`, which is not admitted.
fn owned_by_unadmitted_a() -> Session {
    let session = Session::generic_git(None);
    session.set_now(after_start(600_000));
    apply_only(
        &session,
        prompt('a').with_token("a").received(CREDENTIAL_STAMP),
    );
    assert_eq!(session.store.tables().markers.len(), 1);
    session
}

/// Sends message `a` with token `new` and checks whether the token was applied; it is admitted in any case.
#[track_caller]
fn check(session: &Session, offset_millis: i64, attempt: u32, applied: bool) {
    let before = session.credential();
    let lines = session.store.log_lines().len();
    let command = prompt('a').with_token("new").received(offset_millis);
    assert_eq!(session.send(command.on_try(attempt)), Ok(queued('a')));
    let credential = session.credential().unwrap();
    let row = format!("received at {offset_millis}, try {attempt}");
    if applied {
        assert_eq!(credential.token, token("new").expose(), "{row}");
        assert_eq!(credential.owner, Some(message_id('a')), "{row}");
        assert_eq!(credential.stamp, after_start(offset_millis), "{row}");
    } else {
        let mut expected = before.unwrap();
        expected.skips += 1;
        assert_eq!(credential, expected, "{row}");
        let log = session.store.log_lines();
        let skipped = |line: &&LogEvent| matches!(line, LogEvent::CredentialSkipped { .. });
        assert_eq!(log[lines..].iter().filter(skipped).count(), 1, "{row}");
    }
    assert!(session.store.tables().markers.is_empty(), "{row}");
    assert_eq!(session.store.violation(), None);
}

#[test]
fn without_a_credential_a_new_message_always_sets_one() {
    for (offset, attempt) in [(0, 1), (0, 2), (-86_400_000, 1), (-86_400_000, 3)] {
        check(&Session::generic_git(None), offset, attempt, true);
    }
}

#[test]
fn a_new_message_is_applied_unless_it_is_older_than_the_credential() {
    for (offset, attempt, applied) in [
        (CREDENTIAL_STAMP + 1, 1, true),
        (CREDENTIAL_STAMP, 1, true),
        // Clocks of two Workers may differ by two seconds, so a first try may seem that much older.
        (CREDENTIAL_STAMP - 2_000, 1, true),
        (CREDENTIAL_STAMP - 2_001, 1, false),
        // A Worker's own retry is late by definition: there is no such allowance.
        (CREDENTIAL_STAMP, 2, true),
        (CREDENTIAL_STAMP - 1, 2, false),
        (CREDENTIAL_STAMP - 1, 9, false),
    ] {
        check(&owned_by_b(), offset, attempt, applied);
    }
}

#[test]
fn a_message_that_applied_before_and_still_owns_the_credential_may_bring_a_newer_token() {
    for (offset, attempt, applied) in [
        (CREDENTIAL_STAMP + 1, 1, true),
        (CREDENTIAL_STAMP, 2, true),
        (CREDENTIAL_STAMP - 1, 1, false),
        (CREDENTIAL_STAMP - 1, 2, false),
    ] {
        check(&owned_by_unadmitted_a(), offset, attempt, applied);
    }
}

#[test]
fn a_message_that_applied_before_never_takes_the_credential_back_from_another() {
    for (offset, attempt) in [
        (CREDENTIAL_STAMP + 30_000, 1),
        (CREDENTIAL_STAMP + 30_000, 2),
        (0, 1),
    ] {
        let session = owned_by_unadmitted_a();
        let newer = prompt('b')
            .with_token("b")
            .received(CREDENTIAL_STAMP + 10_000);
        session.send(newer).unwrap();
        check(&session, offset, attempt, false);
        assert_eq!(session.credential().unwrap().token, token("b").expose());
    }
}

#[test]
fn a_marker_that_expired_decides_like_an_open_one() {
    let session = owned_by_unadmitted_a();
    session.pass_millis(900_000);
    session.ring_alarm();
    let expiry = session.store.tables().markers[&message_id('a')].expires_at;
    assert_eq!(expiry, None, "the marker is an abandoned entry now");
    // While the message still owns the credential, it may bring a newer token, however late.
    check(&session, CREDENTIAL_STAMP + 1, 1, true);

    let session = owned_by_unadmitted_a();
    session.pass_millis(900_000);
    session.ring_alarm();
    let newer = prompt('b').with_token("b").received(1_400_000);
    session.send(newer).unwrap();
    check(&session, 1_450_000, 1, false);
}

#[test]
fn an_open_marker_expires_no_earlier_than_its_time() {
    let session = owned_by_unadmitted_a();
    session.pass_millis(899_999);
    session.ring_alarm();
    let marker = session.store.tables().markers[&message_id('a')].clone();
    assert_eq!(marker.expires_at, Some(after_start(1_500_000)));
    assert_eq!(
        session.store.alarm(),
        marker.expires_at,
        "the alarm rings then"
    );
}

#[test]
fn a_stamp_in_the_future_counts_as_now() {
    let session = Session::generic_git(None);
    let from_a_fast_clock = prompt('b').with_token("b").received(3_600_000);
    session.send(from_a_fast_clock).unwrap();
    assert_eq!(session.credential().unwrap().stamp, session.now());
    // It does not lock the credential against the next message.
    session.pass_millis(10);
    check(&session, 10, 2, true);
}

#[test]
fn the_same_token_again_moves_owner_and_marker_but_not_the_generation() {
    let session = owned_by_b();
    let before = session.credential().unwrap();
    let command = prompt('a')
        .with_token("b")
        .received(CREDENTIAL_STAMP + 5_000);
    apply_only(&session, command.clone());
    let after = session.credential().unwrap();
    assert_eq!(
        (after.token, after.generation),
        (before.token, before.generation)
    );
    assert_eq!(after.owner, Some(message_id('a')));
    assert_eq!(after.stamp, after_start(CREDENTIAL_STAMP + 5_000));
    let generation = session.store.tables().markers[&message_id('a')].generation;
    assert_eq!(generation, before.generation);
    session.send(command.on_try(2)).unwrap();
    assert!(session.store.tables().markers.is_empty());
}

#[test]
fn the_log_tells_whether_a_token_is_new_and_how_many_messages_wait() {
    let session = Session::generic_git(Some("same"));
    session.send(prompt('a').with_token("same")).unwrap();
    session.send(prompt('b').with_token("new")).unwrap();
    let lines = session.store.log_lines();
    let changes = lines.iter().filter_map(|line| match line {
        LogEvent::CredentialRotated { changed, .. } => Some(*changed),
        _ => None,
    });
    assert_eq!(changes.collect::<Vec<_>>(), [true, false, true]);
    let waiting = lines.iter().filter_map(|line| match line {
        LogEvent::MessageAdmitted { queued, .. } => Some(*queued),
        _ => None,
    });
    assert_eq!(waiting.collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn another_token_raises_the_generation_by_one() {
    let session = Session::generic_git(Some("prepared"));
    assert_eq!(session.credential().unwrap().generation, 1);
    for (offset, digit, name, generation) in [(1, 'a', "1", 2), (2, 'b', "2", 3), (3, 'c', "1", 4)]
    {
        session.pass_millis(1);
        let command = prompt(digit).with_token(name).received(offset);
        session.send(command).unwrap();
        assert_eq!(session.credential().unwrap().generation, generation);
    }
}

#[test]
fn a_credential_from_preparation_is_compared_by_its_stamp_as_well() {
    // Preparation has no message, so a marker of any message means that another one set the credential.
    let session = Session::generic_git(Some("prepared"));
    check(&session, -2_001, 1, false);
    let session = Session::generic_git(Some("prepared"));
    check(&session, -2_000, 1, true);
}

#[test]
fn an_update_sets_the_credential_without_a_message() {
    let session = owned_by_b();
    let before = session.store.durable();
    session
        .rotate(
            &token("late"),
            arrival(after_start(CREDENTIAL_STAMP - 1), 2),
        )
        .unwrap();
    assert_eq!(session.credential().unwrap().token, token("b").expose());
    let update = arrival(after_start(CREDENTIAL_STAMP + 3_000), 1);
    session.rotate(&token("update"), update).unwrap();
    let credential = session.credential().unwrap();
    assert_eq!(credential.token, token("update").expose());
    assert_eq!(credential.owner, None);
    assert_eq!(credential.generation, 2);
    let after = session.store.durable();
    assert_eq!(after.tables.messages, before.tables.messages);
    assert_eq!(after.tables.events, before.tables.events);
    assert!(after.tables.markers.is_empty());
    // A message that is older than the update does not undo it.
    check(&session, CREDENTIAL_STAMP, 1, false);
}

#[test]
fn an_update_gets_past_a_full_queue() {
    let session = Session::generic_git(Some("dead"));
    for digit in '0'..='9' {
        session.send(prompt(digit)).unwrap();
    }
    session.pass_millis(10_000);
    session
        .rotate(&token("fresh"), arrival(session.now(), 1))
        .unwrap();
    assert_eq!(session.credential().unwrap().token, token("fresh").expose());
}

#[test]
fn sessions_whose_token_the_server_resolves_ignore_what_clients_bring() {
    let repositories = [
        RepositoryRecord::Github {
            repo: "team/project".to_owned(),
        },
        RepositoryRecord::Gitlab {
            url: "https://gitlab.example.com/team/project.git".to_owned(),
        },
    ];
    for repository in repositories {
        let session = Session::prepared(repository, Some(token("prepared")));
        // Where a token is not used, it is not looked at either.
        let mut command = prompt('a').with_token("a");
        assert_eq!(session.send(command.clone()), Ok(queued('a')));
        command.message_id = message_id('b');
        command.git_token = Some(cloud_agent_wire::Secret::new("not a token".to_owned()));
        assert_eq!(session.send(command), Ok(queued('b')));
        session
            .rotate(&token("update"), arrival(session.now(), 1))
            .unwrap();
        assert_eq!(session.credential(), None);
        assert!(session.store.tables().markers.is_empty());
        let log = session.store.log_lines();
        let ignored = |line: &&LogEvent| matches!(line, LogEvent::CredentialIgnored { .. });
        assert_eq!(log.iter().filter(ignored).count(), 2);
    }
}

#[test]
fn a_message_without_a_token_leaves_the_credential_alone() {
    let session = owned_by_b();
    let before = session.credential();
    session.send(prompt('a').received(70_000)).unwrap();
    let mut empty = prompt('c').received(80_000);
    empty.git_token = Some(cloud_agent_wire::Secret::new(String::new()));
    session.send(empty).unwrap();
    assert_eq!(session.credential(), before);
}

#[test]
fn the_same_token_is_recognised_after_the_sealing_key_was_replaced() {
    let mut session = Session::generic_git(Some("prepared"));
    let keys = [("new", 8), ("test", 7)].map(|(id, byte)| {
        let key = STANDARD.encode([byte; 32]);
        format!("{id}:{key}")
    });
    let ring = KeyRing::parse(&Secret::new(keys.join(","))).unwrap();
    session.ring = Rc::new(ring);
    session.pass_millis(5_000);
    let now = session.now();
    session.rotate(&token("prepared"), arrival(now, 1)).unwrap();
    assert_eq!(session.credential().unwrap().generation, 1);
    session.rotate(&token("other"), arrival(now, 1)).unwrap();
    assert_eq!(session.credential().unwrap().generation, 2);
}
