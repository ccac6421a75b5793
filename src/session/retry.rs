//! The one table of failures: what clients read, and when the delivery is tried again.

use cloud_agent_wire::{Failure, FailureCode, FailureSubtype};

/// What a kind of failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailurePolicy {
    /// A fixed sentence for clients. Output of git, the agent or a server never reaches them.
    pub sentence: &'static str,
    /// Seconds to wait before each retry; as many retries as entries.
    pub retry_delays_seconds: &'static [u64],
}

const fn policy(sentence: &'static str, retry_delays_seconds: &'static [u64]) -> FailurePolicy {
    FailurePolicy {
        sentence,
        retry_delays_seconds,
    }
}

/// Retries of a failure that time may mend.
const ONCE_SOON: &[u64] = &[2];
/// Retries of a failure that time does not mend.
const NEVER: &[u64] = &[];
/// Retries while a runtime is away: close together first, since most restarts are short; nine minutes in all.
const RUNTIME_AWAY: &[u64] = &[1, 2, 5, 10, 20, 30, 60, 120, 300];
/// Retries while a git server is away.
const NETWORK: &[u64] = &[2, 10, 30];

/// The policy of a failure: its subtype's where it has one, else its code's.
#[must_use]
pub const fn failure_policy(code: FailureCode, subtype: Option<FailureSubtype>) -> FailurePolicy {
    match subtype {
        Some(subtype) => subtype_policy(subtype),
        None => code_policy(code),
    }
}

const fn subtype_policy(subtype: FailureSubtype) -> FailurePolicy {
    match subtype {
        FailureSubtype::GitCloneTimeout => policy("Cloning the repository timed out", &[120]),
        FailureSubtype::GitCheckoutTimeout => {
            policy("Checking out the branch timed out", ONCE_SOON)
        }
        FailureSubtype::GitAuthenticationFailed => {
            policy("The git server refused the credential", NEVER)
        }
        FailureSubtype::GitRateLimited => policy("The git server asked to slow down", &[15, 45]),
        FailureSubtype::GitNetworkFailed => policy("The git server could not be reached", NETWORK),
        FailureSubtype::GitPackCorrupt => policy("The git server sent damaged objects", ONCE_SOON),
        FailureSubtype::GitCheckoutConflict => {
            policy("Checking out the branch would overwrite changes", NEVER)
        }
        FailureSubtype::GitBranchMissing => policy("The branch does not exist", NEVER),
        FailureSubtype::SandboxStorageFull => policy("The workspace's disk is full", &[10, 30, 60]),
        FailureSubtype::KiloImportTimeout => {
            policy("Importing the agent's session timed out", ONCE_SOON)
        }
        FailureSubtype::KiloImportFailed => {
            policy("Importing the agent's session failed", ONCE_SOON)
        }
        FailureSubtype::SetupCommandTimeout => policy("A setup command timed out", ONCE_SOON),
        FailureSubtype::SetupCommandFailed => policy("A setup command failed", NEVER),
        FailureSubtype::WorkspaceSetupUnknown => {
            policy("The workspace could not be prepared", ONCE_SOON)
        }
    }
}

const fn code_policy(code: FailureCode) -> FailurePolicy {
    match code {
        FailureCode::SandboxConnectFailed => {
            policy("The workspace runtime could not be reached", RUNTIME_AWAY)
        }
        FailureCode::WorkspaceSetupFailed => {
            policy("The workspace could not be prepared", ONCE_SOON)
        }
        FailureCode::KiloServerFailed => policy("The agent's server did not start", ONCE_SOON),
        FailureCode::WrapperStartFailed => policy("The agent could not be started", ONCE_SOON),
        FailureCode::InvalidDeliveryRequest => policy("The message cannot be delivered", NEVER),
        FailureCode::SessionMetadataMissing => policy("The session's record is missing", NEVER),
        FailureCode::ModelMissing => policy("No model is known for the message", NEVER),
        FailureCode::DeliveryFailureUnknown => policy("Delivery failed", ONCE_SOON),
        FailureCode::WrapperDisconnected => {
            policy("The workspace runtime was lost while the agent ran", NEVER)
        }
        FailureCode::WrapperNoOutput => policy("The agent showed nothing for too long", NEVER),
        FailureCode::WrapperPingTimeout => policy(
            "The workspace runtime did not answer while the agent ran",
            NEVER,
        ),
        FailureCode::WrapperErrorBeforeActivity => {
            policy("The agent failed before it showed anything", NEVER)
        }
        FailureCode::AssistantError => policy("The agent reported an error", NEVER),
        FailureCode::WrapperErrorAfterActivity => policy("The agent failed", NEVER),
        FailureCode::MissingAssistantReply => policy("The agent ended without an answer", NEVER),
        FailureCode::PaymentRequired => policy("The account cannot pay", NEVER),
        FailureCode::UserInterrupt => policy("The user stopped the message", NEVER),
        FailureCode::ContainerShutdown => policy(
            "The workspace runtime stopped while it worked on the message",
            ONCE_SOON,
        ),
        FailureCode::SystemInterrupt => policy("The system stopped the message", NEVER),
        FailureCode::Unclassified => policy("The message failed", NEVER),
    }
}

/// Whether a kind of failure has a table of its own, that of something which takes its time to come back.
fn has_own_table(failure: &Failure) -> bool {
    let delays = failure_policy(failure.code, failure.subtype).retry_delays_seconds;
    ![ONCE_SOON, NEVER].contains(&delays)
}

/// How many entries of the table of `failure` were spent, after `previous`: a failure with a table of its own begins it
/// anew after one that has none, and goes on with it after another of its kind, so that two that take turns end as well.
#[must_use]
pub fn retries_spent(failure: &Failure, previous: Option<&Failure>, retries_used: u32) -> u32 {
    let goes_on = previous.is_some_and(has_own_table);
    if has_own_table(failure) && !goes_on {
        0
    } else {
        retries_used
    }
}

/// Milliseconds until the delivery is tried again; `None` when the table has no entry left.
#[must_use]
pub fn next_delay_millis(failure: &Failure, retries_used: u32) -> Option<u64> {
    let index = usize::try_from(retries_used).ok()?;
    let delays = failure_policy(failure.code, failure.subtype).retry_delays_seconds;
    delays
        .get(index)
        .map(|seconds| seconds.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::{Failure, FailureCode, FailureStage, FailureSubtype, Generation};

    use super::{failure_policy, next_delay_millis};

    fn failure(code: FailureCode, subtype: Option<FailureSubtype>) -> Failure {
        Failure {
            stage: FailureStage::PreDispatch,
            code,
            subtype,
            generation: Generation::default(),
            detail: None,
        }
    }

    #[test]
    fn retries_follow_the_table_until_it_ends() {
        use FailureCode::{InvalidDeliveryRequest, SandboxConnectFailed, WorkspaceSetupFailed};
        let rows: &[(FailureCode, Option<FailureSubtype>, &[u64])] = &[
            (InvalidDeliveryRequest, None, &[]),
            (
                SandboxConnectFailed,
                None,
                &[1, 2, 5, 10, 20, 30, 60, 120, 300],
            ),
            (WorkspaceSetupFailed, None, &[2]),
            (
                WorkspaceSetupFailed,
                Some(FailureSubtype::SandboxStorageFull),
                &[10, 30, 60],
            ),
            (
                WorkspaceSetupFailed,
                Some(FailureSubtype::GitRateLimited),
                &[15, 45],
            ),
            (
                WorkspaceSetupFailed,
                Some(FailureSubtype::GitCloneTimeout),
                &[120],
            ),
            (
                WorkspaceSetupFailed,
                Some(FailureSubtype::GitAuthenticationFailed),
                &[],
            ),
            (
                WorkspaceSetupFailed,
                Some(FailureSubtype::SetupCommandFailed),
                &[],
            ),
        ];
        for (code, subtype, seconds) in rows {
            let failure = failure(*code, *subtype);
            let delays: Vec<_> = (0..20)
                .map_while(|used| next_delay_millis(&failure, used))
                .collect();
            let expected: Vec<_> = seconds.iter().map(|seconds| seconds * 1_000).collect();
            assert_eq!(delays, expected, "{code:?} {subtype:?}");
        }
    }

    #[test]
    fn every_failure_has_a_sentence_of_its_own_words() {
        for code in FailureCode::ALL {
            assert!(!failure_policy(*code, None).sentence.is_empty());
        }
        for subtype in FailureSubtype::ALL {
            let policy = failure_policy(FailureCode::WorkspaceSetupFailed, Some(*subtype));
            assert!(!policy.sentence.is_empty());
        }
    }
}
