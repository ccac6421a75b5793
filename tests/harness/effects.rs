//! The journal's effects, and where secrets may not be: invariants that look at what is stored and logged.

use cloud_agent_session::session::message::{MessageState, Phase};
use cloud_agent_wire::{MessageId, RuntimeEvent, Submission};

use super::fixtures::CANARY;
use super::invariants::{Check, ensure};
use super::memory_store::Durable;
use super::tables::{MessageRow, Tables};
use super::world::World;

/// Everything up to the cursor has taken effect once, and nothing beyond it has.
pub(super) fn journal(world: &World, tables: &Tables) -> Check {
    let link = tables.runtime.clone().unwrap_or_default();
    if link.store_id != Some(world.runtime.store_id()) {
        return Ok(());
    }
    for event in world.runtime.journal() {
        let is_taken = event.seq <= link.cursor;
        ensure(has_effect(&event.event, is_taken, tables), || {
            format!("{event:?} has not had its effect once; taken over: {is_taken}")
        })?;
    }
    Ok(())
}

fn has_effect(event: &RuntimeEvent, is_taken: bool, tables: &Tables) -> bool {
    match event {
        RuntimeEvent::Kilocode { json, .. } => {
            let rows = tables.events.values();
            rows.filter(|row| &*row.payload == json).count() == usize::from(is_taken)
        }
        _ if !is_taken => true,
        RuntimeEvent::Ready { message_id, .. } => {
            let row = tables.message(message_id);
            row.is_none_or(|row| !matches!(row.phase, Phase::Queued | Phase::Claimed))
        }
        RuntimeEvent::Complete { message_id, .. } => {
            !tables.message(message_id).is_some_and(MessageRow::is_open)
        }
        RuntimeEvent::Error {
            message_id,
            submission,
            ..
        }
        | RuntimeEvent::Interrupted {
            message_id,
            submission,
        } => !waits_for(tables, message_id, *submission),
        _ => true,
    }
}

/// Whether the runtime has that delivery of the message, as far as the object knows, and it is not over.
fn waits_for(tables: &Tables, message_id: &MessageId, submission: Submission) -> bool {
    match tables.message(message_id).map(MessageRow::state) {
        Some(
            MessageState::Claimed {
                history,
                store_id: Some(_),
                ..
            }
            | MessageState::Accepted { history, .. },
        ) => history.submission == submission,
        _ => false,
    }
}

/// I7: no secret in any row, event, state or log line. What was searched before is not searched again.
pub(super) fn secrets(world: &mut World, before: &Durable, durable: &Durable) -> Check {
    let (old, new) = (&before.tables, &durable.tables);
    let mut texts = vec![];
    if new.session != old.session {
        texts.push(format!("{:?}", new.session));
    }
    texts.push(format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        new.secrets,
        new.credential,
        new.markers,
        new.runtime,
        new.deadlines,
        new.callback_targets,
        new.callbacks
    ));
    for (position, row) in &new.messages {
        if old.messages.get(position) != Some(row) {
            texts.push(format!("{row:?}"));
        }
    }
    let news = new.events.range(old.last_event_id + 1..);
    texts.extend(news.map(|(_, row)| format!("{row:?}")));
    let log = world.session.store.log_lines();
    for line in &log[world.searched_lines..] {
        texts.push(line.to_line(None, world.session.now()));
        texts.push(format!("{line:?}"));
    }
    world.searched_lines = log.len();
    let shown = texts.iter().find(|text| shows_secret(text));
    ensure(shown.is_none(), || {
        format!("I7: a secret is shown: {shown:?}")
    })
}

/// Whether a text holds the canary of a secret, plainly or encoded.
fn shows_secret(text: &str) -> bool {
    // The middle of the canary's base64 at each of the three alignments, and its hexadecimal digits.
    const ENCODED: [&str; 4] = [
        "Y2FuYXJ5LWY1Yz",
        "NhbmFyeS1mNWMx",
        "jYW5hcnktZjVjM",
        "63616e6172792d66356331",
    ];
    text.contains(CANARY) || ENCODED.iter().any(|encoded| text.contains(encoded))
}
