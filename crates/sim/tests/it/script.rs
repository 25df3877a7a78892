//! Runs whose course is written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use staunch_model::{
    ActionKind, Endpoint, Event, Match, MatchedStep, Policy, Severity, Span, StateKind, Target, Timestamp,
    TransactionId,
};
use staunch_sim::scenario::policy;
use staunch_sim::script::{Ask, Fault, Happening, Mishap, Point, Script, Setting};
use staunch_sim::world::WorldKind;

const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn target() -> Target {
    Target::Address([203, 0, 113, 7].into())
}

/// A run of the first playbook of the simulator, with one event at its start.
fn script(world: WorldKind, faults: Vec<Fault>) -> Script {
    script_under(policy(world, 0), world, faults, 1)
}

/// The same under `policy`, with the first `steps` of the playbook.
fn script_under(policy: Policy, world: WorldKind, faults: Vec<Fault>, steps: u16) -> Script {
    let policy = Arc::new(policy);
    let playbook = policy.playbooks[0].hash;
    let mut script = Script::new(Setting {
        policy,
        world,
        start: START,
        shares: BTreeMap::new(),
        share_of_others: Some(10),
        faults,
    });
    let event = Event {
        system: "simulated".into(),
        id: None,
        time: Some(START),
        received: START,
        severity: Severity::High,
        signature: "".into(),
        category: "".into(),
        source: Endpoint::default(),
        destination: Endpoint::default(),
        user: None,
        host: None,
        raw: b"{}".as_slice().into(),
    };
    let step = |step| MatchedStep {
        step,
        target: Some(target()),
    };
    let matched = Match {
        playbook,
        key: "a".into(),
        preserve: Vec::new(),
        steps: (0..steps).map(step).collect(),
    };
    let happening = Happening::Event {
        event: Arc::new(event),
        matches: vec![matched],
    };
    script.plan(Span::ZERO, happening);
    script
}

/// The newest transaction is in `expect` at each time, and nothing is wrong in the end.
fn check(mut script: Script, expect: &[(Span, StateKind)]) {
    for (at, kind) in expect {
        script.run_until(*at);
        let found = script.newest(&target()).map(|it| it.state.kind());
        assert_eq!(found, Some(*kind), "at {at}");
    }
    script.finish();
    assert_eq!(script.violation(), None);
    assert!(script.misfits().is_empty(), "{:?}", script.misfits());
}

fn fault(at: Point, mishap: Mishap, times: Option<u32>) -> Vec<Fault> {
    vec![Fault {
        at,
        of: Some(target()),
        evidence: None,
        mishap,
        times,
    }]
}

#[test]
fn every_world_contains_and_ends_the_lease() {
    for world in [WorldKind::Kernel, WorldKind::Api, WorldKind::Cloud] {
        let lease = [
            (Span::from_secs(10), StateKind::InForce),
            (Span::from_mins(62), StateKind::Released),
        ];
        check(script(world, Vec::new()), &lease);
    }
}

/// Each kind of action has a budget of its own.
#[test]
fn two_kinds_act_at_one_target() {
    let mut policy = policy(WorldKind::Kernel, 0);
    policy.limits.acts_per_action_hour_max = 1;
    policy
        .drivers
        .push(WorldKind::Kernel.describe_as(ActionKind::RateLimitIp));
    Arc::make_mut(&mut policy.playbooks[0]).steps[1].action = ActionKind::RateLimitIp;
    let mut script = script_under(policy, WorldKind::Kernel, Vec::new(), 2);
    script.run_until(Span::from_secs(10));
    let newest = script.newest(&target()).map(|it| (it.id, it.state.kind()));
    assert_eq!(newest, Some((TransactionId(2), StateKind::InForce)));
    script.finish();
    assert_eq!(script.violation(), None);
}

#[test]
fn faults_meet_the_requests_that_they_name() {
    let lost = script(WorldKind::Kernel, fault(Point::Execute, Mishap::ReplyLost, Some(1)));
    check(
        lost,
        &[
            (Span::from_secs(1), StateKind::Executing),
            (Span::from_secs(20), StateKind::InForce),
        ],
    );
    let liar = script(WorldKind::Kernel, fault(Point::Execute, Mishap::Lies, None));
    check(liar, &[(Span::from_secs(20), StateKind::RolledBack)]);
    let crash = Mishap::Crash(Span::from_secs(10));
    let crash = script(WorldKind::Kernel, fault(Point::Execute, crash, Some(1)));
    check(
        crash,
        &[
            (Span::from_secs(5), StateKind::Executing),
            (Span::from_secs(30), StateKind::InForce),
        ],
    );
}

#[test]
fn what_comes_while_the_process_is_away_waits() {
    let mut script = script(WorldKind::Kernel, Vec::new());
    script.plan(Span::from_mins(1), Happening::Crash(Span::from_mins(2)));
    script.plan(Span::from_mins(2), Happening::Ask(Ask::Release(target())));
    check(
        script,
        &[
            (Span::from_secs(150), StateKind::InForce),
            (Span::from_secs(190), StateKind::Released),
        ],
    );
}

#[test]
fn a_question_about_nothing_is_a_misfit() {
    let mut script = script(WorldKind::Kernel, Vec::new());
    let elsewhere = Target::Address([203, 0, 113, 8].into());
    script.plan(Span::from_secs(1), Happening::Ask(Ask::Approve(elsewhere)));
    script.run_until(Span::from_secs(2));
    assert_eq!(script.misfits().len(), 1);
}
