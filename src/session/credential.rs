//! The credential of a generic git repository: generations, the pointer, markers, and when a token is applied.
//!
//! Rotation and persisting a message are two steps, so a request can die between them. The *marker* remembers,
//! without any secret, that a message has applied a token and is not admitted yet; the *pointer* remembers which
//! message set the credential last. Together they decide whether a retry may apply its token (see [`decide`]),
//! which is what keeps a late retry from bringing an older token back.

use cloud_agent_wire::{Generation, MessageId, Secret, Timestamp};

use crate::limits::GIT_TOKEN_BYTES_MAX;

use super::sealing::Sealed;

/// How much older than the pointer's a first try's stamp may be and still count as new.
///
/// Two requests of one user can enter at two Workers whose clocks differ.
pub const CLOCK_SKEW_MILLIS: u64 = 2_000;

/// The credential in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRecord {
    /// Rises with every change of the token.
    pub generation: Generation,
    /// When this generation was written.
    pub updated_at: Timestamp,
    /// The token, sealed.
    pub sealed: Sealed,
    /// Eight hex digits that two ends can compare to tell whether they mean the same token.
    pub fingerprint: String,
    /// Who set it last.
    pub pointer: Pointer,
    /// How many tokens were not applied.
    pub skips: u64,
}

/// Whether a text can be a git token: it has to survive a header, a URL and git's credential protocol.
///
/// # Errors
/// What is expected, never what was given.
pub fn check_git_token(token: &Secret) -> Result<(), &'static str> {
    let bytes = token.expose().as_bytes();
    let fits = (1..=GIT_TOKEN_BYTES_MAX).contains(&bytes.len());
    if fits && bytes.iter().all(|byte| matches!(byte, 0x21..=0x7E)) {
        Ok(())
    } else {
        Err("must be 1 to 4096 printable ASCII characters without spaces")
    }
}

/// Which request set the credential last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The message; `None` when the token came without one, at preparation or by an update.
    pub message_id: Option<MessageId>,
    /// The stamp of the last request that was applied.
    pub stamp: Timestamp,
}

/// The note that a message applied a generation while its admission is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The message.
    pub message_id: MessageId,
    /// The generation that it applied.
    pub generation: Generation,
    /// When it expires into an abandoned entry; `None` once it has.
    ///
    /// An abandoned entry decides like an open marker and stays until its message is admitted or the session ends.
    pub expires_at: Option<Timestamp>,
}

/// Which try of the Worker a request is, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try(u32);

impl Try {
    /// The first try.
    pub const FIRST: Self = Self(1);

    /// Wraps the number; 0 counts as the first.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(if number == 0 { 1 } else { number })
    }

    /// The number, from 1.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// How much older than the pointer's the stamp of this try may be.
    const fn tolerance_millis(self) -> u64 {
        if self.0 > 1 { 0 } else { CLOCK_SKEW_MILLIS }
    }
}

/// Who brings a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer<'a> {
    /// A message that is not admitted yet.
    Message(&'a MessageId),
    /// An update of the session, which has no message.
    Update,
}

impl Bearer<'_> {
    /// Whether the pointer names this bearer's message.
    fn owns(self, pointer: &Pointer) -> bool {
        match self {
            Self::Message(id) => pointer.message_id.as_ref() == Some(id),
            Self::Update => false,
        }
    }

    /// The message to put into the pointer.
    #[must_use]
    pub fn message_id(self) -> Option<MessageId> {
        match self {
            Self::Message(id) => Some(id.clone()),
            Self::Update => None,
        }
    }
}

/// Whether a token is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Apply it.
    Apply,
    /// Leave the credential as it is and go on with admission.
    Skip(SkipReason),
}

/// Why a token is not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// The request was stamped before the one that set the credential.
    OlderStamp,
    /// This message applied a token before, and a newer message has set the credential since.
    Superseded,
}

impl SkipReason {
    /// The word in log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OlderStamp => "older_stamp",
            Self::Superseded => "superseded",
        }
    }
}

/// Decides whether the token of a message that is not admitted, or of an update, is applied.
///
/// | marker or abandoned entry | pointer | applied |
/// | --- | --- | --- |
/// | none | none | always |
/// | none | another message | unless its stamp is older: by any amount on the Worker's own retry, by more than [`CLOCK_SKEW_MILLIS`] on a first try |
/// | yes | this message | unless its stamp is older |
/// | yes | another message | never |
///
/// `stamp` is the earlier of the time the Worker stamped and the object's own.
/// Message ids say nothing about age and are compared for equality only.
#[must_use]
pub fn decide(
    bearer: Bearer<'_>,
    stamp: Timestamp,
    attempt: Try,
    marker: Option<&Marker>,
    pointer: Option<&Pointer>,
) -> Verdict {
    let Some(pointer) = pointer else {
        return Verdict::Apply;
    };
    let tolerance_millis = match (marker, bearer.owns(pointer)) {
        (Some(_), false) => return Verdict::Skip(SkipReason::Superseded),
        (Some(_), true) => 0,
        (None, _) => attempt.tolerance_millis(),
    };
    if pointer.stamp.millis_since(stamp) > tolerance_millis {
        Verdict::Skip(SkipReason::OlderStamp)
    } else {
        Verdict::Apply
    }
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::{Generation, MessageId, Timestamp};

    use super::{Bearer, Marker, Pointer, SkipReason, Try, Verdict, decide};

    const POINTER_STAMP: u64 = 100_000;

    fn message(digit: char) -> MessageId {
        format!("msg_{}{}", "0".repeat(12), digit.to_string().repeat(14))
            .parse()
            .unwrap()
    }

    fn verdict(has_marker: bool, pointer: Option<char>, try_number: u32, stamp: u64) -> Verdict {
        let me = message('a');
        let marker = has_marker.then(|| Marker {
            message_id: me.clone(),
            generation: Generation::new(1),
            expires_at: None,
        });
        let pointer = pointer.map(|owner| Pointer {
            message_id: Some(message(owner)),
            stamp: Timestamp::from_millis(POINTER_STAMP),
        });
        decide(
            Bearer::Message(&me),
            Timestamp::from_millis(stamp),
            Try::new(try_number),
            marker.as_ref(),
            pointer.as_ref(),
        )
    }

    const OLDER: Verdict = Verdict::Skip(SkipReason::OlderStamp);
    const SUPERSEDED: Verdict = Verdict::Skip(SkipReason::Superseded);

    #[test]
    fn a_token_is_applied_by_marker_pointer_try_and_stamp() {
        for (marked, pointer, try_number, stamp, expected) in [
            // Nobody has set a credential.
            (false, None, 1, 0, Verdict::Apply),
            (false, None, 2, 0, Verdict::Apply),
            (true, None, 1, 0, Verdict::Apply),
            // A new message against another message's pointer.
            (false, Some('b'), 1, POINTER_STAMP + 1, Verdict::Apply),
            (false, Some('b'), 1, POINTER_STAMP, Verdict::Apply),
            (false, Some('b'), 1, POINTER_STAMP - 2_000, Verdict::Apply),
            (false, Some('b'), 1, POINTER_STAMP - 2_001, OLDER),
            (false, Some('b'), 2, POINTER_STAMP, Verdict::Apply),
            (false, Some('b'), 2, POINTER_STAMP - 1, OLDER),
            // A message that applied before and still owns the pointer.
            (true, Some('a'), 1, POINTER_STAMP + 1, Verdict::Apply),
            (true, Some('a'), 1, POINTER_STAMP, Verdict::Apply),
            (true, Some('a'), 1, POINTER_STAMP - 1, OLDER),
            (true, Some('a'), 2, POINTER_STAMP - 1, OLDER),
            // A message that applied before while another has set the credential since.
            (true, Some('b'), 1, POINTER_STAMP + 60_000, SUPERSEDED),
            (true, Some('b'), 2, POINTER_STAMP + 60_000, SUPERSEDED),
        ] {
            assert_eq!(
                verdict(marked, pointer, try_number, stamp),
                expected,
                "marked {marked}, pointer {pointer:?}, try {try_number}, stamp {stamp}"
            );
        }
    }

    #[test]
    fn an_update_never_owns_the_pointer_and_follows_the_rule_for_new_messages() {
        let by_update = Pointer {
            message_id: None,
            stamp: Timestamp::from_millis(POINTER_STAMP),
        };
        for (stamp, expected) in [
            (POINTER_STAMP - 2_000, Verdict::Apply),
            (POINTER_STAMP - 2_001, OLDER),
        ] {
            let stamp = Timestamp::from_millis(stamp);
            assert_eq!(
                decide(Bearer::Update, stamp, Try::FIRST, None, Some(&by_update)),
                expected
            );
        }
    }
}
