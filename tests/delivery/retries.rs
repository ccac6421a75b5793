//! Failures before an agent's start: what is tried again, how often and when.

use cloud_agent_session::session::delivery::HandOverFault;
use cloud_agent_session::session::message::Phase;
use cloud_agent_wire::{FailureCode, FailureSubtype};

use crate::harness::delivering::{Delivering, disk, error, failure, setup_failure};
use crate::harness::fixtures::message_id;

/// Fails every delivery of message `a` until it ends; the seconds between them.
fn delays(delivering: &Delivering, fail: impl Fn(u64)) -> Vec<u64> {
    let mut delays = vec![];
    loop {
        let claim = delivering.claim();
        assert_eq!(claim.intent.message_id(), &message_id('a'));
        assert_eq!(claim.submission.get(), delays.len() as u64 + 1);
        delivering.hand_over(&claim);
        fail(claim.submission.get());
        delivering.check_alarm();
        if delivering.phase('a') == Phase::Failed {
            return delays;
        }
        let wait = delivering.deadline("retry").unwrap();
        // A moment too early nothing is claimed.
        delivering.session.pass_millis(wait - 1);
        delivering.ring();
        assert_eq!(delivering.phase('a'), Phase::Queued);
        delivering.session.pass_millis(1);
        delays.push(wait / 1_000);
    }
}

#[test]
fn failures_of_preparing_are_retried_as_often_as_they_may_mend() {
    use FailureSubtype::{
        GitBranchMissing, GitCheckoutConflict, GitCheckoutTimeout, GitCloneTimeout,
        GitNetworkFailed, GitPackCorrupt, GitRateLimited, KiloImportFailed, KiloImportTimeout,
        SandboxStorageFull, SetupCommandFailed, SetupCommandTimeout, WorkspaceSetupUnknown,
    };
    let rows: &[(FailureSubtype, &[u64])] = &[
        (GitCloneTimeout, &[120]),
        (GitCheckoutTimeout, &[2]),
        (GitRateLimited, &[15, 45]),
        (GitNetworkFailed, &[2, 10, 30]),
        (GitPackCorrupt, &[2]),
        (GitCheckoutConflict, &[]),
        (GitBranchMissing, &[]),
        (SandboxStorageFull, &[10, 30, 60]),
        (KiloImportTimeout, &[2]),
        (KiloImportFailed, &[2]),
        (SetupCommandTimeout, &[2]),
        (SetupCommandFailed, &[]),
        (WorkspaceSetupUnknown, &[2]),
    ];
    for (subtype, expected) in rows {
        let delivering = Delivering::new(&['a', 'b']);
        let seconds = delays(&delivering, |submission| {
            delivering.happen([error('a', submission, setup_failure(*subtype))]);
        });
        assert_eq!(seconds, *expected, "{subtype:?}");
        let failure = delivering.failure('a');
        assert_eq!(failure.subtype, Some(*subtype));
        let payload = &delivering.payloads("cloud.message.failed")[0];
        assert_eq!(payload["attempts"], seconds.len() + 1, "{subtype:?}");
        assert_eq!(payload["accepted"], false);
        assert_eq!(payload["failure"]["subtype"], subtype.as_str());
        assert_eq!(payload["failure"]["retryable"], !expected.is_empty());
        // One message that cannot be delivered does not block the next.
        assert_eq!(delivering.claim().intent.message_id(), &message_id('b'));
    }
    // One more subtype waits for a credential instead.
    assert_eq!(rows.len() + 1, FailureSubtype::ALL.len());
}

#[test]
fn a_runtime_that_is_away_is_asked_for_nine_minutes() {
    let delivering = Delivering::new(&['a']);
    let mut seconds = vec![];
    loop {
        let claim = delivering.claim();
        delivering.hand_over_fails(&claim, &HandOverFault::Unreachable);
        if delivering.phase('a') == Phase::Failed {
            break;
        }
        let wait = delivering.deadline("retry").unwrap();
        seconds.push(wait / 1_000);
        delivering.session.pass_millis(wait);
    }
    assert_eq!(seconds, [1, 2, 5, 10, 20, 30, 60, 120, 300]);
    assert_eq!(
        delivering.failure('a').code,
        FailureCode::SandboxConnectFailed
    );
}

#[test]
fn different_failures_spend_one_budget() {
    let delivering = Delivering::new(&['a']);
    let seconds = delays(&delivering, |submission| {
        let subtype = if submission == 1 {
            FailureSubtype::GitNetworkFailed
        } else {
            FailureSubtype::SandboxStorageFull
        };
        delivering.happen([error('a', submission, setup_failure(subtype))]);
    });
    assert_eq!(seconds, [2, 30, 60]);
}

#[test]
fn a_failure_with_a_table_of_its_own_begins_it_after_one_that_has_none() {
    let delivering = Delivering::new(&['a']);
    let subtypes = [
        FailureSubtype::WorkspaceSetupUnknown,
        FailureSubtype::GitCloneTimeout,
        FailureSubtype::GitRateLimited,
        FailureSubtype::WorkspaceSetupUnknown,
    ];
    let seconds = delays(&delivering, |submission| {
        let index = usize::try_from(submission).unwrap() - 1;
        delivering.happen([error('a', submission, setup_failure(subtypes[index]))]);
    });
    // One that follows another of its kind goes on, and the common table has one entry only.
    assert_eq!(seconds, [2, 120, 45]);
}

#[test]
fn a_runtime_that_stops_costs_no_retry_until_it_has_done_so_five_times() {
    let delivering = Delivering::new(&['a']);
    let seconds = delays(&delivering, |submission| {
        let stopped = failure(FailureCode::ContainerShutdown, None);
        delivering.happen([error('a', submission, stopped)]);
    });
    // Five times at no cost, then the table's own retry.
    assert_eq!(seconds, [1, 1, 1, 1, 1, 2]);
}

#[test]
fn a_disk_that_changes_during_the_hand_over_costs_no_retry() {
    let delivering = Delivering::new(&['a']);
    let claim = delivering.claim();
    delivering.contact(&disk(1));
    delivering.hand_over_fails(&claim, &HandOverFault::Outdated);
    assert_eq!(delivering.deadline("retry"), Some(1_000));
    delivering.session.pass_millis(1_000);
    delivering.hand_over(&delivering.claim());
    // The whole table is still there.
    let failed = setup_failure(FailureSubtype::GitCloneTimeout);
    delivering.happen([error('a', 2, failed)]);
    assert_eq!(delivering.deadline("retry"), Some(120_000));
}
