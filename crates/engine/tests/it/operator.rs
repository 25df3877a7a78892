//! What operators ask for, in every state.

use staunch_model::{Cause, Change, FailureKind, Mode, NoticeLevel, Record, Span, StateKind, Timestamp, TransactionId};

use staunch_engine::limits::WORK_PER_TURN_MAX;

use crate::build::{self, LEASE, adjust_playbook, protection};
use crate::life::IP;
use crate::sim::{Fault, OPERATOR, Sim, Verb};

fn awaiting() -> Sim {
    let mut sim = Sim::usual();
    sim.event("approve", IP);
    sim.run(Span::from_secs(1));
    sim.expect_path(1, "planned > pre-checking > awaiting-approval");
    assert_eq!(
        sim.told(NoticeLevel::Page),
        [format!("INC-1 (approve, {IP}): awaiting-approval")]
    );
    sim
}

#[test]
fn an_approval_late_in_its_time_still_acts_although_the_event_has_aged() {
    let mut sim = awaiting();
    sim.run(Span::from_mins(25));
    assert_eq!(sim.approve(1), Ok(vec![TransactionId(1)]));
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    sim.ends_clean();
}

#[test]
fn an_approval_is_checked_again_and_acts() {
    let mut sim = awaiting();
    assert_eq!(sim.approve(1), Ok(vec![TransactionId(1)]));
    sim.run(Span::from_secs(1));
    sim.expect_path(
        1,
        "planned > pre-checking > awaiting-approval > planned > pre-checking > executing > post-checking > in-force",
    );
    assert_eq!(sim.transaction(1).approved_by(), Some(OPERATOR));
    assert_eq!(sim.approve(1), Err("TX-1 is in-force, not awaiting approval".into()));
    sim.ends_clean();
}

#[test]
fn a_question_can_be_denied_or_lapse() {
    let mut sim = awaiting();
    assert_eq!(sim.deny(1), Ok(vec![TransactionId(1)]));
    assert_eq!(sim.refusal(1), format!("Denied {{ by: \"{OPERATOR}\" }}"));
    assert_eq!(sim.deny(1), Err("TX-1 is refused, not awaiting approval".into()));
    sim.ends_clean();

    let mut sim = awaiting();
    sim.run(Span::from_mins(30));
    assert_eq!(sim.refusal(1), "ApprovalExpired");
    assert!(sim.approve(1).is_err());
    assert!(sim.acts.is_empty());
    sim.ends_clean();

    // The approval arrives before the tick that would have ended it.
    let mut sim = awaiting();
    sim.now = sim.now + Span::from_mins(30);
    let refused = sim.approve(1).unwrap_err();
    assert!(
        refused.starts_with("the approval of TX-1 expired at 2023-11-14T22:43:20"),
        "{refused}"
    );
    assert_eq!(sim.refusal(1), "ApprovalExpired");
    sim.ends_clean();
}

#[test]
fn a_guard_has_the_last_word_after_an_approval() {
    let mut sim = awaiting();
    sim.foreign(IP);
    sim.approve(1).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(
        sim.refusal(1),
        "target-busy: somebody else's object is in place there (fail2ban)"
    );
    sim.ends_clean();

    let mut sim = awaiting();
    sim.policy(build::policy(|it| {
        it.never_touch.push(protection("203.0.113.0/28", "the new balancers"));
    }));
    sim.approve(1).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(
        sim.refusal(1),
        format!("never-touch: {IP} is in 203.0.113.0/28, which is never touched: the new balancers")
    );
    assert!(sim.acts.is_empty());
    sim.ends_clean();

    let mut sim = awaiting();
    sim.set_mode(Mode::Observe);
    sim.approve(1).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::WouldExecute));
    sim.ends_clean();
}

#[test]
fn a_release_works_in_every_state() {
    let slow = Fault::Slow(Span::from_millis(60));
    // The verb that is slow, the state in which it is caught, and where it ends.
    let cases = [
        (Verb::Observe, StateKind::PreChecking, StateKind::Refused),
        (Verb::Execute, StateKind::Executing, StateKind::RolledBack),
        (Verb::Notify, StateKind::PostChecking, StateKind::RolledBack),
        (Verb::Notify, StateKind::InForce, StateKind::Released),
    ];
    for (verb, state, end) in cases {
        let mut sim = Sim::usual();
        sim.faults(verb, &[slow]);
        sim.event("enforce", IP);
        sim.run_until_kind(1, state);
        assert_eq!(sim.release(1), Ok(vec![TransactionId(1)]), "{state}");
        if end == StateKind::Refused {
            assert_eq!(sim.refusal(1), format!("Cancelled {{ by: \"{OPERATOR}\" }}"));
        } else {
            assert_eq!(sim.release(1), Err(format!("TX-1 is {} already", sim.kind(1).unwrap())));
            assert_eq!(sim.cause(1), Cause::Operator { by: OPERATOR.into() });
        }
        // Without an answer the act may be sent for a while yet.
        sim.run(Span::from_secs(7));
        assert_eq!(sim.kind(1), Some(end), "{state}");
        assert!(!sim.is_blocked(IP));
        assert!(sim.release(1).is_err());
        sim.ends_clean();
    }
    let mut sim = awaiting();
    assert_eq!(sim.release(1), Ok(vec![TransactionId(1)]));
    assert_eq!(sim.kind(1), Some(StateKind::Refused));
    sim.ends_clean();
    assert_eq!(sim.release(99), Err("there is no TX-99".into()));
    assert_eq!(sim.release_incident(99), Err("there is no INC-99".into()));

    // Waiting for its turn.
    let mut sim = Sim::new(build::policy(|it| it.limits.actions_in_flight_max = 1));
    sim.event("enforce", IP);
    sim.event("enforce", "203.0.113.8");
    assert_eq!(sim.kind(2), Some(StateKind::Planned));
    assert_eq!(sim.release(2), Ok(vec![TransactionId(2)]));
    sim.ends_clean();
}

#[test]
fn a_release_of_what_may_be_acting_finds_the_act_that_lands_after_the_undo() {
    let mut sim = Sim::remote();
    sim.faults(Verb::Execute, &[Fault::Slow(Span::from_millis(1_500))]);
    sim.event("enforce", IP);
    sim.run(Span::from_millis(100));
    sim.release(1).unwrap();
    sim.run(Span::from_secs(10));
    assert_eq!(sim.kind(1), Some(StateKind::RolledBack));
    assert_eq!(sim.changes(1, "probed-present"), 1);
    sim.ends_clean();
}

#[test]
fn everything_can_be_released_at_once() {
    let mut sim = Sim::new(build::policy(|it| it.limits.actions_in_flight_max = 3));
    for host in 1..=3 {
        sim.event("enforce", &format!("203.0.113.{host}"));
    }
    sim.run(Span::from_secs(1));
    sim.event("approve", "203.0.113.4");
    sim.run(Span::from_secs(1));
    for host in 5..=9 {
        sim.event("enforce", &format!("203.0.113.{host}"));
    }
    assert_eq!(sim.kind(9), Some(StateKind::Planned));
    let affected: Vec<_> = sim.release_all().iter().map(|id| id.0).collect();
    assert_eq!(affected, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    sim.run(Span::from_secs(5));
    assert!(sim.world.elements.is_empty());
    assert!((1..=9).all(|id| sim.kind(id).unwrap().is_terminal()));
    assert_eq!(sim.release_all(), Vec::new());
    sim.ends_clean();
}

/// What is released together begins to be lifted in the order in which a rollback goes, all of it in one turn.
#[test]
fn what_is_released_together_is_lifted_last_completed_first() {
    let ips = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
    let releases: [fn(&mut Sim) -> Vec<TransactionId>; 2] = [|sim| sim.release_incident(1).unwrap(), Sim::release_all];
    let ids = |all: &[TransactionId]| all.iter().map(|it| it.0).collect::<Vec<_>>();
    for release in releases {
        // The first step comes into force last.
        let mut sim = Sim::usual();
        sim.faults(Verb::Execute, &[Fault::Slow(Span::from_millis(40))]);
        sim.event_about("enforce", "three", &ips);
        sim.run(Span::from_secs(1));
        let completed: Vec<_> = (1..=3).map(|id| sim.transaction(id).completed).collect();
        assert_eq!(completed, [3, 1, 2], "{}", sim.story());
        // What is proved of one is not waited for before the next begins.
        sim.faults(Verb::Undo, &[Fault::Slow(Span::from_millis(90))]);
        assert_eq!(ids(&release(&mut sim)), [1, 3, 2]);
        assert!((1..=3).all(|id| sim.kind(id) == Some(StateKind::Releasing)));
        sim.run(Span::from_secs(5));
        let undone: Vec<_> = sim.undos.iter().map(|(_, id, _)| *id).collect();
        assert_eq!(ids(&undone), [1, 3, 2]);
        assert!((1..=3).all(|id| sim.kind(id) == Some(StateKind::Released)));
        sim.ends_clean();

        // What has not acted comes before what is acting, and both before what is in force.
        let mut sim = Sim::new(build::policy(|it| it.limits.actions_in_flight_max = 1));
        sim.faults(Verb::Execute, &[Fault::None, Fault::Slow(Span::from_millis(60))]);
        sim.event_about("enforce", "three", &ips);
        sim.run_until_kind(2, StateKind::Executing);
        assert_eq!(
            (sim.kind(1), sim.kind(3)),
            (Some(StateKind::InForce), Some(StateKind::Planned))
        );
        assert_eq!(ids(&release(&mut sim)), [3, 2, 1]);
        sim.run(Span::from_secs(10));
        assert_eq!(sim.acts.len(), 2, "the third has not acted meanwhile");
        let kinds: Vec<_> = (1..=3).map(|id| sim.kind(id).unwrap()).collect();
        assert_eq!(kinds, [StateKind::Released, StateKind::RolledBack, StateKind::Refused]);
        sim.ends_clean();
    }
}

#[test]
fn a_renewal_moves_the_end_of_the_lease() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run(Span::from_mins(30));
    assert_eq!(sim.renew(1, Span::from_hours(2)), Ok(vec![TransactionId(1)]));
    assert_eq!(sim.renew(1, LEASE), Err("TX-1 is being renewed already".into()));
    sim.run(Span::from_secs(1));
    assert_eq!(sim.acts.len(), 2);
    sim.run(Span::from_mins(110));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert!(sim.is_in_place(1));
    sim.run(Span::from_mins(11));
    assert_eq!(
        (sim.kind(1), sim.cause(1)),
        (Some(StateKind::Released), Cause::LeaseEnded)
    );
    sim.ends_clean();
}

/// A containment with half an hour left whose renewal for five hours meets `faults`, a minute later; the end before.
fn renewed(mut sim: Sim, verb: Verb, faults: &[Fault]) -> (Sim, Timestamp) {
    sim.event("enforce", IP);
    sim.run(Span::from_mins(30));
    let end = sim.transaction(1).lease_until.unwrap();
    sim.faults(verb, faults);
    sim.renew(1, Span::from_hours(5)).unwrap();
    sim.run(Span::from_mins(1));
    assert_eq!(sim.transaction(1).renewing(), None);
    (sim, end)
}

fn keeps_the_old_lease((mut sim, end): (Sim, Timestamp), why: &str) {
    assert_eq!(sim.transaction(1).lease_until, Some(end), "{why}");
    assert_eq!(
        (sim.changes(1, "renewed"), sim.changes(1, "renew-failed")),
        (0, 1),
        "{why}"
    );
    assert_eq!(
        sim.told(NoticeLevel::Warning),
        [format!("the lease of TX-1 on {IP} could not be renewed: {why}")]
    );
    sim.run(Span::from_mins(30));
    assert_eq!(
        (sim.kind(1), sim.cause(1)),
        (Some(StateKind::Released), Cause::LeaseEnded)
    );
    sim.ends_clean();
}

#[test]
fn a_renewal_that_fails_leaves_the_old_lease() {
    let fails = Fault::Fails(FailureKind::Unavailable);
    keeps_the_old_lease(renewed(Sim::usual(), Verb::Execute, &[fails]), "the driver says no");
    for (fault, what) in [
        (Fault::InDoubt, "the connection was reset"),
        (Fault::RequestLost, "no answer within the deadline"),
    ] {
        let (sim, end) = renewed(Sim::usual(), Verb::Execute, &[fault]);
        let told = &sim.told(NoticeLevel::Warning)[0];
        assert!(
            told.contains(&format!("{what}; by a look, it ends by itself in ")),
            "{told}"
        );
        assert_eq!(sim.transaction(1).lease_until, Some(end), "{fault:?}");
    }
}

#[test]
fn what_a_renewal_did_is_judged_by_a_look() {
    // The driver says it landed, and it did not.
    let looks = usize::from(staunch_engine::limits::POST_CHECK_ATTEMPTS_REMOTE_MAX);
    for (sim, looks) in [(Sim::usual(), 1), (Sim::remote(), looks)] {
        let (mut sim, end) = renewed(sim, Verb::Execute, &[Fault::Lies]);
        assert_eq!(sim.transaction(1).lease_until, Some(end));
        assert_eq!(sim.changes(1, "renew-check-started") + sim.changes(1, "resent"), looks);
        assert!(sim.told(NoticeLevel::Warning)[0].contains("it ends by itself in "));
        sim.ends_clean();
    }
    // It landed, and the driver does not say so.
    for fault in [
        Fault::InDoubtLanded,
        Fault::ReplyLost,
        Fault::ReplyLate(Span::from_secs(30)),
    ] {
        let (mut sim, end) = renewed(Sim::usual(), Verb::Execute, &[fault]);
        assert!(
            sim.transaction(1).lease_until > Some(end + Span::from_hours(4)),
            "{fault:?}"
        );
        assert_eq!(sim.told(NoticeLevel::Warning), [""; 0], "{fault:?}");
        sim.ends_clean();
    }
}

#[test]
fn a_renewal_that_cannot_be_looked_at_leaves_the_old_lease() {
    let fails = Fault::Fails(FailureKind::Unavailable);
    let attempts = usize::from(staunch_engine::limits::OBSERVE_ATTEMPTS_MAX);
    let renewed_after = renewed(Sim::usual(), Verb::Observe, &vec![fails; attempts - 1]);
    assert_eq!(renewed_after.0.changes(1, "renewed"), 1, "the last attempt works");
    keeps_the_old_lease(
        renewed(Sim::usual(), Verb::Observe, &vec![fails; attempts]),
        "the world cannot be looked at: the driver cannot look",
    );
}

#[test]
fn a_renewal_of_what_somebody_else_took_away_fails() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run(Span::from_mins(30));
    let end = sim.transaction(1).lease_until;
    sim.faults(Verb::Observe, &[Fault::Slow(Span::from_millis(50))]);
    sim.renew(1, Span::from_hours(5)).unwrap();
    sim.run(Span::from_millis(20));
    sim.vanish(IP);
    sim.run(Span::from_secs(1));
    assert_eq!(
        (sim.kind(1), sim.transaction(1).lease_until),
        (Some(StateKind::InForce), end)
    );
    assert!(sim.told(NoticeLevel::Warning)[0].ends_with("nothing is in place"));
    sim.sweep();
    sim.run(Span::from_secs(5));
    assert_eq!(sim.kind(1), Some(StateKind::RolledBack), "the sweep deals with it");
    sim.ends_clean();
}

#[test]
fn a_lease_that_ends_during_its_renewal_ends() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run(Span::from_mins(59));
    sim.run(Span::from_secs(59));
    sim.faults(Verb::Execute, &[Fault::RequestLost]);
    sim.renew(1, LEASE).unwrap();
    sim.run(Span::from_secs(3));
    assert_eq!(
        (sim.kind(1), sim.cause(1)),
        (Some(StateKind::Released), Cause::LeaseEnded)
    );
    sim.ends_clean();
}

#[test]
fn a_lease_ends_at_its_time_whatever_the_look_at_its_renewal_does() {
    let fails = Fault::Fails(FailureKind::Unavailable);
    let looks: [&[Fault]; 6] = [
        &[Fault::RequestLost],
        &[Fault::ReplyLost],
        &[Fault::ReplyLate(Span::from_secs(4))],
        &[Fault::Slow(Span::from_secs(4))],
        &[fails, Fault::RequestLost],
        &[fails, fails, Fault::RequestLost],
    ];
    for look in looks {
        let mut sim = Sim::usual();
        sim.event("enforce", IP);
        sim.run(Span::from_mins(59));
        let end = sim.transaction(1).lease_until.unwrap();
        sim.run((end - Span::from_secs(1)).since(sim.now));
        sim.faults(Verb::Observe, look);
        sim.renew(1, LEASE).unwrap();
        sim.run(Span::from_mins(1));
        let starts = |record: &Record| {
            let Record::Transaction { change, .. } = record else {
                return false;
            };
            matches!(change, Change::ReleaseStarted { .. })
        };
        let released = sim.frames.iter().find(|(_, frame)| frame.records.iter().any(starts));
        assert_eq!(released.map(|(now, _)| *now), Some(end), "{look:?}\n{}", sim.story());
        assert_eq!(sim.changes(1, "renew-check-started"), 1, "{look:?}");
        assert_eq!(
            (sim.kind(1), sim.cause(1)),
            (Some(StateKind::Released), Cause::LeaseEnded)
        );
        sim.ends_clean();
    }
}

#[test]
fn a_lease_has_limits() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    assert_eq!(
        sim.renew(1, LEASE),
        Err("TX-1 is pre-checking, and only what is in force has a lease".into())
    );
    sim.run(Span::from_secs(1));
    assert_eq!(sim.renew(1, Span::ZERO), Err("a lease of 0s is no time at all".into()));
    assert_eq!(
        sim.renew(1, Span::from_hours(25)),
        Err("a lease of 1d1h is too long: the longest is 1d".into())
    );
    assert_eq!(sim.renew(9, LEASE), Err("there is no TX-9".into()));
    assert!(sim.renew(1, Span::from_hours(24)).is_ok());
    sim.run(Span::from_secs(1));
    assert_eq!(sim.transaction(1).lease_until.unwrap().since(sim.now).as_secs(), 86_399);
    // The renewal arrives before the tick that ends the lease.
    sim.now = sim.now + Span::from_hours(24);
    let refused = sim.renew(1, LEASE).unwrap_err();
    assert!(refused.starts_with("the lease of TX-1 ended at "), "{refused}");
    assert_eq!(sim.acts.len(), 2, "nothing is sent for it");
    sim.ends_clean();
}

#[test]
fn a_lease_is_shortened_only_when_that_is_asked_for() {
    let mut sim = Sim::new(build::policy(|policy| adjust_playbook(policy, "enforce", |_| {})));
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    let end = sim.transaction(1).lease_until.unwrap();
    let left = end.since(sim.now);
    let sooner = Span::from_micros(left.as_micros() - 1);
    assert_eq!(
        sim.renew(1, sooner),
        Err(format!(
            "the lease of TX-1 would end at {}, but it ends at {end} now: allow the earlier end with `--shorten`",
            sim.now + sooner
        ))
    );
    assert_eq!(sim.acts.len(), 1, "nothing is sent for it");
    assert!(sim.renew(1, left).is_ok(), "the same end is not an earlier one");
    sim.run(Span::from_secs(1));
    sim.shorten(1, Span::from_mins(5)).unwrap();
    sim.run(Span::from_mins(6));
    assert_eq!(sim.kind(1), Some(StateKind::Released));
    sim.ends_clean();
}

#[test]
fn what_the_policy_newly_protects_is_paged_once_and_not_renewed() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.event("enforce", "203.0.114.8");
    sim.run(Span::from_secs(1));
    let protects = || {
        build::policy(|it| {
            it.never_touch.push(protection("203.0.113.0/28", "the new balancers"));
        })
    };
    sim.policy(protects());
    sim.policy(protects());
    sim.run(Span::from_secs(1));
    sim.crash(Span::ZERO);
    sim.policy(protects());
    sim.run(Span::from_secs(1));
    let why = format!("{IP} is in 203.0.113.0/28, which is never touched: the new balancers");
    assert_eq!(
        sim.told(NoticeLevel::Page),
        [format!(
            "TX-1 holds a target that is protected now ({why}): release it with `staunch release TX-1`"
        )]
    );
    assert_eq!(sim.kind(1), Some(StateKind::InForce), "nothing is released by itself");
    assert_eq!(sim.renew(1, LEASE), Err(format!("TX-1 cannot be renewed: {why}")));
    assert!(sim.renew(2, LEASE).is_ok());
    assert_eq!(sim.release(1), Ok(vec![TransactionId(1)]));
    sim.ends_clean();
}

#[test]
fn everything_is_released_in_bounded_turns_and_what_has_not_acted_goes_first() {
    let more = 40;
    let mut sim = Sim::new(build::policy(|it| {
        adjust_playbook(it, "enforce", |it| it.guards.acts_per_hour_max = 500);
    }));
    sim.invariants.compare_every = 200;
    sim.event("enforce", "198.18.0.1");
    sim.run(Span::from_secs(1));
    // Each is a record, and an incident to look after.
    let per_turn = WORK_PER_TURN_MAX / 2;
    let count = per_turn + more;
    for at in 0..count {
        sim.event("approve", &format!("203.{}.{}.1", at / 250, at % 250));
    }
    sim.run(Span::from_millis(500));
    let first = sim.release_all();
    assert_eq!(first.len(), per_turn);
    assert!(!first.contains(&TransactionId(1)));
    let second = sim.release_all();
    assert_eq!(second.len(), more + 1);
    assert_eq!(second.last(), Some(&TransactionId(1)));
    assert_eq!(sim.release_all(), Vec::new());
    sim.run(Span::from_secs(5));
    assert!(sim.world.elements.is_empty());
    sim.ends_clean();
}

#[test]
fn what_has_ended_and_is_forgotten_is_told_from_what_never_was() {
    let mut sim = awaiting();
    sim.deny(1).unwrap();
    sim.run(Span::from_mins(30));
    assert!(sim.kind(1).is_some() && !sim.state().transactions.contains_key(&TransactionId(1)));
    assert_eq!(
        sim.release(1),
        Err("TX-1 has ended, and nothing of it is in force".into())
    );
    assert_eq!(
        sim.renew(1, LEASE),
        Err("TX-1 has ended, and nothing of it is in force".into())
    );
    assert_eq!(sim.release(2), Err("there is no TX-2".into()));
    sim.ends_clean();
}

#[test]
fn a_lease_ends_in_time_when_its_renewal_is_being_looked_for() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    let end = sim.transaction(1).lease_until.unwrap();
    sim.run((end - Span::from_millis(100)).since(sim.now));
    sim.faults(Verb::Observe, &[Fault::Fails(FailureKind::Unavailable); 3]);
    sim.renew(1, Span::from_hours(2)).unwrap();
    sim.run(end.since(sim.now));
    assert_eq!(sim.kind(1), Some(StateKind::Releasing), "{}", sim.story());
    sim.ends_clean();
}
