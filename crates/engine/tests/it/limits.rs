//! The queue and the limit of actions in flight.

use staunch_engine::limits::{DEFAULT, QUEUE_WAIT_MAX};
use staunch_model::{Span, StateKind};

use crate::build::{self, adjust_playbook};
use crate::sim::{Fault, Sim, Verb};

fn address(at: usize) -> String {
    format!("203.0.{}.{}", at / 20, at % 20)
}

#[test]
fn two_hundred_events_are_contained_fifty_at_a_time() {
    let mut sim = Sim::new(build::policy(|policy| {
        adjust_playbook(policy, "enforce", |it| it.guards.acts_per_hour_max = 200);
    }));
    sim.invariants.compare_every = 20;
    for at in 0..200 {
        sim.event("enforce", &address(at));
    }
    assert_eq!(sim.state().index.in_flight, DEFAULT.actions_in_flight_max);
    assert_eq!(sim.state().index.queue.len(), 150);
    sim.run(Span::from_secs(1));
    assert_eq!((sim.state().index.in_flight, sim.state().index.queue.len()), (0, 0));
    let started: Vec<_> = sim.acts.iter().map(|(_, id, _)| id.0).collect();
    assert_eq!(started, (1..=200).collect::<Vec<_>>(), "first come, first served");
    assert_eq!(sim.world.owned().count(), 200);
    sim.release_all();
    sim.run(Span::from_secs(1));
    assert!(sim.world.elements.is_empty());
    sim.ends_clean();
}

#[test]
fn one_that_hangs_holds_up_nobody_for_long() {
    let mut sim = Sim::new(build::policy(|it| it.limits.actions_in_flight_max = 2));
    sim.faults(Verb::Execute, &[Fault::RequestLost, Fault::RequestLost]);
    for at in 0..4 {
        sim.event("enforce", &address(at));
    }
    sim.run(Span::from_secs(4));
    assert_eq!(sim.kind(3), Some(StateKind::Planned));
    sim.run(Span::from_secs(10));
    assert!((1..=4).all(|id| sim.kind(id) == Some(StateKind::InForce)));
    sim.ends_clean();
}

#[test]
fn a_place_in_the_queue_does_not_last_for_ever() {
    let mut sim = Sim::new(build::policy(|it| it.limits.actions_in_flight_max = 1));
    sim.event("enforce", &address(0));
    sim.event("enforce", &address(1));
    sim.policy(build::policy(|it| it.limits.actions_in_flight_max = 0));
    sim.run(Span::from_secs(1));
    assert_eq!(
        (sim.kind(1), sim.kind(2)),
        (Some(StateKind::InForce), Some(StateKind::Planned))
    );
    sim.run(QUEUE_WAIT_MAX);
    assert_eq!(sim.refusal(2), "QueueTimeout");
    sim.ends_clean();
}

#[test]
fn a_smaller_limit_stops_nothing_that_is_under_way() {
    let mut sim = Sim::usual();
    for at in 0..10 {
        sim.event("enforce", &address(at));
    }
    sim.policy(build::policy(|it| it.limits.actions_in_flight_max = 2));
    for at in 10..20 {
        sim.event("enforce", &address(at));
    }
    assert_eq!(sim.state().index.in_flight, 10);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.world.owned().count(), 20);
    sim.ends_clean();
}
