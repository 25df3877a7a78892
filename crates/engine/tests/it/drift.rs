//! The drift sweep: what vanished, what was replaced, what nobody owns.

use staunch_engine::sweep::{Reading, compare};
use staunch_model::{
    ActionKind, Cause, Failure, FailureKind, Input, NoticeLevel, Owner, Span, StateKind, SweepFindings, TransactionId,
};

use crate::build::{LEASE, target};
use crate::life::IP;
use crate::sim::{Fault, Sim, Verb};

fn contained() -> Sim {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    sim
}

#[test]
fn a_sweep_that_finds_everything_in_place_verifies_it() {
    let mut sim = contained();
    let before = sim.state().verified_at(sim.transaction(1));
    sim.run(Span::from_secs(30));
    sim.sweep();
    assert_eq!(sim.state().verified_at(sim.transaction(1)), Some(sim.now));
    assert!(before < Some(sim.now));
    assert_eq!(sim.frames.last().unwrap().1.records.len(), 1);
    sim.ends_clean();
}

#[test]
fn what_vanished_is_reported_undone_and_contained_anew_by_the_next_event() {
    let nothing = "nothing of ours is in place";
    let no_rules = "it is in place, but the rules that enforce it are not";
    for (what, found) in [("vanished", nothing), ("replaced", nothing), ("rules", no_rules)] {
        let mut sim = contained();
        match what {
            "vanished" => sim.vanish(IP),
            "replaced" => sim.foreign(IP),
            _ => sim.world.enforcing = false,
        }
        sim.sweep();
        assert_eq!(sim.kind(1), Some(StateKind::RollingBack));
        assert_eq!(sim.cause(1), Cause::Vanished { found: found.into() });
        sim.run(Span::from_secs(5));
        assert_eq!(sim.kind(1), Some(StateKind::RolledBack));
        let page = format!("1 containment(s) in force were removed or replaced by somebody else: {IP} (TX-1: {found})");
        assert!(sim.told(NoticeLevel::Page).contains(&&*page), "{:?}", sim.told);
        assert_eq!(sim.world.owned().count(), 0);
        assert_eq!(sim.state().breaker_open, None);
        sim.world.enforcing = true;
        sim.vanish(IP);
        sim.event("enforce", IP);
        sim.run(Span::from_secs(1));
        assert_eq!(sim.kind(2), Some(StateKind::InForce), "a new incident, judged anew");
        sim.ends_clean();
    }
}

#[test]
fn an_object_of_another_transaction_in_place_of_ours_is_no_containment() {
    let mut sim = contained();
    let label = TransactionId(900);
    sim.invariants.planted.insert(label);
    sim.world.tamper(target(IP), Some(Owner::Ours(label)));
    sim.sweep();
    assert_eq!(
        sim.cause(1),
        Cause::Vanished {
            found: "an object of TX-900 is in place".into()
        }
    );
    sim.run(Span::from_secs(5));
    assert_eq!(sim.kind(1), Some(StateKind::RolledBack));
    sim.sweep();
    sim.run(Span::from_secs(5));
    assert_eq!(
        (sim.kind(2), sim.cause(2)),
        (Some(StateKind::Released), Cause::Orphan),
        "it was an orphan"
    );
    sim.ends_clean();
}

#[test]
fn what_changed_since_the_reading_began_is_left_to_the_next_sweep() {
    let mut sim = Sim::usual();
    let begun = sim.now;
    sim.run(Span::from_millis(1));
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    let reading = |found: Vec<_>| Reading {
        kind: ActionKind::BlockIp,
        begun,
        found: Ok((found, true)),
        unread: Vec::new(),
    };
    let empty = SweepFindings {
        swept: vec![ActionKind::BlockIp],
        ..SweepFindings::default()
    };
    assert_eq!(
        compare(sim.state(), &[reading(Vec::new())]),
        empty,
        "it came into force after the reading"
    );
    sim.release(1).unwrap();
    sim.run(Span::from_secs(1));
    let read = vec![(TransactionId(1), target(IP))];
    assert_eq!(
        compare(sim.state(), &[reading(read)]),
        empty,
        "it was lifted after the reading"
    );
    sim.ends_clean();
}

#[test]
fn a_lease_that_ends_during_a_sweep_makes_no_orphan() {
    let mut sim = contained();
    let read = |sim: &Sim| Reading {
        kind: ActionKind::BlockIp,
        begun: sim.now,
        found: Ok((sim.world.owned().collect(), true)),
        unread: Vec::new(),
    };
    // The incident has long stopped taking up events, so that nothing is kept of it when the lease ends.
    sim.run(Span::from_micros(LEASE.as_micros() - 1_100_000));
    let reading = read(&sim);
    assert_eq!(reading.found.as_ref().unwrap().0, [(TransactionId(1), target(IP))]);
    sim.run(Span::from_secs(1));
    assert!(
        sim.state().transactions.is_empty() && sim.world.elements.is_empty(),
        "lifted and forgotten"
    );
    let findings = compare(sim.state(), &[reading]);
    assert!(findings.orphans.is_empty(), "{findings:?}");
    sim.input(Input::Swept(findings));
    assert!(sim.told(NoticeLevel::Warning).is_empty(), "{:?}", sim.told);

    // What is read after the end and carries that label is an orphan, however late its write landed.
    sim.invariants.planted.insert(TransactionId(1));
    sim.world.tamper(target(IP), Some(Owner::Ours(TransactionId(1))));
    sim.run(Span::from_millis(1));
    let reading = read(&sim);
    let findings = compare(sim.state(), std::slice::from_ref(&reading));
    assert_eq!(findings.orphans.len(), 1);
    sim.input(Input::Swept(findings));
    sim.run(Span::from_secs(5));
    assert_eq!(sim.world.owned().count(), 0);
    let again = compare(sim.state(), &[reading]);
    assert!(
        again.orphans.is_empty(),
        "one that is gone is not told of again: {again:?}"
    );

    sim.run(Span::from_mins(2));
    sim.sweep();
    assert!(
        sim.state().lifted.is_empty(),
        "it is remembered for as long as a reading takes"
    );
    sim.ends_clean();
}

#[test]
fn a_finding_that_is_out_of_date_does_no_harm() {
    let mut sim = contained();
    sim.vanish(IP);
    let reading = Reading {
        kind: ActionKind::BlockIp,
        begun: sim.now,
        found: Ok((Vec::new(), true)),
        unread: Vec::new(),
    };
    let mut findings = compare(sim.state(), &[reading]);
    findings
        .orphans
        .push((TransactionId(1), ActionKind::BlockIp, target(IP)));
    findings.vanished.push((TransactionId(77), "never heard of".into()));
    sim.release(1).unwrap();
    sim.input(Input::Swept(findings));
    assert_eq!((sim.kind(1), sim.transactions()), (Some(StateKind::Releasing), 1));
    sim.ends_clean();
}

#[test]
fn what_cannot_be_looked_at_is_neither_verified_nor_vanished_and_hides_nothing() {
    let mut sim = Sim::usual();
    let (unread, gone, there) = (IP, "203.0.113.8", "203.0.113.9");
    for ip in [unread, gone, there] {
        sim.event("enforce", ip);
        sim.run(Span::from_secs(1));
    }
    let swept_at = sim.state().swept_at.clone();
    sim.run(Span::from_mins(1));
    sim.vanish(gone);
    let why = Failure::new(FailureKind::Unavailable, "it says to try again");
    let reading = Reading {
        kind: ActionKind::BlockIp,
        begun: sim.now,
        found: Ok((vec![(TransactionId(3), target(there))], true)),
        unread: vec![(target(unread), why)],
    };
    let findings = compare(sim.state(), &[reading]);
    sim.input(Input::Swept(findings));
    sim.run(Span::from_secs(5));
    let kinds = [1, 2, 3].map(|id| sim.kind(id));
    let expected = [StateKind::InForce, StateKind::RolledBack, StateKind::InForce];
    assert_eq!(kinds, expected.map(Some), "{}", sim.story());
    assert_eq!(sim.state().swept_at, swept_at, "the kind is not verified");
    let pages = sim.told(NoticeLevel::Page);
    let says = |text: &str| pages.iter().any(|page| page.contains(text));
    assert!(
        says("203.0.113.7 cannot be looked at: it says to try again"),
        "{pages:?}"
    );
    assert!(
        says("were removed or replaced by somebody else: 203.0.113.8"),
        "{pages:?}"
    );
    sim.ends_clean();
}

#[test]
fn an_orphan_is_adopted_and_removed() {
    let mut sim = Sim::remote();
    let label = TransactionId(900);
    sim.invariants.planted.insert(label);
    sim.world.tamper(target(IP), Some(Owner::Ours(label)));
    // The driver may take its time: the deadline of an undo covers the longest time in flight.
    sim.faults(Verb::Undo, &[Fault::Slow(Span::from_millis(6_500))]);
    sim.sweep();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(20));
    sim.expect_path(1, "releasing > released");
    assert_eq!((sim.cause(1), sim.undos.len()), (Cause::Orphan, 1));
    assert_eq!(sim.kind(2), Some(StateKind::InForce), "what wanted the target waited");
    let notice = format!("1 object(s) of ours without a transaction were found and are being removed: {IP} (TX-900)");
    assert_eq!(sim.told(NoticeLevel::Warning), [notice]);
    sim.ends_clean();
}

#[test]
fn an_orphan_that_cannot_be_removed_is_stuck_and_survives_a_restart() {
    let mut sim = Sim::usual();
    let label = TransactionId(900);
    sim.invariants.planted.insert(label);
    sim.world.tamper(target(IP), Some(Owner::Ours(label)));
    sim.faults(Verb::Undo, &[Fault::Fails(FailureKind::Denied); 8]);
    sim.sweep();
    sim.run(Span::from_secs(1));
    sim.crash(Span::from_secs(1));
    sim.run(Span::from_mins(5));
    assert_eq!(sim.kind(1), Some(StateKind::Stuck));
    sim.crash(Span::from_secs(1));
    sim.sweep();
    assert_eq!(sim.transactions(), 1, "it is not adopted twice");
    sim.release(1).unwrap();
    sim.run(Span::from_secs(5));
    sim.expect_path(1, "releasing > stuck > releasing > released");
    sim.ends_clean();
}

#[test]
fn a_sweep_that_fails_is_told_once() {
    let mut sim = contained();
    for _ in 0..3 {
        sim.sweep_fails();
        sim.run(Span::from_secs(30));
    }
    assert_eq!(
        sim.told(NoticeLevel::Page),
        ["containments of block-ip cannot be verified: netlink is busy"],
        "not once for each sweep"
    );
    assert_eq!(sim.state().sweep_failed.len(), 1);
    assert_eq!(
        sim.kind(1),
        Some(StateKind::InForce),
        "not to know is not to have lost it"
    );
    sim.sweep();
    assert!(sim.state().sweep_failed.is_empty());
    sim.sweep_fails();
    sim.run(Span::from_secs(1));
    assert_eq!(sim.told(NoticeLevel::Page).len(), 2, "a new failure is news");
    sim.ends_clean();
}

#[test]
fn many_findings_are_named_in_part() {
    let mut sim = Sim::usual();
    for host in 1..=8 {
        sim.event("enforce", &format!("203.0.113.{host}"));
    }
    sim.run(Span::from_secs(1));
    sim.world.enforcing = false;
    sim.sweep();
    sim.run(Span::from_secs(5));
    let told = sim.told(NoticeLevel::Page);
    let page = told.iter().find(|text| text.starts_with("8 containment(s)")).unwrap();
    assert!(page.ends_with(" and 3 more"), "{page}");
    sim.ends_clean();
}

#[test]
fn drift_during_a_renewal_is_dealt_with() {
    let mut sim = contained();
    sim.faults(Verb::Execute, &[Fault::Slow(Span::from_millis(50))]);
    sim.renew(1, LEASE).unwrap();
    sim.vanish(IP);
    sim.sweep();
    sim.run(Span::from_secs(5));
    assert_eq!(sim.kind(1), Some(StateKind::RolledBack));
    sim.ends_clean();
}

#[test]
fn a_reading_of_one_kind_says_nothing_of_a_failed_one() {
    let sim = contained();
    let failure = Failure::new(FailureKind::Unavailable, "busy");
    let reading = Reading {
        kind: ActionKind::BlockIp,
        begun: sim.now + LEASE,
        found: Err(failure.clone()),
        unread: Vec::new(),
    };
    let findings = compare(sim.state(), &[reading]);
    assert_eq!(findings.failed, [(ActionKind::BlockIp, failure)]);
    assert!(findings.swept.is_empty() && findings.vanished.is_empty());
}

#[test]
fn findings_can_be_taken_in_parts() {
    let mut sim = Sim::usual();
    for host in 1..=5 {
        sim.event("enforce", &format!("203.0.113.{host}"));
    }
    sim.run(Span::from_secs(1));
    for host in 1..=5 {
        sim.vanish(&format!("203.0.113.{host}"));
        let label = TransactionId(900 + host);
        sim.invariants.planted.insert(label);
        let place = target(&format!("203.0.114.{host}"));
        sim.world.tamper(place, Some(Owner::Ours(label)));
    }
    let reading = Reading {
        kind: ActionKind::BlockIp,
        begun: sim.now,
        found: Ok((sim.world.owned().collect(), true)),
        unread: Vec::new(),
    };
    let findings = compare(sim.state(), &[reading]);
    let parts = findings.clone().parts(3);
    let sizes: Vec<_> = parts.iter().map(|it| (it.vanished.len(), it.orphans.len())).collect();
    assert_eq!(sizes, [(3, 0), (2, 1), (0, 3), (0, 1)]);
    assert_eq!(parts[0].swept, findings.swept);
    assert!(parts[1..].iter().all(|it| it.swept.is_empty() && it.failed.is_empty()));
    let vanished: Vec<_> = parts.iter().flat_map(|it| it.vanished.clone()).collect();
    let orphans: Vec<_> = parts.iter().flat_map(|it| it.orphans.clone()).collect();
    assert_eq!(
        (vanished, orphans),
        (findings.vanished.clone(), findings.orphans.clone())
    );
    assert_eq!(findings.clone().parts(100), std::slice::from_ref(&findings));
    assert_eq!(findings.parts(0).len(), 10);
    assert_eq!(SweepFindings::default().parts(3), [SweepFindings::default()]);

    for part in parts {
        sim.input(Input::Swept(part));
    }
    sim.run(Span::from_secs(5));
    assert!((1..=5).all(|id| sim.kind(id) == Some(StateKind::RolledBack)));
    assert!(sim.world.elements.is_empty());
    sim.ends_clean();
}
