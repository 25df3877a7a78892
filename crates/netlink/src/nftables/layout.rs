//! What the table is made of: its sets, chains and rules, as data.

use super::parse::Expression;

pub(super) const BLOCK4: &str = "block4";
pub(super) const BLOCK6: &str = "block6";

/// The comment of every rule, with the generation of this layout.
pub(super) const RULE_COMMENT: &str = "staunch 1";

/// The type of the chains.
pub(super) const CHAIN_TYPE: &str = "filter";
/// `NF_ACCEPT`
pub(super) const ACCEPT: u32 = 1;
/// `NF_DROP`
pub(super) const DROP: u32 = 0;

/// Ten before `raw` (-300): before conntrack (-200) and address translation (-100), so that established connections
/// are cut too.
const BEFORE_CONNTRACK: i32 = -310;

pub(super) const NFPROTO_IPV4: u8 = 2;
pub(super) const NFPROTO_IPV6: u8 = 10;
pub(super) const META_NFPROTO: u32 = 15;
pub(super) const PAYLOAD_NETWORK_HEADER: u32 = 1;
const CT_STATE: u32 = 0;
/// The bit of `established` in the state that conntrack loads.
const CT_ESTABLISHED: [u8; 4] = 2_u32.to_ne_bytes();
pub(super) const REGISTER: u32 = 1;
pub(super) const COMPARE_EQUAL: u32 = 0;
const COMPARE_UNEQUAL: u32 = 1;

/// A set of single addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct SetLayout {
    pub(super) name: &'static str,
    /// The data type as `nft` numbers it, for display only.
    pub(super) key_type: u32,
    pub(super) key_bytes: u32,
}

/// A base chain and the rules it starts with.
#[derive(Debug, Clone)]
pub(super) struct ChainLayout {
    pub(super) name: &'static str,
    pub(super) hook: u32,
    pub(super) priority: i32,
    pub(super) rules: Vec<Vec<Expression>>,
}

pub(super) const SETS: [SetLayout; 2] = [
    SetLayout {
        name: BLOCK4,
        key_type: 7,
        key_bytes: 4,
    },
    SetLayout {
        name: BLOCK6,
        key_type: 8,
        key_bytes: 16,
    },
];

/// Which address of a packet is looked up.
#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// Returns the chains of the table.
#[rustfmt::skip]
pub(super) fn chains(track_flows: bool) -> Vec<ChainLayout> {
    let mut chains = vec![
        ChainLayout { name: "pre",     hook: 0, priority: BEFORE_CONNTRACK, rules: drops(Side::Source) },
        ChainLayout { name: "transit", hook: 2, priority: BEFORE_CONNTRACK, rules: drops(Side::Destination) },
        ChainLayout { name: "out",     hook: 3, priority: BEFORE_CONNTRACK, rules: drops(Side::Destination) },
    ];
    if track_flows {
        chains.push(ChainLayout { name: "flows", hook: 1, priority: 0, rules: vec![count_established()] });
    }
    chains
}

fn drops(side: Side) -> Vec<Vec<Expression>> {
    let (offset4, offset6) = match side {
        Side::Source => (12, 8),
        Side::Destination => (16, 24),
    };
    vec![
        drop_found(NFPROTO_IPV4, offset4, 4, BLOCK4),
        drop_found(NFPROTO_IPV6, offset6, 16, BLOCK6),
    ]
}

/// `ip saddr @block4 counter drop` and its likes.
fn drop_found(protocol: u8, offset: u32, length: u32, set: &str) -> Vec<Expression> {
    vec![
        Expression::Meta {
            key: META_NFPROTO,
            register: REGISTER,
        },
        Expression::Compare {
            register: REGISTER,
            operator: COMPARE_EQUAL,
            data: vec![protocol],
        },
        Expression::Payload {
            register: REGISTER,
            base: PAYLOAD_NETWORK_HEADER,
            offset,
            length,
        },
        Expression::Lookup {
            set: set.to_owned(),
            register: REGISTER,
            flags: 0,
        },
        Expression::Counter,
        Expression::Verdict { code: DROP },
    ]
}

/// `ct state established counter`: its presence switches conntrack on in the network namespace.
fn count_established() -> Vec<Expression> {
    vec![
        Expression::Conntrack {
            key: CT_STATE,
            register: REGISTER,
        },
        Expression::Mask {
            source: REGISTER,
            register: REGISTER,
            mask: CT_ESTABLISHED.to_vec(),
            xor: vec![0; 4],
        },
        Expression::Compare {
            register: REGISTER,
            operator: COMPARE_UNEQUAL,
            data: vec![0; 4],
        },
        Expression::Counter,
    ]
}
