//! Several incidents, one target.

use staunch_model::{
    FailureKind, IncidentOutcome, IncidentStatus, Input, Mode, NoticeLevel, Record, Span, StateKind, TransactionId,
};

use crate::build::{self, LEASE, adjust_playbook};
use crate::life::{HAPPY, IP};
use crate::sim::{Fault, Sim, Verb};

/// Two playbooks contain the same address.
fn shared() -> Sim {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    sim.event("other", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.transactions(), 1, "the second incident joins");
    assert_eq!(sim.transaction(1).joined().len(), 1);
    sim
}

#[test]
fn one_release_keeps_it_for_the_other_incident() {
    for (first, second) in [(1, 2), (2, 1)] {
        let mut sim = shared();
        assert_eq!(sim.release_incident(first), Ok(Vec::new()), "nothing is lifted yet");
        assert_eq!(sim.kind(1), Some(StateKind::InForce));
        assert_eq!(sim.incident(first).status, IncidentStatus::Closed);
        assert_eq!(sim.incident(second).status, IncidentStatus::Open);
        // The incident that planned it must not be forgotten, however long ago it was closed.
        sim.run(Span::from_mins(20));
        assert_eq!(sim.kind(1), Some(StateKind::InForce));
        assert!(sim.is_in_place(1));
        assert_eq!(sim.release_incident(second), Ok(vec![TransactionId(1)]));
        sim.run(Span::from_secs(1));
        sim.expect_path(1, HAPPY);
        assert!(!sim.is_blocked(IP));
        sim.ends_clean();
    }
}

#[test]
fn an_incident_that_let_go_is_kept_while_its_transaction_lives_and_no_longer() {
    let mut sim = shared();
    sim.release_incident(1).unwrap();
    sim.run(Span::from_mins(20));
    assert_eq!(
        sim.incident(1).status,
        IncidentStatus::Closed,
        "its playbook and its key are still needed"
    );
    // Its key is free: a new event opens a new incident, which joins again.
    sim.event("enforce", IP);
    assert_eq!(sim.incident(3).transactions, [TransactionId(1)]);
    sim.crash(Span::ZERO);
    sim.run(LEASE);
    sim.expect_path(1, HAPPY);
    assert!(sim.state().incidents.is_empty());
    sim.ends_clean();
}

#[test]
fn what_becomes_of_what_an_incident_has_let_go_is_not_told_of_it() {
    let mut sim = Sim::usual();
    // The first incident stays open with another target, so that what vanishes of it is not forgotten.
    sim.event_about("enforce", IP, &[IP, "203.0.113.9"]);
    sim.run(Span::from_secs(1));
    sim.event_about("other", IP, &[IP, "203.0.113.8"]);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.transaction(1).joined().len(), 1);
    // The second incident lets go of what it has joined, and is not done with its own when that has vanished.
    let fails = Fault::Fails(FailureKind::Unavailable);
    sim.faults(Verb::Undo, &[fails, Fault::None, fails, fails]);
    sim.release_incident(2).unwrap();
    sim.vanish(IP);
    sim.sweep();
    sim.run_until_kind(1, StateKind::RolledBack);
    assert_eq!(sim.kind(3), Some(StateKind::Releasing));
    sim.run(Span::from_mins(1));
    assert_eq!(sim.kind(3), Some(StateKind::Released));
    let of = |incident: &str| {
        let pages = sim.told(NoticeLevel::Page);
        pages.iter().filter(|page| page.starts_with(incident)).count()
    };
    assert_eq!((of("INC-1"), of("INC-2")), (1, 0), "{:?}", sim.told);
    sim.ends_clean();
}

#[test]
fn a_change_of_the_mode_keeps_an_incident_whose_transaction_lives_for_another() {
    let mut sim = Sim::usual();
    // One of the first incident's two comes into force; the other is only observed, and so that is how it stands.
    sim.faults(Verb::Observe, &[Fault::None, Fault::Fails(FailureKind::Unavailable)]);
    sim.event_about("enforce", IP, &[IP, "203.0.113.8"]);
    sim.run(Span::from_millis(100));
    sim.set_mode(Mode::Observe);
    sim.event("other", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(
        (sim.kind(1), sim.kind(2)),
        (Some(StateKind::InForce), Some(StateKind::WouldExecute))
    );
    assert_eq!(sim.transaction(1).joined().len(), 1);
    sim.release_incident(1).unwrap();
    assert_eq!(sim.incident(1).status, IncidentStatus::Closed);
    assert_eq!(sim.incident(1).outcome, Some(IncidentOutcome::WouldContain));
    // What was only observed is judged anew from here on, so the incident absorbs nothing more.
    sim.set_mode(Mode::Approve);
    sim.run(Span::from_secs(1));
    assert!(sim.is_in_place(1), "the second incident contains it still");
    assert_eq!(
        sim.incident(1).status,
        IncidentStatus::Closed,
        "its playbook is still needed"
    );
    sim.crash(Span::ZERO);
    sim.run(LEASE);
    sim.expect_path(1, HAPPY);
    assert!(sim.state().incidents.is_empty());
    sim.ends_clean();
}

#[test]
fn the_effect_key_stays_the_same_from_the_act_to_the_undo() {
    let mut sim = shared();
    let key = sim.state().effect_key(sim.transaction(1));
    sim.release_incident(1).unwrap();
    sim.run(Span::from_mins(30));
    assert_eq!(sim.state().effect_key(sim.transaction(1)), key);
    sim.ends_clean();
}

#[test]
fn all_incidents_end_with_the_lease_and_nobody_is_told_nonsense() {
    let mut sim = shared();
    sim.run(LEASE);
    assert!(sim.state().incidents.is_empty());
    assert_eq!(
        sim.told(NoticeLevel::Info),
        [
            format!("INC-1 (enforce, {IP}): contained"),
            format!("INC-2 (other, {IP}): contained")
        ]
    );
    assert_eq!(sim.told.len(), 2, "{:?}", sim.told);
    sim.ends_clean();
}

#[test]
fn a_release_of_the_transaction_lifts_it_for_all() {
    let mut sim = shared();
    sim.release(1).unwrap();
    sim.run(Span::from_secs(1));
    sim.expect_path(1, HAPPY);
    assert_eq!(sim.incident(1).status, IncidentStatus::Closed);
    assert_eq!(sim.incident(2).status, IncidentStatus::Closed);
    sim.ends_clean();
}

#[test]
fn one_event_with_two_playbooks_and_two_steps_at_one_target_makes_one_transaction() {
    let mut sim = Sim::usual();
    let matches = vec![
        build::matched("enforce", IP, &[IP, IP]),
        build::matched("other", IP, &[IP, "203.0.113.8"]),
    ];
    let event = build::event(Some(sim.now)).into();
    sim.input(Input::Event { event, matches });
    sim.run(Span::from_secs(1));
    assert_eq!(sim.transactions(), 2);
    assert_eq!(sim.incident(1).transactions, [TransactionId(1)]);
    assert_eq!(sim.incident(2).transactions, [TransactionId(1), TransactionId(2)]);
    assert_eq!(sim.acts.len(), 2);
    sim.ends_clean();
}

#[test]
fn a_target_that_is_being_released_is_waited_for() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    sim.faults(Verb::Undo, &[Fault::Fails(FailureKind::Unavailable); 3]);
    sim.release(1).unwrap();
    sim.event("other", IP);
    sim.event("keep", IP);
    sim.run(Span::from_millis(100));
    assert_eq!(
        (sim.kind(1), sim.kind(2)),
        (Some(StateKind::Releasing), Some(StateKind::Planned))
    );
    assert_eq!(
        sim.transaction(2).joined().len(),
        1,
        "a third incident joins the one that waits"
    );
    sim.crash(Span::ZERO);
    sim.run(Span::from_mins(1));
    assert_eq!(
        (sim.kind(1), sim.kind(2)),
        (Some(StateKind::Released), Some(StateKind::InForce))
    );
    assert!(sim.is_in_place(2));
    sim.ends_clean();
}

#[test]
fn a_failure_of_the_shared_step_rolls_back_the_siblings_in_both_incidents() {
    let mut sim = Sim::usual();
    sim.event_about("enforce", "a", &["203.0.113.1", IP]);
    sim.event_about("other", "b", &["203.0.113.2", IP]);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.acts.len(), 3);
    sim.vanish(IP);
    sim.sweep();
    sim.run(Span::from_secs(5));
    assert_eq!(
        sim.kind(1),
        Some(StateKind::InForce),
        "what somebody else removed is not a failure of ours"
    );
    sim.release_all();
    sim.ends_clean();

    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &[Fault::None, Fault::Fails(FailureKind::Denied)]);
    sim.event_about("enforce", "a", &["203.0.113.1", IP]);
    sim.event_about("other", "b", &["203.0.113.2", IP]);
    sim.run(Span::from_secs(5));
    assert!(
        (1..=3).all(|id| sim.kind(id) == Some(StateKind::RolledBack)),
        "{}",
        sim.story()
    );
    sim.ends_clean();
}

#[test]
fn an_act_that_was_lost_is_sent_again_unless_only_an_incident_holds_it_of_which_a_step_has_failed() {
    for is_let_go in [false, true] {
        let mut sim = Sim::usual();
        sim.faults(Verb::Execute, &[Fault::RequestLost, Fault::Fails(FailureKind::Denied)]);
        sim.event("other", IP);
        sim.run_until_kind(1, StateKind::Executing);
        sim.event_about("enforce", "a", &[IP, "203.0.113.2"]);
        sim.run_until_kind(2, StateKind::RolledBack);
        if is_let_go {
            sim.release_incident(1).expect("it can be released");
        }
        sim.run(Span::from_mins(1));
        let (kind, acts) = if is_let_go {
            (StateKind::RolledBack, 2)
        } else {
            (StateKind::InForce, 3)
        };
        assert_eq!((sim.kind(1), sim.acts.len()), (Some(kind), acts), "{}", sim.story());
        sim.ends_clean();
    }
}

#[test]
fn what_another_incident_holds_is_not_rolled_back_with_a_sibling() {
    let mut sim = Sim::usual();
    sim.event("other", IP);
    sim.run(Span::from_secs(1));
    sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
    sim.event_about("enforce", "a", &[IP, "203.0.113.2"]);
    sim.run(Span::from_secs(5));
    assert_eq!(sim.kind(2), Some(StateKind::RolledBack));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    sim.ends_clean();
}

#[test]
fn a_playbook_that_does_not_act_does_not_stop_another_from_acting() {
    // Both see the event at the same time; the one that only observes is first.
    let mut sim = Sim::usual();
    let matches = vec![
        build::matched("observe", IP, &[IP]),
        build::matched("enforce", IP, &[IP]),
    ];
    let event = build::event(Some(sim.now)).into();
    sim.input(Input::Event { event, matches });
    sim.run(Span::from_secs(1));
    assert_eq!(
        (sim.kind(1), sim.kind(2)),
        (Some(StateKind::WouldExecute), Some(StateKind::InForce))
    );
    assert_eq!(
        sim.told(NoticeLevel::Info),
        [
            format!("INC-1 (observe, {IP}): would-contain"),
            format!("INC-2 (enforce, {IP}): contained")
        ]
    );
    assert_eq!(sim.incident(1).status, IncidentStatus::Closed);
    sim.ends_clean();

    // The first refuses by its own, stricter limit.
    let mut sim = Sim::new(build::policy(|policy| {
        adjust_playbook(policy, "other", |it| it.guards.traffic_share_max_bp = Some(1));
    }));
    let matches = ["other", "enforce", "keep"]
        .map(|name| build::matched(name, IP, &[IP]))
        .to_vec();
    let event = build::event(Some(sim.now)).into();
    sim.input(Input::Event { event, matches });
    sim.run(Span::from_secs(1));
    assert_eq!(
        (sim.kind(1), sim.kind(2)),
        (Some(StateKind::Refused), Some(StateKind::InForce))
    );
    assert_eq!(sim.transactions(), 2, "the third joins the second");
    assert_eq!(sim.incident(3).transactions.last(), Some(&TransactionId(2)));
    sim.ends_clean();

    // Nobody approves in the first, long after its time for absorbing has passed.
    let mut sim = Sim::usual();
    sim.event("approve", IP);
    sim.run(Span::from_mins(20));
    sim.event("enforce", IP);
    sim.run(Span::from_mins(11));
    assert_eq!(
        (sim.kind(1), sim.kind(2)),
        (Some(StateKind::Refused), Some(StateKind::InForce))
    );
    sim.ends_clean();

    // What a person has said no to stays as it is.
    let mut sim = Sim::usual();
    sim.event("approve", IP);
    sim.run(Span::from_secs(1));
    sim.event("enforce", IP);
    sim.deny(1).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(sim.transactions(), 1);
    sim.ends_clean();
}

#[test]
fn events_of_one_key_are_one_incident_until_it_has_run_its_course() {
    let mut sim = Sim::usual();
    for _ in 0..5 {
        sim.event("enforce", IP);
        sim.run(Span::from_secs(1));
    }
    assert_eq!((sim.incident(1).events, sim.transactions()), (5, 1));
    sim.run(LEASE);
    assert!(sim.state().incidents.is_empty());
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(
        sim.kind(2),
        Some(StateKind::InForce),
        "after the lease a new incident is judged anew"
    );
    sim.ends_clean();
}

#[test]
fn a_closed_incident_absorbs_events_for_a_while() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    sim.release(1).unwrap();
    sim.run(Span::from_mins(5));
    sim.event("enforce", IP);
    assert_eq!(
        (sim.incident(1).events, sim.transactions()),
        (2, 1),
        "a person has lifted it, so it stays lifted"
    );
    sim.run(Span::from_mins(5));
    assert!(sim.state().incidents.is_empty());
    sim.event("enforce", IP);
    assert_eq!(sim.transactions(), 2);
    sim.ends_clean();
}

#[test]
fn a_playbook_stays_as_it_was_for_its_open_incidents() {
    let mut sim = Sim::usual();
    sim.event("approve", IP);
    sim.run(Span::from_secs(1));
    sim.policy(build::policy(|it| it.playbooks.retain(|it| &*it.name != "approve")));
    assert!(sim.state().playbooks.contains_key(&build::hash("approve")));
    sim.approve(1).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    sim.event("approve", "203.0.113.8");
    sim.run(Span::from_secs(1));
    assert_eq!(
        sim.kind(2),
        Some(StateKind::AwaitingApproval),
        "an event may have been on its way in"
    );
    sim.crash(Span::ZERO);
    sim.release_all();
    sim.run(Span::from_hours(1));
    sim.policy(build::policy(|it| it.playbooks.retain(|it| &*it.name != "approve")));
    assert!(
        !sim.state().playbooks.contains_key(&build::hash("approve")),
        "nobody needs it any more"
    );
    sim.event("approve", "203.0.113.8");
    assert_eq!(sim.transactions(), 2);
    sim.ends_clean();
}

#[test]
fn a_step_that_is_planned_anew_is_the_one_that_joined() {
    // Two steps of the same action with different leases; the second one joins, after one that has no target and one
    // whose target is held already.
    let mut sim = Sim::new(build::policy(|policy| {
        adjust_playbook(policy, "enforce", |it| {
            it.steps.push(it.steps[0].clone());
            for (step, minutes) in it.steps.iter_mut().zip([10, 20, 30, 40]) {
                step.lease = Span::from_mins(minutes);
            }
        });
    }));
    let other = "203.0.113.9";
    sim.event("approve", IP);
    sim.event_about("enforce", "key", &[other, "-", other, IP]);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.incident(2).transactions, [TransactionId(2), TransactionId(1)]);
    sim.crash(Span::ZERO);
    sim.run(Span::from_mins(31));
    assert_eq!(sim.refusal(1), "ApprovalExpired");
    let planned = sim
        .records()
        .filter_map(|record| match record {
            Record::TransactionPlanned {
                transaction,
                step,
                lease,
                ..
            } => Some((transaction.0, *step, *lease)),
            _ => None,
        })
        .last();
    assert_eq!(planned, Some((3, 3, Span::from_mins(40))));
    sim.ends_clean();
}

#[test]
fn a_step_that_is_judged_anew_twice_stays_the_same_step() {
    let mut sim = Sim::new(build::policy(|policy| {
        adjust_playbook(policy, "enforce", |it| it.steps[1].lease = Span::from_mins(20));
    }));
    let event = build::event(Some(sim.now)).into();
    let matches = vec![
        build::matched("observe", "a", &[IP]),
        build::matched("observe", "b", &["203.0.113.9", IP]),
        build::matched("enforce", "c", &["203.0.113.8", IP]),
    ];
    sim.input(Input::Event { event, matches });
    sim.run(Span::from_secs(1));
    let held = sim
        .state()
        .transactions
        .values()
        .find(|it| it.target == build::target(IP) && it.state.kind() == StateKind::InForce);
    let it = held.unwrap();
    assert_eq!((it.step, it.lease), (1, Span::from_mins(20)));
    sim.ends_clean();
}
