//! What is known about the traffic and the addresses of a host, from real connections between two namespaces.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use staunch_connectors::enrichers::{ConntrackShare, Sessions, protections};
use staunch_connectors::evidence::LOGIN_RECORD_BYTES;
use staunch_model::{Span, Timestamp, TrafficShare};
use staunch_netlink::conntrack::set_accounting;
use staunch_netlink::link::Links;
use staunch_ports::Enricher;

use crate::block_ip_setting::{TIMEOUT, at, connect_namespaces, connection, in_new_net, inside, ip, make_table_with};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const SERVER: &str = "10.9.0.1";
const HEAVY: &str = "10.9.0.2";
const LIGHT: &str = "10.9.0.3";

/// A record of utmp(5).
fn login(kind: i16, pid: i32, address: [u8; 4]) -> Vec<u8> {
    let address_at = if LOGIN_RECORD_BYTES == 384 { 348 } else { 360 };
    let mut record = vec![0; LOGIN_RECORD_BYTES];
    record[..2].copy_from_slice(&kind.to_ne_bytes());
    record[4..8].copy_from_slice(&pid.to_ne_bytes());
    record[address_at..address_at + 4].copy_from_slice(&address);
    record
}

/// Sends bytes through a connection until they have all arrived.
fn transfer((here, there): &mut (TcpStream, TcpStream), bytes: usize) {
    let data = vec![7; bytes];
    let mut received = vec![0; bytes];
    std::thread::scope(|scope| {
        scope.spawn(|| there.write_all(&data).unwrap());
        here.read_exact(&mut received).unwrap();
    });
}

fn share(enricher: &ConntrackShare, target: &str) -> TrafficShare {
    let fact = enricher.traffic_share(&at(target), NOW + Span::from_secs(2));
    assert_eq!((&*fact.source, fact.age), ("conntrack", Span::from_secs(2)));
    fact.value.unwrap()
}

/// Opens one heavy and two light connections, and hands over what the enricher knows then.
fn with_traffic(accounting: bool, check: impl FnOnce(&ConntrackShare)) {
    make_table_with(None);
    set_accounting(accounting).unwrap();
    let other = connect_namespaces(&[SERVER], &[HEAVY, LIGHT]);
    let mut heavy = connection(&other, SERVER, HEAVY);
    transfer(&mut heavy, 300_000);
    let mut light = [connection(&other, SERVER, LIGHT), connection(&other, SERVER, LIGHT)];
    light.iter_mut().for_each(|it| transfer(it, 100));
    // Connections within the host are not traffic of anybody else.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _local = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let enricher = ConntrackShare::new(true);
    enricher.refresh(NOW);
    check(&enricher);
    drop((heavy, light));
}

#[test]
fn flows_and_bytes_of_an_address_are_counted() {
    in_new_net("flows_and_bytes_of_an_address_are_counted", || {
        with_traffic(true, |enricher| {
            let (heavy, light) = (share(enricher, HEAVY), share(enricher, LIGHT));
            assert_eq!((heavy.flows, heavy.flows_total), (1, 3));
            assert_eq!((light.flows, light.flows_total), (2, 3));
            assert!(
                heavy.bytes.unwrap() > 300_000 && light.bytes.unwrap() < 10_000,
                "{heavy:?} {light:?}"
            );
            assert_eq!(heavy.bytes.unwrap() + light.bytes.unwrap(), heavy.bytes_total.unwrap());
            assert!(
                heavy.basis_points() > 9_500,
                "few flows, but nearly all bytes: {heavy:?}"
            );
            assert_eq!(light.basis_points(), 6_666, "few bytes, but two of three flows");
            assert_eq!(
                share(enricher, SERVER).basis_points(),
                10_000,
                "this host is in all of it"
            );
            assert_eq!(share(enricher, "10.9.0.99").basis_points(), 0);
            assert_eq!(share(enricher, "127.0.0.1").flows, 0);
        });
    });
}

#[test]
fn without_accounting_only_flows_are_known() {
    in_new_net("without_accounting_only_flows_are_known", || {
        with_traffic(false, |enricher| {
            let heavy = share(enricher, HEAVY);
            let expect = TrafficShare {
                flows: 1,
                flows_total: 3,
                bytes: None,
                bytes_total: None,
            };
            assert_eq!(heavy, expect);
        });
    });
}

#[test]
fn an_old_reading_and_an_untracked_host_are_unknown() {
    in_new_net("an_old_reading_and_an_untracked_host_are_unknown", || {
        with_traffic(false, |enricher| {
            let fact = enricher.traffic_share(&at(HEAVY), NOW + Span::from_secs(31));
            assert!(fact.value.unwrap_err().contains("31s"));
        });
    });
    in_new_net("an_old_reading_and_an_untracked_host_are_unknown", || {
        for tracking_known in [true, false] {
            let enricher = ConntrackShare::new(tracking_known);
            enricher.refresh(NOW);
            assert_eq!(enricher.traffic_share(&at(HEAVY), NOW).value.is_ok(), tracking_known);
        }
    });
}

#[test]
fn what_this_host_depends_on_is_found() {
    in_new_net("what_this_host_depends_on_is_found", || {
        let other = connect_namespaces(&[SERVER, "fd09::1"], &[HEAVY, "fd09::2"]);
        Links::open(TIMEOUT)
            .unwrap()
            .add_route(None, ip(HEAVY), Some("here"))
            .unwrap();
        let listeners = [
            TcpListener::bind((ip(SERVER), 22)).unwrap(),
            TcpListener::bind((ip("fd09::1"), 22)).unwrap(),
        ];
        let sessions = listeners.map(|listener| {
            let address = listener.local_addr().unwrap();
            let connect = || TcpStream::connect_timeout(&address, TIMEOUT).ok();
            let client = inside(&other, || {
                crate::block_ip_setting::until("the server is reachable", connect)
            });
            (client, listener.accept().unwrap())
        });
        let folder = tempfile::tempdir().unwrap();
        let resolv_conf = folder.path().join("resolv.conf");
        std::fs::write(&resolv_conf, "nameserver 192.0.2.53\nnameserver 192.0.2.53\n").unwrap();
        // The environment of each process as sshd leaves it; a connection to port 22 alone proves nothing.
        let proc = folder.path().join("proc");
        let process = |name: &str, user: u32, environment: &str| {
            let process = proc.join(name);
            std::fs::create_dir_all(&process).unwrap();
            std::fs::write(
                process.join("status"),
                format!("Name:\tsh\nUid:\t{user}\t{user}\t0\t0\n"),
            )
            .unwrap();
            std::fs::write(process.join("environ"), environment).unwrap();
        };
        process("self", 999, "SSH_CLIENT=192.0.2.1 50001 22\0");
        process("10", 0, "HOME=/root\0SSH_CONNECTION=192.0.2.2 50002 10.9.0.1 22\0");
        process("11", 1_000, "SSH_CONNECTION=2001:db8::3 50003 fd09::1 22\0");
        process("12", 33, "SSH_CONNECTION=192.0.2.4 50004 10.9.0.1 22\0");
        process("13", 0, "HOME=/\0");
        process("notes", 0, "SSH_CONNECTION=192.0.2.5 50005 10.9.0.1 22\0");
        std::fs::create_dir(proc.join("14")).unwrap();
        // Of what belongs to others, a server without privileges sees what root has written for all to read.
        let utmp = folder.path().join("utmp");
        let records = [
            login(7, 13, [192, 0, 2, 6]),
            login(8, 13, [192, 0, 2, 7]),
            login(7, 99_999, [192, 0, 2, 8]),
            login(7, 13, [0; 4]),
        ];
        std::fs::write(&utmp, records.concat()).unwrap();
        let logind = folder.path().join("sessions");
        std::fs::create_dir(&logind).unwrap();
        let session = |name: &str, host: &str, state: &str| {
            let text = format!("UID=1000\nSTATE={state}\nREMOTE=1\nREMOTE_HOST={host}\nCLASS=user\nLEADER=13\n");
            std::fs::write(logind.join(name), text).unwrap();
        };
        session("3", "192.0.2.9", "active");
        session("c4", "192.0.2.10", "closing");
        // One that sshd tells of, too.
        session("5", "192.0.2.2", "online");
        let sessions_of = Sessions { proc, utmp, logind };
        let found = protections(&resolv_conf, &sessions_of).unwrap();
        let shown: Vec<String> = found.iter().map(|it| format!("{} {}", it.network, it.reason)).collect();
        // Links give themselves link-local addresses, in their own time.
        let shown: Vec<&str> = shown
            .iter()
            .map(String::as_str)
            .filter(|it| !it.starts_with("fe80"))
            .collect();
        let expect = [
            "10.9.0.1/32 own address of here",
            "10.9.0.2/32 gateway",
            "127.0.0.0/8 own address of lo",
            "192.0.2.1/32 management session (ssh)",
            "192.0.2.2/32 management session (ssh)",
            "192.0.2.6/32 management session (login)",
            "192.0.2.9/32 management session (login)",
            "192.0.2.53/32 resolver",
            "::1/128 own address of lo",
            "2001:db8::3/128 management session (ssh)",
            "fd09::1/128 own address of here",
        ];
        assert_eq!(shown, expect);
        drop(sessions);
        let absent = folder.path().join("absent");
        let nowhere = Sessions {
            proc: absent.clone(),
            utmp: absent.clone(),
            logind: absent.clone(),
        };
        assert!(sessions_of.has_records() && !nowhere.has_records());
        let without = protections(&absent, &nowhere).unwrap();
        let depends_on_files = |reason: &str| reason == "resolver" || reason.starts_with("management session");
        assert!(!without.iter().any(|it| depends_on_files(&it.reason)));
    });
}
