//! The drivers that block addresses, held to their contract: one in memory, and one in a network namespace of its own.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use staunch_connectors::actions::block_ip::{Fault, MemoryBlockIp, MemoryWorld, NftablesBlockIp, Verb};
use staunch_model::{FailureKind, InstallationId, Outcome, Span, Target};
use staunch_ports::Action;
use staunch_testkit::contract::action::{ActionWorld, action};

use crate::block_ip_setting::{OURS, at, in_new_net_with_nft, make_table, nft, options, witness};

#[derive(Default)]
struct InMemory(MemoryWorld);

impl ActionWorld for InMemory {
    fn driver(&self, installation: InstallationId) -> Box<dyn Action> {
        Box::new(MemoryBlockIp::new(self.0.clone(), installation))
    }
    fn label(&self, target: Target) -> Option<String> {
        self.0.label(target).map(String::from)
    }
    fn put(&self, target: Target, label: &str) {
        self.0.put(target, label);
    }
    fn remove(&self, target: Target) {
        self.0.remove(target);
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

struct InKernel;

impl InKernel {
    fn new() -> Self {
        nft("flush ruleset");
        make_table();
        Self
    }
}

fn element(target: Target) -> (&'static str, String) {
    let ip = target.address().unwrap();
    (if ip.is_ipv4() { "block4" } else { "block6" }, ip.to_string())
}

impl ActionWorld for InKernel {
    fn driver(&self, installation: InstallationId) -> Box<dyn Action> {
        Box::new(NftablesBlockIp::start(options(installation)).unwrap())
    }
    fn label(&self, target: Target) -> Option<String> {
        let ip = target.address().unwrap();
        Some(witness().get_element(ip).unwrap()?.comment.unwrap_or_default())
    }
    fn put(&self, target: Target, label: &str) {
        let (set, ip) = element(target);
        nft(&format!(
            "add element inet staunch {set} {{ {ip} comment \"{label}\" }}"
        ));
    }
    fn remove(&self, target: Target) {
        let (set, ip) = element(target);
        nft(&format!("delete element inet staunch {set} {{ {ip} }}"));
    }
    fn flush(&self) {
        nft("flush ruleset");
    }
    fn break_enforcement(&self) {
        nft("flush chain inet staunch pre");
    }
    fn restore_enforcement(&self) {
        make_table();
    }
    fn wait(&self, span: Span, done: &mut dyn FnMut() -> bool) -> bool {
        let deadline = Instant::now() + span.to_std() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if done() {
                return true;
            }
            std::thread::yield_now();
        }
        done()
    }
}

#[test]
fn the_memory_driver_keeps_the_contract() {
    action(|| Box::<InMemory>::default());
}

#[test]
fn the_nftables_driver_keeps_the_contract() {
    in_new_net_with_nft("the_nftables_driver_keeps_the_contract", || {
        action(|| Box::new(InKernel::new()));
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
