//! Messages of netlink: framing, attributes, nf_tables, conntrack, links, addresses, routes and sockets.
//!
//! What holds: what is read lies inside what was given, in order; attributes that are read and built again are read as
//! the same; a text has no NUL in it; and an address that is read is one that is written there.

use staunch_netlink::message::{Attribute, Builder, parse_acknowledgement, parse_attributes, parse_messages};
use staunch_netlink::schema::{Field, Layout, Value, parse_object};
use staunch_netlink::{conntrack, diagnosis, link, nftables, route, ruleset};

/// Reads a datagram: as messages, and all of it as the payload of one.
pub fn run(data: &[u8]) {
    let (mut end, mut errors) = (0, 0);
    for message in parse_messages(data) {
        let Ok(message) = message else {
            errors += 1;
            continue;
        };
        end = follows(data, message.payload, end);
        assert_eq!(errors, 0, "nothing is read after a malformed message");
        payload(message.header.flags, message.payload);
    }
    assert!(errors <= 1);
    let flags = data.first().map_or(0, |first| u16::from(*first) << 8);
    payload(flags, data);
}

/// Asserts that `part` lies in `whole` at or behind `start`, and returns its end.
fn follows(whole: &[u8], part: &[u8], start: usize) -> usize {
    let at = part.as_ptr().addr() - whole.as_ptr().addr();
    assert!(at >= start && at + part.len() <= whole.len(), "it lies elsewhere");
    at + part.len()
}

fn payload(flags: u16, bytes: &[u8]) {
    for fixed in [0, 4, 8, 12] {
        attributes(bytes.get(fixed..).unwrap_or_default(), 0);
    }
    if let Ok(answer) = parse_acknowledgement(flags, bytes) {
        assert!(answer.text.is_none_or(|text| !text.contains('\0')));
    }
    if let Ok(set) = nftables::parse_set(bytes) {
        assert!(!set.table.contains('\0') && !set.name.contains('\0'));
    }
    if let Ok(chain) = nftables::parse_chain(bytes) {
        assert!(!chain.table.contains('\0') && !chain.name.contains('\0'));
    }
    if let Ok(rule) = nftables::parse_rule(bytes) {
        assert!(rule.comment.is_none_or(|comment| !comment.contains('\0')));
    }
    let _ = nftables::parse_generation(bytes);
    let mut elements = Vec::new();
    let whole = nftables::parse_element_list(bytes, |element| elements.push(element)).is_ok();
    for element in &elements {
        assert!(element.has_comment(element.comment.as_deref().unwrap_or_default()));
        let is_there = match element.address {
            std::net::IpAddr::V4(ip) => holds(bytes, &ip.octets()),
            std::net::IpAddr::V6(ip) => holds(bytes, &ip.octets()),
        };
        assert!(is_there, "{} is not in the message", element.address);
    }
    let mut again = Vec::new();
    let same = nftables::parse_element_list(bytes, |element| again.push(element)).is_ok();
    assert_eq!((same, again), (whole, elements));
    let mut cuts = Vec::new();
    let read = nftables::parse_cut_list(bytes, |cut| cuts.push(cut)).is_ok();
    assert_eq!(read, whole, "only the keys differ");
    for cut in &cuts {
        let number = match cut.version {
            nftables::IpVersion::V4 => 2,
            nftables::IpVersion::V6 => 10,
        };
        assert!(holds(bytes, &[number]), "{cut:?} is not in the message");
        assert!(cut.comment.as_ref().is_none_or(|comment| !comment.contains('\0')));
    }
    if let Some(comment) = nftables::parse_comment(bytes) {
        assert!(!comment.contains('\0') && comment.chars().count() <= usize::from(u8::MAX));
    }
    if let Ok(flow) = conntrack::parse_flow(bytes) {
        assert_eq!(flow.is_tcp(), flow.original.protocol == 6);
        assert_eq!(
            flow.original.source.is_ipv4(),
            flow.original.destination.is_ipv4(),
            "both sides are of one family"
        );
    }
    let _ = link::parse_address(bytes);
    let _ = link::parse_gateways(bytes);
    let layouts = route::Table::ALL.map(route::Table::layout);
    for layout in layouts.into_iter().chain(ruleset::Kind::ALL.map(ruleset::Kind::layout)) {
        object(layout, bytes);
    }
    object(&ruleset::ELEMENTS, bytes);
    object(&conntrack::LAYOUT, bytes);
    for kind in [diagnosis::Local::Unix, diagnosis::Local::Packet] {
        for field in diagnosis::parse_local_socket(kind, bytes).unwrap_or_default() {
            inside(bytes, &field.value);
        }
    }
    if let Ok(socket) = diagnosis::parse_inet_socket(bytes) {
        assert_eq!(socket.local.is_ipv4(), socket.family == 2);
        assert_eq!(socket.remote.is_ipv4(), socket.family == 2);
        socket.more.iter().for_each(|field| inside(bytes, &field.value));
    }
}

/// Every object can be read that is as long as its header, and all that it says is written there. Each attribute is a
/// part of it, and what follows the last one is too.
fn object(layout: &Layout, bytes: &[u8]) {
    let fields = parse_object(layout, bytes);
    assert_eq!(fields.is_ok(), bytes.len() >= layout.header_bytes);
    let Ok(fields) = fields else { return };
    fields.iter().for_each(|field| inside(bytes, &field.value));
    let rest = &bytes[layout.header_bytes..];
    let readable = parse_attributes(rest).take_while(Result::is_ok).count();
    let is_torn = parse_attributes(rest).any(|it| it.is_err());
    assert_eq!(fields.len(), layout.header.len() + readable + usize::from(is_torn));
    assert_eq!(fields.last().is_some_and(|it| it.name == Some("unread")), is_torn);
}

fn inside(whole: &[u8], value: &Value<'_>) {
    match value {
        Value::Text(text) => {
            assert!(!text.contains('\0'));
            follows(whole, text.as_bytes(), 0);
        }
        Value::Bytes(bytes) => _ = follows(whole, bytes, 0),
        Value::Fields(fields) => fields.iter().for_each(|Field { value, .. }| inside(whole, value)),
        Value::List(values) => values.iter().for_each(|value| inside(whole, value)),
        Value::Negative(number) => assert!(*number < 0),
        Value::Number(_) | Value::Address(_) => {}
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Levels that are looked into.
const LEVELS_MAX: usize = 4;

fn attributes(bytes: &[u8], level: usize) {
    let mut found: Vec<Attribute<'_>> = Vec::new();
    let mut end = 0;
    for attribute in parse_attributes(bytes) {
        let Ok(attribute) = attribute else { break };
        end = follows(bytes, attribute.payload, end);
        found.push(attribute);
        if let Ok(text) = attribute.text() {
            assert!(!text.contains('\0'));
        }
        if level < LEVELS_MAX {
            attributes(attribute.payload, level + 1);
        }
    }
    let mut builder = Builder::default();
    for attribute in &found {
        builder.bytes(attribute.kind, attribute.payload);
    }
    let built = builder.finish().expect("they were no longer when they were read");
    let again: Result<Vec<_>, _> = parse_attributes(&built).collect();
    assert_eq!(again.expect("what is built can be read"), found);
}
