//! The parsers take any bytes without panicking.

use staunch_netlink::{conntrack, link, message, nftables};

/// A small linear congruential generator (Knuth's MMIX constants), so that a failure can be repeated.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u8 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }
}

fn parse_all(bytes: &[u8]) {
    for message in message::parse_messages(bytes).flatten() {
        parse_payload(message.header.flags, message.payload);
    }
    parse_payload(u16::from(bytes.first().copied().unwrap_or(0)) << 8, bytes);
}

fn parse_payload(flags: u16, bytes: &[u8]) {
    for attribute in message::parse_attributes(bytes).flatten() {
        let _ = attribute.nested().count();
        let _ = attribute.text();
    }
    let _ = message::parse_acknowledgement(flags, bytes);
    let _ = nftables::parse_generation(bytes);
    let _ = nftables::parse_set(bytes);
    let _ = nftables::parse_chain(bytes);
    let _ = nftables::parse_rule(bytes);
    let _ = nftables::parse_element_list(bytes, |_| {});
    let _ = nftables::parse_cut_list(bytes, |_| {});
    let _ = nftables::parse_comment(bytes);
    let _ = conntrack::parse_flow(bytes);
    let _ = link::parse_address(bytes);
    let _ = link::parse_gateways(bytes);
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Bytes(1);
    for round in 0..20_000_usize {
        let bytes: Vec<u8> = (0..round % 200).map(|_| random.next()).collect();
        parse_all(&bytes);
    }
}

#[test]
fn plausible_bytes_never_panic_truncated_or_damaged() {
    let mut builder = message::Builder::default();
    builder.message(1, 0x300, 1, &[2, 0, 0, 0], |m| {
        for kind in 1..12 {
            m.nest(kind, |outer| {
                outer.text(1, "counter");
                outer.nest(2, |inner| {
                    inner.nest(1, |it| it.bytes(1, &[192, 0, 2, 1]));
                    inner.u32_be(2, 7);
                    inner.u64_be(3, 8);
                });
                outer.bytes(6, &[0, 4, b'a', b'b', b'c', 0]);
            });
        }
    });
    let whole = builder.finish().unwrap();
    for length in 0..=whole.len() {
        parse_all(&whole[..length]);
    }
    let mut random = Bytes(2);
    for _ in 0..20_000 {
        let mut damaged = whole.clone();
        for _ in 0..1 + random.next() % 4 {
            let place = (usize::from(random.next()) << 8 | usize::from(random.next())) % damaged.len();
            damaged[place] = random.next();
        }
        parse_all(&damaged);
        parse_all(damaged.get(16..).unwrap());
    }
}
