//! An attacker that is free of one step of its incident while another step still holds it.

use staunch_model::{FailureKind, IncidentId, IncidentOutcome, IncidentStatus, Mode, Span, StateKind, TransactionId};

use crate::build::{self, LEASE, adjust_playbook};
use crate::life::IP;
use crate::sim::{Fault, Sim, Verb};

/// The target of the second step.
const OTHER: &str = "203.0.113.9";

/// How long the first step of `uneven` holds.
const SHORT: Span = Span::from_mins(5);

/// A playbook whose first step ends long before the second, and keeps what holds when the other fails.
fn uneven() -> Sim {
    Sim::new(build::policy(|policy| {
        adjust_playbook(policy, "keep", |it| it.steps[0].lease = SHORT);
    }))
}

fn attacks(sim: &mut Sim) {
    sim.event_about("keep", IP, &[IP, OTHER]);
    sim.run(Span::from_secs(1));
}

#[test]
fn what_has_run_its_course_is_contained_anew_while_the_other_step_holds() {
    let mut sim = uneven();
    attacks(&mut sim);
    attacks(&mut sim);
    assert_eq!(
        (sim.transactions(), sim.incident(1).events),
        (2, 2),
        "while both hold, it joins"
    );
    // Whoever asks what an event would do is told the same.
    let asked = |sim: &Sim| {
        let matched = build::matched("keep", IP, &[IP, OTHER]);
        let playbook = &sim.state().playbooks[&matched.playbook];
        sim.state().absorbing(playbook, &matched, sim.now)
    };
    assert_eq!(asked(&sim), Some(IncidentId(1)));
    sim.run(SHORT);
    assert!(!sim.is_blocked(IP) && sim.is_blocked(OTHER));
    assert_eq!(asked(&sim), None);
    attacks(&mut sim);
    assert_eq!(sim.kind(3), Some(StateKind::InForce), "{}", sim.story());
    assert_eq!(sim.incident(2).transactions, [TransactionId(3), TransactionId(2)]);
    assert_eq!(sim.incident(2).outcome, Some(IncidentOutcome::Contained));
    assert_eq!(
        sim.incident(1).status,
        IncidentStatus::Open,
        "it holds the other step still"
    );

    // The newest takes what comes now, and after a restart too.
    sim.crash(Span::ZERO);
    attacks(&mut sim);
    assert_eq!((sim.transactions(), sim.incident(2).events), (3, 2));
    // In the end nobody is held.
    sim.run(LEASE);
    assert!(sim.state().containments().next().is_none(), "{}", sim.story());
    sim.ends_clean();
}

#[test]
fn what_was_taken_away_is_contained_anew_at_once() {
    let mut sim = uneven();
    attacks(&mut sim);
    sim.vanish(IP);
    sim.sweep();
    sim.run(Span::from_secs(10));
    assert_eq!(sim.kind(1), Some(StateKind::RolledBack), "{}", sim.story());
    attacks(&mut sim);
    assert_eq!(sim.kind(3), Some(StateKind::InForce), "{}", sim.story());
    sim.ends_clean();
}

#[test]
fn what_never_came_into_force_is_judged_anew_after_the_time_of_the_playbook() {
    let mut sim = uneven();
    sim.foreign(IP);
    attacks(&mut sim);
    assert_eq!(
        (sim.kind(1), sim.kind(2)),
        (Some(StateKind::Refused), Some(StateKind::InForce))
    );
    sim.vanish(IP);
    sim.run(Span::from_mins(9));
    attacks(&mut sim);
    assert_eq!(
        sim.transactions(),
        2,
        "people were told, and it would mostly end the same way"
    );
    sim.run(Span::from_mins(1));
    attacks(&mut sim);
    assert_eq!(sim.kind(3), Some(StateKind::InForce), "{}", sim.story());
    sim.ends_clean();
}

/// A backlog of old events must not make an incident each.
#[test]
fn what_was_too_old_is_judged_anew_after_the_time_of_the_playbook_too() {
    let mut sim = uneven();
    attacks(&mut sim);
    sim.run(SHORT);
    let old = |sim: &mut Sim| {
        let time = sim.now - Span::from_hours(2);
        let mut matched = build::matched("keep", IP, &[IP, OTHER]);
        matched.preserve.clear();
        let event = staunch_model::Event {
            received: sim.now,
            ..build::event(Some(time))
        };
        sim.input(staunch_model::Input::Event {
            event: event.into(),
            matches: vec![matched],
        });
        sim.run(Span::from_secs(1));
    };
    for _ in 0..5 {
        old(&mut sim);
    }
    assert_eq!((sim.transactions(), sim.kind(3)), (3, Some(StateKind::Refused)));
    assert_eq!(sim.incident(2).events, 5);
    sim.ends_clean();
}

/// The breaker, or a person, had one step only observed: when that is over, the step that holds must not keep it so.
#[test]
fn what_was_only_observed_is_judged_anew_when_the_mode_lets_it_act() {
    let mut sim = uneven();
    sim.faults(Verb::Observe, &[Fault::Fails(FailureKind::Unavailable), Fault::None]);
    sim.event_about("keep", IP, &[IP, OTHER]);
    sim.run(Span::from_millis(100));
    sim.set_mode(Mode::Observe);
    sim.run(Span::from_secs(1));
    let kinds = [1, 2].map(|id| sim.kind(id));
    assert_eq!(
        kinds,
        [StateKind::WouldExecute, StateKind::InForce].map(Some),
        "{}",
        sim.story()
    );
    sim.run(Span::from_mins(11));
    attacks(&mut sim);
    assert_eq!(sim.transactions(), 2, "it would only be observed again");
    sim.set_mode(Mode::Enforce);
    attacks(&mut sim);
    assert_eq!(sim.kind(3), Some(StateKind::InForce), "{}", sim.story());
    sim.ends_clean();
}

#[test]
fn what_a_person_released_is_left_alone_while_its_incident_is_open() {
    let mut sim = uneven();
    attacks(&mut sim);
    sim.release(1).unwrap();
    sim.run(Span::from_mins(30));
    attacks(&mut sim);
    assert_eq!((sim.transactions(), sim.is_blocked(IP)), (2, false));
    sim.ends_clean();
}

#[test]
fn what_others_hold_by_now_needs_nothing_more() {
    let mut sim = uneven();
    attacks(&mut sim);
    sim.run(SHORT);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(3), Some(StateKind::InForce));
    attacks(&mut sim);
    assert_eq!((sim.transactions(), sim.incident(1).events), (3, 2));
    sim.ends_clean();
}

#[test]
fn what_was_joined_and_is_forgotten_has_ended() {
    let mut sim = uneven();
    sim.event("other", IP);
    sim.run(Span::from_secs(1));
    attacks(&mut sim);
    assert_eq!(sim.transaction(1).joined().len(), 1, "it joins what is there");
    // The incident that had planned it lets go, and is forgotten when its transaction has ended.
    sim.shorten(1, Span::from_mins(20)).unwrap();
    sim.run(Span::from_mins(30));
    assert!(
        sim.state().transactions.get(&TransactionId(1)).is_none(),
        "{}",
        sim.story()
    );
    attacks(&mut sim);
    assert_eq!(sim.kind(3), Some(StateKind::InForce), "{}", sim.story());
    sim.ends_clean();
}
