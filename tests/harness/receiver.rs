//! A receiver of callbacks, and what it may receive.

use std::collections::BTreeMap;

use cloud_agent_session::session::callback::{Answer, Attempt, CallbackState};
use cloud_agent_session::session::engine;
use cloud_agent_wire::MessageId;

use super::session::Session;
use super::shell::Shell;

/// How a try ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reception {
    /// It is received and answered with this status.
    Answers(u16),
    /// It is received, and the answer is lost.
    LosesAnswer,
    /// It is not received.
    IsAway,
}

/// What the receiver has seen.
#[derive(Debug, Clone, Default)]
pub struct Receiver {
    /// How often each batch was received, by its id.
    pub received: BTreeMap<u64, u32>,
    /// Batches that were reported, as the session has noted durably.
    pub noted: Vec<u64>,
    /// Batches that may be received again: an answer was lost, or the note of it.
    pub excused: Vec<u64>,
    /// The message of each try and whether it had ended.
    pub reports: Vec<(MessageId, bool)>,
    /// What the session did that it must never do.
    pub violation: Option<String>,
}

impl Receiver {
    fn take(&mut self, session: &Session, attempt: &Attempt) {
        let id = attempt.id.0;
        let count = self.received.entry(id).or_default();
        *count += 1;
        let is_again = *count > 1 && !self.excused.contains(&id);
        let tables = session.store.tables();
        let message = tables.message(&attempt.message_id);
        // Of a session that is being deleted a try may still be on its way.
        let has_ended = message.is_none_or(|row| row.phase.is_terminal());
        self.reports.push((attempt.message_id.clone(), has_ended));
        if is_again {
            self.violation = Some(format!("{attempt:?} is reported twice"));
        } else if !has_ended {
            self.violation = Some(format!("{attempt:?} reports a message that has not ended"));
        }
    }
}

impl Shell {
    /// The oldest try is over; what came of it is noted.
    pub fn report(&mut self, session: &Session, receiver: &mut Receiver, reception: Reception) {
        let attempt = self.tries.remove(0);
        let id = attempt.id.0;
        if receiver.noted.contains(&id) {
            receiver.violation = Some(format!("{attempt:?} was noted as reported before"));
        }
        let answer = match reception {
            Reception::Answers(status) => Answer::Status(status),
            Reception::LosesAnswer | Reception::IsAway => Answer::None,
        };
        if reception != Reception::IsAway {
            receiver.take(session, &attempt);
        }
        if !matches!(reception, Reception::Answers(200..=299)) {
            receiver.excused.push(id);
        }
        // The answer of a try that counts as lost by now, or of a deleted session's, is not noted.
        let is_awaited = session.store.tables().callbacks.get(&id).is_some_and(|batch| {
            matches!(batch.state, CallbackState::Sending { failures, .. } if failures == attempt.failures)
        });
        let noted = engine::apply_callback(&session.store, &attempt, (answer, ""), session.now());
        let is_stored = session.store.tables().callbacks.contains_key(&id);
        if is_awaited && noted.is_ok() && answer == Answer::Status(200) && !is_stored {
            receiver.noted.push(id);
        } else {
            receiver.excused.push(id);
        }
    }
}
