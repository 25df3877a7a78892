//! What the table is made of: its chains and their rules, as data, and what can be read back out of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Allowed, IpVersion, Transport};
use crate::nftables::layout::{
    ACCEPT, COMPARE_EQUAL, ChainLayout, DROP, META_NFPROTO, PAYLOAD_NETWORK_HEADER, REGISTER,
};
use crate::nftables::parse::{Expression, Rule};

/// The set of what is cut off.
pub(super) const ISOLATED: &str = "isolated";

/// The comment of every rule, with the generation of this layout.
pub(super) const RULE_COMMENT: &str = "staunch isolation 1";

/// Forty before the chains that block (-310), and before connections are tracked (-200): established ones are cut too.
const BEFORE_BLOCKS: i32 = -350;

const META_IIFTYPE: u32 = 8;
const META_OIFTYPE: u32 = 9;
const META_SKUID: u32 = 10;
const META_L4PROTO: u32 = 16;
const PAYLOAD_TRANSPORT_HEADER: u32 = 2;
/// `NFT_LOOKUP_F_INV`
const NOT_IN: u32 = 1;
const COMPARE_AT_MOST: u32 = 3;
const COMPARE_AT_LEAST: u32 = 5;

/// `ARPHRD_LOOPBACK`
const LOOPBACK: u16 = 772;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;

/// The all of DHCPv6 servers and relays on the link (RFC 8415, section 7.1).
const DHCP6_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// The addresses of the link itself.
const LINK_LOCAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
/// Multicast on the link.
const LINK_MULTICAST: (Ipv6Addr, u8) = (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0), 16);

/// The chains, in order.
pub(super) const CHAINS: [Side; 3] = [Side::Input, Side::Forward, Side::Output];

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// To this machine.
    Input,
    /// Through it.
    Forward,
    /// From it.
    Output,
}

impl Side {
    /// The chain, without its rules.
    pub(super) fn chain(self) -> ChainLayout {
        let (name, hook) = match self {
            Self::Input => ("input", 1),
            Self::Forward => ("forward", 2),
            Self::Output => ("output", 3),
        };
        ChainLayout {
            name,
            hook,
            priority: BEFORE_BLOCKS,
            rules: Vec::new(),
        }
    }

    /// The rules of the chain: what is not cut off, what a machine needs to have addresses at all, what is to stay
    /// reachable; and the end of everything else.
    pub(super) fn rules(self, allowed: &[Allowed]) -> Vec<Vec<Expression>> {
        let mut rules = self.head();
        rules.extend(allowed.iter().flat_map(|it| self.allowing(it)));
        rules.push(drop_all());
        rules
    }

    fn head(self) -> Vec<Vec<Expression>> {
        let not_cut = vec![
            meta(META_NFPROTO),
            Expression::Lookup {
                set: ISOLATED.to_owned(),
                register: REGISTER,
                flags: NOT_IN,
            },
            accept(),
        ];
        let loopback = |key| vec![meta(key), equal(&LOOPBACK.to_ne_bytes()), accept()];
        match self {
            Self::Forward => vec![not_cut],
            Self::Input => vec![
                not_cut,
                loopback(META_IIFTYPE),
                // What a DHCP server answers. It may be relayed, from any address.
                rule(IpVersion::V4, [transport(UDP), ports(67, 68)]),
                rule(IpVersion::V6, [self.peer6(LINK_LOCAL), transport(UDP), ports(547, 546)]),
                // Neighbours and routers that advertise themselves; a hop limit of 255 is proof that it was not
                // forwarded.
                rule(IpVersion::V6, [hop_limit(255), transport(ICMP6), kinds(134, 136)]),
                // Questions of those that route multicast.
                rule(
                    IpVersion::V6,
                    [self.peer6(LINK_LOCAL), hop_limit(1), transport(ICMP6), kinds(130, 130)],
                ),
            ],
            Self::Output => vec![
                not_cut,
                loopback(META_OIFTYPE),
                // To all servers of the link and to none beyond it: a lease is renewed by that too, once its server has
                // not answered (RFC 2131, section 4.4.5).
                rule(
                    IpVersion::V4,
                    [self.peer(Ipv4Addr::BROADCAST.into(), 32), transport(UDP), ports(68, 67)],
                ),
                rule(
                    IpVersion::V6,
                    [self.peer(DHCP6_SERVERS.into(), 128), transport(UDP), ports(546, 547)],
                ),
                rule(IpVersion::V6, [hop_limit(255), transport(ICMP6), kinds(133, 136)]),
                // Which groups are listened to, those of neighbour discovery among them.
                rule(
                    IpVersion::V6,
                    [
                        self.peer6(LINK_MULTICAST),
                        hop_limit(1),
                        transport(ICMP6),
                        kinds(131, 132),
                    ],
                ),
                rule(
                    IpVersion::V6,
                    [
                        self.peer6(LINK_MULTICAST),
                        hop_limit(1),
                        transport(ICMP6),
                        kinds(143, 143),
                    ],
                ),
            ],
        }
    }

    /// The rules by which something stays reachable.
    fn allowing(self, allowed: &Allowed) -> Vec<Vec<Expression>> {
        let (address, prefix) = match *allowed {
            Allowed::Network { address, prefix } => (address, prefix),
            Allowed::Service { address, .. } => (address, full(address)),
        };
        let family = IpVersion::of(address);
        let mut steps = vec![self.peer(address, prefix)];
        if let Allowed::Service {
            transport: protocol,
            port,
            user,
            ..
        } = *allowed
        {
            steps.push(transport(match protocol {
                Transport::Tcp => TCP,
                Transport::Udp => UDP,
            }));
            let offset = if self == Self::Output { 2 } else { 0 };
            steps.push(vec![
                payload(PAYLOAD_TRANSPORT_HEADER, offset, 2),
                equal(&port.to_be_bytes()),
            ]);
            // Which socket a packet is for is not known yet when it comes in.
            if let Some(user) = user.filter(|_| self == Self::Output) {
                steps.push(vec![meta(META_SKUID), equal(&user.to_ne_bytes())]);
            }
        }
        let mut rules = vec![rule(family, steps)];
        if self == Self::Input {
            rules.push(too_big(address, prefix));
        }
        rules
    }

    /// `ip saddr 192.0.2.0/24` and its likes, of the other side.
    fn peer(self, address: IpAddr, prefix: u8) -> Vec<Expression> {
        let offset = match (self, address) {
            (Self::Output, IpAddr::V4(_)) => 16,
            (_, IpAddr::V4(_)) => 12,
            (Self::Output, IpAddr::V6(_)) => 24,
            (_, IpAddr::V6(_)) => 8,
        };
        in_network(PAYLOAD_NETWORK_HEADER, offset, address, prefix)
    }

    fn peer6(self, (address, prefix): (Ipv6Addr, u8)) -> Vec<Expression> {
        self.peer(address.into(), prefix)
    }
}

/// `counter drop`
pub(super) fn drop_all() -> Vec<Expression> {
    vec![Expression::Counter, Expression::Verdict { code: DROP }]
}

/// What the rules of a chain let through beside what all do; `None` when they do not start with rules as we write them.
/// What comes after the last of ours cannot undo a drop.
pub(super) fn allowed_in(side: Side, rules: &[&Rule]) -> Option<Vec<Allowed>> {
    let mut rules = rules.iter().map(|it| &it.expressions);
    for expected in side.head() {
        rules.next().filter(|it| **it == expected)?;
    }
    let mut allowed = Vec::new();
    loop {
        let rule = rules.next()?;
        if *rule == drop_all() {
            return Some(allowed);
        }
        let read = read(rule)?;
        let mut expected = side.allowing(&read).into_iter();
        expected.next().filter(|it| it == rule)?;
        for expected in expected {
            rules.next().filter(|it| **it == expected)?;
        }
        allowed.push(read);
    }
}

/// What a rule is likely to let through. Whether it does nothing else is seen by writing it again.
fn read(rule: &[Expression]) -> Option<Allowed> {
    let after = |wanted: fn(&Expression) -> bool| {
        let at = rule.iter().position(wanted)?;
        rule[at..].iter().find_map(|it| match it {
            Expression::Compare { data, .. } => Some(data.as_slice()),
            _ => None,
        })
    };
    let is_v4 = matches!(rule.get(1), Some(Expression::Compare { data, .. }) if *data == [IpVersion::V4.number()]);
    let start = after(|it| {
        matches!(
            it,
            Expression::Payload {
                base: PAYLOAD_NETWORK_HEADER,
                ..
            }
        )
    })?;
    let mut bytes = [0; 16];
    bytes.get_mut(..start.len())?.copy_from_slice(start);
    let address = match bytes {
        [a, b, c, d, ..] if is_v4 => IpAddr::from([a, b, c, d]),
        all => IpAddr::from(all),
    };
    let ones = rule.iter().find_map(|it| match it {
        Expression::Mask { mask, .. } => Some(mask.iter().map(|byte| byte.count_ones()).sum()),
        _ => None,
    });
    let covered = u32::try_from(start.len() * 8).ok()?;
    let prefix = u8::try_from(ones.unwrap_or(covered)).ok()?;
    let Some(protocol) = after(|it| matches!(it, Expression::Meta { key: META_L4PROTO, .. })) else {
        return Some(Allowed::Network { address, prefix });
    };
    let port = after(|it| {
        matches!(
            it,
            Expression::Payload {
                base: PAYLOAD_TRANSPORT_HEADER,
                ..
            }
        )
    })?;
    let user = after(|it| matches!(it, Expression::Meta { key: META_SKUID, .. }));
    Some(Allowed::Service {
        address,
        transport: match protocol {
            [TCP] => Transport::Tcp,
            [UDP] => Transport::Udp,
            _ => return None,
        },
        port: u16::from_be_bytes(port.try_into().ok()?),
        user: match user {
            Some(bytes) => Some(u32::from_ne_bytes(bytes.try_into().ok()?)),
            None => None,
        },
    })
}

/// "Packet too big", from whatever router, about a packet to this network: without it connections that stay could hang.
fn too_big(address: IpAddr, prefix: u8) -> Vec<Expression> {
    // The header of the packet it is about follows the eight bytes of its own.
    match address {
        IpAddr::V4(_) => {
            let fragmentation_needed = vec![payload(PAYLOAD_TRANSPORT_HEADER, 0, 2), equal(&[3, 4])];
            let about = in_network(PAYLOAD_TRANSPORT_HEADER, 8 + 16, address, prefix);
            rule(IpVersion::V4, [transport(ICMP), fragmentation_needed, about])
        }
        IpAddr::V6(_) => {
            let about = in_network(PAYLOAD_TRANSPORT_HEADER, 8 + 24, address, prefix);
            rule(IpVersion::V6, [transport(ICMP6), kinds(2, 2), about])
        }
    }
}

/// Of a family, all of the steps, and then it is let through.
fn rule(family: IpVersion, steps: impl IntoIterator<Item = Vec<Expression>>) -> Vec<Expression> {
    let mut rule = vec![meta(META_NFPROTO), equal(&[family.number()])];
    rule.extend(steps.into_iter().flatten());
    rule.push(accept());
    rule
}

/// The bytes of an address that a prefix covers; with a mask when it covers a part of one. `nft` does the same.
fn in_network(base: u32, offset: u32, address: IpAddr, prefix: u8) -> Vec<Expression> {
    let mut bytes = match address {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    };
    let mask: Vec<u8> = (0..bytes.len()).map(|at| mask_byte(prefix, at)).collect();
    for (byte, mask) in bytes.iter_mut().zip(&mask) {
        *byte &= mask;
    }
    let mut steps = Vec::with_capacity(3);
    if prefix > 0 && prefix.is_multiple_of(8) {
        bytes.truncate(usize::from(prefix / 8));
        steps.push(payload(base, offset, u32::from(prefix / 8)));
    } else {
        steps.push(payload(base, offset, u32::from(full(address) / 8)));
        steps.push(Expression::Mask {
            source: REGISTER,
            register: REGISTER,
            xor: vec![0; mask.len()],
            mask,
        });
    }
    steps.push(equal(&bytes));
    steps
}

/// The byte of a mask at this place.
fn mask_byte(prefix: u8, at: usize) -> u8 {
    let ones = usize::from(prefix).saturating_sub(at * 8).min(8);
    // Eight bits at the most, of which those below are zero.
    (0xff00_u16 >> ones).to_be_bytes()[1]
}

const fn full(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn transport(protocol: u8) -> Vec<Expression> {
    vec![meta(META_L4PROTO), equal(&[protocol])]
}

/// From one port to another.
fn ports(source: u16, destination: u16) -> Vec<Expression> {
    let both = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    vec![payload(PAYLOAD_TRANSPORT_HEADER, 0, 4), equal(&both)]
}

/// Messages of ICMP of these types.
fn kinds(first: u8, last: u8) -> Vec<Expression> {
    let mut steps = vec![payload(PAYLOAD_TRANSPORT_HEADER, 0, 1)];
    if first == last {
        steps.push(equal(&[first]));
    } else {
        steps.push(compare(COMPARE_AT_LEAST, &[first]));
        steps.push(compare(COMPARE_AT_MOST, &[last]));
    }
    steps
}

/// The hop limit of IPv6.
fn hop_limit(limit: u8) -> Vec<Expression> {
    vec![payload(PAYLOAD_NETWORK_HEADER, 7, 1), equal(&[limit])]
}

const fn meta(key: u32) -> Expression {
    Expression::Meta {
        key,
        register: REGISTER,
    }
}

const fn payload(base: u32, offset: u32, length: u32) -> Expression {
    Expression::Payload {
        register: REGISTER,
        base,
        offset,
        length,
    }
}

fn equal(data: &[u8]) -> Expression {
    compare(COMPARE_EQUAL, data)
}

fn compare(operator: u32, data: &[u8]) -> Expression {
    Expression::Compare {
        register: REGISTER,
        operator,
        data: data.to_vec(),
    }
}

const fn accept() -> Expression {
    Expression::Verdict { code: ACCEPT }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str, prefix: u8) -> Allowed {
        Allowed::Network {
            address: address.parse().unwrap(),
            prefix,
        }
    }

    fn some() -> Vec<Allowed> {
        let service = |address: &str, user| Allowed::Service {
            address: address.parse().unwrap(),
            transport: Transport::Tcp,
            port: 443,
            user,
        };
        vec![
            network("192.0.2.0", 24),
            network("192.0.2.7", 32),
            network("10.0.0.0", 9),
            network("2001:db8::", 33),
            network("2001:db8::1", 128),
            service("198.51.100.1", Some(997)),
            service("2001:db8::2", None),
        ]
    }

    fn rules(side: Side, allowed: &[Allowed]) -> Vec<Rule> {
        let as_rule = |expressions| Rule {
            expressions,
            ..Rule::default()
        };
        side.rules(allowed).into_iter().map(as_rule).collect()
    }

    fn read_back(side: Side, rules: &[Rule]) -> Option<Vec<Allowed>> {
        allowed_in(side, &rules.iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_is_let_through_is_read_back() {
        assert_eq!(read_back(Side::Output, &rules(Side::Output, &some())), Some(some()));
        let without_users = some().into_iter().map(|it| match it {
            Allowed::Service {
                address,
                transport,
                port,
                ..
            } => Allowed::Service {
                address,
                transport,
                port,
                user: None,
            },
            network @ Allowed::Network { .. } => network,
        });
        let input = read_back(Side::Input, &rules(Side::Input, &some()));
        assert_eq!(input, Some(without_users.collect()));
        assert_eq!(read_back(Side::Forward, &rules(Side::Forward, &[])), Some(vec![]));
    }

    #[test]
    fn a_chain_without_one_of_its_rules_or_with_another_before_is_not_whole() {
        for side in CHAINS {
            let allowed = if side == Side::Forward { vec![] } else { some() };
            let whole = rules(side, &allowed);
            for missing in 0..whole.len() {
                let mut fewer = whole.clone();
                fewer.remove(missing);
                // Without what lets one thing through, that thing is not reachable, but everything is cut that was.
                let still_whole = read_back(side, &fewer).is_some_and(|it| it.len() < allowed.len());
                assert!(read_back(side, &fewer).is_none() || still_whole, "{side:?} {missing}");
            }
            let mut more = whole.clone();
            more.insert(
                1,
                Rule {
                    expressions: vec![accept()],
                    ..Rule::default()
                },
            );
            assert_eq!(read_back(side, &more), None);
            let mut after = whole.clone();
            after.push(Rule {
                expressions: vec![accept()],
                ..Rule::default()
            });
            assert_eq!(read_back(side, &after), read_back(side, &whole));
        }
    }

    #[test]
    fn masks_have_their_ones_in_front() {
        let mask = |prefix| [0, 1, 2, 3].map(|at| mask_byte(prefix, at));
        assert_eq!(mask(0), [0; 4]);
        assert_eq!(mask(9), [0xff, 0x80, 0, 0]);
        assert_eq!(mask(24), [0xff, 0xff, 0xff, 0]);
        assert_eq!(mask(32), [0xff; 4]);
    }
}
