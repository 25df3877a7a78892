//! The contract of actions for isolating this machine, in the packet filter of network namespaces of the test's own.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use staunch_connectors::actions::isolate_host::{NftablesIsolateHost, NftablesIsolationOptions};
use staunch_connectors::enrichers::ThisHost;
use staunch_model::{InstallationId, Target};
use staunch_netlink::nftables::{Allowed, IpVersion, Isolation, NftError};
use staunch_ports::Action;

use staunch_testkit::contract::action::{ActionWorld, Family, action};

use crate::block_ip_setting::{TIMEOUT, in_new_net_with_nft, ip, nft};

pub(crate) const TABLE: &str = "staunch_isolation";

/// What the drivers of these tests leave reachable.
pub(crate) fn management() -> Vec<Allowed> {
    let network = |address: &str, prefix| Allowed::Network {
        address: ip(address),
        prefix,
    };
    vec![network("10.9.0.2", 32), network("fd09::2", 128)]
}

pub(crate) fn options(installation: InstallationId) -> NftablesIsolationOptions {
    NftablesIsolationOptions {
        timeout: TIMEOUT,
        ..NftablesIsolationOptions::new(installation, Arc::new(management()))
    }
}

pub(crate) fn this_host() -> Target {
    Target::Host(ThisHost::default().name().unwrap())
}

/// A connection of the witness's own to the table.
pub(crate) fn witness() -> Isolation {
    Isolation::open(TABLE, TIMEOUT).unwrap()
}

struct World;

impl World {
    fn new() -> Self {
        let world = Self;
        match witness().delete_table() {
            Ok(()) | Err(NftError::Missing { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        world.restore_enforcement();
        world
    }
}

impl ActionWorld for World {
    fn driver(&self, installation: InstallationId) -> Box<dyn Action> {
        Box::new(NftablesIsolateHost::start(options(installation)).unwrap())
    }

    fn label(&self, _target: Target) -> Option<String> {
        let [v4, v6] = witness().look().unwrap().cuts;
        assert_eq!(v4.is_some(), v6.is_some(), "one is cut and the other is not");
        let label = v4.map(|it| it.comment.unwrap_or_default());
        assert_eq!(label, v6.map(|it| it.comment.unwrap_or_default()));
        label
    }

    fn put(&self, _target: Target, label: &str) {
        nft(&format!(
            "add element inet {TABLE} isolated {{ ipv4 comment \"{label}\", ipv6 comment \"{label}\" }}"
        ));
    }

    fn remove(&self, _target: Target) {
        let mut witness = witness();
        let seen = witness.look().unwrap();
        witness.lift(&seen, &IpVersion::ALL).unwrap();
    }

    fn flush(&self) {
        witness().delete_table().unwrap();
    }

    fn break_enforcement(&self) {
        nft(&format!("insert rule inet {TABLE} output ip daddr 198.51.100.1 accept"));
    }

    fn restore_enforcement(&self) {
        let mut witness = witness();
        let seen = witness.look().unwrap();
        if !seen.defects.is_empty() {
            witness.make(&seen, &management()).unwrap();
        }
    }

    fn families(&self) -> &'static [Family] {
        &[Family::Hosts]
    }

    fn target(&self, _family: Family, _number: u16) -> Target {
        this_host()
    }

    fn targets_max(&self) -> Option<u16> {
        Some(1)
    }

    fn batch_sizes(&self) -> &'static [u16] {
        &[1]
    }
}

#[test]
fn isolating_keeps_the_contract() {
    in_new_net_with_nft("isolating_keeps_the_contract", || {
        action(|| Box::new(World::new()));
    });
}
