//! What only the real packet filter can show, with `nft` and real connections as witnesses.

#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use staunch_connectors::actions::block_ip::{NftablesIp, NftablesOptions, release_everything};
use staunch_connectors::actions::{Label, Whose};
use staunch_model::{
    EffectKey, FailureKind, InstallationId, Observation, Outcome, Owner, Presence, Span, Target, TransactionId,
};
use staunch_netlink::namespace::NetNs;
use staunch_netlink::nftables::NewElement;
use staunch_ports::{Action, ExecuteRequest, UndoRequest};

use crate::block_ip_setting::{
    OURS, at, connect_namespaces, connection, in_new_net, in_new_net_with_nft, nft, nft_list, options, until, witness,
};

const THEIRS: InstallationId = InstallationId([0xb0; 8]);

fn started() -> NftablesIp {
    NftablesIp::start(options(OURS)).unwrap()
}

fn execute(transaction: u64, target: Target) -> ExecuteRequest {
    let (transaction, key, hold) = (TransactionId(transaction), EffectKey::default(), Span::from_hours(1));
    ExecuteRequest {
        transaction,
        key,
        target,
        version: 0,
        hold,
        renewal: false,
    }
}

fn undo(transaction: u64, target: Target) -> UndoRequest {
    UndoRequest {
        transaction: TransactionId(transaction),
        key: EffectKey::default(),
        target,
        lease_ended: false,
    }
}

fn see(driver: &mut NftablesIp, target: Target) -> Observation {
    driver.observe(&[target]).remove(0).unwrap()
}

fn addresses(count: u32) -> Vec<Target> {
    (0..count)
        .map(|it| Target::Address(IpAddr::from(Ipv4Addr::from(0x0a00_0000 + it))))
        .collect()
}

#[test]
fn the_label_is_the_comment_that_nft_shows() {
    in_new_net_with_nft("the_label_is_the_comment_that_nft_shows", || {
        let mut driver = started();
        assert_eq!(driver.execute(&[execute(17, at("203.0.113.7"))]), [Outcome::Landed]);
        let shown = nft_list("set inet staunch block4");
        let label = Label {
            installation: OURS,
            transaction: TransactionId(17),
        };
        assert!(
            shown.contains(&format!("\"{label}\"")) && shown.contains("timeout 1h"),
            "{shown}"
        );
    });
}

#[test]
fn a_flushed_set_and_a_deleted_element_are_seen() {
    in_new_net_with_nft("a_flushed_set_and_a_deleted_element_are_seen", || {
        let mut driver = started();
        let (one, two) = (at("203.0.113.7"), at("203.0.113.8"));
        assert_eq!(
            driver.execute(&[execute(1, one.clone()), execute(2, two.clone())]),
            [const { Outcome::Landed }; 2]
        );
        nft("delete element inet staunch block4 { 203.0.113.7 }");
        assert_eq!(see(&mut driver, one.clone()).presence, Presence::Absent);
        assert_eq!(driver.owned().unwrap().targets.len(), 1);
        nft("flush set inet staunch block4");
        let seen = see(&mut driver, two.clone());
        assert_eq!((seen.presence, seen.enforcing), (Presence::Absent, true));
        assert_eq!(driver.owned().unwrap().targets, []);
        assert_eq!(
            driver.undo(&[undo(1, one), undo(2, two)]),
            [const { Outcome::Landed }; 2]
        );
    });
}

#[test]
fn each_missing_rule_ends_enforcement_until_it_is_back() {
    in_new_net_with_nft("each_missing_rule_ends_enforcement_until_it_is_back", || {
        let mut driver = started();
        for chain in ["pre", "out", "transit"] {
            assert!(see(&mut driver, at("203.0.113.7")).enforcing);
            // Our own changes before it must not hide the change of somebody else.
            assert_eq!(driver.execute(&[execute(1, at("203.0.113.7"))]), [Outcome::Landed]);
            nft(&format!("flush chain inet staunch {chain}"));
            assert_eq!(driver.execute(&[execute(2, at("203.0.113.8"))]), [Outcome::Landed]);
            assert!(!see(&mut driver, at("203.0.113.7")).enforcing, "{chain}");
            assert!(!driver.owned().unwrap().enforcing, "{chain}");
            assert_eq!(driver.execute(&[execute(3, at("203.0.113.9"))]), [Outcome::Landed]);
            assert!(see(&mut driver, at("203.0.113.7")).enforcing, "{chain}");
            nft("flush set inet staunch block4");
        }
    });
}

#[test]
fn other_tables_are_untouched() {
    in_new_net_with_nft("other_tables_are_untouched", || {
        nft(
            "add table inet other\nadd set inet other block4 { type ipv4_addr; flags timeout; }\n\
             add element inet other block4 { 203.0.113.7 comment \"somebody\" }",
        );
        let before = nft_list("table inet other");
        let mut driver = started();
        let target = at("203.0.113.7");
        assert_eq!(driver.execute(&[execute(1, target.clone())]), [Outcome::Landed]);
        assert_eq!(driver.undo(&[undo(1, target.clone())]), [Outcome::Landed]);
        assert_eq!(driver.execute(&[execute(2, target)]), [Outcome::Landed]);
        assert_eq!(release_everything("staunch", Whose::Anybodys).unwrap(), 1);
        assert_eq!(nft_list("table inet other"), before);
    });
}

#[test]
fn a_table_of_another_shape_is_not_used() {
    in_new_net_with_nft("a_table_of_another_shape_is_not_used", || {
        nft("add table inet staunch\nadd set inet staunch block4 { type inet_service; }");
        let error = NftablesIp::start(options(OURS)).unwrap_err();
        assert!(error.hint().contains("nft list table inet"), "{}", error.hint());
        let outcome = NftablesIp::new(options(OURS))
            .execute(&[execute(1, at("2001:db8::1"))])
            .remove(0);
        assert!(
            matches!(&outcome, Outcome::DidNotHappen(it) if it.kind == FailureKind::Conflict),
            "{outcome:?}"
        );
    });
}

#[test]
fn a_thousand_land_in_one_batch() {
    in_new_net("a_thousand_land_in_one_batch", || {
        let mut driver = started();
        let targets = addresses(1_000);
        let before = see(&mut driver, targets[0].clone()).version;
        let requests: Vec<_> = (1..).zip(&targets).map(|(id, it)| execute(id, it.clone())).collect();
        assert_eq!(driver.execute(&requests), vec![Outcome::Landed; 1_000]);
        let seen = driver.observe(&targets);
        for (id, seen) in (1..).zip(seen) {
            let seen = seen.unwrap();
            let ours = Owner::Ours(TransactionId(id));
            assert!(matches!(seen.presence, Presence::Present { owner, .. } if owner == ours));
            assert!(seen.enforcing);
            assert_eq!(seen.version, before + 1, "one batch is one change of the ruleset");
            assert_eq!(seen.capacity.unwrap().used, 1_000);
        }
        let requests: Vec<_> = (1..).zip(&targets).map(|(id, it)| undo(id, it.clone())).collect();
        assert_eq!(driver.undo(&requests), vec![Outcome::Landed; 1_000]);
        let after = see(&mut driver, targets[0].clone());
        assert_eq!((after.version, after.capacity.unwrap().used), (before + 2, 0));
    });
}

#[test]
fn a_full_set_takes_what_fits() {
    in_new_net("a_full_set_takes_what_fits", || {
        let options = NftablesOptions {
            elements_max: 5,
            ..options(OURS)
        };
        let mut driver = NftablesIp::start(options).unwrap();
        let mut requests: Vec<_> = (1..).zip(addresses(8)).map(|(id, it)| execute(id, it)).collect();
        // The other set has room of its own.
        requests.push(execute(9, at("2001:db8::9")));
        let outcomes = driver.execute(&requests);
        for (index, outcome) in outcomes.iter().enumerate() {
            match index {
                5..=7 => {
                    assert!(
                        matches!(outcome, Outcome::DidNotHappen(it) if it.kind == FailureKind::Full),
                        "{outcome:?}"
                    );
                }
                _ => assert_eq!(outcome, &Outcome::Landed, "{index}"),
            }
        }
        let capacity = see(&mut driver, requests[0].target.clone()).capacity.unwrap();
        assert_eq!((capacity.used, capacity.max), (5, 5));
        assert_eq!(driver.undo(&[undo(1, requests[0].target.clone())]), [Outcome::Landed]);
        // The kernel frees the place a moment after the element is gone.
        until("there is room again", || {
            (driver.execute(&[execute(6, requests[5].target.clone())]) == [Outcome::Landed]).then_some(())
        });
    });
}

#[test]
fn undoing_gets_through_while_others_change_the_ruleset() {
    /// How many calls of `undo` shall have been overtaken, or had the chance to be.
    const OVERTAKEN: usize = 20;
    in_new_net("undoing_gets_through_while_others_change_the_ruleset", || {
        let namespace = NetNs::current().unwrap();
        let mut driver = started();
        let targets = addresses(200);
        let ips: Vec<IpAddr> = targets.iter().filter_map(|it| it.address()).collect();
        let mut other = witness();
        let (done, changes) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                namespace.enter().unwrap();
                keep_changing(&done, &changes);
            });
            let _stop = SetOnDrop(&done);
            let mut overtaken = 0;
            until("enough changes came in between", || {
                let requests: Vec<_> = (1..).zip(&targets).map(|(id, it)| execute(id, it.clone())).collect();
                assert_eq!(driver.execute(&requests), vec![Outcome::Landed; 200]);
                let mut open: Vec<_> = (1..).zip(&targets).map(|(id, it)| undo(id, it.clone())).collect();
                until("everything is undone", || {
                    let before = changes.load(Relaxed);
                    let outcomes = driver.undo(&open);
                    overtaken += usize::from(changes.load(Relaxed) > before + 1);
                    assert!(
                        !outcomes.iter().any(|it| matches!(it, Outcome::InDoubt(_))),
                        "{outcomes:?}"
                    );
                    let left = open.iter().zip(outcomes).filter(|(_, it)| *it != Outcome::Landed);
                    open = left.map(|(request, _)| request.clone()).collect();
                    open.is_empty().then_some(())
                });
                let found = other.get_elements(&ips).unwrap();
                assert!(found.iter().all(Option::is_none), "what is said to be undone is gone");
                (overtaken >= OVERTAKEN).then_some(())
            });
        });
    });
}

/// Sets a flag when it goes away, also by a panic, so that no thread waits for ever.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Adds and deletes an element of somebody else's until it is `done`.
fn keep_changing(done: &AtomicBool, changes: &AtomicU64) {
    let mut nft = witness();
    let address = "2001:db8::1".parse().unwrap();
    let element = NewElement {
        address,
        timeout: Duration::from_secs(600),
        comment: "",
    };
    while !done.load(Relaxed) {
        nft.add_elements(&[element]).unwrap();
        nft.delete_elements(&[address]).unwrap();
        changes.fetch_add(2, Relaxed);
    }
}

#[test]
fn everything_is_released_without_the_engine() {
    in_new_net_with_nft("everything_is_released_without_the_engine", || {
        assert_eq!(
            release_everything("staunch", Whose::Anybodys).unwrap(),
            0,
            "no table, nothing to release"
        );
        let mut driver = started();
        let requests: Vec<_> = (1..).zip(addresses(1_500)).map(|(id, it)| execute(id, it)).collect();
        assert_eq!(driver.execute(&requests), vec![Outcome::Landed; 1_500]);
        let mut theirs = NftablesIp::start(options(THEIRS)).unwrap();
        assert_eq!(theirs.execute(&[execute(1, at("2001:db8::1"))]), [Outcome::Landed]);
        nft("add element inet staunch block4 { 192.0.2.1 comment \"somebody\" }");
        assert_eq!(release_everything("staunch", Whose::Of(OURS)).unwrap(), 1_500);
        assert_eq!(driver.owned().unwrap().targets, []);
        assert_eq!(theirs.owned().unwrap().targets.len(), 1);
        assert_eq!(release_everything("staunch", Whose::Anybodys).unwrap(), 1);
        assert!(nft_list("set inet staunch block4").contains("somebody"));
    });
}

/// Tells whether a byte arrives in time.
fn arrives(stream: &mut TcpStream, wait: Duration) -> bool {
    stream.set_read_timeout(Some(wait)).unwrap();
    match stream.read(&mut [0]) {
        Ok(count) => count == 1,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

fn an_established_connection_is_cut_and_resumes(test: &str, server: &'static str, client: &'static str) {
    in_new_net(test, || {
        let mut driver = started();
        let other = connect_namespaces(&["10.9.0.1", "fd09::1"], &["10.9.0.2", "fd09::2"]);
        let (mut here, mut there) = connection(&other, server, client);
        there.write_all(b"a").unwrap();
        assert!(arrives(&mut here, Duration::from_secs(20)));
        let target = at(client);
        assert_eq!(driver.execute(&[execute(1, target.clone())]), [Outcome::Landed]);
        there.write_all(b"b").unwrap();
        until("a packet was stopped", || {
            see(&mut driver, target.clone()).stopped_packets.filter(|it| *it > 0)
        });
        assert!(!arrives(&mut here, Duration::from_millis(1)));
        assert_eq!(driver.undo(&[undo(1, target)]), [Outcome::Landed]);
        assert!(
            arrives(&mut here, Duration::from_secs(20)),
            "the sender repeats what was dropped"
        );
    });
}

#[test]
fn an_established_connection_is_cut_and_resumes_ipv4() {
    an_established_connection_is_cut_and_resumes(
        "an_established_connection_is_cut_and_resumes_ipv4",
        "10.9.0.1",
        "10.9.0.2",
    );
}

#[test]
fn an_established_connection_is_cut_and_resumes_ipv6() {
    an_established_connection_is_cut_and_resumes(
        "an_established_connection_is_cut_and_resumes_ipv6",
        "fd09::1",
        "fd09::2",
    );
}
