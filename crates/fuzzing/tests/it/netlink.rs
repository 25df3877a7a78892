//! What is built for the kernel is read as the same.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use staunch_netlink::conntrack::{Counters, Flow, TcpState, Tuple, parse_flow};
use staunch_netlink::message::{Attribute, Builder, parse_acknowledgement, parse_attributes, parse_messages};
use staunch_netlink::nftables::{Element, parse_element_list};

/// An attribute with what is in it.
#[derive(Clone, Debug)]
enum Tree {
    Bytes(u16, Vec<u8>),
    Text(u16, String),
    Nest(u16, Vec<Tree>),
}

/// The types of attributes; the two highest bits are flags.
const KINDS: std::ops::Range<u16> = 0..0x4000;

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        (KINDS, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, bytes)| Tree::Bytes(kind, bytes)),
        (KINDS, "[^\u{0}]{0,20}").prop_map(|(kind, text)| Tree::Text(kind, text)),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        (KINDS, prop::collection::vec(inner, 0..6)).prop_map(|(kind, inner)| Tree::Nest(kind, inner))
    })
}

fn build(builder: &mut Builder, tree: &Tree) {
    match tree {
        Tree::Bytes(kind, bytes) => builder.bytes(*kind, bytes),
        Tree::Text(kind, text) => builder.text(*kind, text),
        Tree::Nest(kind, inner) => builder.nest(*kind, |it| inner.iter().for_each(|tree| build(it, tree))),
    }
}

fn assert_reads(attribute: &Attribute<'_>, tree: &Tree) {
    match tree {
        Tree::Bytes(kind, bytes) => assert_eq!((attribute.kind, attribute.payload), (*kind, &bytes[..])),
        Tree::Text(kind, text) => assert_eq!((attribute.kind, attribute.text()), (*kind, Ok(&text[..]))),
        Tree::Nest(kind, inner) => {
            assert_eq!(attribute.kind, *kind);
            let found: Vec<_> = attribute.nested().map(|it| it.expect("well-formed")).collect();
            assert_eq!(found.len(), inner.len());
            found
                .iter()
                .zip(inner)
                .for_each(|(attribute, tree)| assert_reads(attribute, tree));
        }
    }
}

fn tuple(v6: bool) -> impl Strategy<Value = Tuple> {
    let ip = move |bytes: [u8; 16]| {
        if v6 {
            IpAddr::from(bytes)
        } else {
            IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]])
        }
    };
    (
        any::<[u8; 16]>(),
        any::<[u8; 16]>(),
        any::<u8>(),
        any::<Option<u16>>(),
        any::<Option<u16>>(),
    )
        .prop_map(
            move |(source, destination, protocol, source_port, destination_port)| Tuple {
                source: ip(source),
                destination: ip(destination),
                protocol,
                source_port,
                destination_port,
            },
        )
}

fn counters() -> impl Strategy<Value = Option<Counters>> {
    any::<Option<(u64, u64)>>().prop_map(|it| it.map(|(packets, bytes)| Counters { packets, bytes }))
}

fn flow() -> impl Strategy<Value = Flow> {
    let states = [
        TcpState::None,
        TcpState::SynSent,
        TcpState::SynReceived,
        TcpState::Established,
        TcpState::FinWait,
        TcpState::CloseWait,
        TcpState::LastAck,
        TcpState::TimeWait,
        TcpState::Close,
        TcpState::SynSent2,
        TcpState::Other(10),
        TcpState::Other(255),
    ];
    let state = prop::option::of(prop::sample::select(states.to_vec()));
    any::<bool>().prop_flat_map(move |v6| {
        let ends = (tuple(v6), prop::option::of(tuple(v6)));
        (
            ends,
            any::<u32>(),
            state.clone(),
            any::<Option<u32>>(),
            counters(),
            counters(),
        )
            .prop_map(|((original, reply), status, tcp_state, timeout, sent, received)| Flow {
                original,
                reply,
                status,
                tcp_state,
                timeout: timeout.map(|it| Duration::from_secs(it.into())),
                sent,
                received,
            })
    })
}

fn state_number(state: TcpState) -> u8 {
    match state {
        TcpState::None => 0,
        TcpState::SynSent => 1,
        TcpState::SynReceived => 2,
        TcpState::Established => 3,
        TcpState::FinWait => 4,
        TcpState::CloseWait => 5,
        TcpState::LastAck => 6,
        TcpState::TimeWait => 7,
        TcpState::Close => 8,
        TcpState::SynSent2 => 9,
        TcpState::Other(number) => number,
    }
}

fn build_flow(flow: &Flow) -> Vec<u8> {
    let mut builder = Builder::default();
    builder.raw(&[2, 0, 0, 0]);
    let ip = |it: &mut Builder, kinds: [u16; 2], ip: IpAddr| match ip {
        IpAddr::V4(ip) => it.bytes(kinds[0], &ip.octets()),
        IpAddr::V6(ip) => it.bytes(kinds[1], &ip.octets()),
    };
    let tuple = |it: &mut Builder, kind: u16, tuple: &Tuple| {
        it.nest(kind, |it| {
            it.nest(1, |it| {
                ip(it, [1, 3], tuple.source);
                ip(it, [2, 4], tuple.destination);
            });
            it.nest(2, |it| {
                it.bytes(1, &[tuple.protocol]);
                if let Some(port) = tuple.source_port {
                    it.bytes(2, &port.to_be_bytes());
                }
                if let Some(port) = tuple.destination_port {
                    it.bytes(3, &port.to_be_bytes());
                }
            });
        });
    };
    tuple(&mut builder, 1, &flow.original);
    if let Some(reply) = &flow.reply {
        tuple(&mut builder, 2, reply);
    }
    builder.u32_be(3, flow.status);
    if let Some(state) = flow.tcp_state {
        builder.nest(4, |it| it.nest(1, |it| it.bytes(1, &[state_number(state)])));
    }
    if let Some(timeout) = flow.timeout {
        builder.u32_be(7, u32::try_from(timeout.as_secs()).expect("it was one"));
    }
    for (kind, counters) in [(9, flow.sent), (10, flow.received)] {
        if let Some(counters) = counters {
            builder.nest(kind, |it| {
                it.u64_be(1, counters.packets);
                it.u64_be(2, counters.bytes);
            });
        }
    }
    builder.finish().expect("short")
}

fn element() -> impl Strategy<Value = Element> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from)
    ];
    let comment = prop::option::of("[^\u{0}]{1,40}");
    (
        ip,
        any::<Option<u64>>(),
        any::<Option<u64>>(),
        comment,
        any::<Option<(u64, u64)>>(),
    )
        .prop_map(|(address, timeout, expires, comment, counter)| Element {
            address,
            timeout: timeout.map(Duration::from_millis),
            expires: expires.map(Duration::from_millis),
            comment,
            packets: counter.map(|it| it.0),
            bytes: counter.map(|it| it.1),
        })
}

fn build_elements(elements: &[Element]) -> Vec<u8> {
    let mut builder = Builder::default();
    builder.raw(&[1, 0, 0, 0]);
    builder.nest(3, |list| {
        for element in elements {
            list.nest(1, |it| {
                it.nest(1, |key| match element.address {
                    IpAddr::V4(ip) => key.bytes(1, &ip.octets()),
                    IpAddr::V6(ip) => key.bytes(1, &ip.octets()),
                });
                for (kind, time) in [(4, element.timeout), (5, element.expires)] {
                    if let Some(time) = time {
                        it.u64_be(kind, u64::try_from(time.as_millis()).expect("it was one"));
                    }
                }
                if let Some(comment) = &element.comment {
                    let length = u8::try_from(comment.len() + 1).expect("short");
                    it.bytes(6, &[&[0, length], comment.as_bytes(), &[0]].concat());
                }
                if let (Some(packets), Some(bytes)) = (element.packets, element.bytes) {
                    it.nest(7, |counter| {
                        counter.text(1, "counter");
                        counter.nest(2, |data| {
                            data.u64_be(1, bytes);
                            data.u64_be(2, packets);
                        });
                    });
                }
            });
        }
    });
    builder.finish().expect("short")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn messages_come_back_as_they_were(
        messages in prop::collection::vec((any::<u16>(), any::<u16>(), any::<u32>(), prop::collection::vec(tree(), 0..5)), 0..5),
    ) {
        let mut builder = Builder::default();
        for (kind, flags, sequence, trees) in &messages {
            builder.message(*kind, *flags, *sequence, &[1, 0, 0, 0], |it| trees.iter().for_each(|tree| build(it, tree)));
        }
        let bytes = builder.finish().expect("short");
        let found: Vec<_> = parse_messages(&bytes).map(|it| it.expect("well-formed")).collect();
        prop_assert_eq!(found.len(), messages.len());
        for (message, (kind, flags, sequence, trees)) in found.iter().zip(&messages) {
            let header = message.header;
            prop_assert_eq!((header.kind, header.flags, header.sequence), (*kind, *flags, *sequence));
            let attributes: Vec<_> = message.attributes(4).expect("a header").map(|it| it.expect("well-formed")).collect();
            prop_assert_eq!(attributes.len(), trees.len());
            attributes.iter().zip(trees).for_each(|(attribute, tree)| assert_reads(attribute, tree));
        }
    }

    #[test]
    fn flows_come_back_as_they_were(flow in flow()) {
        prop_assert_eq!(parse_flow(&build_flow(&flow)), Ok(flow));
    }

    #[test]
    fn elements_come_back_as_they_were(elements in prop::collection::vec(element(), 0..12)) {
        let mut found = Vec::new();
        parse_element_list(&build_elements(&elements), |element| found.push(element)).expect("well-formed");
        prop_assert_eq!(found, elements);
    }

    #[test]
    fn refusals_come_back_as_they_were(number in 0..4096_i32, text in "[^\u{0}]{0,60}", offset in any::<u32>()) {
        const CAPPED_AND_EXPLAINED: u16 = 0x300;
        let mut builder = Builder::default();
        builder.raw(&(-number).to_ne_bytes());
        builder.raw(&[0; 16]);
        builder.text(1, &text);
        builder.u32_ne(2, offset);
        let answer = parse_acknowledgement(CAPPED_AND_EXPLAINED, &builder.finish().expect("short")).expect("well-formed");
        prop_assert_eq!(answer.errno.is_some(), number != 0);
        prop_assert_eq!((answer.text, answer.offset), (Some(text), Some(offset)));
    }

    #[test]
    fn a_cut_attribute_is_noticed(tree in tree(), at in any::<prop::sample::Index>()) {
        let mut builder = Builder::default();
        build(&mut builder, &tree);
        let bytes = builder.finish().expect("short");
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let cut = at.index(length);
        prop_assert!(cut == 0 || parse_attributes(&bytes[..cut]).any(|it| it.is_err()));
    }
}
