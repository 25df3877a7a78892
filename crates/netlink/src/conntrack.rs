//! The connections that the kernel tracks in one network namespace.
//!
//! It reads them, and forgets those of one address when asked; it never switches tracking on.
//!
//! A namespace tracks connections only while some rule uses them (see [`crate::nftables::TableOptions::track_flows`]),
//! and counts bytes and packets only with [`set_accounting`].

mod parse;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;

pub use parse::{Counters, Flow, TcpState, Tuple, parse_flow};

use crate::message::Builder;
use crate::schema::{Form, Layout, Schema};
use crate::socket::{Family, Socket, SocketError};

/// `NFNL_SUBSYS_CTNETLINK` in the upper byte of a message type, with the kinds of message.
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;

const FAMILY_ANY: u8 = 0;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_IP: u16 = 1;
const FILTER: u16 = 25;
const FILTER_ORIGINAL_FLAGS: u16 = 1;

const ACCOUNTING: &str = "/proc/sys/net/netfilter/nf_conntrack_acct";

/// The attributes of a connection, beside what [`parse_flow`] reads.
pub const LAYOUT: Layout = Layout {
    header_bytes: 4,
    header: &[],
    schema: &Schema(&[
        (5, "helper", Form::Nest(&Schema(&[(1, "name", Form::Text)]))),
        (8, "mark", Form::Network),
        (11, "use", Form::Network),
        (12, "id", Form::Network),
        (18, "zone", Form::Network),
        (19, "security", Form::Nest(&Schema(&[(1, "context", Form::Text)]))),
        (
            20,
            "times",
            Form::Nest(&Schema(&[(1, "begun", Form::Network), (2, "ended", Form::Network)])),
        ),
        (22, "labels", Form::Bytes),
    ]),
};

/// Why the tracked connections could not be read or changed.
#[derive(Debug, Error)]
pub enum ConntrackError {
    /// The process lacks `CAP_NET_ADMIN` in this network namespace.
    #[error("cannot {doing}: CAP_NET_ADMIN is needed")]
    Denied {
        /// What was being done.
        doing: &'static str,
    },
    /// The kernel has no conntrack, or cannot do this with it.
    #[error("cannot {doing}: this kernel cannot do it")]
    Unsupported {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        source: SocketError,
    },
    /// The switch for counting could not be read or written.
    #[error("cannot access {ACCOUNTING}")]
    Accounting {
        /// The cause.
        source: io::Error,
    },
    /// No answer came in time.
    #[error("cannot {doing}: the kernel did not answer within {after:?}")]
    Timeout {
        /// What was being done.
        doing: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// Anything else.
    #[error("cannot {doing}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        source: SocketError,
    },
}

/// Which address of a connection, as its first packet had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The address that opened the connection.
    Source,
    /// The address it was opened to.
    Destination,
}

/// A connection to the conntrack of the network namespace the opening thread was in.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// Opens the connection; every answer is awaited at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`ConntrackError::Failed`].
    pub fn open(timeout: Duration) -> Result<Self, ConntrackError> {
        let socket = Socket::open(Family::Netfilter, timeout).map_err(|it| explain("open conntrack", it))?;
        Ok(Self { socket })
    }

    /// Calls `visit` with every tracked connection, holding one at a time.
    ///
    /// Connections that begin or end meanwhile may be missed.
    ///
    /// # Errors
    ///
    /// [`ConntrackError`]; some connections may have been visited.
    pub fn visit(&mut self, mut visit: impl FnMut(&Flow)) -> Result<(), ConntrackError> {
        self.visit_whole(|flow, _| visit(flow))
    }

    /// As [`Conntrack::visit`], with everything else that the kernel says of it; what a [`Flow`] holds is there once
    /// more.
    ///
    /// # Errors
    ///
    /// As [`Conntrack::visit`].
    pub fn visit_whole(&mut self, mut visit: impl FnMut(&Flow, &[u8])) -> Result<(), ConntrackError> {
        let read = self.socket.dump(
            GET,
            &header(FAMILY_ANY),
            |_| {},
            |message| {
                visit(&parse_flow(message.payload)?, message.payload);
                Ok(())
            },
        );
        read.map_err(|it| explain("read the tracked connections", it))
    }

    /// Calls `visit` with every connection that is established, see [`Flow::is_established`].
    ///
    /// # Errors
    ///
    /// As [`Conntrack::visit`].
    pub fn visit_established(&mut self, mut visit: impl FnMut(&Flow)) -> Result<(), ConntrackError> {
        self.visit(|flow| {
            if flow.is_established() {
                visit(flow);
            }
        })
    }

    /// Makes the kernel forget every connection from or to an address, and no other.
    ///
    /// A connection that traffic still flows on is tracked anew, so traffic has to be dropped first.
    ///
    /// # Errors
    ///
    /// [`ConntrackError::Unsupported`] where the kernel cannot filter what it deletes; nothing was deleted then.
    pub fn delete_flows(&mut self, side: Side, address: IpAddr) -> Result<(), ConntrackError> {
        let doing = "delete tracked connections";
        let address = address.to_canonical();
        let (attribute, flag) = match (side, address) {
            (Side::Source, IpAddr::V4(_)) => (1, 1),
            (Side::Destination, IpAddr::V4(_)) => (2, 2),
            (Side::Source, IpAddr::V6(_)) => (3, 1),
            (Side::Destination, IpAddr::V6(_)) => (4, 2),
        };
        let family = if address.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
        // Version 1 makes the family part of the filter. A kernel that does not know the filter takes the tuple for
        // one connection and refuses it as incomplete, instead of deleting everything.
        let fixed = [family, 1, 0, 0];
        let filter = |m: &mut Builder| {
            m.nest(TUPLE_ORIGINAL, |tuple| {
                tuple.nest(TUPLE_IP, |ip| match address {
                    IpAddr::V4(it) => ip.bytes(attribute, &it.octets()),
                    IpAddr::V6(it) => ip.bytes(attribute, &it.octets()),
                });
            });
            m.nest(FILTER, |filter| filter.u32_ne(FILTER_ORIGINAL_FLAGS, flag));
        };
        match self.socket.request(DELETE, 0, &fixed, filter) {
            Ok(()) => Ok(()),
            Err(error) => Err(match error.errno() {
                Some(Errno::EINVAL) => ConntrackError::Unsupported { doing, source: error },
                _ => explain(doing, error),
            }),
        }
    }
}

/// Tells whether the network namespace of the calling thread counts bytes and packets of connections.
///
/// # Errors
///
/// [`ConntrackError::Accounting`].
pub fn accounting() -> Result<bool, ConntrackError> {
    let text = fs::read_to_string(ACCOUNTING).map_err(|source| ConntrackError::Accounting { source })?;
    Ok(text.trim() != "0")
}

/// Switches counting on or off in the network namespace of the calling thread, for connections that begin from then on.
///
/// # Errors
///
/// [`ConntrackError::Accounting`].
pub fn set_accounting(on: bool) -> Result<(), ConntrackError> {
    fs::write(ACCOUNTING, if on { "1" } else { "0" }).map_err(|source| ConntrackError::Accounting { source })
}

/// Makes a `struct nfgenmsg`.
fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

fn explain(doing: &'static str, error: SocketError) -> ConntrackError {
    match (error.errno(), error) {
        (Some(Errno::EPERM | Errno::EACCES), _) => ConntrackError::Denied { doing },
        (Some(Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT), source) => ConntrackError::Unsupported { doing, source },
        (_, SocketError::Timeout { after }) => ConntrackError::Timeout { doing, after },
        (_, source) => ConntrackError::Failed { doing, source },
    }
}
