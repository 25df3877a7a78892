//! What a policy that is read again changes for what waits already: nothing of its playbook.

use staunch_model::{Mode, Playbook, Policy, Span, StateKind};

use crate::build::{self, adjust_playbook, modes, traffic};
use crate::life::IP;
use crate::sim::{Fault, Sim, Verb};

/// The usual policy with another playbook under the name `name`. Events of it are those of `<name> anew`.
fn anew(name: &str, adjust: impl FnOnce(&mut Playbook)) -> Policy {
    build::policy(|policy| {
        adjust_playbook(policy, name, |it| {
            it.hash = build::hash(&format!("{name} anew"));
            adjust(it);
        });
    })
}

/// An event of another playbook is on its way, and one of `name` waits for its turn.
fn queued(name: &str) -> Sim {
    let mut sim = Sim::new(build::policy(|it| it.limits.actions_in_flight_max = 1));
    sim.faults(Verb::Observe, &[Fault::Slow(Span::from_millis(50))]);
    sim.event("other", "203.0.113.8");
    sim.event(name, IP);
    assert_eq!(sim.kind(2), Some(StateKind::Planned));
    sim
}

/// An event is asked about.
fn asked() -> Sim {
    let mut sim = Sim::usual();
    sim.event("approve", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::AwaitingApproval));
    sim
}

#[test]
fn what_is_queued_is_judged_by_the_modes_of_the_playbook_it_was_opened_with() {
    let cases = [
        ("observe", Mode::Enforce, StateKind::WouldExecute, StateKind::InForce),
        ("enforce", Mode::Observe, StateKind::InForce, StateKind::WouldExecute),
    ];
    for (name, mode, waiting, new) in cases {
        let mut sim = queued(name);
        sim.policy(anew(name, |it| it.modes = modes(mode)));
        sim.run(Span::from_secs(1));
        assert_eq!(sim.kind(2), Some(waiting), "{name}");
        sim.event(&format!("{name} anew"), "203.0.113.9");
        sim.run(Span::from_secs(1));
        assert_eq!(sim.kind(3), Some(new), "{name}: what is opened later has the new one");
        sim.ends_clean();
    }
}

#[test]
fn what_is_queued_is_judged_by_the_guards_of_the_playbook_it_was_opened_with() {
    // 4 % of the traffic where 5 % are allowed, and then 1 %; 6 %, and then all.
    let cases = [
        (40, 100, StateKind::InForce, StateKind::Refused),
        (60, 10_000, StateKind::Refused, StateKind::InForce),
    ];
    for (flows, max, waiting, new) in cases {
        let mut sim = queued("enforce");
        sim.policy(anew("enforce", |it| it.guards.traffic_share_max_bp = Some(max)));
        sim.facts = traffic(flows);
        sim.run(Span::from_secs(1));
        assert_eq!(sim.kind(2), Some(waiting), "{flows} of 1,000");
        sim.event("enforce anew", "203.0.113.9");
        sim.run(Span::from_secs(1));
        assert_eq!(sim.kind(3), Some(new), "{flows} of 1,000, opened later");
        sim.ends_clean();
    }
}

#[test]
fn what_is_asked_is_judged_after_the_answer_by_the_playbook_it_was_opened_with() {
    // A playbook that only observes now.
    let mut sim = asked();
    sim.policy(anew("approve", |it| it.modes = modes(Mode::Observe)));
    sim.approve(1).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    sim.ends_clean();

    // One whose guard allows less now, and one whose guard allows everything.
    let refused = "impact: this would stop 6 % of the traffic (60 of 1000 flows), more than the 5 % allowed";
    for (flows, max, refusal) in [(40, 100, None), (60, 10_000, Some(refused))] {
        let mut sim = asked();
        sim.policy(anew("approve", |it| it.guards.traffic_share_max_bp = Some(max)));
        sim.facts = traffic(flows);
        sim.approve(1).unwrap();
        sim.run(Span::from_secs(1));
        match refusal {
            None => assert_eq!(sim.kind(1), Some(StateKind::InForce), "{}", sim.story()),
            Some(why) => assert_eq!(sim.refusal(1), why),
        }
        sim.ends_clean();
    }
}
