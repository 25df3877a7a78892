//! Reads a tracked connection out of a netlink message.

use std::net::IpAddr;
use std::time::Duration;

use crate::message::{Attribute, Malformed, parse_attributes};

/// `IPS_SEEN_REPLY`
const SEEN_REPLY: u32 = 1 << 1;
const PROTOCOL_TCP: u8 = 6;

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// The sender.
    pub source: IpAddr,
    /// The receiver.
    pub destination: IpAddr,
    /// The number of the protocol: 6 is TCP, 17 is UDP.
    pub protocol: u8,
    /// The port of the sender, where the protocol has ports.
    pub source_port: Option<u16>,
    /// The port of the receiver, where the protocol has ports.
    pub destination_port: Option<u16>,
}

/// What passed in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, with headers.
    pub bytes: u64,
}

/// The state of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpState {
    /// Not seen yet.
    None,
    /// Opening, first packet.
    SynSent,
    /// Opening, answered.
    SynReceived,
    /// Open.
    Established,
    /// Closing from one side.
    FinWait,
    /// Closed by the other side.
    CloseWait,
    /// Closing, last acknowledgement.
    LastAck,
    /// Closed, waiting for stragglers.
    TimeWait,
    /// Closed.
    Close,
    /// Opening from both sides.
    SynSent2,
    /// A number that is not known here.
    Other(u8),
}

/// A tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The direction of the first packet, before address translation.
    pub original: Tuple,
    /// The direction of the replies; it differs from the mirrored original where addresses are translated.
    pub reply: Option<Tuple>,
    /// The `IPS_*` bits.
    pub status: u32,
    /// The state; `None` for protocols other than TCP.
    pub tcp_state: Option<TcpState>,
    /// After how long without a packet it is forgotten; `None` when it is not tracked by timeout.
    pub timeout: Option<Duration>,
    /// What passed in the original direction; `None` when the kernel does not count.
    pub sent: Option<Counters>,
    /// What passed in the direction of the replies; `None` when the kernel does not count.
    pub received: Option<Counters>,
}

impl Flow {
    /// Tells whether both sides have spoken and neither has closed: TCP by its state, others by a reply seen.
    pub fn is_established(&self) -> bool {
        match self.tcp_state {
            Some(state) => state == TcpState::Established,
            // A TCP connection that hardware took over shows no state.
            None => self.status & SEEN_REPLY != 0,
        }
    }

    /// Tells whether the connection is TCP.
    pub fn is_tcp(&self) -> bool {
        self.original.protocol == PROTOCOL_TCP
    }
}

/// Reads a tracked connection out of the payload of a message.
///
/// # Errors
///
/// [`Malformed`].
#[rustfmt::skip]
pub fn parse_flow(payload: &[u8]) -> Result<Flow, Malformed> {
    let attributes = payload.get(4..).ok_or(Malformed { what: "conntrack header" })?;
    let (mut original, mut reply, mut status, mut tcp_state) = (None, None, 0, None);
    let (mut timeout, mut sent, mut received) = (None, None, None);
    for attribute in parse_attributes(attributes) {
        let attribute = attribute?;
        match attribute.kind {
            1  => original = Some(parse_tuple(&attribute)?),
            2  => reply = Some(parse_tuple(&attribute)?),
            3  => status = attribute.u32_be()?,
            4  => tcp_state = parse_tcp_state(&attribute)?,
            7  => timeout = Some(Duration::from_secs(attribute.u32_be()?.into())),
            9  => sent = Some(parse_counters(&attribute)?),
            10 => received = Some(parse_counters(&attribute)?),
            _  => {}
        }
    }
    let original = original.ok_or(Malformed { what: "connection without addresses" })?;
    Ok(Flow { original, reply, status, tcp_state, timeout, sent, received })
}

fn parse_tuple(attribute: &Attribute<'_>) -> Result<Tuple, Malformed> {
    let (mut source, mut destination) = (None, None);
    let (mut protocol, mut source_port, mut destination_port) = (0, None, None);
    for part in attribute.nested() {
        let part = part?;
        // The zone of a direction is a plain number, unlike its addresses and its protocol.
        if part.kind > 2 {
            continue;
        }
        for it in part.nested() {
            let it = it?;
            match (part.kind, it.kind) {
                (1, 1) => source = Some(IpAddr::from(it.array::<4>()?)),
                (1, 2) => destination = Some(IpAddr::from(it.array::<4>()?)),
                (1, 3) => source = Some(IpAddr::from(it.array::<16>()?)),
                (1, 4) => destination = Some(IpAddr::from(it.array::<16>()?)),
                (2, 1) => protocol = it.u8()?,
                (2, 2) => source_port = Some(it.u16_be()?),
                (2, 3) => destination_port = Some(it.u16_be()?),
                _ => {}
            }
        }
    }
    let malformed = Malformed {
        what: "connection without addresses",
    };
    let (source, destination) = (source.ok_or(malformed)?, destination.ok_or(malformed)?);
    Ok(Tuple {
        source,
        destination,
        protocol,
        source_port,
        destination_port,
    })
}

fn parse_tcp_state(attribute: &Attribute<'_>) -> Result<Option<TcpState>, Malformed> {
    const TCP: u16 = 1;
    const STATE: u16 = 1;
    for protocol in attribute.nested() {
        let protocol = protocol?;
        if protocol.kind != TCP {
            continue;
        }
        for it in protocol.nested() {
            let it = it?;
            if it.kind == STATE {
                return Ok(Some(TcpState::of(it.u8()?)));
            }
        }
    }
    Ok(None)
}

impl TcpState {
    #[rustfmt::skip]
    fn of(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::SynSent,
            2 => Self::SynReceived,
            3 => Self::Established,
            4 => Self::FinWait,
            5 => Self::CloseWait,
            6 => Self::LastAck,
            7 => Self::TimeWait,
            8 => Self::Close,
            9 => Self::SynSent2,
            other => Self::Other(other),
        }
    }
}

fn parse_counters(attribute: &Attribute<'_>) -> Result<Counters, Malformed> {
    let mut counters = Counters::default();
    for it in attribute.nested() {
        let it = it?;
        match it.kind {
            1 => counters.packets = it.u64_be()?,
            2 => counters.bytes = it.u64_be()?,
            _ => {}
        }
    }
    Ok(counters)
}
