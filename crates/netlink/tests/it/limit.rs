//! A table that lets a part of the traffic through, over a pair of links between two namespaces.

use std::net::{SocketAddr, UdpSocket};

use staunch_netlink::nftables::{Defect, Element, Limit, NewElement, Nft, NftError};

use crate::setting::{HOUR, OPTIONS, TIMEOUT, connect_namespaces, in_new_net, inside, ip, nft, until};

const SERVER: &str = "10.9.0.1";
const CLIENTS: [&str; 3] = ["10.9.0.2", "10.9.0.3", "10.9.0.4"];
const LIMIT: Limit = Limit {
    packets_per_second: 10,
    burst: 20,
};
/// Far more than pass within the time that a test may take.
const SENT: u64 = 3_000;

fn limiting() -> Nft {
    let mut nft = Nft::open("staunch", TIMEOUT).unwrap().limiting(LIMIT);
    nft.ensure_table(OPTIONS).unwrap();
    nft
}

fn limited(nft: &mut Nft, address: &str) {
    let element = NewElement {
        address: ip(address),
        timeout: HOUR,
        comment: "ours",
    };
    nft.add_elements(&[element]).unwrap();
}

fn seen(nft: &mut Nft, address: &str) -> Option<Element> {
    nft.get_element(ip(address)).unwrap()
}

#[test]
fn nft_shows_a_limit_for_each_element() {
    in_new_net("nft_shows_a_limit_for_each_element", || {
        let mut ours = limiting();
        limited(&mut ours, "192.0.2.1");
        let shown = nft("list table inet staunch");
        let of_set = "flags timeout\n\t\tlimit rate over 10/second burst 20 packets counter\n";
        assert_eq!(shown.matches(of_set).count(), 2, "{shown}");
        assert!(
            shown.contains("192.0.2.1 limit rate over 10/second burst 20 packets counter packets 0 bytes 0 timeout 1h"),
            "{shown}"
        );
        assert!(ours.defects(true).unwrap().is_empty());
        let element = seen(&mut ours, "192.0.2.1").unwrap();
        assert_eq!((element.packets, element.comment.as_deref()), (Some(0), Some("ours")));
    });
}

#[test]
fn a_table_with_another_limit_or_none_is_not_ours() {
    in_new_net("a_table_with_another_limit_or_none_is_not_ours", || {
        let mut ours = limiting();
        let defects = [Defect::SetShape { set: "block4" }, Defect::SetShape { set: "block6" }];
        let mut blocking = Nft::open("staunch", TIMEOUT).unwrap();
        let mut milder = Nft::open("staunch", TIMEOUT)
            .unwrap()
            .limiting(Limit { burst: 21, ..LIMIT });
        for other in [&mut blocking, &mut milder] {
            assert_eq!(other.defects(true).unwrap(), defects);
            assert!(!other.chains_intact().unwrap());
            assert!(matches!(other.ensure_table(OPTIONS), Err(NftError::Mismatch { .. })));
        }
        assert!(ours.chains_intact().unwrap());
    });
}

#[test]
fn what_is_above_the_limit_is_dropped_for_each_address_by_itself() {
    in_new_net("what_is_above_the_limit_is_dropped_for_each_address_by_itself", || {
        let mut ours = limiting();
        let other = connect_namespaces(&[SERVER], &CLIENTS);
        let server = UdpSocket::bind((SERVER, 0)).unwrap();
        server.set_nonblocking(true).unwrap();
        let target = server.local_addr().unwrap();
        limited(&mut ours, CLIENTS[0]);
        limited(&mut ours, CLIENTS[1]);
        let mut arrived = [0_u64; 3];
        let mut read = || {
            let mut byte = [0];
            while let Ok((_, from)) = server.recv_from(&mut byte) {
                let at = CLIENTS.iter().position(|it| ip(it) == from.ip()).unwrap();
                arrived[at] += 1;
            }
            arrived
        };
        for (at, client) in CLIENTS.iter().enumerate() {
            let socket = inside(&other, || UdpSocket::bind(SocketAddr::new(ip(client), 0)).unwrap());
            for _ in 0..SENT / 100 {
                for _ in 0..100 {
                    socket.send_to(b"x", target).unwrap();
                }
                // The socket's buffer must not fill: what it drops nobody counts.
                read();
            }
            let dropped = |nft: &mut Nft| seen(nft, client).map_or(0, |it| it.packets.unwrap());
            until("every packet has arrived or was dropped", || {
                (read()[at] + dropped(&mut ours) == SENT).then_some(())
            });
        }
        let burst = u64::from(LIMIT.burst);
        for limited in [arrived[0], arrived[1]] {
            assert!((burst..SENT / 2).contains(&limited), "{limited} of {SENT}");
        }
        assert_eq!(arrived[2], SENT, "what is not in the set is not limited");
    });
}
