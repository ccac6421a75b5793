//! Managed repositories: tokens that are resolved for every delivery, and again when the remote refuses one.

use cloud_agent_session::session::claim::{Claim, Owed, Work};
use cloud_agent_session::session::delivery::{HandOverFault, on_push_answered};
use cloud_agent_session::session::managed::{
    ManagedFault, on_resolved, on_resolved_again, on_unresolved_again,
};
use cloud_agent_session::session::message::Phase;
use cloud_agent_session::session::record::RepositoryRecord;
use cloud_agent_wire::{
    FailureCode, FailureSubtype, Generation, RuntimeEvent, Submission, TurnState,
};

use crate::harness::delivering::{Delivering, complete, disk, error, ready, setup_failure};
use crate::harness::fixtures::{prompt, token};
use crate::harness::shell::apply;

fn github() -> Delivering {
    let repo = "acme/project".to_owned();
    Delivering::of(RepositoryRecord::Github { repo }, None, &['a', 'b'])
}

/// The service gives this token for the hand-over.
fn resolved(delivering: &Delivering, name: &str) -> u64 {
    let fingerprint = delivering.session.ring.fingerprint(&token(name));
    let generation = apply(&delivering.session, |view, now, settings| {
        on_resolved(view, &fingerprint, now, settings)
    });
    generation.unwrap().unwrap().get()
}

/// The service gives this token for a turn whose token was refused.
fn resolved_again(delivering: &Delivering, name: &str) -> Option<u64> {
    let fingerprint = delivering.session.ring.fingerprint(&token(name));
    let generation = apply(&delivering.session, |view, now, settings| {
        on_resolved_again(view, &fingerprint, now, settings)
    });
    generation.unwrap().unwrap().map(Generation::get)
}

/// The claim is handed over with this token and its agent starts.
fn start(delivering: &Delivering, claim: &Claim, name: &str) -> u64 {
    delivering.contact(&disk(1));
    let generation = resolved(delivering, name);
    let claim = Claim {
        generation: Generation::new(generation),
        ..claim.clone()
    };
    let submission = claim.submission.get();
    delivering.answer(&claim, &disk(1), submission, TurnState::Waiting);
    generation
}

fn refuse(delivering: &Delivering, generation: u64) {
    let generation = Generation::new(generation);
    delivering.happen([RuntimeEvent::CredentialRefused { generation }]);
}

fn pushed(delivering: &Delivering, generation: u64) {
    apply(&delivering.session, |view, now, settings| {
        on_push_answered(view, &disk(1), Generation::new(generation), now, settings)
    })
    .unwrap();
}

/// A turn that runs with the first token that was resolved.
fn running() -> Delivering {
    let delivering = github();
    start(&delivering, &delivering.claim(), "1");
    delivering.happen([ready('a', 1)]);
    delivering
}

#[test]
fn another_token_has_a_higher_generation_and_the_same_one_keeps_it() {
    let delivering = github();
    let claim = delivering.claim();
    assert_eq!(start(&delivering, &claim, "1"), 1);
    delivering.happen([ready('a', 1), complete('a', 1)]);
    let claim = delivering.claim();
    assert_eq!(resolved(&delivering, "1"), 1);
    assert_eq!(resolved(&delivering, "2"), 2);
    // Even one that was there before: the runtime must never go back.
    assert_eq!(start(&delivering, &claim, "1"), 3);
    delivering.happen([ready('b', 1), complete('b', 1)]);
    assert_eq!(delivering.phase('b'), Phase::Completed);
}

#[test]
fn nothing_is_remembered_of_a_token_but_its_generation_and_fingerprint() {
    let delivering = github();
    start(&delivering, &delivering.claim(), "1");
    let record = delivering.session.record().unwrap();
    let managed = record.managed.unwrap();
    assert_eq!(managed.fingerprint.len(), 8);
    assert!(delivering.session.store.tables().credential.is_none());
}

#[test]
fn a_clients_token_does_not_reach_a_managed_repository() {
    use crate::harness::fixtures::Vary;
    let delivering = github();
    delivering
        .session
        .send(prompt('c').with_token("client"))
        .unwrap();
    assert!(delivering.session.credential().is_none());
    assert!(delivering.session.store.tables().markers.is_empty());
}

#[test]
fn a_token_that_is_refused_while_a_turn_runs_is_resolved_anew_and_pushed() {
    let delivering = running();
    assert_eq!(delivering.ring(), Work::Pull { overdue: false });
    refuse(&delivering, 1);
    assert_eq!(delivering.deadline("push_owed"), Some(0));
    assert_eq!(delivering.ring_owed(), Some(Owed::Push(Generation::new(1))));
    assert_eq!(resolved_again(&delivering, "2"), Some(2));
    // The push is lost: it stays owed, and the same token is pushed under the same generation.
    delivering.session.pass_millis(2_000);
    assert_eq!(delivering.ring_owed(), Some(Owed::Push(Generation::new(2))));
    assert_eq!(resolved_again(&delivering, "2"), Some(2));
    pushed(&delivering, 2);
    delivering.session.pass_millis(2_000);
    assert!(matches!(delivering.ring(), Work::Pull { .. }));
    delivering.happen([complete('a', 1)]);
    assert_eq!(delivering.phase('a'), Phase::Completed);
    assert!(delivering.payloads("cloud.credential.required").is_empty());
}

#[test]
fn while_the_service_gives_the_refused_token_it_is_asked_now_and_then() {
    let delivering = running();
    refuse(&delivering, 1);
    assert_eq!(delivering.ring_owed(), Some(Owed::Push(Generation::new(1))));
    assert_eq!(resolved_again(&delivering, "1"), None);
    assert_eq!(delivering.deadline("push_owed"), Some(15_000));
    // So it is when it gives none.
    delivering.session.pass_millis(15_000);
    assert_eq!(delivering.ring_owed(), Some(Owed::Push(Generation::new(1))));
    assert_eq!(delivering.deadline("push_owed"), Some(2_000));
    apply(&delivering.session, on_unresolved_again).unwrap();
    assert_eq!(delivering.deadline("push_owed"), Some(15_000));
    // Meanwhile the agent that waits is not taken for silent.
    delivering.session.pass_millis(400_000);
    assert_eq!(delivering.ring_owed(), Some(Owed::Push(Generation::new(1))));
    assert_eq!(delivering.phase('a'), Phase::Accepted);
    assert_eq!(resolved_again(&delivering, "2"), Some(2));
    pushed(&delivering, 2);
    // The next one is refused as well: not at once again.
    refuse(&delivering, 2);
    assert_eq!(delivering.deadline("push_owed"), Some(15_000));
}

#[test]
fn the_refusal_of_a_token_counts_once_and_that_of_an_older_one_not_at_all() {
    let delivering = running();
    refuse(&delivering, 1);
    assert_eq!(delivering.ring_owed(), Some(Owed::Push(Generation::new(1))));
    refuse(&delivering, 1);
    assert_eq!(delivering.deadline("push_owed"), Some(2_000));

    let delivering = github();
    let claim = delivering.claim();
    delivering.contact(&disk(1));
    resolved(&delivering, "1");
    assert_eq!(start(&delivering, &claim, "2"), 2);
    delivering.happen([ready('a', 1)]);
    refuse(&delivering, 1);
    assert_eq!(delivering.deadline("push_owed"), None);
    assert_eq!(
        delivering
            .session
            .record()
            .unwrap()
            .managed
            .unwrap()
            .refused,
        None
    );
}

#[test]
fn a_refused_token_that_is_given_again_for_the_next_turn_is_proved_again() {
    let delivering = running();
    refuse(&delivering, 1);
    let refused = setup_failure(FailureSubtype::GitAuthenticationFailed);
    delivering.happen([error('a', 1, refused)]);
    assert_eq!(delivering.phase('a'), Phase::Failed);
    let claim = delivering.claim();
    assert_eq!(start(&delivering, &claim, "1"), 2);
}

#[test]
fn the_remotes_refusal_before_the_start_is_answered_with_one_more_token() {
    let delivering = github();
    start(&delivering, &delivering.claim(), "1");
    let refused = || setup_failure(FailureSubtype::GitAuthenticationFailed);
    delivering.happen([error('a', 1, refused())]);
    assert_eq!(delivering.phase('a'), Phase::Queued);
    assert_eq!(delivering.deadline("retry"), Some(2_000));
    delivering.session.pass_millis(2_000);
    let claim = delivering.claim();
    assert_eq!(claim.submission, Submission::new(2));
    assert_eq!(start(&delivering, &claim, "2"), 2);
    delivering.happen([error('a', 2, refused())]);
    assert_eq!(
        delivering.failure('a').subtype,
        Some(FailureSubtype::GitAuthenticationFailed)
    );
}

#[test]
fn a_service_that_is_away_costs_the_retries_of_the_table_and_then_the_message() {
    let delivering = github();
    let unavailable = HandOverFault::NoManagedToken(ManagedFault::Unavailable);
    delivering.hand_over_fails(&delivering.claim(), &unavailable);
    assert_eq!(delivering.deadline("retry"), Some(2_000));
    delivering.session.pass_millis(2_000);
    delivering.hand_over_fails(&delivering.claim(), &unavailable);
    let failure = delivering.failure('a');
    assert_eq!(failure.code, FailureCode::WorkspaceSetupFailed);
    assert_eq!(failure.subtype, None);
    assert!(failure.detail.unwrap().contains("credential service"));
    // The next message is not held up, once it is certain that no runtime works on this one.
    assert!(matches!(delivering.ring_owed(), Some(Owed::Interrupt(_))));
    delivering.interrupt_answered('a');
    assert!(matches!(delivering.ring(), Work::Deliver(_)));
}

#[test]
fn an_app_that_is_not_installed_ends_the_message_at_once() {
    let delivering = github();
    let fault = HandOverFault::NoManagedToken(ManagedFault::NotInstalled);
    delivering.hand_over_fails(&delivering.claim(), &fault);
    assert_eq!(
        delivering.failure('a').subtype,
        Some(FailureSubtype::GitAuthenticationFailed)
    );
}

#[test]
fn a_slow_service_is_asked_again_under_the_same_submission_at_no_cost() {
    let delivering = github();
    let claim = delivering.claim();
    delivering.hand_over_fails(&claim, &HandOverFault::NotYet);
    assert_eq!(delivering.phase('a'), Phase::Claimed);
    assert_eq!(delivering.deadline("drain"), Some(1_000));
    delivering.session.pass_millis(1_000);
    let again = delivering.claim();
    assert_eq!(again.submission, claim.submission);
    assert_eq!(start(&delivering, &again, "1"), 1);
}

#[test]
fn an_interrupted_turn_needs_no_other_token() {
    let delivering = running();
    refuse(&delivering, 1);
    delivering.session.interrupt().unwrap();
    assert!(matches!(delivering.ring_owed(), Some(Owed::Interrupt(_))));
    delivering.interrupt_answered('a');
    assert_eq!(delivering.ring(), Work::Rest);
}
