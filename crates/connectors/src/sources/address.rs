//! Addresses in events.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use staunch_model::Endpoint;

use crate::json::Node;

/// The address that `text` is, with IPv4-mapped IPv6 (`::ffff:192.0.2.1`) turned into IPv4.
///
/// `None` for everything that is not exactly one address: prefixes, host names, zone ids (`fe80::1%eth0`), octets with
/// leading zeros (`010.0.0.1`, which some read as octal). Unspecified, loopback and multicast addresses are addresses;
/// whether they may be contained is for the guards.
#[must_use]
pub fn read(text: &str) -> Option<IpAddr> {
    if let Some(ip) = dotted(text.as_bytes()) {
        return Some(ip.into());
    }
    text.parse::<Ipv6Addr>().ok().map(|ip| IpAddr::from(ip).to_canonical())
}

/// The address of a network that has only this one: `192.0.2.1/32`, `2001:db8::1/128`.
pub(super) fn of_one(network: &str) -> Option<IpAddr> {
    let (ip, bits) = network.split_once('/')?;
    let all = if ip.contains(':') { "128" } else { "32" };
    read(ip).filter(|_| bits == all)
}

/// Four octets in decimal, without leading zeros. By hand because an alert has four addresses and the standard
/// library's reader tries more than this one form; a test compares the two.
fn dotted(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut at = 0;
    for (position, octet) in octets.iter_mut().enumerate() {
        if position > 0 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let start = at;
        let mut value = 0_u32;
        while let Some(digit @ b'0'..=b'9') = text.get(at) {
            value = value * 10 + u32::from(digit - b'0');
            at += 1;
            if at - start > 3 {
                return None;
            }
        }
        if at == start || (at - start > 1 && text[start] == b'0') {
            return None;
        }
        *octet = u8::try_from(value).ok()?;
    }
    (at == text.len()).then(|| octets.into())
}

/// Two texts of an event and the addresses that they are: most events name the same two several times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a>(pub(super) [(&'a str, Option<IpAddr>); 2]);

impl Known<'_> {
    /// As the function [`read`].
    pub(super) fn read(&self, text: &str) -> Option<IpAddr> {
        let known = self.0.iter().find(|(known, _)| *known == text);
        known.map_or_else(|| read(text), |(_, ip)| *ip)
    }
}

/// A set of networks, in the form in which an address is looked up fastest when there are few.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Networks {
    pub(super) fn new(networks: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push((network.network().to_bits(), network.netmask().to_bits())),
                IpNet::V6(network) => v6.push((network.network().to_bits(), network.netmask().to_bits())),
            }
        }
        Self {
            v4: v4.into(),
            v6: v6.into(),
        }
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.iter().any(|(network, mask)| ip.to_bits() & mask == *network),
            IpAddr::V6(ip) => self.v6.iter().any(|(network, mask)| ip.to_bits() & mask == *network),
        }
    }
}

/// The endpoint of two values of an event. A port outside `0..=65535` is no port.
pub(super) fn endpoint(ip: Option<Node<'_>>, port: Option<Node<'_>>) -> Endpoint {
    Endpoint {
        ip: ip.and_then(Node::text).and_then(read),
        port: port.and_then(self::port),
    }
}

/// A port, as a number or as text.
pub(super) fn port(node: Node<'_>) -> Option<u16> {
    match node.integer() {
        Some(number) => u16::try_from(number).ok(),
        None => node.text()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn agrees_with_the_standard_library(
            text in "[0-9]{1,4}(\\.[0-9]{1,3}){2,4}|[0-9.]{5,16}|(25[0-9]|0?[0-9]{1,2})(\\.(2[0-9]{2}|[0-9]{1,2})){3}|[0-9a-f:.]{2,24}",
        ) {
            prop_assert_eq!(read(&text), text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()), "{}", text);
        }

        #[test]
        fn networks_agree_with_ipnet(network in any::<u32>(), prefix in 0_u8..=32, ip in any::<u32>(), near in any::<bool>()) {
            let network = ipnet::Ipv4Net::new(network.into(), prefix).expect("a prefix");
            let ip = if near { Ipv4Addr::from(network.network().to_bits() ^ (ip & 0x8000_0101)) } else { ip.into() };
            prop_assert_eq!(Networks::new(&[network.into()]).contains(ip.into()), network.contains(&ip));
        }
    }

    #[test]
    fn a_network_of_one_address_is_that_address() {
        for (text, expect) in [
            ("192.0.2.1/32", Some("192.0.2.1")),
            ("2001:db8::1/128", Some("2001:db8::1")),
            ("::ffff:192.0.2.1/128", Some("192.0.2.1")),
            ("192.0.2.1/24", None),
            ("192.0.2.1", None),
            ("010.0.0.1/32", None),
            ("2001:db8::1/32", None),
            ("192.0.2.1/032", None),
            ("192.0.2.1/32/32", None),
        ] {
            let expect = expect.map(|ip| ip.parse::<IpAddr>().expect("an address"));
            assert_eq!(of_one(text), expect, "{text}");
        }
    }

    #[test]
    fn only_plain_addresses_are_read() {
        let rows = [
            ("192.0.2.1", Some("192.0.2.1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("0000:0000:0000:0000:0000:ffff:c000:0201", Some("192.0.2.1")),
            ("2001:0db8:0000:0000:0000:0000:0000:0001", Some("2001:db8::1")),
            ("0.0.0.0", Some("0.0.0.0")),
            ("255.255.255.255", Some("255.255.255.255")),
            ("fe80::1%eth0", None),
            ("fe80::1%1", None),
            ("[2001:db8::1]", None),
            ("192.0.2.1:80", None),
            ("192.0.2.0/24", None),
            ("192.0.2.010", None),
            ("192.0.2", None),
            ("3232235777", None),
            ("0xc0000201", None),
            (" 192.0.2.1", None),
            ("192.0.2.1\0", None),
            ("example.com", None),
            ("", None),
        ];
        for (text, expect) in rows {
            assert_eq!(read(text).map(|ip| ip.to_string()).as_deref(), expect, "{text:?}");
        }
    }
}
