//! The drivers that block addresses, held to their contract: one in memory, and one in a network namespace of its own.

#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;

use staunch_connectors::actions::block_ip::{Fault, MemoryBlockIp, MemoryWorld, NftablesIp, NftablesOptions, Verb};
use staunch_model::{ActionKind, FailureKind, InstallationId, Outcome, Span, Target};
use staunch_netlink::nftables::Limit;
use staunch_ports::Action;
use staunch_testkit::contract::action::{ActionWorld, action};

use crate::block_ip_setting::{
    OURS, at, connect_namespaces, in_new_net_with_nft, inside, make_table_with, nft, options, until, witness,
};

#[derive(Default)]
struct InMemory(MemoryWorld);

impl ActionWorld for InMemory {
    fn driver(&self, installation: InstallationId) -> Box<dyn Action> {
        Box::new(MemoryBlockIp::new(self.0.clone(), installation))
    }
    fn label(&self, target: Target) -> Option<String> {
        self.0.label(&target).map(String::from)
    }
    fn put(&self, target: Target, label: &str) {
        self.0.put(&target, label);
    }
    fn remove(&self, target: Target) {
        self.0.remove(&target);
    }
    fn flush(&self) {
        self.0.flush();
    }
    fn break_enforcement(&self) {
        self.0.set_enforcing(false);
    }
    fn restore_enforcement(&self) {
        self.0.set_enforcing(true);
    }
    fn wait(&self, span: Span, done: &mut dyn FnMut() -> bool) -> bool {
        self.0.advance(span);
        done()
    }
}

struct InKernel {
    limit: Option<Limit>,
}

impl InKernel {
    fn new(limit: Option<Limit>) -> Self {
        nft("flush ruleset");
        make_table_with(limit);
        Self { limit }
    }
}

fn element(target: &Target) -> (&'static str, String) {
    let ip = target.address().unwrap();
    (if ip.is_ipv4() { "block4" } else { "block6" }, ip.to_string())
}

impl ActionWorld for InKernel {
    fn driver(&self, installation: InstallationId) -> Box<dyn Action> {
        let limit = self.limit;
        Box::new(
            NftablesIp::start(NftablesOptions {
                limit,
                ..options(installation)
            })
            .unwrap(),
        )
    }
    fn label(&self, target: Target) -> Option<String> {
        let ip = target.address().unwrap();
        Some(witness().get_element(ip).unwrap()?.comment.unwrap_or_default())
    }
    fn put(&self, target: Target, label: &str) {
        let (set, ip) = element(&target);
        nft(&format!(
            "add element inet staunch {set} {{ {ip} comment \"{label}\" }}"
        ));
    }
    fn remove(&self, target: Target) {
        let (set, ip) = element(&target);
        nft(&format!("delete element inet staunch {set} {{ {ip} }}"));
    }
    fn flush(&self) {
        nft("flush ruleset");
    }
    fn break_enforcement(&self) {
        nft("flush chain inet staunch pre");
    }
    fn restore_enforcement(&self) {
        make_table_with(self.limit);
    }
}

#[test]
fn the_memory_driver_keeps_the_contract() {
    action(|| Box::<InMemory>::default());
}

#[test]
fn the_nftables_driver_keeps_the_contract() {
    in_new_net_with_nft("the_nftables_driver_keeps_the_contract", || {
        action(|| Box::new(InKernel::new(None)));
    });
}

const LIMIT: Limit = Limit {
    packets_per_second: 10,
    burst: 20,
};

#[test]
fn the_nftables_driver_that_limits_keeps_the_contract() {
    in_new_net_with_nft("the_nftables_driver_that_limits_keeps_the_contract", || {
        action(|| Box::new(InKernel::new(Some(LIMIT))));
    });
}

#[test]
fn a_driver_that_limits_says_so_and_lets_a_part_through() {
    in_new_net_with_nft("a_driver_that_limits_says_so_and_lets_a_part_through", || {
        let mut driver = NftablesIp::start(NftablesOptions {
            limit: Some(LIMIT),
            ..options(OURS)
        })
        .unwrap();
        assert_eq!(driver.describe().kind, ActionKind::RateLimitIp);
        let other = connect_namespaces(&["198.51.100.1"], &["198.51.100.2"]);
        let server = UdpSocket::bind(("198.51.100.1", 0)).unwrap();
        server.set_nonblocking(true).unwrap();
        let target = at("198.51.100.2");
        let request = staunch_ports::ExecuteRequest {
            target: target.clone(),
            ..request(1)
        };
        assert_eq!(driver.execute(std::slice::from_ref(&request)), [Outcome::Landed]);
        let client = inside(&other, || UdpSocket::bind(("198.51.100.2", 0)).unwrap());
        let sent = 200;
        for _ in 0..sent {
            client.send_to(b"x", server.local_addr().unwrap()).unwrap();
        }
        let mut arrived = 0;
        let stopped = until("every packet has arrived or was stopped", || {
            while server.recv_from(&mut [0]).is_ok() {
                arrived += 1;
            }
            let seen = driver.observe(std::slice::from_ref(&target)).remove(0).unwrap();
            let stopped = seen.stopped_packets.unwrap();
            (arrived + stopped == sent).then_some(stopped)
        });
        assert!(arrived >= 20 && stopped > 0, "{arrived} of {sent}");
        let refused = driver.execute(&[staunch_ports::ExecuteRequest {
            transaction: staunch_model::TransactionId(2),
            ..request
        }]);
        let Outcome::DidNotHappen(failure) = &refused[0] else {
            panic!("{refused:?}")
        };
        assert!(failure.what.starts_with("cannot limit 198.51.100.2: "), "{failure}");
    });
}

fn request(transaction: u64) -> staunch_ports::ExecuteRequest {
    staunch_ports::ExecuteRequest {
        transaction: staunch_model::TransactionId(transaction),
        key: staunch_model::EffectKey::default(),
        target: at("192.0.2.1"),
        version: 0,
        hold: Span::from_hours(1),
        renewal: false,
    }
}

/// Executes once under `fault`, and returns the outcome and whether something is in place after it.
fn under(fault: Fault) -> (Outcome, bool) {
    let world = MemoryWorld::new();
    let mut driver = MemoryBlockIp::new(world.clone(), OURS);
    world.inject(Verb::Execute, fault);
    let outcome = driver.execute(&[request(1)]).remove(0);
    let there = !world.is_empty();
    assert_eq!(
        driver.execute(&[request(1)]),
        [Outcome::Landed],
        "a fault is for one call"
    );
    (outcome, there)
}

#[test]
fn a_world_in_memory_misbehaves_as_told() {
    let landed = |it: Outcome| assert_eq!(it, Outcome::Landed);
    let doubt = |it: Outcome| assert!(matches!(it, Outcome::InDoubt(_)), "{it:?}");
    let refused = |it: Outcome| assert!(matches!(it, Outcome::DidNotHappen(it) if it.kind == FailureKind::Denied));
    for (fault, check, expect) in [
        (Fault::Lie, &landed as &dyn Fn(Outcome), false),
        (Fault::Refuse(FailureKind::Denied), &refused, false),
        (Fault::InDoubtLanded, &doubt, true),
        (Fault::InDoubtLost, &doubt, false),
        (Fault::Slow(Span::from_secs(9)), &landed, true),
    ] {
        let (outcome, there) = under(fault);
        check(outcome);
        assert_eq!(there, expect, "{fault:?}");
    }
}

#[test]
fn a_world_in_memory_can_be_full_and_fail_to_be_read() {
    let world = MemoryWorld::new();
    let mut driver = MemoryBlockIp::new(world.clone(), OURS);
    world.set_capacity(0);
    assert!(matches!(&driver.execute(&[request(1)])[..], [Outcome::DidNotHappen(it)] if it.kind == FailureKind::Full));
    world.inject(Verb::Observe, Fault::InDoubtLost);
    world.inject(Verb::Owned, Fault::Refuse(FailureKind::Unavailable));
    assert_eq!(
        driver.observe(&[at("192.0.2.1")])[0].as_ref().unwrap_err().kind,
        FailureKind::TimedOut
    );
    assert_eq!(driver.owned().unwrap_err().kind, FailureKind::Unavailable);
    world.inject(Verb::Execute, Fault::Slow(Span::from_secs(9)));
    let before = world.now();
    assert!(!driver.execute(&[request(1)]).is_empty());
    assert_eq!(world.now(), before + Span::from_secs(9));
}
