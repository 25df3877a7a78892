//! Which of many networks is the narrowest around an address: a fixed set that is asked often.
//!
//! Never changes once it is made; who needs another makes another, which takes some milliseconds for 100,000 networks.

use std::net::IpAddr;

use ipnet::IpNet;

/// Ranges from which on a table of the first 16 bits is kept: it has 256 KiB, and saves half of the steps.
const INDEXED_FROM: usize = 4_096;

/// Stands for no network.
const NONE: u32 = u32::MAX;

/// A set of networks, asked for the narrowest around an address.
///
/// Networks are laid out as ranges that do not overlap, each with the narrowest network that covers it: a look-up is
/// one search in a sorted array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Prefixes {
    /// The set of `networks`. Host bits count for nothing; of equal networks the first holds.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (at, network) in (0..NONE).zip(networks) {
            let bits = network.prefix_len();
            match network {
                IpNet::V4(net) => v4.push((u32::from(net.network()), bits, u32::from(net.broadcast()), at)),
                IpNet::V6(net) => v6.push((u128::from(net.network()), bits, u128::from(net.broadcast()), at)),
            }
        }
        Self {
            v4: Ranges::new(v4),
            v6: Ranges::new(v6),
        }
    }

    /// The position in [`Prefixes::new`] of the narrowest network around `ip`.
    #[must_use]
    pub fn longest_match(&self, ip: IpAddr) -> Option<usize> {
        let found = match ip {
            IpAddr::V4(v4) => self.v4.find(u32::from(v4)),
            IpAddr::V6(v6) => self.v6.find(u128::from(v6)),
        };
        found.and_then(|at| usize::try_from(at).ok())
    }
}

/// An address as a number.
trait Bits: Copy + Ord {
    /// The first 16 bits.
    fn top(self) -> usize;
    /// The next address; `None` after the last.
    fn next(self) -> Option<Self>;
}

impl Bits for u32 {
    fn top(self) -> usize {
        (self >> 16) as usize
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Bits for u128 {
    fn top(self) -> usize {
        // 16 bits are left.
        (self >> 112) as usize
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// Ranges of addresses of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges<K> {
    /// Where each range begins; it ends where the next begins. What is before the first is in no network.
    starts: Vec<K>,
    /// The narrowest network around each range, or [`NONE`].
    owners: Vec<u32>,
    /// How many ranges begin before each value of the first 16 bits, and before their end; empty for few ranges.
    index: Vec<u32>,
}

impl<K: Bits> Ranges<K> {
    /// Lays out networks, each with its first address, prefix length, last address and number.
    fn new(mut networks: Vec<(K, u8, K, u32)>) -> Self {
        // The wider of two that begin together comes first, and of equal ones the first.
        networks.sort_unstable_by_key(|(first, bits, _, at)| (*first, *bits, *at));
        networks.dedup_by_key(|(first, bits, _, _)| (*first, *bits));
        let mut ranges = Self {
            // Each network begins a range and ends one.
            starts: Vec::with_capacity(2 * networks.len()),
            owners: Vec::with_capacity(2 * networks.len()),
            index: Vec::new(),
        };
        // The networks around the present address, the narrowest last.
        let mut around: Vec<(K, u32)> = Vec::new();
        for (first, _, last, at) in networks {
            ranges.leave(&mut around, |end| end < first);
            ranges.begin(first, at);
            around.push((last, at));
        }
        ranges.leave(&mut around, |_| true);
        if ranges.starts.len() >= INDEXED_FROM {
            ranges.index = ranges.tops();
        }
        ranges
    }

    /// Leaves those of the networks `around` that have ended.
    fn leave(&mut self, around: &mut Vec<(K, u32)>, has_ended: impl Fn(K) -> bool) {
        while let Some((last, _)) = around.pop_if(|(last, _)| has_ended(*last)) {
            if let Some(next) = last.next() {
                self.begin(next, around.last().map_or(NONE, |(_, at)| *at));
            }
        }
    }

    /// From `start` on, `owner` is the narrowest network.
    fn begin(&mut self, start: K, owner: u32) {
        if self.starts.last() == Some(&start) {
            self.owners.pop();
        } else {
            self.starts.push(start);
        }
        self.owners.push(owner);
    }

    fn tops(&self) -> Vec<u32> {
        let mut index = Vec::with_capacity(65_537);
        for (at, start) in (0..).zip(&self.starts) {
            while index.len() <= start.top() {
                index.push(at);
            }
        }
        let all = u32::try_from(self.starts.len()).unwrap_or(NONE);
        index.resize(65_537, all);
        index
    }

    fn find(&self, key: K) -> Option<u32> {
        let all = (0, self.starts.len());
        let (from, to) = match self.index.get(key.top()..=key.top() + 1) {
            Some(&[from, to]) => (from as usize, to as usize),
            _ => all,
        };
        let within = self.starts.get(from..to)?.partition_point(|start| *start <= key);
        let owner = *self.owners.get((from + within).checked_sub(1)?)?;
        (owner != NONE).then_some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|it| it.parse().expect("a network")).collect()
    }

    /// What the definition says, at any length.
    fn slowly(networks: &[IpNet], ip: IpAddr) -> Option<usize> {
        let around = networks.iter().enumerate().filter(|(_, it)| it.contains(&ip));
        let narrowest = around.max_by_key(|(at, it)| (it.prefix_len(), std::cmp::Reverse(*at)));
        narrowest.map(|(at, _)| at)
    }

    #[test]
    fn the_narrowest_network_is_found_at_every_edge() {
        let nested = networks(&[
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.255.255/32",
            "10.1.0.0/32",
            "10.2.0.0/16",
            "255.255.255.255/32",
            "10.1.0.0/16",
            "2001:db8::/32",
            "2001:db8::1/128",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
        ]);
        let check = |set: &[IpNet], ip: &str| {
            let ip = ip.parse().expect("an address");
            assert_eq!(Prefixes::new(set).longest_match(ip), slowly(set, ip), "{ip}");
        };
        for ip in [
            "0.0.0.0",
            "9.255.255.255",
            "10.0.0.0",
            "10.0.255.255",
            "10.1.0.0",
            "10.1.0.1",
            "10.1.255.254",
            "10.1.255.255",
            "10.2.0.0",
            "10.2.255.255",
            "10.3.0.0",
            "11.0.0.0",
            "255.255.255.254",
            "255.255.255.255",
            "::",
            "2001:db8::",
            "2001:db8::1",
            "2001:db8::2",
            "2001:db9::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            check(&nested, ip);
            check(&nested[1..], ip);
            check(&[], ip);
        }
    }

    /// More than enough for the table of the first bits, from a sequence without chance.
    #[test]
    fn many_networks_are_told_apart_as_the_definition_says() {
        let mut seed = 7_u64;
        let mut next = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            u32::try_from(seed >> 32).expect("32 bits")
        };
        let mut many = Vec::new();
        for at in 0..6_000_u32 {
            // Crowded at the front, so that networks lie in each other.
            let v4 = next() & if at % 2 == 0 { 0x00ff_ffff } else { u32::MAX };
            let bits = u8::try_from(8 + next() % 25).expect("at most 32");
            many.push(IpNet::new(IpAddr::from(v4.to_be_bytes()), bits).expect("a network"));
            let v6 = (u128::from(0x2a00 + next() % 4) << 112) | (u128::from(next()) << 80);
            let bits = u8::try_from(20 + next() % 45).expect("at most 64");
            many.push(IpNet::new(IpAddr::from(v6.to_be_bytes()), bits).expect("a network"));
        }
        let set = Prefixes::new(&many);
        assert!(!set.v4.index.is_empty() && !set.v6.index.is_empty());
        for (at, network) in many.iter().enumerate().step_by(37) {
            let inside = [network.network(), network.broadcast(), network.addr()];
            let other = many[(at * 7 + 1) % many.len()].addr();
            for ip in inside.into_iter().chain([other]) {
                assert_eq!(
                    set.longest_match(ip),
                    slowly(&many, ip).map(|it| {
                        // Equal networks are one, whatever their host bits.
                        let same = |other: &IpNet| other.trunc() == many[it].trunc();
                        many.iter().position(same).expect("it is one of them")
                    }),
                    "{ip}"
                );
            }
        }
    }
}
