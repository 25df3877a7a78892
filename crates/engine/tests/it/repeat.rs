//! Leases that grow for targets that come back.

use staunch_model::{Context, FailureKind, Record, Span, StateKind};

use crate::build::{self, LEASE, adjust_playbook};
use crate::life::IP;
use crate::sim::{Fault, Sim, Verb};

const HOUR: Span = Span::from_hours(1);
const TWO: Span = Span::from_hours(2);
const FIVE: Span = Span::from_hours(5);
const DAY: Span = Span::from_hours(24);

/// The playbooks `enforce` and `observe` hold for 1, 2 and then 5 hours.
fn growing() -> Sim {
    growing_within(DAY)
}

fn growing_within(within: Span) -> Sim {
    Sim::new(build::policy(|policy| {
        for name in ["enforce", "observe"] {
            adjust_playbook(policy, name, |it| {
                it.context.extend([
                    Context::LeaseThen { step: 0, lease: TWO },
                    Context::LeaseThen { step: 0, lease: FIVE },
                    Context::ReturnsWithin { step: 0, within },
                ]);
            });
        }
    }))
}

/// An event of `ip` is contained; the lease that was planned.
fn contain(sim: &mut Sim, ip: &str) -> Span {
    sim.event("enforce", ip);
    sim.run(Span::from_secs(1));
    let id = sim.transactions();
    assert_eq!(sim.kind(id), Some(StateKind::InForce));
    let it = sim.transaction(id);
    assert_eq!(it.lease_until.map(|end| end.since(sim.now) <= it.lease), Some(true));
    it.lease
}

/// How often each target that came back had served a lease.
fn came_back(sim: &Sim) -> Vec<u32> {
    let times = |record: &Record| match record {
        Record::CameBack { times, .. } => Some(*times),
        _ => None,
    };
    sim.records().filter_map(times).collect()
}

#[test]
fn each_lease_is_longer_and_the_last_one_holds() {
    let mut sim = growing();
    for lease in [HOUR, TWO, FIVE, FIVE] {
        assert_eq!(contain(&mut sim, IP), lease);
        sim.run(lease + Span::from_mins(10));
    }
    assert_eq!(came_back(&sim), [1, 2, 3]);
    assert_eq!(contain(&mut sim, "203.0.113.8"), HOUR, "another target is new");
    sim.ends_clean();
}

#[test]
fn a_target_is_new_when_it_stays_away() {
    let mut sim = growing();
    assert_eq!(contain(&mut sim, IP), HOUR);
    sim.run(HOUR + Span::from_hours(23));
    assert_eq!(contain(&mut sim, IP), TWO);
    sim.run(TWO + DAY + Span::from_mins(1));
    assert_eq!(contain(&mut sim, IP), HOUR);
    sim.ends_clean();
}

#[test]
fn a_lease_longer_than_the_window_is_not_forgotten_while_it_runs() {
    let mut sim = growing_within(HOUR);
    assert_eq!(contain(&mut sim, IP), HOUR);
    sim.run(HOUR + Span::from_mins(10));
    assert_eq!(contain(&mut sim, IP), TWO);
    // The leases of others end meanwhile, so that what is over is forgotten.
    for other in ["203.0.113.21", "203.0.113.22"] {
        contain(&mut sim, other);
        sim.run(Span::from_mins(59));
    }
    sim.run(Span::from_mins(20));
    assert_eq!(contain(&mut sim, IP), FIVE);
    sim.ends_clean();
}

#[test]
fn who_was_released_by_a_person_is_new() {
    let mut sim = growing();
    assert_eq!(contain(&mut sim, IP), HOUR);
    sim.run(HOUR + Span::from_mins(10));
    assert_eq!(contain(&mut sim, IP), TWO);
    sim.release(2).unwrap();
    // What a person has released is not judged anew before the time of deduplication is over.
    sim.run(Span::from_mins(20));
    assert_eq!(contain(&mut sim, IP), HOUR);
    sim.ends_clean();
}

#[test]
fn what_failed_or_was_only_observed_was_not_served() {
    let mut sim = growing();
    sim.event("observe", "203.0.113.9");
    sim.run(TWO);
    sim.event("observe", "203.0.113.9");
    sim.run(Span::from_mins(20));
    sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
    sim.event("enforce", IP);
    sim.run(TWO);
    sim.no_more_faults();
    assert_eq!(contain(&mut sim, IP), HOUR);
    assert!(came_back(&sim).is_empty());
    sim.ends_clean();
}

#[test]
fn a_start_knows_who_comes_back() {
    let mut sim = growing();
    assert_eq!(contain(&mut sim, IP), HOUR);
    sim.run(HOUR + Span::from_mins(10));
    sim.crash(Span::from_mins(1));
    assert_eq!(contain(&mut sim, IP), TWO);
    sim.ends_clean();
}

#[test]
fn a_lease_never_exceeds_the_limit() {
    let mut sim = growing();
    assert_eq!(contain(&mut sim, IP), HOUR);
    sim.run(HOUR + Span::from_mins(10));
    let mut policy = (**sim.state().policy.as_ref().unwrap()).clone();
    policy.limits.lease_max = Span::from_mins(90);
    sim.policy(policy);
    assert_eq!(contain(&mut sim, IP), Span::from_mins(90));
    sim.ends_clean();
}

#[test]
fn other_playbooks_remember_nothing() {
    let mut sim = Sim::usual();
    contain(&mut sim, IP);
    sim.run(LEASE + Span::from_mins(10));
    assert!(sim.state().repeats.is_empty());
    assert_eq!(contain(&mut sim, IP), LEASE);
}
