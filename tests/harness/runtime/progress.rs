//! What the simulated runtime does by itself.

use cloud_agent_wire::{
    EventSequence, Failure, FailureCode, FailureStage, FailureSubtype, Generation, JournalEvent,
    MessageId, RuntimeEvent, TurnState,
};

use super::workspace::Turn;
use super::{Luck, Runtime, Start};
use crate::harness::fixtures::START;

impl Runtime {
    /// Does the next thing that is to be done.
    pub fn progress(&mut self, luck: Luck) {
        let Some(workspace) = &mut self.workspace else {
            return;
        };
        if workspace.must_prepare() {
            if let Some(generation) = workspace.prepare(luck) {
                self.append(RuntimeEvent::CredentialRefused { generation });
            }
        } else if let Some(message_id) = workspace.running.clone() {
            self.run(&message_id, luck);
        } else if let Some((message_id, outcome)) = workspace.next() {
            workspace.queue.retain(|waiting| *waiting != message_id);
            match outcome {
                Ok(generation) => self.start(&message_id, generation),
                Err(failure) => self.end(&message_id, TurnState::Failed, Some(failure)),
            }
        }
    }

    fn start(&mut self, message_id: &MessageId, generation: Generation) {
        let Some(workspace) = &mut self.workspace else {
            return;
        };
        let cold = std::mem::take(&mut workspace.is_cold);
        workspace.running = Some(message_id.clone());
        let Some(turn) = workspace.turns.get_mut(message_id) else {
            return;
        };
        turn.started = true;
        turn.state = TurnState::Running;
        let submission = turn.submission;
        if std::mem::take(&mut self.planned.dies_at_start) {
            // The record is written, the event and the agent's process are not to come.
            self.restart();
            return;
        }
        self.starts.push(Start {
            message_id: message_id.clone(),
            submission,
            disk: self.disk,
        });
        self.append(RuntimeEvent::Ready {
            message_id: message_id.clone(),
            submission,
            generation,
            branch: None,
            cold,
        });
    }

    fn run(&mut self, message_id: &MessageId, luck: Luck) {
        match luck {
            Luck::Good => self.end(message_id, TurnState::Completed, None),
            Luck::Chatty => {
                self.lines += 1;
                let json = format!(r#"{{"line":{}}}"#, self.lines);
                let message_id = message_id.clone();
                self.append(RuntimeEvent::Kilocode { message_id, json });
            }
            // A push is refused, and waits for another token.
            Luck::Bad(FailureSubtype::GitAuthenticationFailed) if !self.tokens.is_empty() => {
                let ready = self
                    .workspace
                    .as_ref()
                    .and_then(|workspace| workspace.ready);
                if let Some(generation) = ready {
                    self.append(RuntimeEvent::CredentialRefused { generation });
                }
            }
            Luck::Bad(_) => {
                let generation = self.workspace.as_ref().map(|workspace| workspace.seen);
                let failure = Failure {
                    stage: FailureStage::AgentActivity,
                    code: FailureCode::WrapperErrorAfterActivity,
                    subtype: None,
                    generation: generation.unwrap_or_default(),
                    detail: None,
                };
                self.end(message_id, TurnState::Failed, Some(failure));
            }
        }
    }

    /// Stops a turn, whether it waits or runs.
    pub fn interrupt(&mut self, message_id: &MessageId) {
        let Some(workspace) = &mut self.workspace else {
            return;
        };
        let is_open = workspace.turns.get(message_id).is_some_and(Turn::is_open);
        if is_open {
            workspace.queue.retain(|waiting| waiting != message_id);
            self.end(message_id, TurnState::Interrupted, None);
        }
    }

    fn end(&mut self, message_id: &MessageId, state: TurnState, failure: Option<Failure>) {
        let Some(workspace) = &mut self.workspace else {
            return;
        };
        if workspace.running.as_ref() == Some(message_id) {
            workspace.running = None;
        }
        let Some(turn) = workspace.turns.get_mut(message_id) else {
            return;
        };
        turn.state = state;
        let (message_id, submission) = (message_id.clone(), turn.submission);
        self.append(match (state, failure) {
            (TurnState::Failed, Some(failure)) => RuntimeEvent::Error {
                message_id,
                submission,
                failure,
            },
            (TurnState::Interrupted, _) => RuntimeEvent::Interrupted {
                message_id,
                submission,
            },
            _ => RuntimeEvent::Complete {
                message_id,
                submission,
                branch: Some("main".to_owned()),
                gate_result: None,
            },
        });
    }

    fn append(&mut self, event: RuntimeEvent) {
        let seq = EventSequence::new(self.journal.len() as u64 + 1);
        let at = START;
        self.journal.push(JournalEvent { seq, at, event });
    }

    /// The process ends and another one starts on the same disk: turns that were not over fail.
    pub fn restart(&mut self) {
        self.boot += 1;
        let Some(workspace) = &mut self.workspace else {
            return;
        };
        workspace.wanted = None;
        workspace.failed = None;
        workspace.running = None;
        workspace.queue.clear();
        let generation = workspace.seen;
        let turns = workspace.turns.iter();
        let open: Vec<_> = turns
            .filter(|(_, turn)| turn.is_open())
            .map(|(id, turn)| (id.clone(), turn.started))
            .collect();
        for (message_id, started) in open {
            let stage = if started {
                FailureStage::Interruption
            } else {
                FailureStage::PreDispatch
            };
            let failure = Failure {
                stage,
                code: FailureCode::ContainerShutdown,
                subtype: None,
                generation,
                detail: None,
            };
            self.end(&message_id, TurnState::Failed, Some(failure));
        }
    }

    /// Another disk: workspace, turns and journal are gone.
    pub fn replace_disk(&mut self) {
        self.disk += 1;
        self.boot += 1;
        self.is_deleted = false;
        self.workspace = None;
        self.journal.clear();
    }
}
