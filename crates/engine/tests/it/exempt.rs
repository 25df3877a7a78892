//! What people exempt from containment.

use ipnet::IpNet;
use staunch_engine::exempt::protection;
use staunch_engine::limits;
use staunch_model::{Command, Mode, NoticeLevel, ReleaseScope, Span, StateKind, TransactionId};

use crate::build;
use crate::life::IP;
use crate::sim::{Fault, OPERATOR, Sim, Verb};

fn network(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn protect(sim: &mut Sim, text: &str, lasts: Option<Span>) -> Result<Vec<TransactionId>, String> {
    sim.command(Command::Protect {
        network: network(text),
        lasts,
    })
}

fn in_force() -> Sim {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run_until_kind(1, StateKind::InForce);
    sim
}

#[test]
fn what_a_person_protects_is_refused_with_that_persons_words_until_it_ends() {
    let mut sim = Sim::usual();
    assert_eq!(
        protect(&mut sim, "203.0.113.99/28", Some(Span::from_mins(30))),
        Ok(vec![])
    );
    assert_eq!(
        protect(&mut sim, "203.0.113.0/28", Some(Span::from_mins(30))),
        Ok(vec![])
    );
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    let until = sim.state().exemptions.get(network("203.0.113.0/28"), sim.now).unwrap();
    let why = format!(
        "{IP} is in 203.0.113.0/28, which is never touched: {OPERATOR} protected it until {}: test",
        until.until.unwrap()
    );
    assert_eq!(sim.refusal(1), format!("never-touch: {why}"));

    // A crash changes nothing about it, and its end does.
    sim.crash(Span::from_secs(5));
    sim.run(Span::from_mins(29));
    sim.event("enforce", IP);
    sim.run(Span::from_secs(20));
    assert_eq!(sim.refusal(2), format!("never-touch: {why}"));
    sim.run(Span::from_mins(2));
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(3), Some(StateKind::InForce));
    sim.ends_clean();
}

#[test]
fn a_protection_is_taken_back_by_its_network_only() {
    let mut sim = Sim::usual();
    // However it is written.
    protect(&mut sim, "::ffff:203.0.113.7/128", None).unwrap();
    assert!(sim.state().exemptions.get(network("203.0.113.7/32"), sim.now).is_some());
    let mut unprotect = |text: &str| {
        let network = network(text);
        sim.command(Command::Unprotect { network })
    };
    assert_eq!(
        unprotect("203.0.113.0/24"),
        Err("there is no protection of exactly 203.0.113.0/24".into())
    );
    assert_eq!(
        unprotect("198.51.100.0/24"),
        Err("198.51.100.0/24 is protected by the configuration or as a part of this machine, not by a command".into())
    );
    assert_eq!(unprotect("203.0.113.7/32"), Ok(vec![]));
    assert_eq!(
        unprotect("203.0.113.7/32"),
        Err("there is no protection of exactly 203.0.113.7/32".into())
    );
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    sim.ends_clean();
}

#[test]
fn the_narrowest_protection_speaks_and_the_policy_before_it() {
    let mut sim = Sim::usual();
    for text in ["203.0.112.0/20", "203.0.113.0/24", "::/0", "198.51.100.7/32"] {
        protect(&mut sim, text, None).unwrap();
    }
    let of = |ip: &str| {
        let found = protection(sim.state(), ip.parse().unwrap(), sim.now)?;
        Some((found.0.to_string(), found.1))
    };
    assert_eq!(of(IP).unwrap().0, "203.0.113.0/24");
    assert_eq!(of("203.0.112.1").unwrap().0, "203.0.112.0/20");
    assert_eq!(of("2001:db8::1").unwrap().0, "::/0");
    assert_eq!(of("198.18.0.1"), None);
    assert_eq!(of("198.51.100.7").unwrap().0, "198.51.100.0/24");
}

#[test]
fn what_is_in_force_when_it_is_protected_is_paged_and_stays() {
    let mut sim = in_force();
    protect(&mut sim, "203.0.113.0/24", None).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    let pages = sim.told(NoticeLevel::Page);
    assert_eq!(
        pages,
        [format!(
            "TX-1 holds a target that is protected now ({IP} is in 203.0.113.0/24, which is never touched: {OPERATOR} \
             protected it: test): release it with `staunch release TX-1`"
        )]
    );
    let refused = sim.renew(1, Span::from_hours(1)).unwrap_err();
    assert!(refused.starts_with("TX-1 cannot be renewed"), "{refused}");

    // What was protected already is not paged again, neither by a policy nor by a further protection.
    sim.policy(build::policy(|_| {}));
    sim.policy(build::policy(|it| {
        it.never_touch
            .push(build::protection("203.0.113.0/24", "now by policy too"));
    }));
    sim.run(Span::from_secs(1));
    assert_eq!(sim.told(NoticeLevel::Page).len(), 1);
    protect(&mut sim, "203.0.113.7/32", None).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(sim.told(NoticeLevel::Page).len(), 1);
    sim.ends_clean();
}

#[test]
fn what_is_released_with_trust_is_judged_again_and_refused() {
    let mut sim = in_force();
    let trust = Span::from_hours(2);
    let scope = ReleaseScope::Transaction(TransactionId(1));
    assert_eq!(
        sim.command(Command::ReleaseTrusting { scope, trust }),
        Ok(vec![TransactionId(1)])
    );
    let until = sim.now + trust;
    sim.run_until_kind(1, StateKind::Released);
    sim.run(Span::from_mins(15));
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(
        sim.refusal(2),
        format!(
            "never-touch: {IP} is in {IP}/32, which is never touched: {OPERATOR} released it and trusts it until {until}: \
             test"
        )
    );
    sim.run(trust);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(3), Some(StateKind::InForce));
    sim.ends_clean();
}

#[test]
fn trust_shortens_no_protection_and_an_incident_is_trusted_as_a_whole() {
    let mut sim = Sim::usual();
    sim.event_about("enforce", "several", &[IP, "203.0.113.8"]);
    sim.run(Span::from_secs(1));
    sim.set_mode(Mode::Enforce);
    protect(&mut sim, "203.0.113.8/32", None).unwrap();
    let incident = sim.transaction(1).incident;
    let released = sim.command(Command::ReleaseTrusting {
        scope: ReleaseScope::Incident(incident),
        trust: Span::from_mins(1),
    });
    let mut released = released.unwrap();
    released.sort();
    let count = released.len();
    assert!(count >= 2, "{released:?}");
    let ends = |text: &str| sim.state().exemptions.get(network(text), sim.now).unwrap().until;
    assert_eq!(ends("203.0.113.8/32"), None);
    assert_eq!(ends(&format!("{IP}/32")), Some(sim.now + Span::from_mins(1)));
    sim.ends_clean();
}

#[test]
fn what_is_out_of_bounds_is_refused_and_changes_nothing() {
    let mut sim = in_force();
    let one = ReleaseScope::Transaction(TransactionId(1));
    let trusting = |scope, trust| Command::ReleaseTrusting { scope, trust };
    let hour = Span::from_hours(1);
    for command in [
        trusting(one, Span::ZERO),
        trusting(one, limits::TRUST_MAX + Span::from_micros(1)),
        trusting(ReleaseScope::All, hour),
        trusting(ReleaseScope::Former, hour),
        trusting(ReleaseScope::Transaction(TransactionId(9)), hour),
        Command::Protect {
            network: network("203.0.113.7/32"),
            lasts: Some(Span::ZERO),
        },
        Command::Protect {
            network: network("203.0.113.7/32"),
            lasts: Some(limits::EXEMPTION_MAX + Span::from_micros(1)),
        },
    ] {
        assert!(sim.command(command).is_err(), "{command:?}");
    }
    assert_eq!(sim.state().exemptions.holding_at(sim.now).count(), 0);
    assert_eq!(sim.kind(1), Some(StateKind::InForce));

    sim.invariants.compare_every = 3_000;
    // No room: nothing is released either, and those that have ended take none.
    for number in 0..limits::EXEMPTIONS_MAX {
        let [_, _, a, b] = u32::try_from(number).unwrap().to_be_bytes();
        protect(&mut sim, &format!("198.18.{a}.{b}/32"), Some(hour)).unwrap();
    }
    let refused = sim.command(trusting(one, hour)).unwrap_err();
    assert!(
        refused.starts_with("10000 networks are protected by commands already"),
        "{refused}"
    );
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert!(
        protect(&mut sim, "198.18.0.0/32", Some(hour)).is_ok(),
        "one that is there takes no room"
    );
    sim.renew(1, Span::from_hours(4)).unwrap();
    sim.run(hour);
    assert_eq!(sim.command(trusting(one, hour)), Ok(vec![TransactionId(1)]));
    assert_eq!(sim.state().exemptions.holding_at(sim.now).count(), 1);
    sim.ends_clean();
}

#[test]
fn what_is_under_way_when_it_is_protected_is_told_as_well() {
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &[Fault::Slow(Span::from_secs(1))]);
    sim.event("enforce", IP);
    sim.run_until_kind(1, StateKind::Executing);
    protect(&mut sim, "203.0.113.7/32", None).unwrap();
    sim.run(Span::from_secs(5));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert_eq!(sim.told(NoticeLevel::Page).len(), 1);
    sim.ends_clean();
}

#[test]
fn a_protection_that_has_ended_hides_no_wider_one() {
    let mut sim = Sim::usual();
    protect(&mut sim, "203.0.113.0/24", None).unwrap();
    protect(&mut sim, "203.0.113.7/32", Some(Span::from_mins(1))).unwrap();
    sim.run(Span::from_mins(2));
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::Refused));
}
