//! Ids that were admitted before: answered from what is stored, and nothing is written.

use cloud_agent_session::session::admission::{Acknowledgement, Delivery};
use cloud_agent_session::session::command::{SendMessage, TurnContent};
use cloud_agent_session::session::error::CommandError;
use cloud_agent_session::session::message::{DeliveryHistory, MessageState, Phase, QueuePosition};
use cloud_agent_session::session::step::Write;
use cloud_agent_wire::{
    Attachments, Failure, FailureCode, FailureStage, Finalization, Generation, Submission,
};

use crate::harness::fixtures::{Vary, arrival, initial_id, message_id, prompt};
use crate::harness::session::Session;

fn states(session: &Session) -> [MessageState; 6] {
    let history = DeliveryHistory {
        submission: Submission::new(1),
        ..DeliveryHistory::default()
    };
    let generation = Generation::new(1);
    let at = session.now();
    let store_id: cloud_agent_wire::StoreId = "store-1".parse().unwrap();
    [
        MessageState::admitted(),
        MessageState::Claimed {
            history: history.clone(),
            generation,
            claimed_at: at,
            store_id: None,
        },
        MessageState::Accepted {
            history,
            generation,
            store_id,
            accepted_at: at,
            active: true,
            assistant: None,
        },
        MessageState::Completed {
            accepted_at: at,
            terminal_at: at,
            assistant: None,
            gate_result: None,
        },
        MessageState::Failed {
            accepted_at: None,
            terminal_at: at,
            failure: Failure {
                stage: FailureStage::PreDispatch,
                code: FailureCode::WorkspaceSetupFailed,
                subtype: None,
                generation,
                detail: None,
            },
            attempts: Submission::new(2),
        },
        MessageState::Interrupted {
            accepted_at: Some(at),
            terminal_at: at,
        },
    ]
}

/// A session with message `a` in a state; nothing else about the session matters to a replay.
fn with_message_in(state: &MessageState) -> Session {
    let session = Session::generic_git(Some("prepared"));
    session
        .send(prompt('a').with_token("a").received(0))
        .unwrap();
    let path = match state.phase() {
        Phase::Queued => vec![],
        Phase::Claimed => vec![state.clone()],
        Phase::Accepted | Phase::Failed | Phase::Interrupted => {
            vec![states(&session)[1].clone(), state.clone()]
        }
        Phase::Completed => [1, 2]
            .map(|index| states(&session)[index].clone())
            .into_iter()
            .chain([state.clone()])
            .collect(),
    };
    session.store.tamper(|tables| {
        for state in path {
            let write = Write::PutMessageState {
                position: QueuePosition(1),
                state,
            };
            tables.apply(&write).unwrap();
        }
    });
    session
}

/// Sends and checks that not one row, deadline or alarm is different afterwards.
#[track_caller]
fn send_without_a_trace(
    session: &Session,
    command: SendMessage,
) -> Result<Acknowledgement, CommandError> {
    let before = session.store.durable();
    let answer = session.send(command);
    assert_eq!(session.store.durable(), before);
    assert_eq!(session.store.commits(), 2, "no step was committed either");
    answer
}

#[test]
fn a_replay_is_answered_by_the_messages_state_and_writes_nothing() {
    let terminal = CommandError::Refused("Message ID is already terminal; submit a new message ID");
    let expected = [
        Ok(Delivery::Queued),
        Ok(Delivery::Queued),
        Ok(Delivery::Sent),
        Err(terminal.clone()),
        Err(terminal.clone()),
        Err(terminal),
    ];
    for (index, expected) in expected.into_iter().enumerate() {
        let state = states(&Session::generic_git(None))[index].clone();
        // With the same token, a newer one, an older one and none: on any try.
        for (name, offset, attempt) in [("a", 0, 2), ("newer", 60_000, 1), ("older", -60_000, 3)] {
            let session = with_message_in(&state);
            session.store.plan(None);
            // Two harmless commits, so that the count below has something to count.
            session.send(prompt('z').with_token("z")).unwrap();
            session.pass_millis(120_000);
            let command = prompt('a').with_token(name).received(offset);
            let answer = send_without_a_trace(&session, command.on_try(attempt));
            let delivery = answer.map(|acknowledgement| acknowledgement.delivery);
            assert_eq!(delivery, expected, "{state:?} {name}");
            assert_eq!(
                send_without_a_trace(&session, prompt('a')).map(|answer| answer.delivery),
                expected
            );
        }
    }
}

#[test]
fn a_replay_with_another_content_is_refused_in_every_state() {
    let refused = CommandError::Refused("Message intent does not match admitted message");
    let attachments = |files: &[&str]| Attachments {
        path: "0f8fad5b-d9cb-469f-a165-70867728950e".to_owned(),
        files: files.iter().map(|file| (*file).to_owned()).collect(),
    };
    let with_files = |files: &[&str]| TurnContent::Prompt {
        prompt: "prompt a".to_owned(),
        attachments: Some(attachments(files)),
    };
    let base = || prompt('a').with_token("other");
    let mut others = vec![];
    for turn in [
        TurnContent::Prompt {
            prompt: "prompt A".to_owned(),
            attachments: None,
        },
        with_files(&["one", "two"]),
        TurnContent::Command {
            command: "prompt".to_owned(),
            arguments: "a".to_owned(),
        },
    ] {
        others.push(SendMessage { turn, ..base() });
    }
    let mut agent = base();
    agent.agent.model = Some("model-2".to_owned());
    let mut mode = base();
    mode.agent.mode = Some("reviewer".to_owned());
    let mut variant = base();
    variant.agent.variant = Some("large".to_owned());
    let mut finalization = base();
    // Absent and false are not the same.
    finalization.finalization.auto_commit = Some(false);
    let mut condense = base();
    condense.finalization.condense_on_complete = Some(true);
    others.extend([agent, mode, variant, finalization, condense]);
    for state in &states(&Session::generic_git(None))[..3] {
        for command in &others {
            let session = with_message_in(state);
            session.store.plan(None);
            session.send(prompt('z').with_token("z")).unwrap();
            assert_eq!(
                send_without_a_trace(&session, command.clone()),
                Err(refused.clone()),
                "{state:?} {command:?}"
            );
        }
    }
}

#[test]
fn the_order_of_attached_files_is_part_of_the_content() {
    let session = Session::generic_git(None);
    let mut command = prompt('a');
    let files = |names: [&str; 2]| TurnContent::Prompt {
        prompt: String::new(),
        attachments: Some(Attachments {
            path: "0f8fad5b-d9cb-469f-a165-70867728950e".to_owned(),
            files: names.map(str::to_owned).to_vec(),
        }),
    };
    command.turn = files(["one", "two"]);
    session.send(command.clone()).unwrap();
    session.send(command.clone()).unwrap();
    command.turn = files(["two", "one"]);
    session.send(command).unwrap_err();
}

#[test]
fn what_the_client_leaves_out_equals_the_sessions_defaults_said_aloud() {
    let session = Session::generic_git(None);
    session.send(prompt('a')).unwrap();
    let mut explicit = prompt('a');
    explicit.agent.mode = Some("code".to_owned());
    explicit.agent.model = Some("model-1".to_owned());
    explicit.finalization = Finalization::default();
    let before = session.store.durable();
    session.send(explicit).unwrap();
    assert_eq!(session.store.durable(), before);
}

#[test]
fn a_replay_is_answered_while_the_queue_is_full() {
    let session = Session::generic_git(Some("prepared"));
    for digit in '0'..='9' {
        session.send(prompt(digit)).unwrap();
    }
    let before = session.store.durable();
    assert_eq!(
        session.send(prompt('x').with_token("x").received(5_000)),
        Err(CommandError::QueueFull)
    );
    let replayed = session.send(prompt('3').with_token("x").received(5_000));
    assert_eq!(replayed.unwrap().delivery, Delivery::Queued);
    assert_eq!(session.store.durable(), before);
}

#[test]
fn initiating_admits_the_first_message_once() {
    let session = Session::generic_git(Some("prepared"));
    let first = session.initiate(arrival(session.now(), 1)).unwrap();
    assert_eq!(first.message_id, initial_id());
    let before = session.store.durable();
    assert_eq!(before.tables.messages.len(), 1);
    for attempt in [1, 2] {
        session.pass_millis(5_000);
        let again = session.initiate(arrival(session.now(), attempt));
        assert_eq!(again, Ok(first.clone()));
        assert_eq!(session.store.durable(), before);
    }
    assert_eq!(session.credential().unwrap().owner, None);
    // Another message under its id does not pass for it.
    let mut other = prompt('i');
    other.message_id = initial_id();
    assert_eq!(
        session.send(other),
        Err(CommandError::Refused(
            "Message intent does not match admitted message"
        ))
    );
    assert_eq!(session.state(&message_id('a')), None);
}
