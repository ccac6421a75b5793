//! What a session remembers about a socket, and how much a socket may be sent.
//!
//! The Workers runtime takes whatever it is given for a socket and tells nobody how much of it still waits in memory.
//! The one thing that a client's end always does by itself is to answer a close. So each connection has a budget: what
//! it was sent counts against it, and a connection whose budget is spent is closed, whereupon its client connects again
//! and goes on after the last event that it got. A client that reads is back at once; one that does not read holds no
//! more memory than its budget. Nor does anything tell a client that has nothing to say from one that is gone without
//! a word, so no connection lasts longer than its time either.

use cloud_agent_wire::{SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::limits::{
    OUTPUT_BYTES_PER_SECOND_MAX, ROUND_BYTES_MAX, ROUND_ROWS_MAX, SOCKET_BYTES_MIN,
    SOCKET_MILLIS_MAX, SOCKETS_SHARED_BYTES_MAX,
};

use super::filter::Filter;

/// A socket, as it is remembered in its attachment: it outlives the session object's time in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The session.
    pub session_id: SessionId,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// The stored event that everything was sent up to.
    pub cursor: u64,
    /// How far it is.
    pub phase: Phase,
    /// Bytes that it was sent.
    pub sent_bytes: u64,
    /// What to leave out.
    #[serde(default)]
    pub filter: Filter,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is sent what is stored; what happens meanwhile waits its turn.
    Replaying,
    /// It has had everything that is stored, and gets volatile events too.
    Live,
    /// It was told to go. What it was sent may still be in memory.
    Closed,
}

impl Connection {
    /// A connection that was just accepted.
    #[must_use]
    pub const fn new(
        session_id: SessionId,
        opened_at: Timestamp,
        cursor: u64,
        filter: Filter,
    ) -> Self {
        Self {
            session_id,
            opened_at,
            cursor,
            phase: Phase::Replaying,
            sent_bytes: 0,
            filter,
        }
    }

    /// Whether its time is over: instead of what comes next it is told to connect again.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.millis_since(self.opened_at) >= SOCKET_MILLIS_MAX
    }
}

/// The memory that all sockets of a session share.
///
/// Each may have [`SOCKET_BYTES_MIN`] whatever the others do; beyond that they share
/// [`SOCKETS_SHARED_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    shared_bytes_left: u64,
}

impl Budget {
    /// The budget, when these are the bytes that each socket was sent, closed ones included.
    #[must_use]
    pub fn of(sent_bytes: impl IntoIterator<Item = u64>) -> Self {
        let shared: u64 = sent_bytes
            .into_iter()
            .map(|sent| sent.saturating_sub(SOCKET_BYTES_MIN))
            .sum();
        Self {
            shared_bytes_left: SOCKETS_SHARED_BYTES_MAX.saturating_sub(shared),
        }
    }

    /// Takes the bytes of a frame. False when there are not enough left; then nothing was taken.
    pub fn take(&mut self, connection: &mut Connection, frame_bytes: usize) -> bool {
        let before = connection.sent_bytes;
        let after = before + frame_bytes as u64;
        let shared = after.saturating_sub(SOCKET_BYTES_MIN.max(before));
        if shared > self.shared_bytes_left {
            return false;
        }
        self.shared_bytes_left -= shared;
        connection.sent_bytes = after;
        true
    }
}

/// One turn of sending stored events to a socket. Between two rounds others get theirs.
#[derive(Debug, Default)]
pub struct Round {
    bytes: usize,
    rows: usize,
}

impl Round {
    /// Whether the round is over although there may be more to send.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes >= ROUND_BYTES_MAX || self.rows >= ROUND_ROWS_MAX
    }

    /// Counts a row, and the frame that was sent for it.
    pub const fn count(&mut self, frame_bytes: usize) {
        self.bytes += frame_bytes;
        self.rows += 1;
    }
}

/// Caps the agent's output, of which nothing is stored: what is too much for a second is left out and counted.
#[derive(Debug, Default)]
pub struct OutputMeter {
    second: u64,
    bytes: usize,
    skipped: u64,
}

impl OutputMeter {
    /// Whether a line may be sent in the second of `now_millis`; with it, how many were left out before it.
    pub const fn admit(&mut self, now_millis: u64, bytes: usize) -> Option<u64> {
        let second = now_millis / 1000;
        if second != self.second {
            self.second = second;
            self.bytes = 0;
        }
        if self.bytes + bytes > OUTPUT_BYTES_PER_SECOND_MAX {
            self.skipped += 1;
            return None;
        }
        self.bytes += bytes;
        let skipped = self.skipped;
        self.skipped = 0;
        Some(skipped)
    }
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::Timestamp;

    use super::{Budget, Connection, OutputMeter, Phase, Round};
    use crate::limits::{
        OUTPUT_BYTES_PER_SECOND_MAX, ROUND_BYTES_MAX, ROUND_ROWS_MAX, SOCKET_BYTES_MIN,
        SOCKET_MILLIS_MAX, SOCKETS_MAX, SOCKETS_SHARED_BYTES_MAX,
    };
    use crate::stream::filter::Filter;

    const OPENED_AT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn connection(sent_bytes: u64) -> Connection {
        let session = "agent_0f8fad5b-d9cb-469f-a165-70867728950e"
            .parse()
            .unwrap();
        Connection {
            sent_bytes,
            ..Connection::new(session, OPENED_AT, 0, Filter::default())
        }
    }

    /// Sends frames until there is no room, and returns how much went.
    fn drain(budget: &mut Budget, connection: &mut Connection, frame: usize) -> u64 {
        while budget.take(connection, frame) {}
        connection.sent_bytes
    }

    #[test]
    fn one_socket_alone_may_have_all_that_is_shared() {
        let mut budget = Budget::of([0]);
        let sent = drain(&mut budget, &mut connection(0), 1000);
        let bound = SOCKET_BYTES_MIN + SOCKETS_SHARED_BYTES_MAX;
        assert!(sent <= bound && sent > bound - 1000, "{sent}");
    }

    #[test]
    fn sockets_that_do_not_read_leave_each_other_socket_its_own_share() {
        let mut connections: Vec<_> = (0..SOCKETS_MAX).map(|_| connection(0)).collect();
        for index in 0..connections.len() {
            let mut budget = Budget::of(connections.iter().map(|one| one.sent_bytes));
            let sent = drain(&mut budget, &mut connections[index], 999);
            connections[index].phase = Phase::Closed;
            assert!(sent > SOCKET_BYTES_MIN - 999);
        }
        let total: u64 = connections.iter().map(|one| one.sent_bytes).sum();
        assert!(total <= SOCKET_BYTES_MIN * SOCKETS_MAX as u64 + SOCKETS_SHARED_BYTES_MAX);
    }

    #[test]
    fn a_refused_frame_costs_nothing() {
        let mut spent = connection(SOCKET_BYTES_MIN + SOCKETS_SHARED_BYTES_MAX);
        let mut budget = Budget::of([spent.sent_bytes, 0]);
        let before = (spent.clone(), budget.clone());
        assert!(!budget.take(&mut spent, 1));
        assert_eq!((spent, budget.clone()), before);
        assert!(budget.take(&mut connection(0), 1000));
    }

    #[test]
    fn a_connection_has_its_time() {
        let connection = connection(0);
        for (millis, is_over) in [
            (0, false),
            (SOCKET_MILLIS_MAX - 1, false),
            (SOCKET_MILLIS_MAX, true),
        ] {
            let now = OPENED_AT.plus_millis(millis);
            assert_eq!(connection.is_over(now), is_over, "{millis}");
        }
    }

    #[test]
    fn a_round_ends_by_bytes_and_by_rows() {
        let mut round = Round::default();
        round.count(ROUND_BYTES_MAX - 1);
        assert!(!round.is_full());
        round.count(1);
        assert!(round.is_full());
        let mut round = Round::default();
        (0..ROUND_ROWS_MAX).for_each(|_| round.count(0));
        assert!(round.is_full());
    }

    #[test]
    fn output_is_capped_for_each_second_and_what_was_left_out_is_told() {
        let mut meter = OutputMeter::default();
        assert_eq!(meter.admit(5_000, OUTPUT_BYTES_PER_SECOND_MAX), Some(0));
        assert_eq!(meter.admit(5_999, 1), None);
        assert_eq!(meter.admit(5_999, 1), None);
        assert_eq!(meter.admit(6_000, 1), Some(2));
        assert_eq!(meter.admit(6_000, 1), Some(0));
    }

    #[test]
    fn an_attachment_is_small_and_reads_back() {
        let filter = Filter {
            event_types: vec!["a".repeat(64); 50],
            execution_ids: vec!["b".repeat(64); 50],
            start_time: None,
            end_time: None,
        };
        let connection = Connection {
            filter,
            ..connection(5)
        };
        let text = serde_json::to_string(&connection).unwrap();
        // The platform's bound for an attachment.
        assert!(text.len() < 16_384, "{}", text.len());
        assert_eq!(
            serde_json::from_str::<Connection>(&text).unwrap(),
            connection
        );
    }
}
