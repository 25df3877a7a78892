//! Takes syslog messages, over UDP and over TCP, and hands on what is in them.
//!
//! RFC 5424 and RFC 3164 (`message.rs`), framed over TCP as RFC 6587 says, one message a datagram over UDP (RFC 5426).
//! Who sends is believed: syslog knows no password, and the address of a datagram can be forged.
//!
//! Never answers. Over TCP senders wait while nothing can be taken. Over UDP they cannot, so what is lost is counted,
//! by the kernel where it was too much for us.

mod message;

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use staunch_ports::InletTally;

use super::listener::{Attendant, IDLE_MIN, Limits, Listener, Opens};
use super::thread::Stop;
use super::{Added, Batch, Framing, InletThread, Overlong, Seldom, Sink};
use crate::json::EVENT_BYTES_MAX;

pub use message::{Message, NotSyslog, parse};

/// Bytes of a message. RFC 5424 asks for 2 KiB; a record of Suricata with payload and HTTP body has up to 200 KiB.
pub const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// Connections of one TCP socket: one for each sensor or relay.
const CONNECTIONS_MAX: usize = 64;

/// Of those, connections of one address.
const CONNECTIONS_PER_PEER_MAX: usize = 16;

/// Bytes that the kernel keeps of datagrams that were not read yet, if it allows that many.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Datagrams of one round that add nothing to what is handed on: who sends only such ones holds up nobody's lines, and
/// no stop.
const DATAGRAMS_IN_VAIN_MAX: usize = 256;

/// Where to listen, and what to do with what comes.
#[derive(Clone, Debug)]
pub struct SyslogSettings {
    /// Where to listen.
    pub listen: Listen,
    /// Who may send. With none, this machine.
    pub from: Vec<IpNet>,
    /// The programs whose messages are taken. With none, all of them.
    pub app_names: Vec<String>,
    /// What is handed on.
    pub hand_on: HandOn,
}

/// What of a message is handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HandOn {
    /// What it says, without what it is wrapped in.
    #[default]
    Message,
    /// A JSON object of what it is wrapped in and, as a text, what it says.
    Entry,
}

/// A socket to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// How messages come.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

/// How messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One a datagram.
    Udp,
    /// In streams.
    Tcp,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (transport, address) = match text.split_once("://") {
            Some(("udp", address)) => (Transport::Udp, address),
            Some(("tcp", address)) => (Transport::Tcp, address),
            _ => return Err("write udp:// or tcp:// and an address with its port, such as udp://127.0.0.1:514".into()),
        };
        let address = address
            .parse()
            .map_err(|_| format!("not an address with its port: {}", staunch_model::Printable(address)))?;
        Ok(Self { transport, address })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        write!(f, "{transport}://{}", self.address)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A socket that is listened on, and that nobody reads yet.
#[derive(Debug)]
pub struct SyslogSocket {
    settings: SyslogSettings,
    socket: Socket,
    listen: Listen,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

impl SyslogSocket {
    /// Listens.
    ///
    /// # Errors
    /// When the address is in use, is none of this machine's, or needs a permission.
    pub fn bind(mut settings: SyslogSettings) -> io::Result<Self> {
        if settings.from.is_empty() {
            settings.from = vec![
                IpNet::new_assert(Ipv4Addr::LOCALHOST.into(), 8),
                IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
            ];
        }
        let listen = settings.listen;
        let (socket, address) = match listen.transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(listen.address)?;
                socket.set_nonblocking(true)?;
                // More than the usual limit with CAP_NET_ADMIN, which Staunch has where it enforces.
                if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
                    setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER_BYTES)?;
                }
                setsockopt(&socket, sockopt::RxqOvfl, &1)?;
                let address = socket.local_addr()?;
                (Socket::Udp(socket), address)
            }
            Transport::Tcp => {
                let listener = TcpListener::bind(listen.address)?;
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                (Socket::Tcp(listener), address)
            }
        };
        let listen = Listen { address, ..listen };
        Ok(Self {
            settings,
            socket,
            listen,
        })
    }

    /// Where it listens: with the port that it was given, where any would do.
    #[must_use]
    pub const fn listen(&self) -> Listen {
        self.listen
    }

    /// Starts a thread that hands what comes to `sink`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(self, tally: Arc<InletTally>, sink: Sink) -> io::Result<InletThread> {
        let Self { settings, socket, .. } = self;
        let from = settings.from.clone();
        let opener = Opener {
            settings,
            tally: tally.clone(),
            malformed: Seldom::default(),
        };
        InletThread::start("syslog", move |stop| match socket {
            Socket::Udp(socket) => Datagrams {
                socket,
                from,
                opener,
                tally,
                sink,
                overflows: 0,
                lost: Seldom::default(),
                overlong: Overlong::new(EVENT_BYTES_MAX),
                strangers: Seldom::default(),
            }
            .run(&stop),
            Socket::Tcp(listener) => {
                let listener = Listener::Tcp(listener, from);
                let limits = Limits {
                    connections_max: CONNECTIONS_MAX,
                    connections_per_peer_max: CONNECTIONS_PER_PEER_MAX,
                    idle_min: IDLE_MIN,
                    message_bytes_max: MESSAGE_BYTES_MAX,
                    framing: Framing::Syslog,
                };
                Attendant::new(listener, limits, Box::new(opener), tally, sink).run(&stop);
            }
        })
    }
}

/// Takes messages out of what they are wrapped in.
struct Opener {
    settings: SyslogSettings,
    tally: Arc<InletTally>,
    malformed: Seldom,
}

/// What is handed on of a message with its header.
#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    header: Message<'a>,
    message: &'a str,
}

impl Opens for Opener {
    fn open(&mut self, message: &[u8], batch: &mut Batch) -> Added {
        let message = match parse(message) {
            Ok(message) => message,
            Err(error) => {
                self.malformed(&error);
                return Added::Nothing;
            }
        };
        let names = &self.settings.app_names;
        let is_ours = |name: &str| names.iter().any(|it| it == name);
        if !names.is_empty() && !message.app_name.is_some_and(is_ours) {
            self.tally.passed_over(1);
            return Added::Nothing;
        }
        let added = match self.settings.hand_on {
            HandOn::Message => batch.add(message.text),
            HandOn::Entry => {
                let text = String::from_utf8_lossy(message.text);
                let entry = Entry {
                    header: message,
                    message: &text,
                };
                // A struct of texts and numbers can always be written.
                serde_json::to_vec(&entry).map_or(Added::Nothing, |entry| batch.add(&entry))
            }
        };
        if added == Added::Nothing {
            self.malformed(&"there is nothing in it");
        }
        added
    }
}

impl Opener {
    fn malformed(&mut self, why: &dyn fmt::Display) {
        self.tally.malformed(1);
        if let Some(messages) = self.malformed.add(1) {
            tracing::warn!(inlet = self.tally.follows(), messages, last = %why, "no syslog messages");
        }
    }
}

/// Reads datagrams.
struct Datagrams {
    socket: UdpSocket,
    from: Vec<IpNet>,
    opener: Opener,
    tally: Arc<InletTally>,
    sink: Sink,
    /// Datagrams that the kernel had no room for, as it said last.
    overflows: u32,
    lost: Seldom,
    overlong: Overlong,
    strangers: Seldom,
}

/// A datagram that was read.
struct Datagram {
    bytes: usize,
    from: Option<IpAddr>,
    /// Datagrams that the kernel had no room for since the socket was made, when it says so.
    overflows: Option<u32>,
}

impl Datagrams {
    fn run(mut self, stop: &Stop) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut batch = Batch::default();
        loop {
            let asked = {
                let mut wanted = [
                    PollFd::new(stop.as_fd(), PollFlags::POLLIN),
                    PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                ];
                // When it is interrupted, nothing is ready.
                let _ = poll(&mut wanted, PollTimeout::NONE);
                wanted[0].any().unwrap_or(false)
            };
            if asked {
                break;
            }
            let mut in_vain = 0;
            while !batch.is_full() && in_vain < DATAGRAMS_IN_VAIN_MAX {
                let lines = batch.lines;
                match self.receive(&mut buffer) {
                    Ok(datagram) => self.take(&datagram, &buffer[..datagram.bytes], &mut batch),
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break,
                    Err(error) => {
                        tracing::warn!(%error, inlet = self.tally.follows(), "datagrams cannot be read");
                        if stop.within(super::RETRY_PAUSE) {
                            return;
                        }
                        break;
                    }
                }
                in_vain += usize::from(batch.lines == lines);
            }
            if !batch.hand_on(&mut self.sink, stop) {
                break;
            }
        }
        let lost = self.lost.rest();
        self.tell_lost(lost);
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<Datagram, Errno> {
        let mut space = nix::cmsg_space!(u32);
        let mut parts = [IoSliceMut::new(buffer)];
        let socket = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmsg::<SockaddrStorage>(socket, &mut parts, Some(&mut space), flags)?;
        let from = received.address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
        });
        let overflows = received.cmsgs()?.find_map(|it| match it {
            ControlMessageOwned::RxqOvfl(count) => Some(count),
            _ => None,
        });
        Ok(Datagram {
            bytes: received.bytes,
            from: from.map(|it| it.to_canonical()),
            overflows,
        })
    }

    fn take(&mut self, datagram: &Datagram, bytes: &[u8], batch: &mut Batch) {
        if let Some(overflows) = datagram.overflows {
            let lost = u64::from(overflows.wrapping_sub(self.overflows));
            self.overflows = overflows;
            self.tally.dropped(lost);
            let lost = self.lost.add(lost);
            self.tell_lost(lost);
        }
        let may_send = |ip: &IpAddr| self.from.iter().any(|network| network.contains(ip));
        if datagram.from.as_ref().is_some_and(may_send) {
            if self.opener.open(bytes, batch) == Added::TooLong {
                self.overlong.add(&self.tally);
            }
            return;
        }
        self.tally.dropped(1);
        if let Some(messages) = self.strangers.add(1) {
            let (inlet, last) = (self.tally.follows(), datagram.from.map(tracing::field::display));
            let why = "their address is not among those that may send";
            tracing::warn!(inlet, messages, last, why, "messages were turned away");
        }
    }

    fn tell_lost(&self, lost: Option<u64>) {
        if let Some(lost) = lost {
            let inlet = self.tally.follows();
            tracing::warn!(
                inlet,
                lost,
                "messages were lost: they came faster than they could be taken. Over TCP senders wait"
            );
        }
    }
}

#[cfg(test)]
mod tests;
