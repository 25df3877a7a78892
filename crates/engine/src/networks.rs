//! The networks that are never touched, as a longest-prefix set.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net};
use staunch_model::{Prefixes, Protection};

/// Networks with the reason why each is protected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Those that are always protected are among them; they are the same for everybody and are kept once.
    always: bool,
    given: Reasoned,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reasoned {
    networks: Box<[(IpNet, Box<str>)]>,
    prefixes: Prefixes,
}

/// The networks that are always protected.
static BUILT_IN: LazyLock<Reasoned> =
    LazyLock::new(|| Reasoned::new(always().map(|(network, reason)| (network, reason.into()))));

/// Networks that no containment can mean, whatever the configuration says: blocking them would cut the host off from
/// itself or from its link (RFC 6890 special-purpose registries).
const ALWAYS: [(&str, &str); 8] = [
    ("127.0.0.0/8", "loopback"),
    ("::1/128", "loopback"),
    ("0.0.0.0/8", "this network (RFC 1122)"),
    ("::/128", "the unspecified address"),
    ("224.0.0.0/4", "multicast"),
    ("ff00::/8", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("169.254.169.254/32", "the cloud's metadata service"),
];

/// The networks that are protected whatever the configuration says, and why.
///
/// # Panics
/// Never: the built-in networks are well formed.
pub fn always() -> impl Iterator<Item = (IpNet, &'static str)> {
    let parsed = |(network, reason): (&str, &'static str)| {
        let network: IpNet = network.parse().expect("built-in networks are well formed");
        (network, reason)
    };
    ALWAYS.into_iter().map(parsed)
}

/// `network` without host bits, and as IPv4 when it is a part of `::ffff:0:0/96`: targets are addresses of that form.
#[must_use]
pub fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(net) if net.prefix_len() >= 96 => net.addr().to_ipv4_mapped().map(|v4| (v4, net.prefix_len() - 96)),
        _ => None,
    };
    let v4 = mapped.and_then(|(v4, bits)| Ipv4Net::new(v4, bits).ok());
    v4.map_or(network, IpNet::V4).trunc()
}

impl Networks {
    /// The set of `protections` and of what is always protected. Of two reasons for the same network, the last one
    /// holds.
    #[must_use]
    pub fn new(protections: &[Protection]) -> Self {
        let given = protections.iter().rev();
        Self {
            always: true,
            given: Reasoned::new(given.map(|it| (canonical(it.network), it.reason.clone()))),
        }
    }

    /// The narrowest protected network around `ip`, and why it is protected.
    #[must_use]
    pub fn longest_match(&self, ip: IpAddr) -> Option<(IpNet, &str)> {
        let given = self.given.narrowest(ip);
        let built_in = self.always.then(|| BUILT_IN.narrowest(ip)).flatten();
        match (given, built_in) {
            (Some(given), Some(built_in)) if given.0.prefix_len() < built_in.0.prefix_len() => Some(built_in),
            // Of two reasons for the same network, the one that was given holds.
            (given, built_in) => given.or(built_in),
        }
    }
}

impl Reasoned {
    /// Those of `networks`, which have no host bits; of equal ones the first holds.
    fn new(networks: impl Iterator<Item = (IpNet, Box<str>)>) -> Self {
        let networks: Box<[_]> = networks.collect();
        let prefixes: Vec<_> = networks.iter().map(|(network, _)| *network).collect();
        Self {
            prefixes: Prefixes::new(&prefixes),
            networks,
        }
    }

    fn narrowest(&self, ip: IpAddr) -> Option<(IpNet, &str)> {
        let (network, reason) = self.networks.get(self.prefixes.longest_match(ip)?)?;
        Some((*network, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_network_gives_the_reason() {
        let protection = |network: &str, reason: &str| Protection {
            network: network.parse().expect("a network"),
            reason: reason.into(),
        };
        let networks = Networks::new(&[
            protection("10.0.0.0/8", "office"),
            protection("10.1.2.3/32", "balancer"),
            protection("127.0.0.0/8", "ours"),
            protection("127.0.0.0/8", "mine"),
            protection("198.51.100.9/24", "with host bits"),
            protection("::ffff:192.0.2.0/120", "mapped"),
            protection("169.254.0.0/16", "link-local"),
        ]);
        let reason = |ip: &str| {
            networks
                .longest_match(ip.parse().expect("an address"))
                .map(|(_, reason)| reason)
        };
        assert_eq!(reason("10.1.2.3"), Some("balancer"));
        assert_eq!(reason("10.1.2.4"), Some("office"));
        assert_eq!(reason("198.51.101.1"), None);
        assert_eq!(reason("198.51.100.1"), Some("with host bits"));
        assert_eq!(reason("192.0.2.1"), Some("mapped"));
        let found = networks.longest_match("198.51.100.1".parse().expect("an address"));
        assert_eq!(
            found.map(|(network, _)| network.to_string()).as_deref(),
            Some("198.51.100.0/24")
        );
        assert_eq!(reason("127.8.0.1"), Some("mine"));
        assert_eq!(reason("169.254.169.254"), Some("the cloud's metadata service"));
        assert_eq!(reason("169.254.0.1"), Some("link-local"));
        assert_eq!(reason("224.0.0.5"), Some("multicast"));
        assert_eq!(reason("::1"), Some("loopback"));
        assert_eq!(reason("::2"), None);
        let loopback = "127.0.0.1".parse().expect("an address");
        assert_eq!(
            Networks::default().longest_match(loopback),
            None,
            "without a policy there is nothing"
        );
    }

    #[test]
    fn mapped_addresses_are_those_that_they_map() {
        let check = |text: &str, expect: &str| {
            let network = canonical(text.parse().expect("a network"));
            assert_eq!(network.to_string(), expect);
        };
        check("::ffff:192.0.2.1/128", "192.0.2.1/32");
        check("::ffff:192.0.2.99/120", "192.0.2.0/24");
        check("::ffff:0:0/96", "0.0.0.0/0");
        check("::/0", "::/0");
        check("2001:db8::1/32", "2001:db8::/32");
        check("192.0.2.99/24", "192.0.2.0/24");
    }
}
