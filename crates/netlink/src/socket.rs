//! A blocking netlink socket: requests, acknowledgements and dumps, each bounded by a timeout.
//!
//! It never retries a request; whoever asks knows whether asking again is safe.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use thiserror::Error;

use crate::message::{
    ACKNOWLEDGE, Acknowledgement, Builder, DUMP, DUMP_INTERRUPTED, KIND_ACKNOWLEDGEMENT, KIND_DONE, Malformed, Message,
    REQUEST, TooLong, parse_acknowledgement, parse_messages,
};

/// The buffer asked for in each direction. A batch must fit the send buffer whole, and 1,000 refusals of 768 bytes of
/// kernel memory each must fit the receive buffer; without `CAP_NET_ADMIN` the kernel caps it (416 KiB by default).
const BUFFER_BYTES: usize = 8 << 20;

/// The longest datagram read. The kernel fills dumps with up to 32 KiB (`netlink_dump` in `af_netlink.c`).
const DATAGRAM_BYTES: usize = 64 << 10;

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses and routes.
    Route,
    /// nf_tables and conntrack.
    Netfilter,
    /// Sockets.
    Diagnosis,
}

/// Why an exchange with the kernel failed.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The socket could not be opened or set up.
    #[error("cannot open a netlink socket for {family:?}")]
    Open {
        /// The family asked for.
        family: Family,
        /// The cause.
        source: Errno,
    },
    /// The request did not fit its length fields; nothing was sent.
    #[error("the request is too long")]
    TooLong(#[from] TooLong),
    /// The request was not taken; nothing was done.
    #[error("cannot send {bytes} bytes to the kernel")]
    Send {
        /// The length of the request.
        bytes: usize,
        /// The cause.
        source: Errno,
    },
    /// The answer could not be read.
    #[error("cannot receive the answer of the kernel")]
    Receive(#[source] Errno),
    /// No answer came in time.
    #[error("the kernel did not answer within {after:?}")]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The receive buffer was full and the kernel dropped answers.
    #[error("the kernel dropped answers because the receive buffer was full")]
    Overrun,
    /// The answer could not be understood.
    #[error("the answer of the kernel cannot be read")]
    Malformed(#[from] Malformed),
    /// The kernel refused the request.
    #[error("the kernel refused: {errno}{}", text.as_ref().map(|it| format!(" ({it})")).unwrap_or_default())]
    Refused {
        /// The reason.
        errno: Errno,
        /// The explanation in words, where the kernel gives one.
        text: Option<String>,
        /// Where in the request the offending attribute starts, where the kernel says so.
        offset: Option<u32>,
    },
    /// The tables changed during a dump, so what was read may be incomplete.
    #[error("the tables changed while they were read")]
    Interrupted,
}

/// A netlink socket of the network namespace the opening thread was in.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    timeout: Duration,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket whose every receive waits at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SocketError::Open`].
    pub fn open(family: Family, timeout: Duration) -> Result<Self, SocketError> {
        let open = |source| SocketError::Open { family, source };
        let protocol = match family {
            Family::Route => SockProtocol::NetlinkRoute,
            Family::Netfilter => SockProtocol::NetlinkNetFilter,
            Family::Diagnosis => SockProtocol::NetlinkSockDiag,
        };
        let descriptor =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).map_err(open)?;
        bind(descriptor.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(open)?;
        if setsockopt(&descriptor, sockopt::SndBufForce, &BUFFER_BYTES).is_err() {
            setsockopt(&descriptor, sockopt::SndBuf, &BUFFER_BYTES).map_err(open)?;
        }
        if setsockopt(&descriptor, sockopt::RcvBufForce, &BUFFER_BYTES).is_err() {
            setsockopt(&descriptor, sockopt::RcvBuf, &BUFFER_BYTES).map_err(open)?;
        }
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let wait = TimeVal::new(seconds, i64::from(timeout.subsec_micros()));
        setsockopt(&descriptor, sockopt::ReceiveTimeout, &wait).map_err(open)?;
        // Kernels before 4.12 lack these two; refusals then come without words, which is bearable.
        let _ = setsockopt(&descriptor, ExplainAcknowledgements, &true);
        let _ = setsockopt(&descriptor, CapAcknowledgements, &true);
        Ok(Self {
            descriptor,
            timeout,
            sequence: 0,
            buffer: vec![0; DATAGRAM_BYTES],
        })
    }

    /// Reserves `count` sequence numbers in a row and returns the first.
    pub fn reserve(&mut self, count: u32) -> u32 {
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(count);
        first
    }

    /// Sends bytes made by a [`Builder`]. The kernel has processed them when this returns.
    ///
    /// # Errors
    ///
    /// [`SocketError::Send`]; nothing was done then.
    pub fn send(&self, bytes: &[u8]) -> Result<(), SocketError> {
        let kernel = NetlinkAddr::new(0, 0);
        loop {
            match sendto(self.descriptor.as_raw_fd(), bytes, &kernel, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(source) => {
                    return Err(SocketError::Send {
                        bytes: bytes.len(),
                        source,
                    });
                }
            }
        }
    }

    /// Receives one datagram; `wait` false returns [`SocketError::Timeout`] at once when none is queued.
    ///
    /// # Errors
    ///
    /// [`SocketError::Timeout`], [`SocketError::Overrun`], [`SocketError::Receive`], [`SocketError::Malformed`].
    pub fn receive(&mut self, wait: bool) -> Result<&[u8], SocketError> {
        let flags = if wait {
            MsgFlags::empty()
        } else {
            MsgFlags::MSG_DONTWAIT
        };
        let length = loop {
            let mut parts = [IoSliceMut::new(&mut self.buffer)];
            match recvmsg::<NetlinkAddr>(self.descriptor.as_raw_fd(), &mut parts, None, flags) {
                // Other processes may write to our port; only port 0 is the kernel.
                Ok(it) if it.address.is_none_or(|sender| sender.pid() != 0) => {}
                Ok(it) if it.flags.contains(MsgFlags::MSG_TRUNC) => {
                    return Err(Malformed {
                        what: "a datagram longer than the buffer",
                    }
                    .into());
                }
                Ok(it) => break it.bytes,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(SocketError::Timeout { after: self.timeout }),
                Err(Errno::ENOBUFS) => return Err(SocketError::Overrun),
                Err(source) => return Err(SocketError::Receive(source)),
            }
        };
        Ok(&self.buffer[..length])
    }

    /// Sends one request and waits for its acknowledgement.
    ///
    /// # Errors
    ///
    /// [`SocketError::Refused`] is the answer of the kernel; any other that is not about sending leaves the outcome
    /// unknown.
    pub fn request(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Builder),
    ) -> Result<(), SocketError> {
        self.exchange(kind, REQUEST | ACKNOWLEDGE | flags, fixed, body, |_| Ok(()))
    }

    /// Sends one request and returns what `read` makes of its one reply. It asks for no acknowledgement, which would be
    /// a second message to wait for: the kernel answers with the reply or a refusal.
    ///
    /// # Errors
    ///
    /// As [`Socket::request`]; [`SocketError::Malformed`] when there is no reply, and no refusal.
    pub fn ask<T>(
        &mut self,
        kind: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Builder),
        read: impl FnOnce(&Message<'_>) -> Result<T, Malformed>,
    ) -> Result<T, SocketError> {
        let sequence = self.begin(kind, REQUEST, fixed, body)?;
        loop {
            for message in parse_messages(self.receive(true)?) {
                let message = message?;
                // An earlier exchange that gave up may have left answers behind.
                if message.header.sequence != sequence {
                    continue;
                }
                return match message.header.kind {
                    KIND_ACKNOWLEDGEMENT | KIND_DONE => {
                        SocketError::refused(read_end(&message)?)?;
                        let what = "an acknowledgement without the reply";
                        Err(Malformed { what }.into())
                    }
                    _ => Ok(read(&message)?),
                };
            }
        }
    }

    /// Dumps a table, calling `visit` with every entry in the order of the kernel.
    ///
    /// # Errors
    ///
    /// [`SocketError::Interrupted`] when the table changed meanwhile: what was visited may be incomplete or double.
    pub fn dump(
        &mut self,
        kind: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Builder),
        visit: impl FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> Result<(), SocketError> {
        self.exchange(kind, REQUEST | DUMP, fixed, body, visit)
    }

    /// Sends one request and returns its sequence number.
    fn begin(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Builder),
    ) -> Result<u32, SocketError> {
        let sequence = self.reserve(1);
        let mut builder = Builder::with_capacity(256);
        builder.message(kind, flags, sequence, fixed, body);
        self.send(&builder.finish()?)?;
        Ok(sequence)
    }

    /// Sends one request and reads until its acknowledgement or the end of its dump.
    ///
    /// It reads to the end even when `visit` fails, because a dump left half-read blocks the next one.
    fn exchange(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Builder),
        mut visit: impl FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> Result<(), SocketError> {
        let sequence = self.begin(kind, flags, fixed, body)?;
        let mut interrupted = false;
        let mut failed = None;
        loop {
            for message in parse_messages(self.receive(true)?) {
                let message = message?;
                // An earlier exchange that gave up may have left answers behind.
                if message.header.sequence != sequence {
                    continue;
                }
                interrupted |= message.header.flags & DUMP_INTERRUPTED != 0;
                match message.header.kind {
                    KIND_ACKNOWLEDGEMENT | KIND_DONE => {
                        let end = read_end(&message)?;
                        return match failed {
                            Some(malformed) => Err(SocketError::Malformed(malformed)),
                            None if end.errno.is_none() && interrupted => Err(SocketError::Interrupted),
                            None => SocketError::refused(end),
                        };
                    }
                    _ if failed.is_none() => failed = visit(&message).err(),
                    _ => {}
                }
            }
        }
    }
}

impl SocketError {
    /// Returns the refusal of the kernel as an error, and success as success.
    ///
    /// # Errors
    ///
    /// [`SocketError::Refused`] when `answer` has an errno.
    pub fn refused(answer: Acknowledgement) -> Result<(), Self> {
        match answer.errno {
            None => Ok(()),
            // A dump that met a change it cannot step over ends with this instead of the flag.
            Some(Errno::EINTR) => Err(Self::Interrupted),
            Some(errno) => Err(Self::Refused {
                errno,
                text: answer.text,
                offset: answer.offset,
            }),
        }
    }

    /// Returns the errno behind this error, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { source, .. } | Self::Send { source, .. } | Self::Receive(source) => Some(*source),
            Self::Refused { errno, .. } => Some(*errno),
            Self::Overrun => Some(Errno::ENOBUFS),
            Self::TooLong(_) | Self::Timeout { .. } | Self::Malformed(_) | Self::Interrupted => None,
        }
    }
}

/// Reads the message that ends an exchange. Kernels before 4.14 end a dump without an error number.
fn read_end(message: &Message<'_>) -> Result<Acknowledgement, Malformed> {
    if message.header.kind == KIND_DONE && message.payload.len() < 4 {
        return Ok(Acknowledgement::default());
    }
    let flags = if message.header.kind == KIND_DONE {
        0
    } else {
        message.header.flags
    };
    parse_acknowledgement(flags, message.payload)
}

/// `NETLINK_EXT_ACK`: refusals say why in words and where in the request.
#[derive(Clone)]
struct ExplainAcknowledgements;
nix::setsockopt_impl!(
    ExplainAcknowledgements,
    libc::SOL_NETLINK,
    libc::NETLINK_EXT_ACK,
    bool,
    sockopt::SetBool
);

/// `NETLINK_CAP_ACK`: refusals do not repeat the request.
#[derive(Clone)]
struct CapAcknowledgements;
nix::setsockopt_impl!(
    CapAcknowledgements,
    libc::SOL_NETLINK,
    libc::NETLINK_CAP_ACK,
    bool,
    sockopt::SetBool
);
