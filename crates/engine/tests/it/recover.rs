//! The recover phase: step by step back to normal, verified, and back again when it does not hold.

use staunch_engine::EngineState;
use staunch_model::{
    ActionKind, Command, Context, FailureKind, IncidentId, Mode, NoticeLevel, Phase, RecoverStep, RecoveryEnd,
    RecoveryState, Span, StateKind, Step, WatchPlan,
};

use crate::build::{self, adjust_playbook};
use crate::sim::{Fault, OPERATOR, Sim, Verb};

/// What the contain phase blocks, in this order.
const BLOCKED: [&str; 2] = ["203.0.113.7", "203.0.113.8"];
/// What the recover phase acts on.
const MENDED: &str = "203.0.113.9";

const SOAK: Span = Span::from_secs(30);

fn soak(back: bool) -> RecoverStep {
    RecoverStep::Soak {
        watch: WatchPlan {
            signal: "shop".into(),
            lasts: SOAK,
            every: Span::from_secs(5),
        },
        back,
    }
}

const RELEASE: RecoverStep = RecoverStep::Release { kinds: Vec::new() };

/// A world whose playbook `enforce` has these steps of a recover phase; an act is on the third step's target.
fn recovering(steps: &[RecoverStep]) -> Sim {
    Sim::new(build::policy(|policy| {
        adjust_playbook(policy, "enforce", |it| {
            it.steps[2].phase = Phase::Recover;
            it.context.extend(steps.iter().cloned().map(Context::Recover));
        });
    }))
}

/// The same, contained.
fn contained(steps: &[RecoverStep]) -> Sim {
    let mut sim = recovering(steps);
    sim.event_about("enforce", "key", &[BLOCKED[0], BLOCKED[1], MENDED]);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.transactions(), 2, "what recovers waits for a person");
    assert!(BLOCKED.iter().all(|ip| sim.is_blocked(ip)));
    sim
}

fn recover(sim: &mut Sim) -> Result<(), String> {
    sim.command(Command::Recover(IncidentId(1))).map(|_| ())
}

fn state(sim: &Sim) -> RecoveryState {
    sim.state().recoveries[&IncidentId(1)].state.clone()
}

fn end(sim: &Sim) -> RecoveryEnd {
    match state(sim) {
        RecoveryState::Ended(end) => end,
        other => panic!("it has not ended: {other:?}"),
    }
}

/// In the middle of a soak: everything is lifted, and something was done for it.
pub(crate) fn halfway_back() -> EngineState {
    let mut sim = contained(&[RecoverStep::Act { step: 2 }, RELEASE, soak(true)]);
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(3));
    sim.state().clone()
}

#[test]
fn acts_then_releases_in_reverse_order_each_verified_before_the_next() {
    let mut sim = contained(&[
        RecoverStep::RequestChange {
            text: "Rotate the key.".into(),
        },
        RecoverStep::Act { step: 2 },
        RELEASE,
        soak(true),
    ]);
    sim.run(Span::from_mins(20));
    recover(&mut sim).unwrap();
    sim.run_until_kind(3, StateKind::InForce);
    assert!(sim.is_blocked(MENDED), "the act, whatever the age of the event");
    sim.run_until_kind(2, StateKind::Releasing);
    assert_eq!(sim.kind(1), Some(StateKind::InForce), "one after the other");
    sim.run_until_kind(2, StateKind::Released);
    sim.run_until_kind(1, StateKind::Released);
    sim.run(Span::from_secs(29));
    assert!(matches!(state(&sim), RecoveryState::Running { at: 3, .. }));
    sim.run(Span::from_secs(2));
    assert_eq!(end(&sim), RecoveryEnd::Recovered);
    assert_eq!(
        sim.told(NoticeLevel::Warning),
        ["INC-1 needs a change: Rotate the key."]
    );
    assert!(sim.told(NoticeLevel::Info).contains(&"INC-1 has recovered"));
    assert_eq!(
        recover(&mut sim).unwrap_err(),
        "INC-1 has recovered already",
        "while its own act is in force it is open"
    );
    sim.ends_clean();
}

#[test]
fn a_release_takes_the_order_that_it_is_given_and_what_it_does_not_name_stays() {
    let kinds = vec![ActionKind::RateLimitIp, ActionKind::BlockIp];
    let mut sim = contained(&[RecoverStep::Release {
        kinds: vec![ActionKind::RateLimitIp],
    }]);
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(end(&sim), RecoveryEnd::Recovered);
    assert!(BLOCKED.iter().all(|ip| sim.is_blocked(ip)));
    let mut sim = contained(&[RecoverStep::Release { kinds }]);
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(1));
    assert!(BLOCKED.iter().all(|ip| !sim.is_blocked(ip)));
}

#[test]
fn what_does_not_hold_is_contained_again() {
    let mut sim = contained(&[RELEASE, soak(true)]);
    sim.run(Span::from_mins(30));
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(3));
    assert!(BLOCKED.iter().all(|ip| !sim.is_blocked(ip)));
    sim.health.push((sim.now, Some(false)));
    sim.run(Span::from_secs(10));
    assert!(BLOCKED.iter().all(|ip| sim.is_blocked(ip)), "{}", sim.story());
    assert_eq!(
        end(&sim),
        RecoveryEnd::Back {
            why: "the health signal shop says 31 %".into()
        }
    );
    let pages = sim.told(NoticeLevel::Page);
    assert_eq!(
        pages,
        [
            "the recovery of INC-1 was taken back, and what it lifted is being contained again: the health signal shop says 31 %"
        ]
    );
    // It can be tried again when the business is well.
    sim.health.push((sim.now, Some(true)));
    recover(&mut sim).unwrap();
    sim.run(SOAK + Span::from_secs(5));
    assert!(sim.told(NoticeLevel::Info).contains(&"INC-1 has recovered"));
    assert!(BLOCKED.iter().all(|ip| !sim.is_blocked(ip)));
    assert!(
        sim.state().incidents.is_empty(),
        "it is closed, and forgotten with its recovery"
    );
    sim.ends_clean();
}

#[test]
fn what_an_earlier_try_has_done_is_not_done_again() {
    let mut sim = contained(&[RecoverStep::Act { step: 2 }, RELEASE, soak(true)]);
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(3));
    sim.health.push((sim.now, Some(false)));
    sim.run(Span::from_secs(10));
    assert_eq!(end(&sim).name(), "back");
    let before = sim.transactions();
    sim.health.push((sim.now, Some(true)));
    recover(&mut sim).unwrap();
    sim.run(SOAK + Span::from_secs(5));
    assert_eq!(end(&sim), RecoveryEnd::Recovered);
    assert_eq!(sim.transactions(), before, "its act is in force since the first try");
    sim.ends_clean();
}

#[test]
fn a_soak_that_stops_contains_nothing_again() {
    let mut sim = contained(&[RELEASE, soak(false), RecoverStep::Act { step: 2 }]);
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(3));
    sim.health.push((sim.now, Some(false)));
    sim.run(Span::from_secs(10));
    assert!(BLOCKED.iter().all(|ip| !sim.is_blocked(ip)));
    assert_eq!(
        end(&sim),
        RecoveryEnd::Failed {
            why: "step 2: the health signal shop says 31 %".into()
        }
    );
    let ended = &sim.state().recoveries[&IncidentId(1)];
    assert_eq!(ended.taken, 1, "the first step was taken, and the second was not");
    assert!(ended.ended.is_some());
    assert_eq!(sim.transactions(), 2, "nothing after it is done");
    sim.ends_clean();
}

#[test]
fn a_signal_that_cannot_be_read_stops_recovery_and_contains_nothing_again() {
    let mut sim = contained(&[RELEASE, soak(true)]);
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(3));
    sim.health.push((sim.now, None));
    sim.run(SOAK + Span::from_secs(40));
    assert_eq!(end(&sim).name(), "failed");
    assert!(BLOCKED.iter().all(|ip| !sim.is_blocked(ip)));
    sim.ends_clean();
}

#[test]
fn an_act_that_fails_ends_recovery_and_undoes_no_containment() {
    let mut sim = contained(&[RecoverStep::Act { step: 2 }, RELEASE]);
    sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(10));
    assert_eq!(sim.kind(3), Some(StateKind::RolledBack));
    assert!(
        BLOCKED.iter().all(|ip| sim.is_blocked(ip)),
        "nothing is lifted without it"
    );
    assert_eq!(end(&sim).name(), "failed");
    let pages = sim.told(NoticeLevel::Page);
    assert_eq!(pages.len(), 1, "{pages:?}");
    assert!(
        pages[0].starts_with("the recovery of INC-1 failed at step 1: the act failed: "),
        "{pages:?}"
    );
    assert!(pages[0].ends_with("What is in force stays in force"), "{pages:?}");
    // And it can be started again.
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(10));
    assert_eq!(end(&sim), RecoveryEnd::Recovered);
    assert!(BLOCKED.iter().all(|ip| !sim.is_blocked(ip)));
    sim.ends_clean();
}

#[test]
fn who_starts_it_approves_its_acts() {
    let mut sim = contained(&[RecoverStep::Act { step: 2 }]);
    sim.set_mode(Mode::Approve);
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(3), Some(StateKind::InForce));
    assert_eq!(sim.transaction(3).approved_by(), Some(OPERATOR));
    sim.ends_clean();
}

#[test]
fn where_only_observing_is_allowed_nothing_is_lifted_for_it() {
    let mut sim = contained(&[RecoverStep::Act { step: 2 }, RELEASE]);
    sim.set_mode(Mode::Observe);
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(
        end(&sim),
        RecoveryEnd::Failed {
            why: "step 1: the mode lets Staunch only observe".into()
        }
    );
    assert!(BLOCKED.iter().all(|ip| sim.is_blocked(ip)));
    sim.ends_clean();
}

#[test]
fn what_cannot_be_recovered_says_why() {
    let mut sim = Sim::usual();
    assert_eq!(recover(&mut sim).unwrap_err(), "there is no INC-1");
    sim.event("enforce", BLOCKED[0]);
    sim.run(Span::from_secs(1));
    assert_eq!(
        recover(&mut sim).unwrap_err(),
        "the playbook of INC-1 has no recover phase; `staunch release --incident INC-1` lifts what it holds"
    );

    let mut sim = recovering(&[RELEASE, soak(true)]);
    sim.latency = Span::from_millis(50);
    sim.event_about("enforce", "key", &[BLOCKED[0], BLOCKED[1], MENDED]);
    sim.run(Span::from_millis(60));
    let error = recover(&mut sim).unwrap_err();
    assert!(error.ends_with("wait until it has come to an end"), "{error}");
    sim.run(Span::from_secs(1));
    recover(&mut sim).unwrap();
    assert_eq!(
        recover(&mut sim).unwrap_err(),
        format!("INC-1 is being recovered already, started by {OPERATOR}")
    );
    sim.run(Span::from_secs(2));
    sim.command(Command::StopRecovery(IncidentId(1))).unwrap();
    assert_eq!(end(&sim), RecoveryEnd::Stopped { by: OPERATOR.into() });
    assert!(sim.state().watches.is_empty());
    assert_eq!(
        sim.command(Command::StopRecovery(IncidentId(1))).unwrap_err(),
        "INC-1 is not being recovered"
    );
    sim.run(Span::from_secs(1));
    assert_eq!(
        recover(&mut sim).unwrap_err(),
        "INC-1 is closed: nothing of it is in force"
    );
    sim.ends_clean();
}

#[test]
fn what_another_incident_holds_too_stays() {
    let mut sim = contained(&[RELEASE]);
    sim.event("other", BLOCKED[0]);
    sim.run(Span::from_secs(1));
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(end(&sim), RecoveryEnd::Recovered);
    assert!(sim.is_blocked(BLOCKED[0]), "INC-2 holds it");
    let told = sim.told(NoticeLevel::Warning);
    let said = format!(
        "one containment stays in force for other incidents: block-ip on {}",
        BLOCKED[0]
    );
    assert!(told.iter().any(|it| it.contains(&said)), "{told:?}");
    assert!(!sim.is_blocked(BLOCKED[1]));
    sim.ends_clean();
}

#[test]
fn who_joins_an_act_of_a_recovery_is_contained_by_it() {
    let mut sim = contained(&[RecoverStep::Act { step: 2 }]);
    recover(&mut sim).unwrap();
    sim.run_until_kind(3, StateKind::InForce);
    sim.event("other", MENDED);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.incident(2).outcome, Some(staunch_model::IncidentOutcome::Contained));
    sim.ends_clean();
}

#[test]
fn what_an_earlier_try_has_lifted_is_contained_again_by_a_later_one() {
    let mut sim = contained(&[RecoverStep::Act { step: 2 }, RELEASE, soak(true)]);
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(3));
    sim.command(Command::StopRecovery(IncidentId(1))).unwrap();
    assert!(BLOCKED.iter().all(|ip| !sim.is_blocked(ip)));
    recover(&mut sim).unwrap();
    sim.run(Span::from_secs(3));
    sim.health.push((sim.now, Some(false)));
    sim.run(Span::from_secs(10));
    assert_eq!(end(&sim).name(), "back");
    assert!(BLOCKED.iter().all(|ip| sim.is_blocked(ip)), "{}", sim.story());
    sim.ends_clean();
}

#[test]
fn recovery_goes_on_after_a_crash_at_every_frame() {
    let steps = [RecoverStep::Act { step: 2 }, RELEASE, soak(true)];
    let mut whole = contained(&steps);
    let first = whole.frames.len();
    recover(&mut whole).unwrap();
    whole.run(Span::from_mins(1));
    let last = whole.frames.len();
    assert_eq!(end(&whole), RecoveryEnd::Recovered);
    for frames in first + 1..=last {
        for dispatched in [false, true] {
            let mut sim = contained(&steps);
            sim.cut = Some(crate::sim::Cut {
                frames,
                dispatched,
                outage: Span::from_secs(3),
            });
            recover(&mut sim).unwrap();
            sim.run(Span::from_secs(90));
            assert_eq!(end(&sim), RecoveryEnd::Recovered, "cut after {frames}\n{}", sim.story());
            assert!(BLOCKED.iter().all(|ip| !sim.is_blocked(ip)));
            sim.ends_clean();
        }
    }
}

#[test]
fn the_steps_of_a_recovery_contain_nothing() {
    let step = Step {
        phase: Phase::Recover,
        ..build::playbook("enforce", |_| {}).steps[0].clone()
    };
    let playbook = build::playbook("enforce", |it| it.steps.push(step));
    assert_eq!(playbook.containing().count(), 3);
}
