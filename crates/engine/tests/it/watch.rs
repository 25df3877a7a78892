//! Containment that is watched: it is undone when a health signal says that it hurts, and only then.

use staunch_model::{Context, FailureKind, NoticeLevel, Span, StateKind, WatchPlan};

use crate::build::{self, adjust_playbook};
use crate::life::IP;
use crate::sim::{Fault, Sim, Verb};

const LASTS: Span = Span::from_secs(60);

/// A world whose playbook `enforce` watches its first step.
fn watching() -> Sim {
    Sim::new(build::policy(|policy| {
        adjust_playbook(policy, "enforce", |it| {
            let watch = WatchPlan {
                signal: "shop".into(),
                lasts: LASTS,
                every: Span::from_secs(5),
            };
            it.context.push(Context::Watched { step: 0, watch });
        });
    }))
}

#[test]
fn containment_waits_for_the_signal_to_be_read_and_stays_when_it_is_healthy() {
    let mut sim = watching();
    sim.faults(Verb::Health, &[Fault::Slow(Span::from_secs(1))]);
    sim.event("enforce", IP);
    sim.run(Span::from_millis(900));
    assert_eq!(sim.kind(1), Some(StateKind::Planned), "what was before is not known");
    sim.run(Span::from_millis(200));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    sim.run(LASTS + Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert!(sim.state().watches.is_empty(), "the watch has ended");
    let readings = sim
        .records()
        .filter(|it| matches!(it, staunch_model::Record::WatchRead { .. }));
    assert_eq!(readings.count(), 1 + 12, "before, and every five seconds of a minute");
    assert!(sim.told(NoticeLevel::Warning).is_empty());
    sim.ends_clean();
}

#[test]
fn what_hurts_is_lifted_within_two_readings_and_pages() {
    let mut sim = watching();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    sim.health.push((sim.now, Some(false)));
    sim.run(Span::from_secs(4));
    assert_eq!(sim.kind(1), Some(StateKind::InForce), "it is read every five seconds");
    sim.run(Span::from_secs(3));
    assert_eq!(sim.kind(1), Some(StateKind::Released));
    assert_eq!(sim.cause(1).name(), "hurts");
    assert!(!sim.is_blocked(IP));
    let pages = sim.told(NoticeLevel::Page);
    assert_eq!(
        pages,
        [
            "TX-1 (block-ip on 203.0.113.7) is lifted because it hurt: the health signal shop says 31 %. Nothing contains \
          203.0.113.7 now"
        ]
    );
    // The next event of the same attacker does not start it all over.
    sim.event("enforce", IP);
    sim.run(Span::from_mins(2));
    assert_eq!(sim.transactions(), 1);
    sim.ends_clean();
}

#[test]
fn one_unhealthy_reading_is_a_hiccup() {
    let mut sim = watching();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(5));
    sim.health = vec![(sim.now, Some(false)), (sim.now + Span::from_millis(500), Some(true))];
    sim.run(LASTS);
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert!(sim.told(NoticeLevel::Page).is_empty());
    sim.ends_clean();
}

#[test]
fn what_was_unhealthy_before_does_not_count_against_the_act() {
    for health in [Some(false), None] {
        let mut sim = watching();
        sim.health.push((sim.now, health));
        sim.event("enforce", IP);
        sim.run(Span::from_mins(2));
        assert_eq!(sim.kind(1), Some(StateKind::InForce), "{health:?}");
        let told = sim.told(NoticeLevel::Warning);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("TX-1 goes on unwatched: the health signal shop was not healthy before it ("),
            "{told:?}"
        );
        sim.ends_clean();
    }
}

#[test]
fn a_signal_that_cannot_be_read_lifts_nothing_and_is_told() {
    let mut sim = watching();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    sim.health.push((sim.now, None));
    sim.run(LASTS + Span::from_secs(40));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    let told = sim.told(NoticeLevel::Warning);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("is not known to be harmless: the health signal shop could not be read"),
        "{told:?}"
    );
    sim.ends_clean();
}

#[test]
fn an_answer_that_never_comes_holds_nothing_up_for_long() {
    let mut sim = watching();
    sim.faults(Verb::Health, &[Fault::RequestLost]);
    sim.event("enforce", IP);
    sim.run(Span::from_millis(1_990));
    assert_eq!(sim.kind(1), Some(StateKind::Planned));
    sim.run(Span::from_millis(100));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert_eq!(sim.told(NoticeLevel::Warning).len(), 1);
    sim.ends_clean();
}

#[test]
fn a_watch_ends_with_what_it_watches() {
    let mut sim = watching();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    sim.release(1).unwrap();
    sim.run(Span::from_secs(1));
    assert!(sim.state().watches.is_empty());

    let mut sim = watching();
    sim.event("enforce", "198.51.100.7");
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::Refused));
    assert!(sim.state().watches.is_empty());
}

#[test]
fn a_crash_reads_the_signal_again() {
    for outage in [Span::ZERO, Span::from_secs(20)] {
        let mut sim = watching();
        sim.faults(Verb::Health, &[Fault::RequestLost]);
        sim.event("enforce", IP);
        sim.run(Span::from_millis(10));
        sim.crash(outage);
        sim.run(Span::from_millis(100));
        assert_eq!(sim.kind(1), Some(StateKind::InForce), "after {outage}");
        sim.health.push((sim.now, Some(false)));
        sim.run(Span::from_secs(2));
        sim.crash(outage);
        sim.run(Span::from_secs(8));
        assert_eq!(sim.kind(1), Some(StateKind::Released), "after {outage}");
        sim.ends_clean();
    }
}

#[test]
fn a_stale_answer_counts_for_nothing() {
    let mut sim = watching();
    let say_unhealthy = |sim: &mut Sim, ticket| {
        sim.input(staunch_model::Input::HealthRead {
            incident: staunch_model::IncidentId(1),
            watch: staunch_model::WatchId(1),
            ticket,
            result: Ok(staunch_model::HealthReading::new(false, "31 %")),
        });
    };
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    for ticket in [0, 1, 2, 7] {
        for _ in 0..3 {
            say_unhealthy(&mut sim, ticket);
        }
    }
    // With slow answers there is a question which an older answer could be taken for.
    sim.faults(Verb::Health, &[Fault::Slow(Span::from_secs(1)); 4]);
    for _ in 0..2 {
        let asked = |sim: &Sim| sim.state().watches.values().all(|it| it.asked);
        for _ in 0..60 {
            if !asked(&sim) {
                sim.run(Span::from_millis(100));
            }
        }
        assert!(asked(&sim), "{}", sim.story());
        say_unhealthy(&mut sim, 1);
    }
    sim.run(LASTS);
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    sim.faults(Verb::Health, &[Fault::Fails(FailureKind::Denied)]);
    sim.ends_clean();
}

#[test]
fn a_signal_that_cannot_be_read_for_a_moment_at_the_end_is_read_again() {
    let mut sim = watching();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(58));
    sim.health.push((sim.now, None));
    sim.run(Span::from_secs(5));
    sim.health.push((sim.now, Some(true)));
    sim.run(LASTS);
    assert!(sim.state().watches.is_empty());
    assert!(sim.told(NoticeLevel::Warning).is_empty());
    sim.ends_clean();
}
