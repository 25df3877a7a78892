//! Tracked connections, and that a block cuts them, over a pair of links between two namespaces.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use staunch_netlink::conntrack::{Conntrack, Flow, Side, TcpState, accounting, set_accounting};
use staunch_netlink::namespace::NetNs;
use staunch_netlink::nftables::NewElement;

use crate::setting::{HOUR, TIMEOUT, command, connect_namespaces, in_new_net, inside, ip, made, until};

/// A server here and a client in another namespace, with a connection between them.
struct Pair {
    server: TcpStream,
    client: TcpStream,
    _other: NetNs,
}

const SERVER4: &str = "10.9.0.1";
const CLIENT4: &str = "10.9.0.2";
const SERVER6: &str = "fd09::1";
const CLIENT6: &str = "fd09::2";

impl Pair {
    fn connected(server: &str) -> Self {
        let other = connect_namespaces(&[SERVER4, SERVER6], &[CLIENT4, CLIENT6]);
        let listener = TcpListener::bind(SocketAddr::new(ip(server), 0)).unwrap();
        let target = listener.local_addr().unwrap();
        let client = inside(&other, || {
            // An IPv6 link needs a moment until it carries traffic.
            until("the server is reachable", || {
                TcpStream::connect_timeout(&target, TIMEOUT).ok()
            })
        });
        let (server, _) = listener.accept().unwrap();
        let mut pair = Self {
            server,
            client,
            _other: other,
        };
        assert!(pair.carries(TIMEOUT));
        pair
    }

    /// Tells whether a byte from the client arrives in time.
    fn carries(&mut self, wait: Duration) -> bool {
        self.client.write_all(b"x").unwrap();
        self.arrives(wait)
    }

    fn arrives(&mut self, wait: Duration) -> bool {
        self.server.set_read_timeout(Some(wait)).unwrap();
        match self.server.read(&mut [0]) {
            Ok(count) => count == 1,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn flows(conntrack: &mut Conntrack) -> Vec<Flow> {
    let mut flows = Vec::new();
    conntrack.visit_established(|flow| flows.push(*flow)).unwrap();
    flows.retain(Flow::is_tcp);
    flows
}

fn a_connection_is_counted(test: &str, server: &'static str, client: &'static str) {
    in_new_net(test, || {
        made();
        set_accounting(true).unwrap();
        assert!(accounting().unwrap());
        let mut conntrack = Conntrack::open(TIMEOUT).unwrap();
        assert!(flows(&mut conntrack).is_empty());
        let pair = Pair::connected(server);
        let found = flows(&mut conntrack);
        let [flow] = found[..] else { panic!("{found:?}") };
        assert_eq!(
            (flow.original.source, flow.original.destination),
            (ip(client), ip(server))
        );
        assert_eq!(
            flow.original.destination_port,
            Some(pair.server.local_addr().unwrap().port())
        );
        assert_eq!(flow.original.source_port, Some(pair.server.peer_addr().unwrap().port()));
        assert_eq!(flow.reply.unwrap().source, ip(server));
        assert_eq!(flow.tcp_state, Some(TcpState::Established));
        let (sent, received) = (flow.sent.unwrap(), flow.received.unwrap());
        // Opening takes two packets of the client, its byte a third.
        assert!(sent.packets >= 3 && sent.bytes > 100, "{sent:?}");
        assert!(received.packets >= 1, "{received:?}");

        let shown = command(
            "conntrack",
            &["-L", "-f", if ip(server).is_ipv4() { "ipv4" } else { "ipv6" }],
        )
        .unwrap();
        assert!(
            shown.contains("ESTABLISHED") && shown.contains(&format!("src={client} dst={server}")),
            "{shown}"
        );
    });
}

#[test]
fn a_connection_is_counted_ipv4() {
    a_connection_is_counted("a_connection_is_counted_ipv4", SERVER4, CLIENT4);
}

#[test]
fn a_connection_is_counted_ipv6() {
    a_connection_is_counted("a_connection_is_counted_ipv6", SERVER6, CLIENT6);
}

#[test]
fn without_accounting_there_are_no_counters() {
    in_new_net("without_accounting_there_are_no_counters", || {
        made();
        set_accounting(false).unwrap();
        let _pair = Pair::connected(SERVER4);
        let found = flows(&mut Conntrack::open(TIMEOUT).unwrap());
        assert_eq!((found.len(), found[0].sent, found[0].received), (1, None, None));
    });
}

fn a_block_cuts_an_established_connection(test: &str, server: &'static str, client: &'static str) {
    in_new_net(test, || {
        let mut ours = made();
        let mut pair = Pair::connected(server);
        let address: IpAddr = ip(client);
        ours.add_elements(&[NewElement {
            address,
            timeout: HOUR,
            comment: "t-1",
        }])
        .unwrap();
        pair.client.write_all(b"y").unwrap();
        let dropped = until("the packet was dropped", || {
            ours.get_element(address).unwrap().filter(|it| it.packets.unwrap() > 0)
        });
        assert!(dropped.bytes.unwrap() > 40);
        assert!(!pair.arrives(Duration::from_millis(1)));
        // The element is all there is to it: without it the sender repeats and the byte arrives.
        ours.delete_elements(&[address]).unwrap();
        assert!(pair.arrives(Duration::from_secs(20)));
    });
}

#[test]
fn a_block_cuts_an_established_connection_ipv4() {
    a_block_cuts_an_established_connection("a_block_cuts_an_established_connection_ipv4", SERVER4, CLIENT4);
}

#[test]
fn a_block_cuts_an_established_connection_ipv6() {
    a_block_cuts_an_established_connection("a_block_cuts_an_established_connection_ipv6", SERVER6, CLIENT6);
}

#[test]
fn what_we_send_to_a_blocked_address_is_dropped_too() {
    in_new_net("what_we_send_to_a_blocked_address_is_dropped_too", || {
        let mut ours = made();
        let mut pair = Pair::connected(SERVER4);
        let address = ip(CLIENT4);
        ours.add_elements(&[NewElement {
            address,
            timeout: HOUR,
            comment: "",
        }])
        .unwrap();
        pair.server.write_all(b"z").unwrap();
        until("our packet was dropped", || {
            ours.get_element(address).unwrap().filter(|it| it.packets != Some(0))
        });
    });
}

#[test]
fn only_flows_of_the_address_are_forgotten() {
    in_new_net("only_flows_of_the_address_are_forgotten", || {
        made();
        let pair = Pair::connected(SERVER4);
        let port = pair.server.local_addr().unwrap().port();
        drop(pair);
        let mut conntrack = Conntrack::open(TIMEOUT).unwrap();
        let sources = |conntrack: &mut Conntrack| {
            let mut sources = Vec::new();
            conntrack.visit(|flow| sources.push(flow.original.source)).unwrap();
            sources.retain(|it| it.is_ipv4());
            sources.sort_unstable();
            sources
        };
        let port = port.to_string();
        for source in ["192.0.2.1", "192.0.2.2"] {
            let words = [
                "-I",
                "-p",
                "tcp",
                "-s",
                source,
                "-d",
                "192.0.2.9",
                "--sport",
                "1",
                "--dport",
                &port,
            ];
            command(
                "conntrack",
                &[&words[..], &["--state", "ESTABLISHED", "-t", "600"]].concat(),
            )
            .unwrap();
        }
        let expected = [ip(CLIENT4), ip("192.0.2.1"), ip("192.0.2.2")];
        assert_eq!(sources(&mut conntrack), expected);
        conntrack.delete_flows(Side::Source, ip("192.0.2.1")).unwrap();
        assert_eq!(sources(&mut conntrack), [ip(CLIENT4), ip("192.0.2.2")]);
        conntrack.delete_flows(Side::Source, ip("192.0.2.77")).unwrap();
        assert_eq!(sources(&mut conntrack), [ip(CLIENT4), ip("192.0.2.2")]);
        conntrack.delete_flows(Side::Destination, ip(SERVER4)).unwrap();
        assert_eq!(sources(&mut conntrack), [ip("192.0.2.2")]);
    });
}
