//! The sockets of one network namespace, over `NETLINK_SOCK_DIAG`.
//!
//! It never closes a socket. The kernel may load the module that answers for a protocol when it is not loaded.

use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;

use crate::message::{Malformed, Message};
use crate::schema::{Field, Form, Layout, Schema, parse_fields, parse_object};
use crate::socket::{Family, Socket, SocketError};

/// `SOCK_DIAG_BY_FAMILY`
const BY_FAMILY: u16 = 20;

/// How often a dump that was overtaken by a change is repeated.
const ATTEMPTS_MAX: usize = 4;

const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
const FAMILY_UNIX: u8 = 1;
const FAMILY_PACKET: u8 = 17;

/// The length of `struct inet_diag_req_v2` and of the answer, `struct inet_diag_msg`.
const INET_REQUEST_BYTES: usize = 56;
const INET_ANSWER_BYTES: usize = 72;

/// A kind of sockets with addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// UDP with partial checksums.
    UdpLite,
    /// SCTP.
    Sctp,
    /// DCCP.
    Dccp,
    /// Raw IP.
    Raw,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Tcp, Self::Udp, Self::UdpLite, Self::Sctp, Self::Dccp, Self::Raw];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::UdpLite => "udplite",
            Self::Sctp => "sctp",
            Self::Dccp => "dccp",
            Self::Raw => "raw",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::UdpLite => 136,
            Self::Sctp => 132,
            Self::Dccp => 33,
            Self::Raw => 255,
        }
    }
}

/// A socket with addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InetSocket<'a> {
    /// The family: 2 is IPv4, 10 is IPv6.
    pub family: u8,
    /// The state: 1 is established, 10 is listening (`TCP_ESTABLISHED` and so on).
    pub state: u8,
    /// The own address, unspecified when it is any.
    pub local: IpAddr,
    /// The own port.
    pub local_port: u16,
    /// The address of the other side, unspecified when there is none.
    pub remote: IpAddr,
    /// The port of the other side.
    pub remote_port: u16,
    /// The interface it is bound to; 0 is none.
    pub interface: u32,
    /// A number that no other socket of this boot has.
    pub cookie: u64,
    /// Bytes that wait to be read; of a listening socket, connections that wait to be accepted.
    pub receive_queue: u32,
    /// Bytes that wait to be acknowledged.
    pub send_queue: u32,
    /// The user that made it.
    pub user: u32,
    /// The number of its inode, by which its holders are found; 0 when nobody holds it any more.
    pub inode: u32,
    /// Everything else.
    pub more: Vec<Field<'a>>,
}

/// Calls `visit` with every socket of a protocol, of both families, in the network namespace the calling thread is in:
/// with what [`parse_inet_socket`] reads.
///
/// Returns false when the kernel cannot tell. When the dump was overtaken by a change it is repeated, and `restart` is
/// called before.
///
/// # Errors
///
/// [`SocketError`].
pub fn dump_inet(
    protocol: Protocol,
    timeout: Duration,
    mut restart: impl FnMut(),
    mut visit: impl FnMut(&[u8]),
) -> Result<bool, SocketError> {
    let mut known = false;
    let mut socket = Socket::open(Family::Diagnosis, timeout)?;
    for attempt in 1..=ATTEMPTS_MAX {
        let mut interrupted = false;
        for family in [FAMILY_V4, FAMILY_V6] {
            let mut request = [0; INET_REQUEST_BYTES];
            request[0] = family;
            request[1] = protocol.number();
            request[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
            let read = socket.dump(
                BY_FAMILY,
                &request,
                |_| {},
                |message| {
                    visit(message.payload);
                    Ok(())
                },
            );
            match told(read) {
                Err(SocketError::Interrupted) if attempt < ATTEMPTS_MAX => {
                    interrupted = true;
                    break;
                }
                other => known |= other?,
            }
        }
        if !interrupted {
            break;
        }
        restart();
    }
    Ok(known)
}

/// A kind of sockets without IP addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// Sockets of this machine only.
    Unix,
    /// Sockets that see packets as they come from the wire: captures.
    Packet,
}

/// Calls `visit` with every socket of a kind, as [`dump_inet`]: with what [`parse_local_socket`] reads.
///
/// # Errors
///
/// [`SocketError`].
pub fn dump_local(
    kind: Local,
    timeout: Duration,
    mut restart: impl FnMut(),
    mut visit: impl FnMut(&[u8]),
) -> Result<bool, SocketError> {
    /// Name, peer and user.
    const UNIX_SHOW: u32 = 0x1 | 0x4 | 0x40;
    /// What it is set up for, its filter and its memory.
    const PACKET_SHOW: u32 = 0x1 | 0x2 | 0x8 | 0x20;
    let mut request = Vec::with_capacity(24);
    match kind {
        Local::Unix => {
            request.extend([FAMILY_UNIX, 0, 0, 0]);
            request.extend(u32::MAX.to_ne_bytes());
            request.extend(0_u32.to_ne_bytes());
            request.extend(UNIX_SHOW.to_ne_bytes());
        }
        Local::Packet => {
            request.extend([FAMILY_PACKET, 0, 0, 0]);
            request.extend(0_u32.to_ne_bytes());
            request.extend(PACKET_SHOW.to_ne_bytes());
        }
    }
    request.extend([0; 8]);
    let mut socket = Socket::open(Family::Diagnosis, timeout)?;
    let mut attempt = 1;
    loop {
        let read = socket.dump(
            BY_FAMILY,
            &request,
            |_| {},
            |message: &Message<'_>| {
                visit(message.payload);
                Ok(())
            },
        );
        match told(read) {
            Err(SocketError::Interrupted) if attempt < ATTEMPTS_MAX => {
                attempt += 1;
                restart();
            }
            other => return other,
        }
    }
}

/// Reads one socket out of the payload of a message.
///
/// # Errors
///
/// [`Malformed`] when it is too short, or its addresses are of another family than it says.
pub fn parse_inet_socket(payload: &[u8]) -> Result<InetSocket<'_>, Malformed> {
    let what = Malformed { what: "socket" };
    let fixed = payload.first_chunk::<INET_ANSWER_BYTES>().ok_or(what)?;
    let u16_be = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let u32_ne = |at: usize| u32::from_ne_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let address = |at: usize| -> Result<IpAddr, Malformed> {
        let bytes: [u8; 16] = fixed[at..at + 16].try_into().map_err(|_| what)?;
        match fixed[0] {
            FAMILY_V4 => Ok(IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]])),
            FAMILY_V6 => Ok(IpAddr::from(bytes)),
            _ => Err(what),
        }
    };
    Ok(InetSocket {
        family: fixed[0],
        state: fixed[1],
        local_port: u16_be(4),
        remote_port: u16_be(6),
        local: address(8)?,
        remote: address(24)?,
        interface: u32_ne(40),
        cookie: u64::from(u32_ne(44)) | u64::from(u32_ne(48)) << 32,
        receive_queue: u32_ne(56),
        send_queue: u32_ne(60),
        user: u32_ne(64),
        inode: u32_ne(68),
        more: parse_fields(&INET, &payload[INET_ANSWER_BYTES..]),
    })
}

/// Reads one socket of a kind out of the payload of a message.
///
/// # Errors
///
/// [`Malformed`] when it is too short.
pub fn parse_local_socket(kind: Local, payload: &[u8]) -> Result<Vec<Field<'_>>, Malformed> {
    let layout = match kind {
        Local::Unix => &UNIX,
        Local::Packet => &PACKET,
    };
    parse_object(layout, payload)
}

/// What the answer means: false when the kernel has nobody who could tell.
fn told(read: Result<(), SocketError>) -> Result<bool, SocketError> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// `INET_DIAG_*`
const INET: Schema = Schema(&[
    (4, "congestion", Form::Text),
    (5, "tos", Form::Native),
    (6, "traffic_class", Form::Native),
    (8, "shutdown", Form::Native),
    (11, "v6_only", Form::Native),
    (15, "mark", Form::Native),
    (17, "class", Form::Native),
    (21, "cgroup", Form::Native),
]);

/// `struct unix_diag_msg` and `UNIX_DIAG_*`
const UNIX: Layout = Layout {
    header_bytes: 16,
    header: &[
        (1, 1, "type", Form::Native),
        (2, 1, "state", Form::Native),
        (4, 4, "inode", Form::Native),
    ],
    schema: &Schema(&[
        (0, "name", Form::Bytes),
        (2, "peer", Form::Native),
        (6, "shutdown", Form::Native),
        (7, "user", Form::Native),
    ]),
};

/// `struct packet_diag_msg` and `PACKET_DIAG_*`
const PACKET: Layout = Layout {
    header_bytes: 16,
    header: &[
        (1, 1, "type", Form::Native),
        (2, 2, "protocol", Form::Native),
        (4, 4, "inode", Form::Native),
    ],
    schema: &Schema(&[
        (0, "set_up", Form::Bytes),
        (1, "memberships", Form::Bytes),
        (4, "fanout", Form::Native),
        (5, "user", Form::Native),
        (7, "filter", Form::Bytes),
    ]),
};
