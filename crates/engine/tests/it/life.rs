//! The life of one transaction when nothing goes wrong, in each mode.

use staunch_engine::EngineState;
use staunch_model::{Cause, ContentHash, Context, Effect, FailureKind, Mode, NoticeLevel, Span, StateKind, Verdict};

use crate::build::{self, LEASE, adjust_playbook};
use crate::sim::{Fault, Sim, Verb};

pub(crate) const HAPPY: &str = "planned > pre-checking > executing > post-checking > in-force > releasing > released";
pub(crate) const IP: &str = "203.0.113.7";

/// An event at once, and enough time for everything but the lease.
fn contained(mut sim: Sim) -> Sim {
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    sim
}

#[test]
fn an_event_is_contained_verified_and_released_when_the_lease_ends() {
    let mut sim = contained(Sim::usual());
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert!(sim.is_in_place(1));
    let it = sim.transaction(1);
    assert_eq!((it.executions, it.completed, it.mode), (1, 1, Mode::Enforce));
    assert_eq!(it.lease_until.unwrap().since(it.verified_at.unwrap()), LEASE);
    sim.run(Span::from_mins(59));
    assert!(sim.is_in_place(1));
    sim.run(Span::from_mins(1));
    sim.expect_path(1, HAPPY);
    assert_eq!(sim.cause(1), Cause::LeaseEnded);
    assert_eq!((sim.acts.len(), sim.undos.len()), (1, 1));
    assert!(!sim.is_blocked(IP));
    let told = sim.told(NoticeLevel::Info);
    assert_eq!(told, [format!("INC-1 (enforce, {IP}): contained")]);
    sim.ends_clean();
}

#[test]
fn four_inputs_and_four_frames_bring_a_containment_into_force() {
    let mut sim = Sim::usual();
    let before = sim.frames.len();
    sim.event("enforce", IP);
    sim.run(Span::from_millis(50));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    let inputs = sim.frames[before..].iter().map(|(_, frame)| {
        let text = format!("{:?}", frame.input);
        text.split([' ', '(']).next().unwrap().to_owned()
    });
    assert_eq!(
        inputs.collect::<Vec<_>>(),
        ["Event", "Observed", "Executed", "Observed", "Notified"]
    );
}

#[test]
fn the_enforcement_point_ends_the_containment_if_staunch_never_comes_back() {
    let mut sim = contained(Sim::usual());
    sim.world.at(sim.now + LEASE);
    assert!(sim.is_in_place(1), "it outlives the lease, which Staunch itself ends");
    sim.world.at(sim.now + LEASE + Span::from_mins(1));
    assert!(!sim.is_in_place(1));
}

#[test]
fn a_shorter_hold_of_the_enforcement_point_is_the_lease() {
    let mut sim = Sim::usual();
    sim.world.hold_cut = Span::from_secs(80);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    let left = sim.transaction(1).lease_until.unwrap().since(sim.now);
    assert!(
        left + Span::from_secs(15) < LEASE && left + Span::from_secs(25) > LEASE,
        "{left}"
    );
    sim.run(LEASE);
    sim.expect_path(1, HAPPY);
    assert_eq!(sim.cause(1), Cause::LeaseEnded);

    let mut sim = Sim::usual();
    sim.world.hold_cut = Span::from_secs(100);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert!(matches!(sim.cause(1), Cause::PostCheckFailed { found } if found.contains("it ends by itself in 59m19")));
    sim.ends_clean();
}

#[test]
fn observe_mode_shows_the_whole_plan_and_does_nothing() {
    let mut sim = Sim::usual();
    sim.facts = build::traffic(12);
    sim.event("observe", IP);
    sim.run(Span::from_secs(1));
    sim.expect_path(1, "planned > pre-checking > would-execute");
    assert!(sim.acts.is_empty() && sim.undos.is_empty() && sim.world.elements.is_empty());
    let judgement = sim.judgement(1);
    assert_eq!(judgement.mode, Mode::Observe);
    assert!(
        judgement.guards.iter().all(|guard| guard.verdict == Verdict::Passed),
        "{:#?}",
        judgement.guards
    );
    let impact = judgement
        .guards
        .iter()
        .find(|guard| guard.guard.name() == "impact")
        .unwrap();
    assert_eq!(
        &*impact.why,
        "this would stop 1.2 % of the traffic (12 of 1000 flows), at most 5 %"
    );
    assert_eq!(
        sim.told(NoticeLevel::Info),
        [format!("INC-1 (observe, {IP}): would-contain")]
    );
    sim.ends_clean();
}

#[test]
fn the_policy_demotes_every_playbook() {
    for (mode, path) in [
        (Mode::Observe, "planned > pre-checking > would-execute"),
        (Mode::Approve, "planned > pre-checking > awaiting-approval"),
        (
            Mode::Enforce,
            "planned > pre-checking > executing > post-checking > in-force",
        ),
    ] {
        let mut sim = Sim::new(build::policy(|it| it.mode_max = mode));
        sim.event("enforce", IP);
        sim.run(Span::from_secs(1));
        sim.expect_path(1, path);
        sim.ends_clean();
    }
}

#[test]
fn an_internal_address_is_a_higher_risk() {
    let modes = staunch_model::Modes {
        low: Mode::Enforce,
        medium: Mode::Approve,
        high: Mode::Observe,
    };
    let mut sim = Sim::new(build::policy(|policy| {
        adjust_playbook(policy, "enforce", |it| it.modes = modes);
    }));
    for (at, ip) in [IP, "10.1.2.3", "fd00::1", "169.254.3.4", "2001:db8::1"]
        .into_iter()
        .enumerate()
    {
        sim.event("enforce", ip);
        sim.run(Span::from_secs(1));
        let internal = (1..=3).contains(&at);
        let expected = if internal {
            StateKind::AwaitingApproval
        } else {
            StateKind::InForce
        };
        assert_eq!(sim.kind(at as u64 + 1), Some(expected), "{ip}");
    }
    sim.ends_clean();
}

#[test]
fn only_a_playbook_that_asks_gets_the_traffic_share() {
    for asks in [true, false] {
        let policy = build::policy(|policy| {
            adjust_playbook(policy, "enforce", |it| {
                it.guards.traffic_share_max_bp = None;
                it.context = if asks { vec![Context::TrafficShare] } else { Vec::new() };
            });
        });
        let mut engine = Sim::new(policy).engine;
        let event = build::event(Some(build::START)).into();
        let matches = vec![build::matched("enforce", IP, &[IP])];
        let step = engine.step(&staunch_model::Input::Event { event, matches }, build::START);
        assert!(matches!(step.effects[..], [Effect::Observe { traffic, .. }] if traffic == asks));
        assert!(step.effects[0].is_read());
    }
}

#[test]
fn a_remote_driver_may_take_its_time_to_show_the_act() {
    let mut sim = Sim::remote();
    sim.faults(Verb::Execute, &[Fault::Lies]);
    sim.event("enforce", IP);
    sim.run(Span::from_millis(500));
    assert_eq!(sim.kind(1), Some(StateKind::PostChecking));
    let version = sim.transaction(1).id;
    assert_eq!(
        sim.world.execute(version, build::target(IP), 1, LEASE, false, sim.now),
        staunch_model::Outcome::Landed,
        "eventual consistency"
    );
    sim.run(Span::from_millis(500));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert!(sim.changes(1, "postponed") >= 2);
    sim.ends_clean();
}

#[test]
fn a_look_that_fails_is_tried_three_times() {
    let mut sim = Sim::usual();
    sim.faults(
        Verb::Observe,
        &[Fault::Fails(FailureKind::Unavailable), Fault::RequestLost],
    );
    sim.event("enforce", IP);
    sim.run(Span::from_secs(10));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert_eq!(sim.changes(1, "resent"), 2);

    let mut sim = Sim::usual();
    sim.faults(Verb::Observe, &[Fault::Fails(FailureKind::Unavailable); 3]);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(10));
    sim.expect_path(1, "planned > pre-checking > refused");
    assert!(sim.refusal(1).contains("the driver cannot look"), "{}", sim.refusal(1));
    sim.ends_clean();
}

#[test]
fn an_unknown_playbook_and_a_missing_target_do_no_harm() {
    let mut sim = Sim::usual();
    sim.event("nobody knows this", IP);
    assert!(sim.state().incidents.is_empty());
    assert!(sim.frames.last().unwrap().1.records.is_empty());

    sim.event_about("enforce", "no target", &["-", "-"]);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.transactions(), 0);
    assert_eq!(
        sim.told(NoticeLevel::Warning),
        ["INC-1 (enforce, no target): refused: the event names nothing to act on"]
    );

    sim.event_about("enforce", "half", &["-", IP]);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert_eq!(sim.transaction(1).step, 1);
    sim.ends_clean();
}

#[test]
fn a_step_that_the_playbook_does_not_have_is_ignored() {
    let mut sim = Sim::usual();
    sim.event_about(
        "enforce",
        "many",
        &["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"],
    );
    sim.run(Span::from_secs(1));
    assert_eq!(sim.transactions(), 3);
    sim.ends_clean();
}

#[test]
fn a_clock_that_goes_back_does_not_take_the_engine_back() {
    let mut sim = contained(Sim::usual());
    let now = sim.state().now;
    sim.clock_behind = Span::from_hours(1);
    sim.event("enforce", "203.0.113.8");
    sim.run(Span::from_millis(100));
    assert_eq!(sim.state().now, now, "time stands still until the clock has caught up");
    assert_eq!(sim.kind(2), Some(StateKind::InForce));
    assert!(sim.frames.is_sorted_by_key(|(now, _)| *now));
    sim.clock_behind = Span::ZERO;
    sim.ends_clean();
}

#[test]
fn incidents_share_the_hash_of_their_playbook_also_after_a_start() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.event("enforce", "203.0.113.8");
    sim.event("observe", "203.0.113.9");
    let read = EngineState::decode(&sim.engine.state().encode()).expect("it reads back");
    for state in [sim.engine.state(), &read] {
        let hashes: Vec<&ContentHash> = state.incidents.values().map(|it| &*it.playbook).collect();
        assert_eq!(hashes.len(), 3);
        assert!(std::ptr::eq(hashes[0], hashes[1]), "one hash for both");
        assert_ne!(hashes[0], hashes[2]);
    }
}
