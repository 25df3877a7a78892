//! Undo has no limit: nothing holds it back, and it uses up nothing.

use staunch_model::{Cause, FailureKind, GuardName, Mode, Policy, Span, StateKind, TransactionId};

use crate::build::{self, LEASE, adjust_playbook, protection};
use crate::guards::fail;
use crate::sim::{Fault, Sim, Verb};

/// Brings a run to a limit.
type Reach = fn(&mut Sim);
/// Narrows one budget.
type Narrow = fn(&mut Policy);

#[test]
fn an_undo_is_possible_past_every_limit() {
    // How the limit is reached, and what then becomes of an event.
    let limits: [(&str, Reach, StateKind); 3] = [
        (
            "the breaker is open",
            |sim| {
                fail(sim, 5);
                assert!(sim.state().breaker_open.is_some());
            },
            StateKind::WouldExecute,
        ),
        (
            "the budgets are used up",
            |sim| {
                sim.policy(build::policy(|it| {
                    it.limits.acts_per_hour_max = 0;
                    it.limits.acts_per_action_hour_max = 0;
                    it.limits.acts_per_group_hour_max = 0;
                }));
            },
            StateKind::Refused,
        ),
        (
            "no more may be in flight",
            |sim| sim.policy(build::policy(|it| it.limits.actions_in_flight_max = 0)),
            StateKind::Planned,
        ),
    ];
    for (limit, reach, then) in limits {
        let mut sim = Sim::usual();
        for host in 1..=4 {
            sim.event("enforce", &format!("192.0.2.{host}"));
            sim.run(Span::from_secs(1));
        }
        sim.renew(4, Span::from_hours(3)).unwrap();
        sim.run(Span::from_secs(1));
        reach(&mut sim);
        sim.event("enforce", "192.0.2.5");
        sim.run(Span::from_secs(1));
        assert_eq!(sim.kind(sim.transactions()), Some(then), "{limit}");

        assert_eq!(sim.release(1), Ok(vec![TransactionId(1)]), "{limit}");
        assert_eq!(sim.release_incident(2), Ok(vec![TransactionId(2)]), "{limit}");
        sim.run(Span::from_secs(1));
        assert_eq!(sim.kind(1), Some(StateKind::Released), "{limit}");
        assert_eq!(sim.kind(2), Some(StateKind::Released), "{limit}");
        sim.run(LEASE);
        assert_eq!(sim.kind(3), Some(StateKind::Released), "{limit}");
        assert_eq!(sim.cause(3), Cause::LeaseEnded, "{limit}");
        assert_eq!(sim.kind(4), Some(StateKind::InForce), "{limit}");
        assert_eq!(sim.release_all(), [TransactionId(4)], "{limit}");
        sim.run(Span::from_secs(1));
        assert_eq!(sim.kind(4), Some(StateKind::Released), "{limit}");
        assert!(sim.world.elements.is_empty(), "{limit}");
        sim.ends_clean();
    }
}

#[test]
fn an_undo_is_possible_whatever_the_policy_has_become() {
    let mut sim = Sim::new(build::policy(|it| it.limits.acts_per_hour_max = 2));
    for host in [1, 2] {
        sim.event("enforce", &format!("203.0.113.{host}"));
    }
    sim.run(Span::from_secs(1));
    sim.set_mode(Mode::Observe);
    sim.policy(build::policy(|it| {
        it.limits.acts_per_hour_max = 0;
        it.mode_max = Mode::Observe;
        it.never_touch.push(protection("203.0.113.0/24", "everything"));
    }));
    sim.release_all();
    sim.run(Span::from_secs(1));
    assert!(sim.world.elements.is_empty());
    sim.ends_clean();
}

#[test]
fn an_undo_costs_nothing_of_the_budgets() {
    let budgets: [(GuardName, Narrow); 4] = [
        (GuardName::BudgetAction, |it| it.limits.acts_per_action_hour_max = 5),
        (GuardName::BudgetPlaybook, |it| {
            adjust_playbook(it, "enforce", |it| it.guards.acts_per_hour_max = 5);
        }),
        (GuardName::BudgetGroup, |it| it.limits.acts_per_group_hour_max = 5),
        (GuardName::BudgetTotal, |it| it.limits.acts_per_hour_max = 5),
    ];
    for (guard, narrow) in budgets {
        let mut sim = Sim::new(build::policy(narrow));
        let event = |sim: &mut Sim| {
            sim.event("enforce", &format!("203.0.113.{}", sim.transactions() + 1));
            sim.run(Span::from_secs(1));
        };
        // One that a person lifts, with two attempts.
        sim.faults(Verb::Undo, &[Fault::Fails(FailureKind::Unavailable)]);
        event(&mut sim);
        sim.release(1).unwrap();
        sim.run(Span::from_mins(1));
        assert_eq!((sim.kind(1), sim.undos.len()), (Some(StateKind::Released), 2));
        // One whose lease ends.
        event(&mut sim);
        sim.shorten(2, Span::from_mins(1)).unwrap();
        sim.run(Span::from_mins(2));
        assert_eq!(
            (sim.kind(2), sim.cause(2)),
            (Some(StateKind::Released), Cause::LeaseEnded)
        );
        // One that is rolled back.
        sim.faults(Verb::Execute, &[Fault::Lies]);
        event(&mut sim);
        sim.run(Span::from_secs(5));
        assert_eq!(sim.kind(3), Some(StateKind::RolledBack));

        event(&mut sim);
        event(&mut sim);
        for id in [4, 5] {
            assert_eq!(
                sim.kind(id),
                Some(StateKind::InForce),
                "{guard}: there is room for five acts"
            );
        }
        event(&mut sim);
        let refusal = sim.refusal(6);
        assert!(refusal.starts_with(&format!("{guard}: 5 ")), "{refusal}");
        assert!(refusal.ends_with(", 5 allowed"), "{refusal}");
        sim.ends_clean();
    }
}
