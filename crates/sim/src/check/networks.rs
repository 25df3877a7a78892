//! Which addresses a network has, and what is known of an address by itself. The engine has its own.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// An address of the cloud that answers whoever asks with credentials.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Whether `ip` is in `network`, which may be a part of `::ffff:0:0/96` that is one of IPv4.
pub(super) fn covers(network: &IpNet, ip: IpAddr) -> bool {
    match (network, ip) {
        (IpNet::V6(net), IpAddr::V4(v4)) => net.prefix_len() >= 96 && net.contains(&v4.to_ipv6_mapped()),
        _ => network.contains(&ip),
    }
}

/// `network` in the one form in which networks are compared.
pub(super) fn plain(network: IpNet) -> IpNet {
    if let IpNet::V6(net) = network
        && let Some(bits) = net.prefix_len().checked_sub(96)
        && let Some(v4) = net.addr().to_ipv4_mapped()
        && let Ok(net) = Ipv4Net::new(v4, bits)
    {
        return net.trunc().into();
    }
    network.trunc()
}

/// An address that is nobody else's, and is never touched: of this machine, of all, of many or of none.
pub(super) fn is_special(ip: IpAddr) -> bool {
    let of_v4 = |v4: Ipv4Addr| v4.octets()[0] == 0 || v4.is_broadcast() || v4 == METADATA;
    ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || matches!(ip, IpAddr::V4(v4) if of_v4(v4))
}

/// An address of the business itself (RFC 1918, RFC 4193) or of one link.
pub(super) fn is_internal(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => matches!(v6.segments()[0], 0xfc00..=0xfdff | 0xfe80..=0xfebf),
    }
}
