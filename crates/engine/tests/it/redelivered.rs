//! An event that is delivered again, byte for byte: what it leads to, told by the state of the incident it belongs to.

use staunch_model::{IncidentStatus, Span, StateKind, Timestamp};

use crate::build::{self, LEASE, adjust_playbook};
use crate::life::IP;
use crate::sim::Sim;

/// A playbook whose lease is shorter than an event may be old.
const SHORT: Span = Span::from_mins(5);

/// An event that was contained, and its time.
fn contained(lease: Span) -> (Sim, Timestamp) {
    let mut sim = Sim::new(build::policy(|policy| {
        adjust_playbook(policy, "enforce", |it| {
            it.steps.iter_mut().for_each(|step| step.lease = lease);
        });
    }));
    let time = sim.now;
    sim.event_at("enforce", IP, Some(time));
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    (sim, time)
}

#[test]
fn while_its_incident_is_open_a_repeat_is_counted_and_nothing_else() {
    let (mut sim, time) = contained(LEASE);
    for _ in 0..3 {
        sim.event_at("enforce", IP, Some(time));
        sim.run(Span::from_secs(1));
    }
    assert_eq!((sim.transactions(), sim.acts.len()), (1, 1));
    assert_eq!(sim.incident(1).events, 4);
    sim.ends_clean();
}

#[test]
fn what_a_person_released_is_not_contained_again_by_a_repeat_within_deduplicate() {
    let (mut sim, time) = contained(LEASE);
    sim.release(1).unwrap();
    sim.run(Span::from_mins(5));
    assert_eq!(sim.incident(1).status, IncidentStatus::Closed);
    sim.event_at("enforce", IP, Some(time));
    sim.run(Span::from_secs(1));
    assert_eq!((sim.transactions(), sim.incident(1).events), (1, 2));
    // After it, and while the event is not too old, it is: this is why `deduplicate` is to be as long as
    // `event_age_max`.
    sim.run(Span::from_mins(6));
    sim.event_at("enforce", IP, Some(time));
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(2), Some(StateKind::InForce));
    sim.ends_clean();
}

#[test]
fn after_its_lease_has_ended_a_repeat_is_judged_anew_until_it_is_too_old() {
    let (mut sim, time) = contained(SHORT);
    sim.run(SHORT);
    assert!(!sim.is_blocked(IP));
    sim.event_at("enforce", IP, Some(time));
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(2), Some(StateKind::InForce), "it is 5 minutes old, of 15");
    sim.run(Span::from_mins(11));
    sim.event_at("enforce", IP, Some(time));
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(3), Some(StateKind::Refused));
    assert!(
        sim.refusal(3).starts_with("freshness: the event is 16m"),
        "{}",
        sim.refusal(3)
    );
    sim.ends_clean();
}
