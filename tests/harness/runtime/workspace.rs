//! What a simulated runtime's disk holds about the session, and what its process does with it.

use std::collections::BTreeMap;

use cloud_agent_wire::{
    Failure, FailureCode, FailureStage, FailureSubtype, Generation, MessageId, Submission,
    TurnState,
};

use super::Luck;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) submission: Submission,
    pub(super) generation: Generation,
    pub(super) state: TurnState,
    pub(super) started: bool,
}

/// What the disk holds about the session, and what the process does with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Workspace {
    /// The newest generation that any request brought; survives a restart.
    pub(super) seen: Generation,
    /// The newest request of this process.
    pub(super) wanted: Option<Generation>,
    pub(super) ready: Option<Generation>,
    /// The newest generation that came beside a turn: its refusal is told.
    pub(super) pushed: Option<Generation>,
    pub(super) is_cold: bool,
    pub(super) failed: Option<Failure>,
    pub(super) turns: BTreeMap<MessageId, Turn>,
    /// Turns that wait, in the order that they came.
    pub(super) queue: Vec<MessageId>,
    pub(super) running: Option<MessageId>,
}

impl Turn {
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, TurnState::Waiting | TurnState::Running)
    }
}

impl Workspace {
    pub(super) fn must_prepare(&self) -> bool {
        let failed = self.failed.as_ref().map(|failure| failure.generation);
        self.wanted > self.ready.max(failed)
    }

    /// Prepares the newest request, or tries the newest credential beside a running turn.
    ///
    /// The generation, when it was pushed and the remote refused it.
    pub(super) fn prepare(&mut self, luck: Luck) -> Option<Generation> {
        let generation = self.wanted?;
        let Luck::Bad(subtype) = luck else {
            self.is_cold |= self.ready.is_none();
            self.ready = Some(generation);
            return None;
        };
        self.failed = Some(Failure {
            stage: FailureStage::PreDispatch,
            code: FailureCode::WorkspaceSetupFailed,
            subtype: Some(subtype),
            generation,
            detail: None,
        });
        let is_refused = subtype == FailureSubtype::GitAuthenticationFailed;
        (is_refused && self.pushed == Some(generation)).then_some(generation)
    }

    /// The first turn that can start, or that must fail.
    pub(super) fn next(&self) -> Option<(MessageId, Result<Generation, Failure>)> {
        self.wanted?;
        self.queue.iter().find_map(|message_id| {
            let wanted = self.turns.get(message_id)?.generation;
            let failure = self.failed.as_ref();
            let outcome = match (self.ready, failure) {
                (Some(ready), _) if ready >= wanted => Ok(ready),
                (_, Some(failure)) if failure.generation >= wanted => Err(failure.clone()),
                _ => return None,
            };
            Some((message_id.clone(), outcome))
        })
    }
}
