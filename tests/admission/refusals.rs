//! What is refused, in which order, and that a refusal leaves no trace.

use cloud_agent_session::session::attachment::{AttachmentFault, FileFault};
use cloud_agent_session::session::command::{SendMessage, TurnContent};
use cloud_agent_session::session::error::CommandError;
use cloud_agent_session::session::message::{MessageState, QueuePosition};
use cloud_agent_session::session::step::Write;
use cloud_agent_wire::Secret;

use crate::harness::fixtures::{CANARY, Vary, arrival, message_id, prompt, token};
use crate::harness::memory_store::Durable;
use crate::harness::session::Session;

const BAD_TOKEN: CommandError = CommandError::InvalidField {
    field: "gitToken",
    expected: "must be 1 to 4096 printable ASCII characters without spaces",
};
const BAD_MODE: CommandError = CommandError::InvalidField {
    field: "mode",
    expected: "must be a built-in mode or one of the session's runtimeAgents",
};
const NO_PROMPT: CommandError = CommandError::Refused("No prompt provided");
const TERMINAL: CommandError =
    CommandError::Refused("Message ID is already terminal; submit a new message ID");
const MISMATCH: CommandError =
    CommandError::Refused("Message intent does not match admitted message");

#[track_caller]
fn refuse(session: &Session, command: SendMessage, expected: &CommandError) {
    let before = session.store.durable();
    assert_eq!(session.send(command).as_ref(), Err(expected));
    assert_eq!(session.store.durable(), before);
    assert!(!expected.to_string().contains(CANARY));
}

fn with_prompt(command: SendMessage, text: &str) -> SendMessage {
    let turn = TurnContent::Prompt {
        prompt: text.to_owned(),
        attachments: None,
    };
    SendMessage { turn, ..command }
}

fn with_mode(mut command: SendMessage, mode: &str) -> SendMessage {
    command.agent.mode = Some(mode.to_owned());
    command
}

fn with_bad_token(mut command: SendMessage) -> SendMessage {
    command.git_token = Some(Secret::new(format!("{CANARY} with a space")));
    command
}

#[test]
fn an_object_without_a_session_knows_nothing_and_stores_nothing() {
    let session = Session::empty();
    let nothing = session.store.durable();
    assert_eq!(
        session.send(prompt('a').with_token("a")),
        Err(CommandError::SessionNotFound)
    );
    assert_eq!(
        session.rotate(&token("a"), arrival(session.now(), 1)),
        Err(CommandError::SessionNotFound)
    );
    assert_eq!(
        session.initiate(arrival(session.now(), 1)),
        Err(CommandError::SessionNotFound)
    );
    assert_eq!(session.ring_alarm(), None);
    session.store.restart(session.now());
    let Durable { tables, alarm } = session.store.durable();
    assert_eq!((tables, alarm), (nothing.tables, None));
}

#[test]
fn malformed_messages_are_refused() {
    let session = Session::generic_git(Some("prepared"));
    refuse(
        &session,
        with_prompt(prompt('a'), "").with_token("a"),
        &NO_PROMPT,
    );
    refuse(&session, with_prompt(prompt('a'), " \n\t"), &NO_PROMPT);
    let empty_command = SendMessage {
        turn: TurnContent::Command {
            command: String::new(),
            arguments: "now".to_owned(),
        },
        ..prompt('a').with_token("a")
    };
    refuse(
        &session,
        empty_command,
        &CommandError::Refused("No command provided"),
    );
    for mode in ["", "nobody", "Reviewer"] {
        let command = with_mode(prompt('a').with_token("a").received(5_000), mode);
        refuse(&session, command, &BAD_MODE);
    }
    session.send(with_mode(prompt('b'), "reviewer")).unwrap();
    session.send(with_mode(prompt('c'), "plan")).unwrap();
}

#[test]
fn malformed_tokens_are_refused_where_they_would_be_used() {
    let session = Session::generic_git(Some("prepared"));
    let long = "x".repeat(4_097);
    for text in [
        " ",
        "a b",
        "tab\t",
        "line\n",
        "nul\0",
        "ümlaut",
        "del\u{7f}",
        &long,
    ] {
        let mut command = prompt('a').received(5_000);
        command.git_token = Some(Secret::new(text.to_owned()));
        refuse(&session, command, &BAD_TOKEN);
        let before = session.store.durable();
        let update = session.rotate(&Secret::new(text.to_owned()), arrival(session.now(), 1));
        assert_eq!(update, Err(BAD_TOKEN));
        assert_eq!(session.store.durable(), before);
    }
    session.pass_millis(10_000);
    for (digit, text) in [('b', "!".to_owned()), ('c', "~".repeat(4_096))] {
        let mut command = prompt(digit).received(10_000);
        command.git_token = Some(Secret::new(text.clone()));
        session.send(command).unwrap();
        assert_eq!(session.credential().unwrap().token, text);
    }
}

/// Fills the queue with messages `0` to `9`.
fn full() -> Session {
    let session = Session::generic_git(Some("prepared"));
    for digit in '0'..='9' {
        session.send(prompt(digit)).unwrap();
    }
    session
}

fn put_state(session: &Session, position: u64, state: MessageState) {
    session.store.tamper(|tables| {
        let position = QueuePosition(position);
        let write = Write::PutMessageState { position, state };
        tables.apply(&write).unwrap();
    });
}

fn claimed(session: &Session) -> MessageState {
    MessageState::Claimed {
        history: cloud_agent_session::session::message::DeliveryHistory::default(),
        generation: cloud_agent_wire::Generation::new(1),
        claimed_at: session.now(),
        store_id: None,
    }
}

#[test]
fn ten_messages_wait_and_the_eleventh_is_refused_with_its_token() {
    let session = full();
    let eleventh = || prompt('x').with_token("x").received(5_000);
    session.pass_millis(10_000);
    refuse(&session, eleventh(), &CommandError::QueueFull);
    // A claimed message still waits, as far as clients see.
    put_state(&session, 1, claimed(&session));
    refuse(&session, eleventh(), &CommandError::QueueFull);
    // One whose agent was started does not.
    let accepted = MessageState::Accepted {
        history: cloud_agent_session::session::message::DeliveryHistory::default(),
        generation: cloud_agent_wire::Generation::new(1),
        store_id: "store-1".parse().unwrap(),
        accepted_at: session.now(),
        active: false,
        assistant: None,
    };
    put_state(&session, 1, accepted);
    session.send(eleventh()).unwrap();
    assert_eq!(session.credential().unwrap().token, token("x").expose());
}

#[test]
fn checks_come_in_the_order_content_replay_token_capacity() {
    let session = full();
    // The content comes first, whether the id is known or not.
    for digit in ['3', 'x'] {
        let all_wrong = with_mode(with_prompt(with_bad_token(prompt(digit)), ""), "nobody");
        refuse(&session, all_wrong, &NO_PROMPT);
        let wrong_mode = with_mode(with_bad_token(prompt(digit)), "nobody");
        refuse(&session, wrong_mode, &BAD_MODE);
    }
    // A replay does not use its token; a new message's is looked at before the queue's capacity.
    refuse(&session, with_bad_token(prompt('x')), &BAD_TOKEN);
    session.send(with_bad_token(prompt('3'))).unwrap();
    // A known id is looked at before the queue's capacity, and its end before its content.
    refuse(
        &session,
        with_prompt(prompt('3').with_token("t"), "else"),
        &MISMATCH,
    );
    let at = session.now();
    put_state(&session, 4, claimed(&session));
    let stopped = MessageState::Interrupted {
        accepted_at: None,
        terminal_at: at,
    };
    put_state(&session, 4, stopped);
    refuse(
        &session,
        with_prompt(prompt('3').with_token("t"), "else"),
        &TERMINAL,
    );
    session.send(prompt('x')).unwrap();
    refuse(
        &session,
        prompt('y').with_token("t"),
        &CommandError::QueueFull,
    );
    assert_eq!(session.state(&message_id('y')), None);
}

#[test]
fn a_session_that_cannot_be_read_is_a_fault_and_stays_as_it_is() {
    let session = full();
    session.store.tamper(|tables| {
        let row = tables.session.as_mut().unwrap();
        row.record = "{}".into();
    });
    let unreadable = CommandError::Internal("The session could not be read");
    refuse(&session, prompt('x').with_token("x"), &unreadable);
    let before = session.store.durable();
    assert_eq!(
        session.rotate(&token("x"), arrival(session.now(), 1)),
        Err(unreadable)
    );
    assert_eq!(session.store.durable(), before);
}

#[test]
fn a_file_that_is_not_there_matters_only_for_a_message_that_is_new() {
    let session = Session::generic_git(None);
    let fault = AttachmentFault {
        in_images: false,
        position: 1,
        fault: FileFault::Missing,
    };
    let with_fault = || SendMessage {
        attachment_fault: Some(fault.clone()),
        ..prompt('a').with_token("1")
    };
    let before = session.store.durable();
    assert_eq!(
        session.send(with_fault()),
        Err(CommandError::Attachment(fault.clone()))
    );
    assert_eq!(session.store.durable(), before);
    let admitted = session.send(prompt('a')).unwrap();
    assert_eq!(session.send(with_fault()), Ok(admitted));
}
