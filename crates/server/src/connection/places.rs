//! How many connections each peer may have.
//!
//! Never counts operators: their socket has few places, and all of them are of one trust.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::Origin;

/// How many connections each peer has. An IPv6 peer is a /64: whoever has one address of it has them all.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<BTreeMap<IpAddr, usize>>);

impl Peers {
    /// A place for one more connection from there; `None` when it has `most` already.
    pub(super) fn take(peers: &Arc<Self>, from: Origin, most: usize) -> Option<Place> {
        let peer = match from {
            Origin::Network(address) => network_of(address.ip()),
            // Few places, and all of one trust.
            Origin::Local { .. } => return Some(Place(None)),
        };
        let mut counts = peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place(Some((peers.clone(), peer))))
    }
}

fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// A place of a peer; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Option<(Arc<Peers>, IpAddr)>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some((peers, peer)) = self.0.take() else { return };
        let mut counts = peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn one_peer_takes_no_more_than_its_part() {
        let peers = Arc::<Peers>::default();
        let take = |text: &str| {
            let ip = text.parse().expect("an address");
            Peers::take(&peers, Origin::Network(SocketAddr::new(ip, 1)), 2)
        };
        let first = take("192.0.2.1").expect("there is room");
        let _second = take("::ffff:192.0.2.1").expect("there is room");
        assert!(take("192.0.2.1").is_none(), "both were the same peer");
        let _other = take("192.0.2.2").expect("another peer has places of its own");
        let _six = [take("2001:db8::1"), take("2001:db8::ffff")].map(|it| it.expect("there is room"));
        assert!(take("2001:db8::2").is_none(), "a /64 is one peer");
        drop(first);
        let _again = take("192.0.2.1").expect("its place was given back");
        for _ in 0..10 {
            let place = Peers::take(&peers, Origin::Local { user: 0 }, 0);
            assert!(place.is_some(), "operators have a door of their own");
        }
    }
}
