//! The driver that sinkholes domains, held to its contract and beyond it with a real Unbound.

#![allow(clippy::unwrap_used)]

use staunch_connectors::actions::Whose;
use staunch_connectors::actions::sinkhole_domain::{Sinkhole, UnboundOptions, UnboundSinkhole};
use staunch_model::{
    EffectKey, FailureKind, InstallationId, Observation, Outcome, Owner, Presence, Span, Target, TransactionId,
};
use staunch_ports::{Action, ExecuteRequest, UndoRequest};
use staunch_testkit::contract::action::{ActionWorld, Family, action};

use crate::sinkhole_domain_setting::{OURS, Resolved, Resolver, THEIRS, domain, missing};

struct InUnbound(Resolver);

fn name(target: &Target) -> &str {
    match target {
        Target::Domain(name) => name.as_str(),
        other => panic!("{other} is no domain"),
    }
}

impl InUnbound {
    fn held(&self) -> Vec<String> {
        let zones = self.0.tell(&["list_local_zones"]).unwrap();
        let names = zones.lines().filter_map(|it| it.split_once(". ")).map(|(name, _)| name);
        names
            .filter(|it| it.ends_with(".contract.example"))
            .map(str::to_owned)
            .collect()
    }

    fn set(&self, kind: &str) {
        for name in self.held() {
            self.0.does(&["local_zone", &name, kind]);
        }
    }
}

impl ActionWorld for InUnbound {
    fn driver(&self, installation: InstallationId) -> Box<dyn Action> {
        Box::new(self.0.driver(installation))
    }
    fn label(&self, target: Target) -> Option<String> {
        let data = self.0.data(name(&target));
        let text = data.iter().find_map(|it| it.strip_prefix("TXT \"")?.strip_suffix('"'));
        text.map(str::to_owned)
    }
    fn put(&self, target: Target, label: &str) {
        self.0.does(&["local_zone", name(&target), "static"]);
        self.0
            .does(&["local_data", &format!("{} TXT \"{label}\"", name(&target))]);
    }
    fn remove(&self, target: Target) {
        self.0.does(&["local_zone_remove", name(&target)]);
    }
    fn flush(&self) {
        self.0.does(&["reload"]);
    }
    fn break_enforcement(&self) {
        self.set("transparent");
    }
    fn restore_enforcement(&self) {
        self.set("always_nxdomain");
    }
    fn families(&self) -> &'static [Family] {
        &[Family::Domains]
    }
    fn target(&self, _: Family, number: u16) -> Target {
        domain(&format!("n{number}.contract.example"))
    }
    fn counts_down(&self) -> bool {
        false
    }
    fn enforces_each(&self) -> bool {
        true
    }
    fn batch_sizes(&self) -> &'static [u16] {
        &[1, 2, 500]
    }
}

/// Runs `work` where there is a resolver, or skips the test `name`.
fn where_unbound_is(name: &str, work: impl FnOnce()) {
    match missing() {
        None => work(),
        Some(reason) => staunch_testkit::skip(&format!("sinkhole_domain::{name}"), &reason),
    }
}

#[test]
fn the_unbound_driver_keeps_the_contract() {
    where_unbound_is("the_unbound_driver_keeps_the_contract", || {
        action(|| Box::new(InUnbound(Resolver::start(""))));
    });
}

fn request(transaction: u64, name: &str) -> ExecuteRequest {
    ExecuteRequest {
        transaction: TransactionId(transaction),
        key: EffectKey::default(),
        target: domain(name),
        version: 0,
        hold: Span::from_hours(1),
        renewal: false,
    }
}

fn execute(driver: &mut UnboundSinkhole, transaction: u64, name: &str) -> Outcome {
    driver.execute(&[request(transaction, name)]).remove(0)
}

fn undo(driver: &mut UnboundSinkhole, transaction: u64, name: &str) -> Outcome {
    let request = UndoRequest {
        transaction: TransactionId(transaction),
        key: EffectKey::default(),
        target: domain(name),
        lease_ended: false,
    };
    driver.undo(&[request]).remove(0)
}

fn see(driver: &mut UnboundSinkhole, name: &str) -> Observation {
    driver.observe(&[domain(name)]).remove(0).unwrap()
}

fn ours(transaction: u64) -> Presence {
    Presence::Present {
        owner: Owner::Ours(TransactionId(transaction)),
        expires_in: None,
    }
}

#[track_caller]
fn assert_foreign(driver: &mut UnboundSinkhole, name: &str, says: &str) {
    match see(driver, name).presence {
        Presence::Present {
            owner: Owner::Foreign(text),
            ..
        } if text.contains(says) => {}
        other => panic!("expected somebody else's that says {says:?}, got {other:?}"),
    }
    assert_refused(&execute(driver, 9, name), FailureKind::Conflict, says);
}

#[track_caller]
fn assert_refused(outcome: &Outcome, kind: FailureKind, says: &str) {
    match outcome {
        Outcome::DidNotHappen(failure) if failure.kind == kind && failure.what.contains(says) => {}
        other => panic!("expected a refusal as {kind:?} that says {says:?}, got {other:?}"),
    }
}

/// A resolver that knows these names from another one.
fn pair() -> (Resolver, Resolver) {
    let upstream = Resolver::start(
        " local-zone: \"example.\" transparent\n local-data: \"bad.example. 300 IN A 203.0.113.6\"\n \
         local-data: \"www.bad.example. 300 IN A 203.0.113.5\"\n local-data: \"notbad.example. 300 IN A 203.0.113.7\"\n \
         local-data: \"alias.fine.example. 300 IN CNAME www.bad.example.\"",
    );
    let resolver = Resolver::passing_on("", Some(&upstream));
    (upstream, resolver)
}

#[test]
fn a_domain_and_all_below_it_is_gone_at_once_and_back_at_once() {
    where_unbound_is("a_domain_and_all_below_it_is_gone_at_once", || {
        let (_upstream, resolver) = pair();
        let mut driver = resolver.driver(OURS);
        // They are in the cache from now on.
        let (apex, below) = (Resolved::Address([203, 0, 113, 6]), Resolved::Address([203, 0, 113, 5]));
        assert_eq!(
            [resolver.resolve("bad.example"), resolver.resolve("www.bad.example")],
            [apex, below]
        );
        assert_eq!(execute(&mut driver, 1, "bad.example"), Outcome::Landed);
        for name in ["bad.example", "www.bad.example", "a.b.c.bad.example", "BAD.example"] {
            assert_eq!(resolver.resolve(name), Resolved::NoSuchName, "{name}");
        }
        assert_eq!(resolver.resolve("notbad.example"), Resolved::Address([203, 0, 113, 7]));
        assert_eq!(
            resolver.resolve("alias.fine.example"),
            below,
            "an alias from elsewhere is followed"
        );
        assert_eq!(resolver.data("bad.example"), ["TXT \"staunch:a0a0a0a0a0a0a0a0:TX-1\""]);
        let seen = see(&mut driver, "bad.example");
        assert_eq!((seen.presence, seen.enforcing), (ours(1), true));
        let seen = see(&mut driver, "www.bad.example");
        assert_eq!((seen.presence, seen.enforcing), (ours(1), true), "it is held too");
        assert_refused(
            &execute(&mut driver, 2, "www.bad.example"),
            FailureKind::Conflict,
            "TX-1 holds it",
        );
        assert_eq!(undo(&mut driver, 2, "bad.example"), Outcome::Landed);
        assert_eq!(
            resolver.resolve("bad.example"),
            Resolved::NoSuchName,
            "it is not that one's"
        );
        assert_eq!(undo(&mut driver, 1, "bad.example"), Outcome::Landed);
        assert_eq!(
            [resolver.resolve("bad.example"), resolver.resolve("www.bad.example")],
            [apex, below]
        );
        assert_eq!(
            (resolver.zone("bad.example"), resolver.data("bad.example")),
            (None, vec![])
        );
    });
}

#[test]
fn names_resolve_to_the_address_that_is_set() {
    where_unbound_is("names_resolve_to_the_address_that_is_set", || {
        let (_upstream, resolver) = pair();
        let mut driver = resolver.driver_to(Sinkhole::Address("192.0.2.66".parse().unwrap()));
        assert_eq!(execute(&mut driver, 1, "bad.example"), Outcome::Landed);
        for name in ["bad.example", "www.bad.example"] {
            assert_eq!(resolver.resolve(name), Resolved::Address([192, 0, 2, 66]));
        }
        assert!(see(&mut driver, "bad.example").enforcing);
        // Whoever has another setting knows it all the same, and leaves it as it is.
        let mut other = resolver.driver(OURS);
        assert!(see(&mut other, "bad.example").enforcing);
        assert_eq!(execute(&mut other, 1, "bad.example"), Outcome::Landed);
        assert_eq!(resolver.zone("bad.example").as_deref(), Some("redirect"));
        assert_eq!(undo(&mut other, 1, "bad.example"), Outcome::Landed);
        assert_eq!(resolver.resolve("bad.example"), Resolved::Address([203, 0, 113, 6]));
        let mut sixth = resolver.driver_to(Sinkhole::Address("2001:db8::66".parse().unwrap()));
        assert_eq!(execute(&mut sixth, 2, "bad.example"), Outcome::Landed);
        assert_eq!(
            resolver.resolve("www.bad.example"),
            Resolved::NoAddress,
            "it has none of IPv4"
        );
        assert!(see(&mut sixth, "bad.example").enforcing);
        assert_eq!(undo(&mut sixth, 2, "bad.example"), Outcome::Landed);
    });
}

#[test]
fn what_the_operator_has_configured_is_left_alone() {
    where_unbound_is("what_the_operator_has_configured_is_left_alone", || {
        let resolver = Resolver::start(
            " local-zone: \"Own.example.\" static\n local-data: \"own.example. IN A 192.0.2.1\"\n \
             local-zone: \"let.through.example.\" transparent\n local-data: \"host.corp.example. IN A 192.0.2.2\"\n \
             local-zone: \"odd\\032name.example.\" redirect\n local-data: \"odd\\032name.example. IN TXT \\000\\255\"",
        );
        let before = (
            resolver.tell(&["list_local_zones"]),
            resolver.tell(&["list_local_data"]),
        );
        let mut driver = resolver.driver(OURS);
        assert_foreign(&mut driver, "own.example", "a zone of type static");
        assert_foreign(
            &mut driver,
            "www.own.example",
            "the zone own.example. of type static above",
        );
        assert_foreign(
            &mut driver,
            "through.example",
            "the zone let.through.example. of type transparent below",
        );
        assert_foreign(
            &mut driver,
            "corp.example",
            "the zone host.corp.example. of type transparent below",
        );
        assert_foreign(&mut driver, "host.corp.example", "a zone of type transparent");
        assert_foreign(&mut driver, "7.0.168.192.in-addr.arpa", "above");
        assert_foreign(&mut driver, "evil.test", "the zone test. of type static above");
        for name in ["own.example", "www.own.example", "host.corp.example", "evil.test"] {
            assert_eq!(undo(&mut driver, 9, name), Outcome::Landed, "nothing of ours is there");
        }
        assert_eq!(driver.owned().unwrap().targets, []);
        assert_eq!(driver.release_everything(Whose::Anybodys), Ok(0));
        let after = (
            resolver.tell(&["list_local_zones"]),
            resolver.tell(&["list_local_data"]),
        );
        assert_eq!(before, after);
    });
}

#[test]
fn data_of_others_outlive_the_sinkhole() {
    where_unbound_is("data_of_others_outlive_the_sinkhole", || {
        let resolver = Resolver::start("");
        let mut driver = resolver.driver(OURS);
        assert_eq!(execute(&mut driver, 1, "bad.example"), Outcome::Landed);
        resolver.does(&["local_data", "www.bad.example 60 IN A 192.0.2.9"]);
        assert_eq!(resolver.resolve("www.bad.example"), Resolved::NoSuchName);
        assert_eq!(undo(&mut driver, 1, "bad.example"), Outcome::Landed);
        assert_eq!(resolver.resolve("www.bad.example"), Resolved::Address([192, 0, 2, 9]));
        assert_eq!(resolver.data("bad.example"), Vec::<String>::new());
        assert_foreign(&mut driver, "bad.example", "a zone of type transparent");
        // At the name itself they could not be kept.
        assert_eq!(execute(&mut driver, 2, "evil.example"), Outcome::Landed);
        resolver.does(&["local_data", "evil.example 60 IN A 192.0.2.9"]);
        assert_refused(
            &undo(&mut driver, 2, "evil.example"),
            FailureKind::Conflict,
            "somebody else has put data",
        );
        assert_eq!(resolver.data("evil.example").len(), 2);
        assert_eq!(see(&mut driver, "evil.example").presence, ours(2));
    });
}

#[test]
fn a_domain_and_one_below_it_are_held_and_lifted_each_by_itself() {
    where_unbound_is("a_domain_and_one_below_it", || {
        let (_upstream, resolver) = pair();
        let mut driver = resolver.driver(OURS);
        assert_eq!(execute(&mut driver, 1, "www.bad.example"), Outcome::Landed);
        assert_eq!(execute(&mut driver, 2, "bad.example"), Outcome::Landed);
        let mut held: Vec<_> = driver
            .owned()
            .unwrap()
            .targets
            .into_iter()
            .map(|it| it.transaction.0)
            .collect();
        held.sort_unstable();
        assert_eq!(held, [1, 2]);
        assert_eq!(undo(&mut driver, 2, "bad.example"), Outcome::Landed);
        assert_eq!(resolver.resolve("bad.example"), Resolved::Address([203, 0, 113, 6]));
        assert_eq!(resolver.resolve("www.bad.example"), Resolved::NoSuchName);
        assert_eq!(resolver.zone("bad.example"), None);
        assert_eq!(execute(&mut driver, 3, "bad.example"), Outcome::Landed);
        assert_eq!(undo(&mut driver, 1, "www.bad.example"), Outcome::Landed);
        assert_eq!(
            resolver.resolve("www.bad.example"),
            Resolved::NoSuchName,
            "the one above holds it"
        );
        assert_eq!(see(&mut driver, "www.bad.example").presence, ours(3));
        // So does another installation's, and the one above leaves it.
        assert_eq!(undo(&mut driver, 3, "bad.example"), Outcome::Landed);
        let mut theirs = resolver.driver(THEIRS);
        assert_eq!(execute(&mut theirs, 1, "www.bad.example"), Outcome::Landed);
        assert_eq!(execute(&mut driver, 4, "bad.example"), Outcome::Landed);
        assert_eq!(undo(&mut driver, 4, "bad.example"), Outcome::Landed);
        assert_eq!(theirs.owned().unwrap().targets.len(), 1);
    });
}

#[test]
fn a_restart_of_the_resolver_is_seen_as_gone() {
    where_unbound_is("a_restart_of_the_resolver_is_seen_as_gone", || {
        let mut resolver = Resolver::start("");
        let mut driver = resolver.driver(OURS);
        assert_eq!(execute(&mut driver, 1, "bad.example"), Outcome::Landed);
        assert_eq!(driver.owned().unwrap().targets.len(), 1);
        resolver.stop();
        let failure = driver.owned().unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
        assert_refused(
            &execute(&mut driver, 2, "evil.example"),
            FailureKind::Unavailable,
            "cannot reach",
        );
        assert!(driver.observe(&[domain("bad.example")]).remove(0).is_err());
        resolver.run();
        assert_eq!(driver.owned().unwrap().targets, []);
        assert_eq!(see(&mut driver, "bad.example").presence, Presence::Absent);
        assert_refused(
            &driver
                .execute(&[ExecuteRequest {
                    renewal: true,
                    ..request(1, "bad.example")
                }])
                .remove(0),
            FailureKind::Conflict,
            "not sinkholed any more",
        );
        assert_eq!(execute(&mut driver, 1, "bad.example"), Outcome::Landed);
        assert_eq!(resolver.resolve("bad.example"), Resolved::NoSuchName);
    });
}

#[test]
fn what_was_interrupted_is_finished_or_lifted() {
    where_unbound_is("what_was_interrupted_is_finished_or_lifted", || {
        let (_upstream, resolver) = pair();
        let mut driver = resolver.driver(OURS);
        let interrupt = || {
            resolver.does(&["local_data", "bad.example 5 IN TXT \"staunch:a0a0a0a0a0a0a0a0:TX-1\""]);
            assert_eq!(resolver.resolve("www.bad.example"), Resolved::Address([203, 0, 113, 5]));
        };
        interrupt();
        let seen = see(&mut driver, "bad.example");
        assert_eq!((seen.presence, seen.enforcing), (ours(1), false));
        assert_eq!(driver.owned().unwrap().targets, [], "it is not enforced");
        assert_refused(
            &execute(&mut driver, 2, "bad.example"),
            FailureKind::Conflict,
            "TX-1 holds it",
        );
        assert_eq!(execute(&mut driver, 1, "bad.example"), Outcome::Landed);
        assert!(see(&mut driver, "bad.example").enforcing);
        assert_eq!(undo(&mut driver, 1, "bad.example"), Outcome::Landed);
        interrupt();
        assert_eq!(undo(&mut driver, 1, "bad.example"), Outcome::Landed);
        assert_eq!(
            (resolver.zone("bad.example"), resolver.data("bad.example")),
            (None, vec![])
        );
    });
}

#[test]
fn what_was_interrupted_with_an_address_is_finished_or_lifted() {
    where_unbound_is("what_was_interrupted_with_an_address_is_finished_or_lifted", || {
        let (_upstream, resolver) = pair();
        let mut driver = UnboundSinkhole::new(UnboundOptions {
            answer: Sinkhole::Address([192, 0, 2, 1].into()),
            ..resolver.options(OURS)
        });
        let label = "bad.example 5 IN TXT \"staunch:a0a0a0a0a0a0a0a0:TX-1\"";
        for steps in [
            &[&["local_data", label][..]][..],
            &[&["local_data", label], &["local_zone", "bad.example", "redirect"]],
        ] {
            for finish in [true, false] {
                steps.iter().for_each(|it| resolver.does(it));
                if finish {
                    assert_eq!(execute(&mut driver, 1, "bad.example"), Outcome::Landed);
                    assert_eq!(resolver.resolve("www.bad.example"), Resolved::Address([192, 0, 2, 1]));
                }
                assert_eq!(undo(&mut driver, 1, "bad.example"), Outcome::Landed, "{steps:?}");
                assert_eq!(
                    (resolver.zone("bad.example"), resolver.data("bad.example")),
                    (None, vec![])
                );
            }
        }
    });
}

#[test]
fn whether_it_holds_is_asked_of_the_resolver_that_answers() {
    where_unbound_is("whether_it_holds_is_asked_of_the_resolver", || {
        let (upstream, resolver) = pair();
        let mut driver = resolver.driver(OURS);
        assert_eq!(execute(&mut driver, 1, "bad.example"), Outcome::Landed);
        let at = |address| {
            UnboundSinkhole::new(UnboundOptions {
                resolver: Some(address),
                ..resolver.options(OURS)
            })
        };
        // Clients ask another one, in which nothing is sinkholed.
        let mut elsewhere = at(upstream.address());
        let seen = see(&mut elsewhere, "bad.example");
        assert_eq!((seen.presence, seen.enforcing), (ours(1), false));
        assert!(!elsewhere.owned().unwrap().enforcing);
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut silent = at(nobody.local_addr().unwrap());
        let failure = silent.observe(&[domain("bad.example")]).remove(0).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert!(failure.what.contains("did not answer"), "{failure}");
        assert!(silent.owned().is_err());
        assert_eq!(
            see(&mut silent, "evil.example").presence,
            Presence::Absent,
            "nothing has to be asked"
        );
    });
}

#[test]
fn everything_with_a_label_is_lifted_without_a_record() {
    where_unbound_is("everything_with_a_label_is_lifted", || {
        let (_upstream, resolver) = pair();
        let (mut driver, mut theirs) = (resolver.driver(OURS), resolver.driver(THEIRS));
        assert_eq!(execute(&mut driver, 1, "bad.example"), Outcome::Landed);
        assert_eq!(execute(&mut theirs, 7, "evil.example"), Outcome::Landed);
        resolver.does(&["local_zone", "other.example", "always_nxdomain"]);
        assert_eq!(driver.count_labelled(Whose::Anybodys), Ok(2));
        driver.owned().unwrap();
        let former = driver.former();
        assert_eq!((former.len(), &former[0].target), (1, &domain("evil.example")));
        assert_eq!(&*former[0].label, "staunch:b0b0b0b0b0b0b0b0:TX-7");
        assert_eq!(driver.lift_former(), Ok(1));
        assert_eq!(driver.former(), []);
        assert_eq!(driver.release_everything(Whose::Of(THEIRS)), Ok(0));
        assert_eq!(driver.release_everything(Whose::Of(OURS)), Ok(1));
        assert_eq!(resolver.resolve("www.bad.example"), Resolved::Address([203, 0, 113, 5]));
        assert_eq!(resolver.zone("other.example").as_deref(), Some("always_nxdomain"));
    });
}

#[test]
fn a_long_list_of_others_is_read_past() {
    where_unbound_is("a_long_list_of_others_is_read_past", || {
        let many: String = (0..5_000)
            .map(|it| format!(" local-zone: \"n{it}.block.example.\" always_nxdomain\n"))
            .collect();
        let resolver = Resolver::start(&many);
        let mut driver = resolver.driver(OURS);
        assert_foreign(&mut driver, "n4999.block.example", "a zone of type always_nxdomain");
        assert_eq!(execute(&mut driver, 1, "n5000.block.example"), Outcome::Landed);
        assert_eq!(driver.owned().unwrap().targets.len(), 1);
        assert_eq!(undo(&mut driver, 1, "n5000.block.example"), Outcome::Landed);
    });
}
