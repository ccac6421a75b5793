//! The runtime's events, as the session takes them over.
//!
//! An event carries its position in the runtime's journal, which is stored in the same step as the event's effects:
//! a crash on either side repeats nothing and loses nothing.

use cloud_agent_wire::{
    EventSequence, Failure, FailureStage, GateResult, Generation, JournalEvent, MessageId,
    RuntimeEvent, StoreId, Submission, Timestamp,
};

use crate::telemetry::LogEvent;

use super::command::Settings;
use super::deadline::DeadlineKind;
use super::event;
use super::event_data::CloudStatus;
use super::kilocode::{self, Subject};
use super::message::{DeliveryHistory, MessageRecord, MessageState};
use super::outcome::{CompletionData, CompletionSource};
use super::progress::Progress;
use super::step::{Decision, Write};
use super::view::DeliveryView;
use super::volatile::{self, Preparing};

/// Takes over events of the store's journal. Those at or before the cursor were taken over before.
#[must_use]
pub fn on_events(
    view: &DeliveryView,
    store_id: &StoreId,
    events: &[JournalEvent],
    now: Timestamp,
    settings: &Settings,
) -> Decision<()> {
    let mut progress = Progress::new(view, now, settings);
    progress.told_by_runtime = true;
    if view.link.store_id.as_ref() != Some(store_id) {
        return progress.finish(());
    }
    for event in events {
        // What comes while no message is being delivered stays in the journal: the delivery that it belongs to may be
        // taken up again, and reads on from here.
        let is_delivering = progress
            .view
            .head_message()
            .is_some_and(MessageRecord::is_delivered);
        if is_delivering && event.seq > progress.view.link.cursor {
            progress.follow(event, store_id);
            let link = progress.link();
            link.cursor = event.seq;
            link.unreachable_since = None;
            link.last_event_at = Some(now);
        }
    }
    progress.finish(())
}

impl Progress<'_> {
    fn follow(&mut self, event: &JournalEvent, store_id: &StoreId) {
        match &event.event {
            RuntimeEvent::Ready {
                message_id,
                submission,
                generation,
                cold,
                ..
            } => {
                self.ready(message_id, *submission, *generation, *cold, store_id);
            }
            RuntimeEvent::Output { message_id, text } => {
                self.activity(message_id, None);
                self.draft
                    .tell([volatile::output(text, message_id, self.now)]);
            }
            RuntimeEvent::Kilocode { message_id, json } => {
                self.line(message_id, json, event.seq);
            }
            RuntimeEvent::AutocommitStarted { message_id } => {
                let event = event::autocommit_started(message_id, self.now);
                self.draft.write(Write::AppendEvent(event));
                self.draft
                    .tell([volatile::finalizing(message_id, self.now)]);
            }
            RuntimeEvent::AutocommitCompleted {
                message_id,
                commit,
                pushed,
            } => {
                let commit = commit.as_deref();
                let event = event::autocommit_completed(message_id, commit, *pushed, self.now);
                self.draft.write(Write::AppendEvent(event));
                let status = CloudStatus::Ready;
                self.draft
                    .tell([volatile::cloud_status(status, Some(message_id), self.now)]);
            }
            RuntimeEvent::Complete {
                message_id,
                submission,
                branch,
                gate_result,
            } => {
                let branch = branch.as_deref();
                self.complete(message_id, *submission, branch, *gate_result);
            }
            RuntimeEvent::Interrupted {
                message_id,
                submission,
            } => {
                if let Some(message) = self.delivered(message_id, *submission) {
                    self.interrupt(&message);
                }
            }
            RuntimeEvent::Error {
                message_id,
                submission,
                failure,
            } => {
                self.error(message_id, *submission, failure);
            }
            RuntimeEvent::CredentialRefused { generation } => {
                if self.view.record.repository.uses_session_credential() {
                    self.refuse_credential(*generation, None);
                } else {
                    self.refuse_managed(*generation);
                }
            }
            RuntimeEvent::Preparing { step, percent } => self.prepare(Preparing {
                step: *step,
                percent: *percent,
            }),
            RuntimeEvent::Unknown => {}
        }
    }

    /// The preparation went on. Only a new step changes the workspace's status.
    fn prepare(&mut self, preparing: Preparing) {
        let now = self.now;
        let message_id = self
            .view
            .head_message()
            .map(|head| head.message_id().clone());
        let before = self.link().preparing.replace(preparing);
        self.draft
            .tell([volatile::preparing(preparing, message_id.as_ref(), now)]);
        if before.map(|before| before.step) != Some(preparing.step) {
            let status = CloudStatus::preparing(Some(preparing));
            self.draft
                .tell([volatile::cloud_status(status, message_id.as_ref(), now)]);
        }
    }

    /// The head, if that delivery of it, or a newer one, runs.
    ///
    /// The runtime answers a newer delivery with the end of an older one, unless the older one failed before its
    /// agent was started.
    fn delivered(&self, message_id: &MessageId, submission: Submission) -> Option<MessageRecord> {
        self.head(message_id).filter(|message| {
            message
                .state
                .history()
                .is_some_and(|history| history.submission >= submission)
        })
    }

    /// The agent was started: even under an earlier submission, that is the one that counts, since the agent is
    /// started once.
    fn ready(
        &mut self,
        message_id: &MessageId,
        submission: Submission,
        generation: Generation,
        cold: bool,
        store_id: &StoreId,
    ) {
        let Some(message) = self.head(message_id) else {
            return;
        };
        let MessageState::Claimed { history, .. } = message.state.clone() else {
            return;
        };
        if submission > history.submission {
            return;
        }
        let now = self.now;
        self.draft.log(LogEvent::MessageAccepted {
            message_id: message_id.clone(),
            submission,
            generation,
            cold,
        });
        self.draft
            .write(Write::AppendEvent(event::sent(message_id, now)));
        self.draft.tell(volatile::prepared(message_id, now));
        self.link().preparing = None;
        self.draft.deadlines.set(DeadlineKind::ClaimLease, None);
        self.set_after(DeadlineKind::TurnWatch, self.settings.no_output_millis);
        // The start tells what the workspace has, also when the hand-over's own answer was lost.
        let link = self.link();
        link.acknowledged = link.acknowledged.max(generation);
        if self.view.generation() > self.view.link.acknowledged {
            self.draft
                .set_deadline_no_later(DeadlineKind::PushOwed, now);
        }
        if self.view.record.initiated_at.is_none() {
            let record = self.record();
            record.prepared_at = Some(now);
            record.initiated_at = Some(now);
        }
        let state = MessageState::Accepted {
            history: DeliveryHistory {
                submission,
                ..history
            },
            generation,
            store_id: store_id.clone(),
            accepted_at: now,
            active: false,
            assistant: None,
        };
        self.put(message, state);
    }

    /// The agent printed a line of JSON.
    fn line(&mut self, message_id: &MessageId, json: &str, seq: EventSequence) {
        let Subject { entity, answer } = kilocode::subject(json, message_id, seq);
        self.activity(message_id, answer);
        if let Some(event) = event::kilocode(message_id, json, entity, self.now) {
            self.draft.write(Write::AppendEvent(event));
        }
    }

    /// The agent showed something, perhaps a version of its answer. Only what is new changes anything.
    fn activity(&mut self, message_id: &MessageId, answer: Option<String>) {
        let Some(mut message) = self.head(message_id) else {
            return;
        };
        if let MessageState::Accepted {
            active, assistant, ..
        } = &mut message.state
            && (!*active || answer.is_some() && *assistant != answer)
        {
            *active = true;
            if answer.is_some() {
                *assistant = answer;
            }
            let state = message.state.clone();
            self.put(message, state);
        }
    }

    fn complete(
        &mut self,
        message_id: &MessageId,
        submission: Submission,
        branch: Option<&str>,
        gate_result: Option<GateResult>,
    ) {
        let Some(message) = self.delivered(message_id, submission) else {
            return;
        };
        let message = self.inferred_start(message);
        let MessageState::Accepted {
            accepted_at,
            assistant,
            ..
        } = message.state.clone()
        else {
            return;
        };
        if let Some(branch) = branch
            && self.view.record.upstream_branch.as_deref() != Some(branch)
        {
            self.record().upstream_branch = Some(branch.to_owned());
        }
        let completion = CompletionData {
            assistant_message_id: assistant.as_deref(),
            gate_result,
            last_seen_branch: self.view.record.upstream_branch.as_deref(),
            completed_at: self.now,
            source: CompletionSource::of_completion(assistant.is_some()),
        };
        let event = event::completed(message_id, &completion);
        self.draft.write(Write::AppendEvent(event));
        self.end(
            &message,
            MessageState::Completed {
                accepted_at,
                terminal_at: self.now,
                assistant,
                gate_result,
            },
        );
    }

    /// The message with the start that its end implies, and the event of it.
    fn inferred_start(&mut self, mut message: MessageRecord) -> MessageRecord {
        let MessageState::Claimed {
            history,
            generation,
            ..
        } = message.state.clone()
        else {
            return message;
        };
        let Some(store_id) = self.view.link.store_id.clone() else {
            return message;
        };
        self.draft.write(Write::AppendEvent(event::sent(
            message.message_id(),
            self.now,
        )));
        message.state = MessageState::Accepted {
            history,
            generation,
            store_id,
            accepted_at: self.now,
            active: false,
            assistant: None,
        };
        message
    }

    fn error(&mut self, message_id: &MessageId, submission: Submission, failure: &Failure) {
        let Some(message) = self.delivered(message_id, submission) else {
            return;
        };
        // The stage tells that the agent was started even when the event that says so was never written: the runtime
        // died in between, and starts no turn twice.
        let was_started = failure.stage != FailureStage::PreDispatch;
        if was_started || message.state.accepted_at().is_some() {
            let message = self.inferred_start(message);
            self.fail(&message, failure.clone());
        } else if message
            .state
            .history()
            .is_some_and(|history| history.submission == submission)
        {
            self.settle_failure(&message, failure.clone());
        }
    }
}
