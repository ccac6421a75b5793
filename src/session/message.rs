//! The life of a message: one enum, with data only in the state that owns it.

use cloud_agent_wire::{
    Failure, GateResult, Generation, Intent, MessageId, StoreId, Submission, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::record::CallbackTargetId;

/// The place of a message in the queue. First in, first out goes by this, never by ids or times.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct QueuePosition(pub u64);

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRecord {
    /// Its place in the queue.
    pub position: QueuePosition,
    /// Its immutable content.
    pub intent: Intent,
    /// When it was admitted.
    pub created_at: Timestamp,
    /// Where it is reported to when it has ended.
    pub callback: Option<CallbackTargetId>,
    /// Where it is in its life.
    pub state: MessageState,
}

impl MessageRecord {
    /// Its id.
    #[must_use]
    pub fn message_id(&self) -> &MessageId {
        self.intent.message_id()
    }

    /// Whether a delivery of it is under way.
    #[must_use]
    pub const fn is_delivered(&self) -> bool {
        matches!(
            self.state,
            MessageState::Claimed { .. } | MessageState::Accepted { .. }
        )
    }

    /// The message, noted as one that a runtime may have: its claim was begun, and nobody knows how far it came.
    #[must_use]
    pub fn that_may_be_out(&self) -> Self {
        let mut message = self.clone();
        if let MessageState::Claimed { history, .. } = &mut message.state {
            history.may_be_out = true;
        }
        message
    }

    /// Whether a runtime has said that it has the turn.
    #[must_use]
    pub const fn is_taken(&self) -> bool {
        matches!(
            self.state,
            MessageState::Claimed {
                store_id: Some(_),
                ..
            } | MessageState::Accepted { .. }
        )
    }
}

/// Where a message is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "phase",
    rename_all = "lowercase",
    rename_all_fields = "camelCase"
)]
pub enum MessageState {
    /// It waits to be delivered.
    Queued {
        /// What earlier deliveries came to.
        history: DeliveryHistory,
        /// Not to be claimed before this moment.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        not_before: Option<Timestamp>,
    },
    /// It is being delivered; shown to clients as queued.
    Claimed {
        /// This delivery and what earlier ones came to.
        history: DeliveryHistory,
        /// The credential generation that it was claimed with.
        generation: Generation,
        /// When it was claimed.
        claimed_at: Timestamp,
        /// The store whose runtime has taken the turn; `None` until it has said so.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        store_id: Option<StoreId>,
    },
    /// The workspace is ready and the agent was started.
    Accepted {
        /// The delivery that the agent runs under.
        history: DeliveryHistory,
        /// The credential generation of its workspace.
        generation: Generation,
        /// The store that it runs on.
        store_id: StoreId,
        /// When the agent was started.
        accepted_at: Timestamp,
        /// Whether the agent has shown anything.
        active: bool,
        /// The agent's own id of its newest answer.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        assistant: Option<String>,
    },
    /// The agent ended well.
    Completed {
        /// When the agent was started.
        accepted_at: Timestamp,
        /// When it ended.
        terminal_at: Timestamp,
        /// The agent's own id of its answer.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        assistant: Option<String>,
        /// What the agent's gate said.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        gate_result: Option<GateResult>,
    },
    /// It failed, before or after its agent was started.
    Failed {
        /// When the agent was started, if it was.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        accepted_at: Option<Timestamp>,
        /// When it failed for good.
        terminal_at: Timestamp,
        /// Why.
        failure: Failure,
        /// How often it was delivered.
        attempts: Submission,
    },
    /// It was stopped.
    Interrupted {
        /// When the agent was started, if it was.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        accepted_at: Option<Timestamp>,
        /// When it was stopped.
        terminal_at: Timestamp,
    },
}

/// What the deliveries of a message have come to so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryHistory {
    /// The newest delivery; rises with every claim.
    pub submission: Submission,
    /// How many entries of the retry table were spent. Waits and replaced runtimes cost none.
    pub retries_used: u32,
    /// How often it was put back at no cost; bounded, so that a message that keeps stopping its runtime ends.
    #[serde(default)]
    pub free_returns: u32,
    /// Whether a runtime may have the turn, however the delivery ended for the session.
    #[serde(default)]
    pub may_be_out: bool,
    /// Why the newest delivery that failed did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_failure: Option<Failure>,
}

/// The states by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// [`MessageState::Queued`].
    Queued,
    /// [`MessageState::Claimed`].
    Claimed,
    /// [`MessageState::Accepted`].
    Accepted,
    /// [`MessageState::Completed`].
    Completed,
    /// [`MessageState::Failed`].
    Failed,
    /// [`MessageState::Interrupted`].
    Interrupted,
}

impl Phase {
    /// The word in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Claimed => "claimed",
            Self::Accepted => "accepted",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether the message has ended. A terminal state never changes.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Interrupted)
    }
}

/// A change of state that is allowed, and what brings it about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: Phase,
    /// The state after.
    pub to: Phase,
    /// What brings it about.
    pub trigger: &'static str,
}

const fn transition(from: Phase, to: Phase, trigger: &'static str) -> Transition {
    Transition { from, to, trigger }
}

/// Every change of state that is allowed. Anything else is a defect.
pub const TRANSITIONS: &[Transition] = &[
    transition(
        Phase::Queued,
        Phase::Claimed,
        "the alarm claims the head of the queue",
    ),
    transition(
        Phase::Queued,
        Phase::Failed,
        "it cannot be read, or its credential stayed refused",
    ),
    transition(
        Phase::Queued,
        Phase::Interrupted,
        "the user stopped the session",
    ),
    transition(Phase::Claimed, Phase::Claimed, "the runtime takes the turn"),
    transition(
        Phase::Claimed,
        Phase::Queued,
        "the delivery failed and may be tried again",
    ),
    transition(
        Phase::Claimed,
        Phase::Accepted,
        "the workspace is ready and the agent starts",
    ),
    transition(
        Phase::Claimed,
        Phase::Completed,
        "the agent ended well and its start was not told",
    ),
    transition(
        Phase::Claimed,
        Phase::Failed,
        "the delivery failed for good",
    ),
    transition(
        Phase::Claimed,
        Phase::Interrupted,
        "it was stopped before the agent started",
    ),
    transition(
        Phase::Accepted,
        Phase::Accepted,
        "the agent shows its first activity",
    ),
    transition(Phase::Accepted, Phase::Completed, "the agent ended well"),
    transition(
        Phase::Accepted,
        Phase::Failed,
        "the agent failed, or its runtime is gone",
    ),
    transition(Phase::Accepted, Phase::Interrupted, "the agent was stopped"),
];

/// Whether a change of state is in the table.
#[must_use]
pub fn is_allowed(from: Phase, to: Phase) -> bool {
    TRANSITIONS
        .iter()
        .any(|transition| transition.from == from && transition.to == to)
}

impl MessageState {
    /// A message that was just admitted.
    #[must_use]
    pub fn admitted() -> Self {
        Self::Queued {
            history: DeliveryHistory::default(),
            not_before: None,
        }
    }

    /// The state's name.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Queued { .. } => Phase::Queued,
            Self::Claimed { .. } => Phase::Claimed,
            Self::Accepted { .. } => Phase::Accepted,
            Self::Completed { .. } => Phase::Completed,
            Self::Failed { .. } => Phase::Failed,
            Self::Interrupted { .. } => Phase::Interrupted,
        }
    }

    /// What its deliveries have come to, while it has not ended.
    #[must_use]
    pub const fn history(&self) -> Option<&DeliveryHistory> {
        match self {
            Self::Queued { history, .. }
            | Self::Claimed { history, .. }
            | Self::Accepted { history, .. } => Some(history),
            Self::Completed { .. } | Self::Failed { .. } | Self::Interrupted { .. } => None,
        }
    }

    /// When the agent was started, if it was.
    #[must_use]
    pub const fn accepted_at(&self) -> Option<Timestamp> {
        match self {
            Self::Queued { .. } | Self::Claimed { .. } => None,
            Self::Accepted { accepted_at, .. } | Self::Completed { accepted_at, .. } => {
                Some(*accepted_at)
            }
            Self::Failed { accepted_at, .. } | Self::Interrupted { accepted_at, .. } => {
                *accepted_at
            }
        }
    }

    /// When the message ended, if it has.
    #[must_use]
    pub const fn terminal_at(&self) -> Option<Timestamp> {
        match self {
            Self::Queued { .. } | Self::Claimed { .. } | Self::Accepted { .. } => None,
            Self::Completed { terminal_at, .. }
            | Self::Failed { terminal_at, .. }
            | Self::Interrupted { terminal_at, .. } => Some(*terminal_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, TRANSITIONS, is_allowed};

    #[test]
    fn terminal_states_have_no_way_out_and_every_other_state_has_one() {
        use Phase::{Accepted, Claimed, Completed, Failed, Interrupted, Queued};
        for phase in [Queued, Claimed, Accepted, Completed, Failed, Interrupted] {
            let leaves = TRANSITIONS
                .iter()
                .any(|row| row.from == phase && row.to != phase);
            assert_eq!(leaves, !phase.is_terminal(), "{phase:?}");
        }
        assert!(!is_allowed(Queued, Accepted));
        assert!(!is_allowed(Accepted, Queued));
    }
}
