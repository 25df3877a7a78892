//! A restart in every state: the lettered table of `recovery.rs`, row by row.

use staunch_model::{Cause, FailureKind, Span, StateKind};

use crate::build::{LEASE, REMOTE_IN_FLIGHT};
use crate::life::IP;
use crate::sim::{Fault, Sim, Verb};

const SLOW: Fault = Fault::Slow(Span::from_millis(90));

/// Brings a transaction into `state` with `verb` slow, ends the process there, and starts it again.
fn restarted(playbook: &str, verb: Verb, faults: &[Fault], state: StateKind, outage: Span) -> Sim {
    let mut sim = Sim::usual();
    sim.faults(verb, faults);
    sim.event(playbook, IP);
    sim.run_until_kind(1, state);
    sim.crash(outage);
    assert_eq!(sim.path(1).rsplit(" > ").next(), Some(sim.kind(1).unwrap().name()));
    sim
}

#[test]
fn a_what_waits_keeps_its_place_and_its_deadline() {
    let mut sim = restarted(
        "approve",
        Verb::Observe,
        &[],
        StateKind::AwaitingApproval,
        Span::from_mins(10),
    );
    assert_eq!(sim.kind(1), Some(StateKind::AwaitingApproval));
    sim.run(Span::from_mins(19));
    assert_eq!(sim.kind(1), Some(StateKind::AwaitingApproval));
    sim.run(Span::from_mins(1));
    assert_eq!(sim.refusal(1), "ApprovalExpired");
    sim.ends_clean();

    let sim = restarted(
        "approve",
        Verb::Observe,
        &[],
        StateKind::AwaitingApproval,
        Span::from_mins(31),
    );
    assert_eq!(sim.refusal(1), "ApprovalExpired", "in the very frame of the start");
}

#[test]
fn b_a_pre_check_is_sent_again() {
    let mut sim = restarted(
        "enforce",
        Verb::Observe,
        &[SLOW],
        StateKind::PreChecking,
        Span::from_secs(1),
    );
    assert_eq!(sim.changes(1, "resent"), 1);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    sim.ends_clean();
    // By then the event may be too old.
    let mut sim = restarted(
        "enforce",
        Verb::Observe,
        &[SLOW],
        StateKind::PreChecking,
        Span::from_hours(1),
    );
    sim.run(Span::from_secs(1));
    assert_eq!(sim.refusal(1), "freshness: the event is 1h old, more than 15m");
    sim.ends_clean();
}

#[test]
fn c_an_act_without_an_outcome_is_asked_about() {
    for (fault, path, acts) in [
        (
            Fault::None,
            "planned > pre-checking > executing > post-checking > in-force",
            1,
        ),
        (
            Fault::RequestLost,
            "planned > pre-checking > executing > post-checking > executing > post-checking > in-force",
            2,
        ),
    ] {
        let mut sim = restarted(
            "enforce",
            Verb::Execute,
            &[fault],
            StateKind::Executing,
            Span::from_secs(1),
        );
        assert_eq!(sim.kind(1), Some(StateKind::PostChecking));
        assert_eq!(sim.transaction(1).failure().unwrap().kind, FailureKind::Interrupted);
        sim.run(Span::from_secs(1));
        sim.expect_path(1, path);
        assert_eq!(sim.acts.len(), acts);
        sim.ends_clean();
    }
}

#[test]
fn d_a_post_check_is_sent_again() {
    let faults = [Fault::None, SLOW];
    let mut sim = restarted(
        "enforce",
        Verb::Observe,
        &faults,
        StateKind::PostChecking,
        Span::from_secs(1),
    );
    assert_eq!(sim.changes(1, "resent"), 1);
    sim.run(Span::from_secs(1));
    assert_eq!((sim.kind(1), sim.acts.len()), (Some(StateKind::InForce), 1));
    sim.ends_clean();
}

#[test]
fn e_a_renewal_is_looked_at() {
    for (verb, fault, landed) in [
        (Verb::Execute, Fault::RequestLost, false),
        (Verb::Execute, Fault::ReplyLost, true),
        (Verb::Observe, SLOW, true),
    ] {
        let mut sim = restarted("enforce", Verb::Execute, &[], StateKind::InForce, Span::ZERO);
        sim.run(Span::from_secs(1));
        let end = sim.transaction(1).lease_until;
        sim.faults(verb, &[fault]);
        sim.renew(1, Span::from_hours(9)).unwrap();
        sim.run(Span::from_millis(20));
        sim.crash(Span::from_secs(1));
        assert_eq!(sim.transaction(1).lease_until, end, "nothing is assumed");
        assert_eq!(sim.acts.len(), 2, "it is not sent again");
        sim.run(Span::from_secs(1));
        assert_eq!(sim.transaction(1).renewing(), None);
        assert_eq!(sim.transaction(1).lease_until > end, landed, "{fault:?}");
        assert!(sim.shorten(1, Span::from_hours(2)).is_ok(), "it can be asked for again");
        sim.run(Span::from_secs(1));
        assert_eq!(sim.transaction(1).lease_until.unwrap().since(sim.now).as_secs(), 7_199);
        sim.ends_clean();
    }
    // The lease ended while nobody was there.
    let mut sim = restarted("enforce", Verb::Execute, &[], StateKind::InForce, Span::ZERO);
    sim.renew(1, LEASE).unwrap();
    sim.crash(LEASE + LEASE);
    sim.run(Span::from_secs(1));
    assert_eq!(
        (sim.kind(1), sim.cause(1)),
        (Some(StateKind::Released), Cause::LeaseEnded)
    );
    sim.ends_clean();
}

#[test]
fn f_what_is_in_force_stays_so_until_its_lease_ends() {
    let mut sim = restarted("enforce", Verb::Execute, &[], StateKind::InForce, Span::from_mins(30));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    sim.sweep();
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    sim.crash(LEASE);
    assert_eq!(
        (sim.kind(1), sim.is_in_place(1)),
        (Some(StateKind::Releasing), false),
        "the kernel lifted it"
    );
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::Released));
    sim.ends_clean();
}

#[test]
fn g_an_undo_is_sent_again() {
    for release in [true, false] {
        for fault in [Fault::None, SLOW, Fault::RequestLost, Fault::ReplyLost] {
            let mut sim = Sim::usual();
            sim.faults(Verb::Undo, &[fault]);
            sim.event("enforce", IP);
            sim.run(Span::from_millis(20));
            let (state, end) = if release {
                sim.release(1).unwrap();
                (StateKind::Releasing, StateKind::Released)
            } else {
                sim.vanish(IP);
                sim.sweep();
                (StateKind::RollingBack, StateKind::RolledBack)
            };
            sim.crash(Span::from_millis(10));
            assert_eq!(sim.kind(1), Some(state));
            assert_eq!((sim.changes(1, "resent"), sim.undos.len()), (1, 2));
            sim.run(Span::from_secs(5));
            assert_eq!(sim.kind(1), Some(end));
            assert!(!sim.is_blocked(IP));
            sim.ends_clean();
        }
    }
    // The undo was answered, and only the last look is missing.
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    sim.faults(Verb::Observe, &[SLOW]);
    sim.release(1).unwrap();
    sim.run(Span::from_millis(10));
    sim.crash(Span::from_secs(1));
    sim.run(Span::from_secs(1));
    assert_eq!((sim.kind(1), sim.undos.len()), (Some(StateKind::Released), 1));
    sim.ends_clean();
}

#[test]
fn h_settling_starts_again() {
    for probing in [false, true] {
        let mut sim = Sim::remote();
        sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
        sim.faults(Verb::Observe, &[Fault::None, Fault::None, SLOW]);
        sim.event("enforce", IP);
        sim.run_until_kind(1, StateKind::Settling);
        sim.run(if probing {
            Span::from_millis(2_550)
        } else {
            Span::from_secs(1)
        });
        assert_eq!(sim.kind(1), Some(StateKind::Settling));
        sim.crash(Span::ZERO);
        sim.run(REMOTE_IN_FLIGHT);
        assert_eq!(sim.kind(1), Some(StateKind::Settling), "the whole time");
        sim.run(Span::from_secs(1));
        assert_eq!(sim.kind(1), Some(StateKind::RolledBack));
        sim.ends_clean();
    }
}

#[test]
fn i_what_has_ended_or_is_stuck_stays_as_it_is() {
    let mut sim = restarted(
        "observe",
        Verb::Observe,
        &[],
        StateKind::WouldExecute,
        Span::from_secs(1),
    );
    assert_eq!(sim.kind(1), Some(StateKind::WouldExecute));
    sim.ends_clean();
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
    sim.faults(Verb::Undo, &[Fault::Fails(FailureKind::Denied); 8]);
    sim.event("enforce", IP);
    sim.run_until_kind(1, StateKind::Stuck);
    sim.crash(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::Stuck));
    sim.ends_clean();
}

#[test]
fn one_that_cannot_be_taken_up_does_not_stop_the_others() {
    let mut sim = Sim::usual();
    for host in 1..=5 {
        sim.event("enforce", &format!("203.0.113.{host}"));
    }
    sim.run(Span::from_secs(1));
    sim.faults(Verb::Undo, &[Fault::Fails(FailureKind::Denied); 8]);
    sim.release(3).unwrap();
    sim.run(Span::from_mins(5));
    assert_eq!(sim.kind(3), Some(StateKind::Stuck));
    sim.crash(Span::ZERO);
    sim.crash(Span::ZERO);
    sim.run(LEASE);
    for id in [1, 2, 4, 5] {
        assert_eq!(sim.kind(id), Some(StateKind::Released));
    }
    sim.ends_clean();
}

#[test]
fn an_endless_row_of_restarts_comes_to_an_end() {
    for faults in [vec![Fault::RequestLost; 40], vec![Fault::ReplyLost; 40]] {
        let mut sim = Sim::remote();
        sim.faults(Verb::Execute, &faults);
        sim.event("enforce", IP);
        for _ in 0..20 {
            sim.run(Span::from_millis(30));
            sim.crash(Span::from_millis(30));
        }
        sim.run(Span::from_mins(1));
        let kind = sim.kind(1).unwrap();
        assert!(matches!(kind, StateKind::InForce | StateKind::RolledBack), "{kind}");
        assert!(sim.acts.len() <= 2, "an act is sent twice at most");
        sim.ends_clean();
    }
}
