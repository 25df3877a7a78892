//! Everything that rtnetlink tells of one network namespace: links, addresses, routes of all tables, rules, neighbours.
//!
//! Each object is handed over whole, see [`crate::schema`]. It changes nothing.

use std::time::Duration;

use nix::errno::Errno;

use crate::schema::{Field, Form, Layout, Schema, parse_object};
use crate::socket::{Family, Socket, SocketError};

/// How often a dump that was overtaken by a change is repeated.
const ATTEMPTS_MAX: usize = 4;

/// What can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Network interfaces.
    Links,
    /// Addresses of interfaces.
    Addresses,
    /// Routes of all tables and families.
    Routes,
    /// The rules that choose a table.
    Rules,
    /// What routes that name a next hop by number mean by it; kernels before 5.3 have none.
    NextHops,
    /// Neighbours (ARP and NDP).
    Neighbours,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Links,
        Self::Addresses,
        Self::Routes,
        Self::Rules,
        Self::NextHops,
        Self::Neighbours,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Addresses => "addresses",
            Self::Routes => "routes",
            Self::Rules => "rules",
            Self::NextHops => "next_hops",
            Self::Neighbours => "neighbours",
        }
    }

    /// How its objects are laid out.
    pub const fn layout(self) -> &'static Layout {
        match self {
            Self::Links => &LINK,
            Self::Addresses => &ADDRESS,
            Self::Routes => &ROUTE,
            Self::Rules => &RULE,
            Self::NextHops => &NEXT_HOP,
            Self::Neighbours => &NEIGHBOUR,
        }
    }

    /// The request for a dump, such as `RTM_GETLINK`.
    const fn request(self) -> u16 {
        match self {
            Self::Links => 18,
            Self::Addresses => 22,
            Self::Routes => 26,
            Self::Rules => 34,
            Self::NextHops => 106,
            Self::Neighbours => 30,
        }
    }
}

/// Calls `visit` with every object of `table` in the network namespace the calling thread is in.
///
/// Returns false when the kernel does not know the table. When the table changed while it was read it is read again,
/// and `restart` is called before.
///
/// # Errors
///
/// [`SocketError`]; [`SocketError::Interrupted`] when the table kept changing.
pub fn dump(
    table: Table,
    timeout: Duration,
    mut restart: impl FnMut(),
    mut visit: impl FnMut(&[Field<'_>]),
) -> Result<bool, SocketError> {
    let mut socket = Socket::open(Family::Route, timeout)?;
    let layout = table.layout();
    let header = vec![0; layout.header_bytes];
    let mut attempt = 1;
    loop {
        let read = socket.dump(
            table.request(),
            &header,
            |_| {},
            |message| {
                visit(&parse_object(layout, message.payload)?);
                Ok(())
            },
        );
        match read {
            Ok(()) => return Ok(true),
            Err(SocketError::Interrupted) if attempt < ATTEMPTS_MAX => {
                attempt += 1;
                restart();
            }
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// `struct ifinfomsg`
const LINK: Layout = Layout {
    header_bytes: 16,
    header: &[
        (0, 1, "family", Form::Native),
        (2, 2, "hardware_type", Form::Native),
        (4, 4, "index", Form::Signed),
        (8, 4, "flags", Form::Native),
    ],
    schema: &Schema(&[
        (1, "hardware_address", Form::Bytes),
        (2, "broadcast", Form::Bytes),
        (3, "name", Form::Text),
        (4, "mtu", Form::Native),
        (5, "link", Form::Native),
        (6, "queueing", Form::Text),
        (10, "master", Form::Native),
        (13, "queue_length", Form::Native),
        (16, "operational_state", Form::Native),
        (17, "link_mode", Form::Native),
        (
            18,
            "info",
            Form::Nest(&Schema(&[(1, "kind", Form::Text), (4, "slave_kind", Form::Text)])),
        ),
        (20, "alias", Form::Text),
        (27, "group", Form::Native),
        (30, "promiscuous_users", Form::Native),
        (33, "carrier", Form::Native),
        (35, "carrier_changes", Form::Native),
        (37, "peer_namespace", Form::Signed),
        (39, "protocol_down", Form::Native),
        (
            43,
            "xdp",
            Form::Nest(&Schema(&[
                (2, "attached", Form::Native),
                (3, "flags", Form::Native),
                (4, "program", Form::Native),
                (5, "driver_program", Form::Native),
                (6, "generic_program", Form::Native),
                (7, "hardware_program", Form::Native),
            ])),
        ),
        (52, "other_names", Form::List(&Form::Text)),
        (54, "permanent_address", Form::Bytes),
    ]),
};

/// `struct ifaddrmsg`
const ADDRESS: Layout = Layout {
    header_bytes: 8,
    header: &[
        (0, 1, "family", Form::Native),
        (1, 1, "prefix_length", Form::Native),
        (3, 1, "scope", Form::Native),
        (4, 4, "index", Form::Native),
    ],
    schema: &Schema(&[
        (1, "address", Form::Address),
        (2, "local", Form::Address),
        (3, "label", Form::Text),
        (4, "broadcast", Form::Address),
        (5, "anycast", Form::Address),
        (8, "flags", Form::Native),
        (9, "route_priority", Form::Native),
        (11, "protocol", Form::Native),
    ]),
};

/// `struct rtmsg`
const ROUTE: Layout = Layout {
    header_bytes: 12,
    header: &[
        (0, 1, "family", Form::Native),
        (1, 1, "destination_length", Form::Native),
        (2, 1, "source_length", Form::Native),
        (3, 1, "tos", Form::Native),
        (4, 1, "table_low", Form::Native),
        (5, 1, "protocol", Form::Native),
        (6, 1, "scope", Form::Native),
        (7, 1, "type", Form::Native),
        (8, 4, "flags", Form::Native),
    ],
    schema: &Schema(&[
        (1, "destination", Form::Address),
        (2, "source", Form::Address),
        (3, "in_link", Form::Native),
        (4, "out_link", Form::Native),
        (5, "gateway", Form::Address),
        (6, "priority", Form::Native),
        (7, "preferred_source", Form::Address),
        (
            8,
            "metrics",
            Form::Nest(&Schema(&[(2, "mtu", Form::Native), (16, "congestion", Form::Text)])),
        ),
        (11, "flow", Form::Native),
        (15, "table", Form::Native),
        (16, "mark", Form::Native),
        (20, "preference", Form::Native),
        (21, "encapsulation_type", Form::Native),
        (23, "expires", Form::Native),
        (25, "user", Form::Native),
        (30, "next_hop", Form::Native),
    ]),
};

/// `struct fib_rule_hdr`
const RULE: Layout = Layout {
    header_bytes: 12,
    header: &[
        (0, 1, "family", Form::Native),
        (1, 1, "destination_length", Form::Native),
        (2, 1, "source_length", Form::Native),
        (3, 1, "tos", Form::Native),
        (4, 1, "table_low", Form::Native),
        (7, 1, "action", Form::Native),
        (8, 4, "flags", Form::Native),
    ],
    schema: &Schema(&[
        (1, "destination", Form::Address),
        (2, "source", Form::Address),
        (3, "in_link", Form::Text),
        (4, "goto", Form::Native),
        (6, "priority", Form::Native),
        (10, "mark", Form::Native),
        (11, "flow", Form::Native),
        (12, "tunnel", Form::Network),
        (13, "suppress_group", Form::Signed),
        (14, "suppress_prefix_length", Form::Signed),
        (15, "table", Form::Native),
        (16, "mark_mask", Form::Native),
        (17, "out_link", Form::Text),
        (19, "l3mdev", Form::Native),
        (21, "protocol", Form::Native),
        (22, "ip_protocol", Form::Native),
    ]),
};

/// `struct nhmsg`
const NEXT_HOP: Layout = Layout {
    header_bytes: 8,
    header: &[
        (0, 1, "family", Form::Native),
        (1, 1, "scope", Form::Native),
        (2, 1, "protocol", Form::Native),
        (4, 4, "flags", Form::Native),
    ],
    schema: &Schema(&[
        (1, "id", Form::Native),
        (3, "group_type", Form::Native),
        (5, "out_link", Form::Native),
        (6, "gateway", Form::Address),
        (7, "encapsulation_type", Form::Native),
    ]),
};

/// `struct ndmsg`
const NEIGHBOUR: Layout = Layout {
    header_bytes: 12,
    header: &[
        (0, 1, "family", Form::Native),
        (4, 4, "index", Form::Signed),
        (8, 2, "state", Form::Native),
        (10, 1, "flags", Form::Native),
        (11, 1, "type", Form::Native),
    ],
    schema: &Schema(&[
        (1, "destination", Form::Address),
        (2, "hardware_address", Form::Bytes),
        (4, "probes", Form::Native),
        (5, "vlan", Form::Native),
        (8, "out_link", Form::Native),
        (9, "master", Form::Native),
        (12, "protocol", Form::Native),
        (15, "more_flags", Form::Native),
    ]),
};
