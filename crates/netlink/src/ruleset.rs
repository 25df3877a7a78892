//! The whole ruleset of nf_tables of one network namespace, whosever it is, as the kernel holds it.
//!
//! Each object is handed over whole, see [`crate::schema`]. It changes nothing; [`crate::nftables`] changes our own
//! table.

use std::time::Duration;

use nix::errno::Errno;

use crate::nftables::parse_generation;
use crate::schema::{Field, Form, Layout, Schema, parse_object};
use crate::socket::{Family, Socket, SocketError};

/// `NFNL_SUBSYS_NFTABLES` in the upper byte of a message type.
const NFTABLES: u16 = 10 << 8;
const GET_ELEMENTS: u16 = NFTABLES | 13;
const GET_GENERATION: u16 = NFTABLES | 16;

const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;

/// A kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Tables.
    Tables,
    /// Chains.
    Chains,
    /// Rules, in the order of their chains.
    Rules,
    /// Sets and maps, without their elements.
    Sets,
    /// Stateful objects: counters, quotas, limits and others with names.
    Objects,
    /// Flow tables: what bypasses the rules.
    FlowTables,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Tables,
        Self::Chains,
        Self::Rules,
        Self::Sets,
        Self::Objects,
        Self::FlowTables,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tables => "tables",
            Self::Chains => "chains",
            Self::Rules => "rules",
            Self::Sets => "sets",
            Self::Objects => "objects",
            Self::FlowTables => "flow_tables",
        }
    }

    const fn request(self) -> u16 {
        NFTABLES
            | match self {
                Self::Tables => 1,
                Self::Chains => 4,
                Self::Rules => 7,
                Self::Sets => 10,
                Self::Objects => 19,
                Self::FlowTables => 23,
            }
    }

    /// How its objects are laid out.
    pub const fn layout(self) -> &'static Layout {
        match self {
            Self::Tables => &TABLE,
            Self::Chains => &CHAIN,
            Self::Rules => &RULE,
            Self::Sets => &SET,
            Self::Objects => &OBJECT,
            Self::FlowTables => &FLOW_TABLE,
        }
    }
}

/// A connection to the nf_tables of the network namespace the opening thread was in.
#[derive(Debug)]
pub struct Ruleset {
    socket: Socket,
}

impl Ruleset {
    /// Opens the connection; every answer is awaited at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SocketError::Open`].
    pub fn open(timeout: Duration) -> Result<Self, SocketError> {
        Socket::open(Family::Netfilter, timeout).map(|socket| Self { socket })
    }

    /// The number that changes with every change of the ruleset. Elements that expire do not change it.
    ///
    /// # Errors
    ///
    /// [`SocketError`]; refused with `EPERM` without `CAP_NET_ADMIN`.
    pub fn generation(&mut self) -> Result<u32, SocketError> {
        self.socket.ask(
            GET_GENERATION,
            &[0; 4],
            |_| {},
            |message| parse_generation(message.payload),
        )
    }

    /// Calls `visit` with every object of a kind, of all families. Returns false when the kernel does not know the
    /// kind.
    ///
    /// # Errors
    ///
    /// [`SocketError::Interrupted`] when the ruleset changed meanwhile.
    pub fn dump(&mut self, kind: Kind, mut visit: impl FnMut(&[Field<'_>])) -> Result<bool, SocketError> {
        let read = self.socket.dump(
            kind.request(),
            &[0; 4],
            |_| {},
            |message| {
                visit(&parse_object(kind.layout(), message.payload)?);
                Ok(())
            },
        );
        match read {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(Errno::EOPNOTSUPP | Errno::EINVAL)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Calls `visit` with every element of a set, as many as one message of the kernel holds at a time.
    ///
    /// # Errors
    ///
    /// [`SocketError::Interrupted`] when the ruleset changed meanwhile.
    pub fn dump_elements(
        &mut self,
        family: u8,
        table: &str,
        set: &str,
        mut visit: impl FnMut(&[Field<'_>]),
    ) -> Result<(), SocketError> {
        let request = [family, 0, 0, 0];
        self.socket.dump(
            GET_ELEMENTS,
            &request,
            |m| {
                m.text(ELEMENTS_TABLE, table);
                m.text(ELEMENTS_SET, set);
            },
            |message| {
                visit(&parse_object(&ELEMENTS, message.payload)?);
                Ok(())
            },
        )
    }
}

use Form::{Bytes, Expression, List, Native, Nest, Network, NetworkSigned, Text};

/// `struct nfgenmsg`
const HEADER: &[(usize, usize, &str, Form)] = &[(0, 1, "family", Native)];

macro_rules! layout {
    ($(#[$about:meta])* $seen:vis $name:ident, [$($field:tt),* $(,)?]) => {
        $(#[$about])*
        $seen const $name: Layout = Layout { header_bytes: 4, header: HEADER, schema: &Schema(&[$($field),*]) };
    };
}

layout!(
    TABLE,
    [
        (1, "name", Text),
        (2, "flags", Network),
        (3, "use", Network),
        (4, "handle", Network),
        (6, "user_data", Bytes),
        (7, "owner", Network),
    ]
);
layout!(
    CHAIN,
    [
        (1, "table", Text),
        (2, "handle", Network),
        (3, "name", Text),
        (4, "hook", Nest(&HOOK)),
        (5, "policy", Network),
        (6, "use", Network),
        (7, "type", Text),
        (8, "counters", Nest(&COUNTER)),
        (10, "flags", Network),
        (12, "user_data", Bytes),
    ]
);
layout!(
    RULE,
    [
        (1, "table", Text),
        (2, "chain", Text),
        (3, "handle", Network),
        (4, "expressions", List(&Expression)),
        (5, "compat", Bytes),
        (6, "position", Network),
        (7, "user_data", Bytes),
    ]
);
layout!(
    SET,
    [
        (1, "table", Text),
        (2, "name", Text),
        (3, "flags", Network),
        (4, "key_type", Network),
        (5, "key_length", Network),
        (6, "data_type", Network),
        (7, "data_length", Network),
        (8, "policy", Network),
        (9, "description", Nest(&Schema(&[(1, "size", Network)]))),
        (11, "timeout", Network),
        (12, "collect_interval", Network),
        (13, "user_data", Bytes),
        (15, "object_type", Network),
        (16, "handle", Network),
        (17, "expression", Expression),
        (18, "expressions", List(&Expression)),
        (19, "type", Text),
        (20, "count", Network),
    ]
);
layout!(
    OBJECT,
    [
        (1, "table", Text),
        (2, "name", Text),
        (3, "type", Network),
        (4, "data", Bytes),
        (5, "use", Network),
        (6, "handle", Network),
        (8, "user_data", Bytes),
    ]
);
layout!(
    FLOW_TABLE,
    [
        (1, "table", Text),
        (2, "name", Text),
        (
            3,
            "hook",
            Nest(&Schema(&[
                (1, "number", Network),
                (2, "priority", NetworkSigned),
                (3, "devices", List(&Text))
            ]))
        ),
        (4, "use", Network),
        (5, "handle", Network),
        (7, "flags", Network),
    ]
);
layout!(
    /// What a dump of the elements of a set consists of: some of them in each message.
    pub ELEMENTS,
    [
        (1, "table", Text),
        (2, "set", Text),
        (3, "elements", List(&Nest(&ELEMENT)))
    ]
);

const HOOK: Schema = Schema(&[
    (1, "number", Network),
    (2, "priority", NetworkSigned),
    (3, "device", Text),
    (4, "devices", List(&Text)),
]);
const COUNTER: Schema = Schema(&[(1, "bytes", Network), (2, "packets", Network)]);
const DATA: Schema = Schema(&[
    (1, "value", Bytes),
    (
        2,
        "verdict",
        Nest(&Schema(&[(1, "code", NetworkSigned), (2, "chain", Text)])),
    ),
]);
const ELEMENT: Schema = Schema(&[
    (1, "key", Nest(&DATA)),
    (2, "data", Nest(&DATA)),
    (3, "flags", Network),
    (4, "timeout", Network),
    (5, "expiration", Network),
    (6, "user_data", Bytes),
    (7, "expression", Expression),
    (9, "object", Text),
    (10, "key_end", Nest(&DATA)),
    (11, "expressions", List(&Expression)),
]);

/// An expression of a name that is not known.
pub(crate) const EXPRESSION: Schema = Schema(&[(1, "name", Text), (2, "data", Nest(&Schema(&[])))]);

/// The schema of the expression `name`, where it is known.
#[rustfmt::skip]
pub(crate) fn expression(name: &str) -> Option<&'static Schema> {
    macro_rules! data {
        ($($field:tt),* $(,)?) => {
            &Schema(&[(1, "name", Text), (2, "data", Nest(&Schema(&[$($field),*])))])
        };
    }
    Some(match name {
        "immediate" => data![(1, "register", Network), (2, "data", Nest(&DATA))],
        "cmp" => data![(1, "register", Network), (2, "operator", Network), (3, "data", Nest(&DATA))],
        "range" => data![(1, "register", Network), (2, "operator", Network), (3, "from", Nest(&DATA)), (4, "to", Nest(&DATA))],
        "lookup" => data![(1, "set", Text), (2, "register", Network), (3, "to_register", Network), (5, "flags", Network)],
        "bitwise" => data![
            (1, "register", Network), (2, "to_register", Network), (3, "length", Network), (4, "mask", Nest(&DATA)),
            (5, "xor", Nest(&DATA)), (6, "operator", Network), (7, "data", Nest(&DATA)),
        ],
        "byteorder" => data![
            (1, "register", Network), (2, "to_register", Network), (3, "operator", Network), (4, "length", Network),
            (5, "size", Network),
        ],
        "payload" => data![
            (1, "to_register", Network), (2, "base", Network), (3, "offset", Network), (4, "length", Network),
            (5, "register", Network), (6, "checksum_type", Network), (7, "checksum_offset", Network),
            (8, "checksum_flags", Network),
        ],
        "meta" => data![(1, "to_register", Network), (2, "key", Network), (3, "register", Network)],
        "ct" => data![(1, "to_register", Network), (2, "key", Network), (3, "direction", Native), (4, "register", Network)],
        "counter" => data![(1, "bytes", Network), (2, "packets", Network)],
        "limit" => data![
            (1, "rate", Network), (2, "unit", Network), (3, "burst", Network), (4, "type", Network), (5, "flags", Network),
        ],
        "log" => data![
            (1, "group", Network), (2, "prefix", Text), (3, "bytes_max", Network), (4, "threshold", Network),
            (5, "level", Network), (6, "flags", Network),
        ],
        "reject" => data![(1, "type", Network), (2, "code", Native)],
        "nat" => data![
            (1, "type", Network), (2, "family", Network), (3, "address_register", Network), (4, "address_end_register", Network),
            (5, "port_register", Network), (6, "port_end_register", Network), (7, "flags", Network),
        ],
        "masq" => data![(1, "flags", Network), (2, "port_register", Network), (3, "port_end_register", Network)],
        "redir" => data![(1, "port_register", Network), (2, "port_end_register", Network), (3, "flags", Network)],
        "objref" => data![(1, "type", Network), (2, "object", Text), (3, "register", Network), (4, "set", Text)],
        "quota" => data![(1, "bytes", Network), (2, "flags", Network), (4, "consumed", Network)],
        "connlimit" => data![(1, "count", Network), (2, "flags", Network)],
        "fib" => data![(1, "to_register", Network), (2, "result", Network), (3, "flags", Network)],
        "exthdr" => data![
            (1, "to_register", Network), (2, "type", Native), (3, "offset", Network), (4, "length", Network),
            (5, "flags", Network), (6, "operator", Network), (7, "register", Network),
        ],
        "dynset" => data![
            (1, "set", Text), (3, "operator", Network), (4, "key_register", Network), (5, "data_register", Network),
            (6, "timeout", Network), (7, "expression", Expression), (9, "flags", Network),
            (10, "expressions", List(&Expression)),
        ],
        "match" | "target" => data![(1, "extension", Text), (2, "revision", Network), (3, "data", Bytes)],
        _ => return None,
    })
}
