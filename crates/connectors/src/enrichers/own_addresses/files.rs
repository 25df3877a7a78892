//! Reads addresses out of the text of system files.
//!
//! Pure: it is given the text, and skips lines that it cannot read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where people log in.
const SSH_PORT: u16 = 22;
/// `TCP_ESTABLISHED` in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// The resolvers listed in the text of `resolv.conf`.
pub(super) fn resolvers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words
            .next()
            .filter(|it| *it == "nameserver")
            .and_then(|_| words.next())?;
        // A link-local address comes with its link: fe80::1%eth0.
        address.split('%').next()?.parse().ok()
    })
}

/// The peers of established connections to the local port of SSH in the text of `/proc/net/tcp` or `tcp6`.
pub(super) fn ssh_peers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().skip(1).filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (local, peer, state) = (words.next()?, words.next()?, words.next()?);
        let (_, port) = local.split_once(':')?;
        let is_session = state == ESTABLISHED && u16::from_str_radix(port, 16) == Ok(SSH_PORT);
        is_session.then(|| address(peer.split_once(':')?.0)).flatten()
    })
}

/// Reads an address as the kernel prints it: words of 32 bits in the byte order of the machine.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        u32::from_str_radix(text.get(8 * at..8 * at + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[4 * at..4 * at + 4].copy_from_slice(&word(at)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|it| it.parse().unwrap()).collect()
    }

    #[test]
    fn resolvers_are_read_and_the_rest_is_skipped() {
        let text = "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.53\n  nameserver\tfe80::1%eth0 \n\
                    nameserver\nnameserver nonsense\nnameserver2 192.0.2.8\noptions edns0\n";
        assert_eq!(resolvers(text).collect::<Vec<_>>(), ips(&["192.0.2.53", "fe80::1"]));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn peers_of_ssh_sessions_are_read() {
        let header = "  sl  local_address rem_address   st tx_queue rx_queue\n";
        let v4 = "   0: 0100000A:0016 010200C0:C35C 01 00000000:00000000\n   1: 0100000A:0016 020200C0:C35C 06 0\n   \
                  2: 0100000A:0050 030200C0:C35C 01 0\n   3: 00000000:0016 00000000:0000 0A 0\n   garbage\n";
        assert_eq!(
            ssh_peers(&format!("{header}{v4}")).collect::<Vec<_>>(),
            ips(&["192.0.2.1"])
        );
        let v6 = "   0: 0000000000000000FFFF00000100000A:0016 0000000000000000FFFF0000040200C0:C35C 01 0\n   \
                  1: B80D0120000000000000000001000000:0016 B80D0120000000000000000002000000:C35C 01 0\n   \
                  2: xx:0016 yy:C35C 01 0\n";
        assert_eq!(
            ssh_peers(&format!("{header}{v6}")).collect::<Vec<_>>(),
            ips(&["192.0.2.4", "2001:db8::2"])
        );
    }
}
