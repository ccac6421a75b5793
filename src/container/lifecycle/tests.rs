use cloud_agent_wire::Timestamp;

use super::{Admission, AlarmStep, BootStep, ClaimReply, Lifecycle, Probe, Stop};
use crate::container::image::{Image, RUNTIME};
use crate::container::timing::{
    BOOT_MILLIS_MAX, DOUBT_MILLIS, START_MILLIS_MAX, STOP_GRACE_MILLIS,
};

const SLEEP_AFTER: u64 = 8_000;

/// An owner with a container that behaves as its platform does: it runs from its start until its removal.
struct Scene {
    life: Lifecycle,
    is_running: bool,
    now: Timestamp,
    starts: u32,
    removals: u32,
}

impl Scene {
    fn new(stop: Option<Stop>, is_running: bool) -> Self {
        Self::of(RUNTIME, stop, is_running)
    }

    fn of(image: Image, stop: Option<Stop>, is_running: bool) -> Self {
        Self {
            life: Lifecycle::new(image, SLEEP_AFTER, stop),
            is_running,
            now: Timestamp::from_millis(1_000_000),
            starts: 0,
            removals: 0,
        }
    }

    fn ready() -> Self {
        let mut scene = Self::new(None, false);
        assert_eq!(scene.call(false), Admission::Wait);
        scene.boot(Probe::Answered, ClaimReply::Taken);
        assert_eq!(scene.life.after_wait(), Admission::Forward);
        scene.life.on_call_ended(scene.now);
        scene
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
    }

    fn call(&mut self, names_store: bool) -> Admission {
        self.life.on_call(names_store, self.is_running, self.now)
    }

    fn step(&mut self) -> BootStep {
        self.life.next_step(self.is_running, self.now)
    }

    /// Begins a start and goes on to its end, with the same answer to each try.
    fn boot(&mut self, probe: Probe, claim: ClaimReply) {
        assert!(self.life.begin_boot(self.now));
        self.go_on(probe, claim);
    }

    fn go_on(&mut self, probe: Probe, claim: ClaimReply) {
        for _ in 0..10_000 {
            match self.step() {
                BootStep::Remove => {
                    self.is_running = false;
                    self.removals += 1;
                    self.life.on_removed(false);
                }
                BootStep::Start => {
                    self.is_running = true;
                    self.starts += 1;
                    self.life.on_started(true, self.now);
                }
                BootStep::Probe => {
                    self.life.on_probe(probe, self.now);
                    self.pass(100);
                }
                BootStep::Claim => self.life.on_claim(claim),
                BootStep::End => return,
            }
        }
        panic!("the start has no end");
    }

    fn alarm(&mut self) -> AlarmStep {
        self.life.on_alarm(self.is_running, self.now)
    }
}

#[test]
fn the_first_call_starts_the_container_and_claims_it() {
    let mut scene = Scene::new(None, false);
    assert_eq!(scene.call(false), Admission::Wait);
    assert!(scene.life.begin_boot(scene.now));
    assert_eq!(scene.step(), BootStep::Start);
    scene.is_running = true;
    scene.life.on_started(true, scene.now);
    assert_eq!(scene.step(), BootStep::Probe);
    scene.life.on_probe(Probe::Refused, scene.now);
    assert_eq!(scene.step(), BootStep::Probe);
    scene.life.on_probe(Probe::Answered, scene.now);
    assert_eq!(scene.step(), BootStep::Claim);
    scene.life.on_claim(ClaimReply::Taken);
    assert_eq!(scene.step(), BootStep::End);
    assert_eq!(scene.life.after_wait(), Admission::Forward);
    assert_eq!(scene.call(true), Admission::Forward);
}

#[test]
fn an_image_that_is_not_claimed_is_ready_when_it_answers() {
    let image = Image {
        is_claimed: false,
        ..RUNTIME
    };
    let mut scene = Scene::of(image, None, false);
    scene.call(false);
    scene.boot(Probe::Answered, ClaimReply::Refused);
    assert_eq!(scene.life.after_wait(), Admission::Forward);
    assert_eq!(scene.starts, 1);
}

#[test]
fn calls_that_come_together_wait_for_one_start() {
    let mut scene = Scene::new(None, false);
    assert_eq!(scene.call(false), Admission::Wait);
    assert!(scene.life.begin_boot(scene.now));
    assert_eq!(scene.call(false), Admission::Wait);
    assert!(!scene.life.begin_boot(scene.now));
    assert_eq!(scene.life.after_wait(), Admission::NotReady);
    scene.go_on(Probe::Answered, ClaimReply::Taken);
    assert_eq!(scene.starts, 1);
    assert_eq!(scene.life.after_wait(), Admission::Forward);
}

#[test]
fn a_container_that_never_answers_is_removed_and_the_next_call_starts_another() {
    for probe in [Probe::Refused, Probe::Silent] {
        let mut scene = Scene::new(None, false);
        let begun = scene.now;
        scene.call(false);
        scene.boot(probe, ClaimReply::Taken);
        assert_eq!(scene.life.after_wait(), Admission::Failed);
        assert!(scene.now.millis_since(begun) >= BOOT_MILLIS_MAX);
        assert_eq!((scene.starts, scene.removals), (1, 1));
        scene.call(false);
        scene.boot(Probe::Answered, ClaimReply::Taken);
        assert_eq!(scene.life.after_wait(), Admission::Forward);
    }
}

#[test]
fn a_platform_that_refuses_to_start_is_asked_once_by_each_start() {
    let mut scene = Scene::new(None, false);
    scene.call(false);
    assert!(scene.life.begin_boot(scene.now));
    assert_eq!(scene.step(), BootStep::Start);
    scene.life.on_started(false, scene.now);
    assert_eq!(scene.step(), BootStep::End);
    assert_eq!(scene.life.after_wait(), Admission::Failed);
}

#[test]
fn a_container_that_cannot_be_removed_ends_the_start() {
    let stop = Stop::Forced {
        at: Timestamp::from_millis(1),
    };
    let mut scene = Scene::new(Some(stop), true);
    scene.call(false);
    assert!(scene.life.begin_boot(scene.now));
    assert_eq!(scene.step(), BootStep::Remove);
    scene.life.on_removed(true);
    assert_eq!(scene.step(), BootStep::End);
    assert_eq!(scene.life.after_wait(), Admission::Failed);
}

#[test]
fn an_owner_made_anew_finds_its_container_and_claims_it_again() {
    let stop = Stop::Idle {
        at: Timestamp::from_millis(1_005_000),
    };
    let mut scene = Scene::new(Some(stop), true);
    assert_eq!(scene.call(true), Admission::Wait);
    scene.boot(Probe::Answered, ClaimReply::Taken);
    assert_eq!((scene.starts, scene.removals), (0, 0));
    assert_eq!(scene.life.after_wait(), Admission::Forward);
}

#[test]
fn a_container_that_somebody_else_has_claimed_is_replaced() {
    let mut scene = Scene::ready();
    scene.call(true);
    scene.life.on_call_failed(scene.now);
    assert_eq!(scene.call(true), Admission::Wait);
    assert!(scene.life.begin_boot(scene.now));
    assert_eq!(scene.step(), BootStep::Probe);
    scene.life.on_probe(Probe::Answered, scene.now);
    assert_eq!(scene.step(), BootStep::Claim);
    scene.life.on_claim(ClaimReply::Refused);
    scene.go_on(Probe::Answered, ClaimReply::Taken);
    assert_eq!((scene.starts, scene.removals), (2, 1));
    assert_eq!(scene.life.after_wait(), Admission::Forward);
}

#[test]
fn a_container_that_refuses_connections_after_it_was_ready_is_replaced_after_a_moment() {
    let mut scene = Scene::ready();
    scene.call(true);
    scene.life.on_call_failed(scene.now);
    let doubted = scene.now;
    scene.call(true);
    assert!(scene.life.begin_boot(scene.now));
    loop {
        assert_eq!(scene.step(), BootStep::Probe);
        scene.life.on_probe(Probe::Refused, scene.now);
        if scene.now.millis_since(doubted) >= DOUBT_MILLIS {
            break;
        }
        assert_eq!(scene.life.after_wait(), Admission::NotReady);
        scene.pass(100);
    }
    assert_eq!(scene.step(), BootStep::Remove);
    scene.is_running = false;
    scene.life.on_removed(false);
    scene.go_on(Probe::Answered, ClaimReply::Taken);
    assert_eq!(scene.starts, 2);
}

#[test]
fn one_refused_connection_costs_nothing() {
    let mut scene = Scene::ready();
    scene.call(true);
    scene.life.on_call_failed(scene.now);
    scene.call(true);
    scene.boot(Probe::Answered, ClaimReply::Taken);
    assert_eq!((scene.starts, scene.removals), (1, 0));
    assert_eq!(scene.life.after_wait(), Admission::Forward);
}

#[test]
fn a_call_that_names_a_store_starts_nothing_when_the_container_has_ended() {
    let mut scene = Scene::ready();
    scene.is_running = false;
    scene.life.on_exit();
    assert_eq!(scene.call(true), Admission::StoreGone);
    assert_eq!(scene.life.stop(), None);
    assert_eq!(scene.call(false), Admission::Wait);
    scene.boot(Probe::Answered, ClaimReply::Taken);
    assert_eq!(scene.starts, 2);
}

#[test]
fn an_exit_while_a_start_is_under_way_is_the_starts_to_see() {
    let mut scene = Scene::ready();
    scene.call(true);
    scene.life.on_call_failed(scene.now);
    scene.call(true);
    assert!(scene.life.begin_boot(scene.now));
    assert_eq!(scene.step(), BootStep::Probe);
    scene.is_running = false;
    scene.life.on_exit();
    assert!(scene.life.stop().is_some());
    scene.life.on_probe(Probe::Refused, scene.now);
    scene.go_on(Probe::Answered, ClaimReply::Taken);
    assert_eq!((scene.starts, scene.removals), (2, 0));
    assert_eq!(scene.life.after_wait(), Admission::Forward);
}

#[test]
fn a_container_that_nobody_uses_is_asked_to_end_and_later_destroyed() {
    let mut scene = Scene::ready();
    let Some(Stop::Idle { at }) = scene.life.stop() else {
        panic!("an idle stop is stored");
    };
    assert!(at.millis_since(scene.now) >= SLEEP_AFTER);
    assert!(at.millis_since(scene.now) <= SLEEP_AFTER + SLEEP_AFTER / 8);
    assert_eq!(scene.alarm(), AlarmStep::Rest);
    scene.now = at;
    assert_eq!(scene.alarm(), AlarmStep::Terminate);
    let destroy_at = at.plus_millis(STOP_GRACE_MILLIS);
    assert_eq!(scene.life.stop(), Some(Stop::Forced { at: destroy_at }));
    assert_eq!(scene.alarm(), AlarmStep::Rest);
    scene.now = destroy_at;
    assert_eq!(scene.alarm(), AlarmStep::Remove);
    scene.is_running = false;
    scene.life.on_removed(false);
    assert_eq!(scene.life.stop(), None);
}

#[test]
fn a_container_that_ends_when_it_is_asked_to_leaves_nothing_to_do() {
    let mut scene = Scene::ready();
    scene.pass(2 * SLEEP_AFTER);
    assert_eq!(scene.alarm(), AlarmStep::Terminate);
    scene.is_running = false;
    scene.life.on_exit();
    assert_eq!(scene.life.stop(), None);
    assert_eq!(scene.alarm(), AlarmStep::Rest);
}

#[test]
fn a_container_that_is_not_gone_is_destroyed_again() {
    let mut scene = Scene::ready();
    scene.pass(2 * SLEEP_AFTER);
    assert_eq!(scene.alarm(), AlarmStep::Terminate);
    for _ in 0..3 {
        scene.pass(STOP_GRACE_MILLIS);
        assert_eq!(scene.alarm(), AlarmStep::Remove);
        scene.life.on_removed(true);
        assert!(scene.life.stop().is_some_and(|stop| stop.at() > scene.now));
    }
}

#[test]
fn a_call_that_never_ends_does_not_keep_the_container_for_ever() {
    let mut scene = Scene::ready();
    assert_eq!(scene.call(true), Admission::Forward);
    scene.pass(u64::from(RUNTIME.call_millis_max) - 1);
    assert_eq!(scene.alarm(), AlarmStep::Rest);
    scene.pass(2 * SLEEP_AFTER);
    assert_eq!(scene.alarm(), AlarmStep::Terminate);
}

#[test]
fn a_start_that_never_ends_is_followed_by_another() {
    let mut scene = Scene::new(None, false);
    scene.call(false);
    assert!(scene.life.begin_boot(scene.now));
    scene.pass(START_MILLIS_MAX - 1);
    assert!(!scene.life.begin_boot(scene.now));
    scene.pass(1);
    scene.boot(Probe::Answered, ClaimReply::Taken);
    assert_eq!(scene.life.after_wait(), Admission::Forward);
}

#[test]
fn a_call_under_way_keeps_the_container_idle_as_it_may_seem() {
    let mut scene = Scene::ready();
    assert_eq!(scene.call(true), Admission::Forward);
    scene.pass(3 * SLEEP_AFTER);
    assert_eq!(scene.alarm(), AlarmStep::Rest);
    let after = scene
        .life
        .stop()
        .map(|stop| stop.at().millis_since(scene.now));
    assert!(after >= Some(SLEEP_AFTER));
    scene.life.on_call_ended(scene.now);
    scene.pass(2 * SLEEP_AFTER);
    assert_eq!(scene.alarm(), AlarmStep::Terminate);
}

#[test]
fn a_call_after_the_signal_gets_a_container_of_its_own() {
    let mut scene = Scene::ready();
    scene.pass(2 * SLEEP_AFTER);
    assert_eq!(scene.alarm(), AlarmStep::Terminate);
    assert_eq!(scene.call(true), Admission::StoreGone);
    assert_eq!(scene.call(false), Admission::Wait);
    scene.boot(Probe::Answered, ClaimReply::Taken);
    assert_eq!((scene.starts, scene.removals), (2, 1));
    assert!(matches!(scene.life.stop(), Some(Stop::Idle { .. })));
}

#[test]
fn a_busy_container_is_not_written_down_at_each_call() {
    let mut scene = Scene::ready();
    let mut writes = 0;
    for _ in 0..100 {
        let before = scene.life.stop();
        scene.call(true);
        scene.life.on_call_ended(scene.now);
        writes += u32::from(scene.life.stop() != before);
        let at = scene.life.stop().map(Stop::at);
        assert!(at >= Some(scene.now.plus_millis(SLEEP_AFTER)));
        scene.pass(SLEEP_AFTER / 80);
    }
    assert!((5..=12).contains(&writes), "{writes} writes");
}
