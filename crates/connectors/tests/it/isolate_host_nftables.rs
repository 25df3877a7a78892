//! What only real packets can show of a machine that is isolated, over pairs of links between network namespaces.

#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use staunch_connectors::actions::isolate_host::{
    NftablesIsolateHost, NftablesIsolationOptions, count_labelled, release_everything,
};
use staunch_connectors::actions::{Label, Whose};
use staunch_model::{
    EffectKey, FailureKind, InstallationId, Observation, Outcome, Owner, Presence, Span, Target, TransactionId,
};
use staunch_netlink::link::{Destination, Links};
use staunch_netlink::namespace::{NetNs, run_in_new_net};
use staunch_netlink::nftables::{Allowed, Transport};
use staunch_ports::{Action, ExecuteRequest, OwnedTarget, UndoRequest};

use crate::block_ip_setting::{
    OURS, TIMEOUT, connect_namespaces, connection, in_new_net, in_new_net_with_nft, inside, ip, nft, nft_list, until,
};
use crate::isolate_host::{TABLE, options, this_host};

const THEIRS: InstallationId = InstallationId([0xb0; 8]);
const HOST: [&str; 2] = ["10.9.0.1", "fd09::1"];
const MANAGEMENT: [&str; 2] = ["10.9.0.2", "fd09::2"];
const ATTACKER: [&str; 2] = ["10.9.0.3", "fd09::3"];

fn started() -> NftablesIsolateHost {
    NftablesIsolateHost::start(options(OURS)).unwrap()
}

fn started_with(reachable: Vec<Allowed>) -> NftablesIsolateHost {
    NftablesIsolateHost::start(NftablesIsolationOptions {
        lifelines: Arc::new(reachable),
        ..options(OURS)
    })
    .unwrap()
}

fn execute(transaction: u64, hold: Span) -> ExecuteRequest {
    ExecuteRequest {
        transaction: TransactionId(transaction),
        key: EffectKey::default(),
        target: this_host(),
        version: 0,
        hold,
        renewal: false,
    }
}

fn isolate(driver: &mut NftablesIsolateHost) {
    assert_eq!(driver.execute(&[execute(1, Span::from_hours(1))]), [Outcome::Landed]);
}

fn lift(driver: &mut NftablesIsolateHost) {
    let request = UndoRequest {
        transaction: TransactionId(1),
        key: EffectKey::default(),
        target: this_host(),
        lease_ended: false,
    };
    assert_eq!(driver.undo(&[request]), [Outcome::Landed]);
}

fn see(driver: &mut NftablesIsolateHost) -> Observation {
    driver.observe(&[this_host()]).remove(0).unwrap()
}

fn stopped(driver: &mut NftablesIsolateHost) -> u64 {
    see(driver).stopped_packets.unwrap()
}

/// This namespace, and another one with those that manage it and an attacker.
fn neighbours() -> NetNs {
    let theirs = [MANAGEMENT, ATTACKER, ["10.9.0.4", "fd09::4"]];
    connect_namespaces(&HOST, &theirs.concat())
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

fn passes(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"x").unwrap();
    assert!(arrives(to, Duration::from_secs(20)));
}

fn a_connection_on_loopback_works(address: &str) {
    let listener = TcpListener::bind(SocketAddr::new(ip(address), 0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut server = listener.accept().unwrap().0;
    passes(&mut client, &mut server);
    passes(&mut server, &mut client);
}

fn an_attacker_is_cut_off(test: &str, version: usize) {
    in_new_net(test, || {
        let (server, management, attacker) = (HOST[version], MANAGEMENT[version], ATTACKER[version]);
        let mut driver = started();
        let other = neighbours();
        let (mut here, mut there) = connection(&other, server, attacker);
        let (mut managed, mut managing) = connection(&other, server, management);
        passes(&mut there, &mut here);
        isolate(&mut driver);
        // Established as it is, nothing of it gets through, either way.
        let before = stopped(&mut driver);
        there.write_all(b"b").unwrap();
        until("a packet was stopped", || (stopped(&mut driver) > before).then_some(()));
        assert!(!arrives(&mut here, Duration::from_millis(1)));
        let before = stopped(&mut driver);
        here.write_all(b"c").unwrap();
        until("a packet was stopped", || (stopped(&mut driver) > before).then_some(()));
        // Who manages it goes on, and can come anew.
        passes(&mut managing, &mut managed);
        passes(&mut managed, &mut managing);
        let (mut here2, mut there2) = connection(&other, server, management);
        passes(&mut there2, &mut here2);
        // So does this machine with itself, at every address of its own.
        a_connection_on_loopback_works(["127.0.0.1", "::1"][version]);
        a_connection_on_loopback_works(server);
        lift(&mut driver);
        assert!(
            arrives(&mut here, Duration::from_secs(20)),
            "the sender repeats what was dropped"
        );
        assert!(arrives(&mut there, Duration::from_secs(20)));
    });
}

#[test]
fn an_attacker_is_cut_off_ipv4() {
    an_attacker_is_cut_off("an_attacker_is_cut_off_ipv4", 0);
}

#[test]
fn an_attacker_is_cut_off_ipv6() {
    an_attacker_is_cut_off("an_attacker_is_cut_off_ipv6", 1);
}

#[test]
fn neighbours_are_found_that_nobody_knew_before() {
    in_new_net("neighbours_are_found_that_nobody_knew_before", || {
        let other = neighbours();
        let mut driver = started_with(vec![Allowed::Network {
            address: ip("fd09::"),
            prefix: 64,
        }]);
        isolate(&mut driver);
        // They ask for this machine.
        let (mut here, mut there) = connection(&other, HOST[1], MANAGEMENT[1]);
        passes(&mut there, &mut here);
        // This machine asks for another one.
        let listener = inside(&other, || TcpListener::bind(SocketAddr::new(ip("fd09::4"), 0)).unwrap());
        let mut client = TcpStream::connect_timeout(&listener.local_addr().unwrap(), Duration::from_secs(20)).unwrap();
        let mut server = listener.accept().unwrap().0;
        passes(&mut client, &mut server);
    });
}

#[test]
fn only_the_port_and_the_user_of_a_service_are_let_through() {
    in_new_net("only_the_port_and_the_user_of_a_service_are_let_through", || {
        let other = neighbours();
        let listen = |address: &str| {
            let at = SocketAddr::new(ip(address), 0);
            inside(&other, || TcpListener::bind(at).unwrap())
        };
        let (served, another, of_others) = (listen("10.9.0.4"), listen("10.9.0.4"), listen("fd09::4"));
        let service = |listener: &TcpListener, user| {
            let at = listener.local_addr().unwrap();
            Allowed::Service {
                address: at.ip(),
                transport: Transport::Tcp,
                port: at.port(),
                user: Some(user),
            }
        };
        let us = nix::unistd::geteuid().as_raw();
        let mut driver = started_with(vec![service(&served, us), service(&of_others, us + 1)]);
        isolate(&mut driver);
        let mut client = TcpStream::connect_timeout(&served.local_addr().unwrap(), Duration::from_secs(20)).unwrap();
        let mut server = served.accept().unwrap().0;
        passes(&mut client, &mut server);
        passes(&mut server, &mut client);
        for refused in [&another, &of_others] {
            let before = stopped(&mut driver);
            let connected = TcpStream::connect_timeout(&refused.local_addr().unwrap(), Duration::from_millis(50));
            assert!(connected.is_err());
            assert!(stopped(&mut driver) > before);
        }
    });
}

/// Puts a link of this namespace into `other`, with an address at both ends.
fn join(other: &NetNs, here: &str, address: &str, there: &str, address_there: &str) {
    let mut links = Links::open(TIMEOUT).unwrap();
    links.create_pair(here, there).unwrap();
    links.move_link(there, &Destination::Handle(other)).unwrap();
    links.add_address(here, ip(address), 24).unwrap();
    links.set_up(here).unwrap();
    inside(other, || {
        let mut links = Links::open(TIMEOUT).unwrap();
        links.add_address(there, ip(address_there), 24).unwrap();
        links.set_up(there).unwrap();
        links.add_route(None, ip(address), Some(there)).unwrap();
    });
}

fn new_namespace() -> NetNs {
    run_in_new_net(|| NetNs::current().unwrap()).unwrap()
}

#[test]
fn nothing_is_passed_on_to_others() {
    in_new_net("nothing_is_passed_on_to_others", || {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let (left, right) = (new_namespace(), new_namespace());
        join(&left, "to-left", "10.9.1.1", "up", "10.9.1.2");
        join(&right, "to-right", "10.9.2.1", "up", "10.9.2.2");
        let sender = inside(&left, || UdpSocket::bind("10.9.1.2:0").unwrap());
        let receiver = inside(&right, || UdpSocket::bind("10.9.2.2:0").unwrap());
        receiver.set_nonblocking(true).unwrap();
        let to = receiver.local_addr().unwrap();
        let got = |what: u8| {
            until("it is passed on", || {
                sender.send_to(&[what], to).unwrap();
                let mut byte = [0];
                (receiver.recv(&mut byte).ok() == Some(1) && byte == [what]).then_some(())
            });
        };
        got(1);
        // Not even between those that this machine itself may talk with.
        let mut driver = started_with(vec![Allowed::Network {
            address: ip("10.9.0.0"),
            prefix: 16,
        }]);
        isolate(&mut driver);
        while receiver.recv(&mut [0]).is_ok() {}
        for count in 1..=20 {
            sender.send_to(&[2], to).unwrap();
            until("it was stopped", || (stopped(&mut driver) >= count).then_some(()));
        }
        assert!(receiver.recv(&mut [0]).is_err());
        lift(&mut driver);
        got(3);
    });
}

#[test]
fn the_kernel_gives_the_network_back_when_no_program_does() {
    in_new_net("the_kernel_gives_the_network_back_when_no_program_does", || {
        let mut driver = started();
        let other = neighbours();
        let (mut here, mut there) = connection(&other, HOST[0], ATTACKER[0]);
        let request = execute(1, Span::from_millis(1_500));
        assert_eq!(driver.execute(&[request]), [Outcome::Landed]);
        let before = stopped(&mut driver);
        there.write_all(b"b").unwrap();
        until("a packet was stopped", || (stopped(&mut driver) > before).then_some(()));
        assert!(!arrives(&mut here, Duration::from_millis(1)));
        drop(driver);
        assert!(arrives(&mut here, Duration::from_secs(20)));
        let mut driver = started();
        assert_eq!(see(&mut driver).presence, Presence::Absent);
        assert_eq!(driver.owned().unwrap().targets, []);
    });
}

#[test]
fn a_router_may_say_that_packets_to_those_who_manage_are_too_big() {
    in_new_net("a_router_may_say_that_packets_to_those_who_manage_are_too_big", || {
        let router = new_namespace();
        join(&router, "to-router", "10.9.1.1", "up", "10.9.1.2");
        Links::open(TIMEOUT)
            .unwrap()
            .add_route(None, ip("10.9.1.2"), Some("to-router"))
            .unwrap();
        let management = new_namespace();
        inside(&router, || {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            join(&management, "down", "10.9.2.1", "far", "10.9.2.2");
            std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0").unwrap();
            set_mtu("down", 1_000);
        });
        let mut driver = started_with(vec![Allowed::Network {
            address: ip("10.9.2.2"),
            prefix: 32,
        }]);
        isolate(&mut driver);
        let (mut here, mut there) = connection(&management, "10.9.1.1", "10.9.2.2");
        // More than one packet of the size that this machine's own link takes.
        let data = vec![7; 200_000];
        let mut received = vec![0; data.len()];
        there.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| here.write_all(&data).unwrap());
            there.read_exact(&mut received).unwrap();
        });
        assert!(received == data);
        // The router itself is nobody to talk with.
        let before = stopped(&mut driver);
        let address = here.local_addr().unwrap();
        let refused = inside(&router, || {
            TcpStream::connect_timeout(&address, Duration::from_millis(50))
        });
        assert!(refused.is_err() && stopped(&mut driver) > before);
    });
}

#[test]
fn a_lost_table_and_one_of_somebody_else_are_told() {
    in_new_net_with_nft("a_lost_table_and_one_of_somebody_else_are_told", || {
        let mut driver = started();
        isolate(&mut driver);
        let seen = see(&mut driver);
        assert!(seen.enforcing && seen.presence != Presence::Absent);
        // Half of it is not all of it.
        nft(&format!("delete element inet {TABLE} isolated {{ ipv6 }}"));
        let seen = see(&mut driver);
        assert!(matches!(
            seen.presence,
            Presence::Present {
                owner: Owner::Ours(_),
                ..
            }
        ));
        assert!(!seen.enforcing && !driver.owned().unwrap().enforcing);
        isolate(&mut driver);
        assert!(see(&mut driver).enforcing, "and is made whole again");
        nft(&format!("delete table inet {TABLE}"));
        let seen = see(&mut driver);
        assert_eq!((seen.presence, seen.enforcing), (Presence::Absent, false));
        assert_eq!(driver.owned().unwrap().targets, []);

        nft(&format!(
            "table inet {TABLE} {{ chain theirs {{ type filter hook input priority 0; }}; }}"
        ));
        let before = nft_list("ruleset");
        let outcome = driver.execute(&[execute(1, Span::from_hours(1))]).remove(0);
        assert!(
            matches!(&outcome, Outcome::DidNotHappen(it) if it.kind == FailureKind::Conflict),
            "{outcome:?}"
        );
        lift(&mut driver);
        assert_eq!(release_everything(TABLE, Whose::Anybodys).unwrap(), 0);
        let error = NftablesIsolateHost::start(options(OURS)).err().unwrap();
        assert!(error.hint().contains("nft list table inet"), "{}", error.hint());
        assert_eq!(nft_list("ruleset"), before);
    });
}

#[test]
fn other_tables_are_untouched_and_what_they_drop_stays_dropped() {
    in_new_net_with_nft("other_tables_are_untouched_and_what_they_drop_stays_dropped", || {
        let other = neighbours();
        nft("table inet other { chain in { type filter hook input priority 0; tcp dport 4444 counter drop; }; }");
        let before = nft_list("table inet other");
        let mut driver = started();
        isolate(&mut driver);
        assert_eq!(nft_list("table inet other"), before);
        let refused = inside(&other, || {
            TcpStream::connect_timeout(&SocketAddr::new(ip(HOST[0]), 4_444), Duration::from_millis(50))
        });
        assert!(refused.is_err());
        assert!(
            !nft_list("table inet other").contains("packets 0"),
            "who manages gets as far as the other table"
        );
        lift(&mut driver);
        assert!(nft_list("table inet other").contains("dport 4444 counter"));
    });
}

#[test]
fn only_this_machine_is_isolated() {
    in_new_net("only_this_machine_is_isolated", || {
        let mut driver = started();
        for target in ["host:another-machine", "192.0.2.1"] {
            let target: Target = target.parse().unwrap();
            let request = ExecuteRequest {
                target: target.clone(),
                ..execute(1, Span::from_hours(1))
            };
            let outcome = driver.execute(&[request]).remove(0);
            assert!(
                matches!(&outcome, Outcome::DidNotHappen(it) if it.kind == FailureKind::Invalid),
                "{outcome:?}"
            );
            assert!(driver.observe(&[target]).remove(0).is_err());
        }
        assert_eq!(see(&mut driver).presence, Presence::Absent);
    });
}

#[test]
fn what_a_former_installation_has_isolated_is_found_and_lifted() {
    in_new_net("what_a_former_installation_has_isolated_is_found_and_lifted", || {
        let mut theirs = NftablesIsolateHost::start(options(THEIRS)).unwrap();
        isolate(&mut theirs);
        let mut driver = started();
        assert_eq!(driver.owned().unwrap().targets, []);
        let label = Label {
            installation: THEIRS,
            transaction: TransactionId(1),
        };
        assert_eq!(driver.former().len(), 1);
        assert_eq!(*driver.former()[0].label, label.to_string());
        assert_eq!(count_labelled(TABLE, Whose::Of(OURS)).unwrap(), 0);
        assert_eq!(count_labelled(TABLE, Whose::Anybodys).unwrap(), 1);
        assert_eq!(release_everything(TABLE, Whose::Of(OURS)).unwrap(), 0);
        assert_eq!(driver.lift_former(), Ok(1));
        assert_eq!((driver.former(), theirs.owned().unwrap().targets), (vec![], vec![]));
        isolate(&mut driver);
        let owned = OwnedTarget {
            transaction: TransactionId(1),
            target: this_host(),
        };
        // Another driver of the same installation, as after a start, finds it too.
        assert_eq!(started().owned().unwrap().targets, [owned]);
        assert_eq!(release_everything(TABLE, Whose::Of(OURS)).unwrap(), 1);
    });
}

fn set_mtu(link: &str, bytes: u32) {
    let done = std::process::Command::new("ip")
        .args(["link", "set", "dev", link, "mtu", &bytes.to_string()])
        .status();
    assert!(done.unwrap().success());
}
