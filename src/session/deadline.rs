//! The table of deadlines behind the object's single alarm.
//!
//! A Durable Object has one alarm. Every purpose that needs one stores its moment under its own name, and
//! [`Deadlines::next`] is the only function that says when the alarm rings.

use cloud_agent_wire::Timestamp;

macro_rules! deadlines {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        /// What a deadline is for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum DeadlineKind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DeadlineKind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// What it is for, in the words of the documentation.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+),)+
                }
            }

            /// The name in storage and in log lines.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

deadlines!(
    /// The head of the queue is to be looked at.
    Drain = "drain",
    /// The head of the queue failed and may be tried again.
    Retry = "retry",
    /// The oldest open marker expires. May ring early for a marker that is gone by then.
    MarkerExpiry = "marker_expiry",
    /// A claimed message must have been accepted.
    ClaimLease = "claim_lease",
    /// Nobody has read the runtime's events for so long that the alarm does.
    EventPull = "event_pull",
    /// A running agent must have shown something, or ended.
    TurnWatch = "turn_watch",
    /// Messages that would use a refused credential fail.
    CredentialWait = "credential_wait",
    /// The runtime works with an older credential than the current one.
    PushOwed = "push_owed",
    /// The runtime is to be told to stop a turn.
    InterruptOwed = "interrupt_owed",
    /// A batch of messages is to be reported, or the try to report it counts as lost.
    Callback = "callback",
    /// Those who follow the session have not had everything that is stored, and what sends them the rest may have died.
    Replay = "replay",
    /// Events may be too old, or the session out of use for too long.
    Retention = "retention",
    /// The session is being deleted.
    Deletion = "deletion",
);

impl DeadlineKind {
    /// Reads a stored name.
    #[must_use]
    pub fn from_stored(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// The stored deadlines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deadlines([Option<Timestamp>; DeadlineKind::ALL.len()]);

impl Deadlines {
    /// The deadline of a kind.
    #[must_use]
    pub fn get(&self, kind: DeadlineKind) -> Option<Timestamp> {
        self.0.get(kind.index()).copied().flatten()
    }

    /// Sets or clears the deadline of a kind.
    pub fn set(&mut self, kind: DeadlineKind, at: Option<Timestamp>) {
        if let Some(slot) = self.0.get_mut(kind.index()) {
            *slot = at;
        }
    }

    /// Whether a deadline has come.
    #[must_use]
    pub fn is_due(&self, kind: DeadlineKind, now: Timestamp) -> bool {
        self.get(kind).is_some_and(|at| at <= now)
    }

    /// The earliest deadline: when the alarm rings.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.0.iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::Timestamp;

    use super::{DeadlineKind, Deadlines};

    #[test]
    fn the_alarm_rings_at_the_earliest_deadline() {
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.next(), None);
        for (index, kind) in DeadlineKind::ALL.iter().enumerate() {
            let at = Timestamp::from_millis(1_000 - index as u64);
            deadlines.set(*kind, Some(at));
            assert_eq!(deadlines.next(), Some(at));
            assert!(deadlines.is_due(*kind, at));
            assert!(!deadlines.is_due(*kind, Timestamp::from_millis(at.as_millis() - 1)));
        }
        for kind in DeadlineKind::ALL {
            deadlines.set(*kind, None);
        }
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn stored_names_read_back() {
        for kind in DeadlineKind::ALL {
            assert_eq!(DeadlineKind::from_stored(kind.as_str()), Some(*kind));
        }
        assert_eq!(DeadlineKind::from_stored("other"), None);
    }
}
