//! Takes messages from everybody who connects to a socket, on one thread.
//!
//! While what was read cannot be taken, nothing more is read from anybody: senders wait. Never answers a sender.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use staunch_ports::InletTally;

use super::thread::Stop;
use super::{Added, Batch, Cut, Cutter, Framing, Overlong, Seldom, Sink};
use crate::json::EVENT_BYTES_MAX;

/// Bytes that are read of one connection before it is another one's turn.
const READ_BYTES: usize = 64 << 10;

/// How long somebody may be silent within a message. Between messages a sender may be silent for ever: to close the
/// connection of one that has nothing to say loses what it says next.
const UNFINISHED_DEADLINE: Duration = Duration::from_secs(30);

/// What [`Limits::idle_min`] is outside of tests: longer than [`UNFINISHED_DEADLINE`].
pub(super) const IDLE_MIN: Duration = Duration::from_secs(60);

/// Connections that are taken up before it is looked again at those there are.
const ACCEPTS_MAX: usize = 64;

/// How long to wait when no connection can be taken up, as without files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Where connections come from.
#[derive(Debug)]
pub(super) enum Listener {
    /// The network, and who may send.
    Tcp(TcpListener, Vec<IpNet>),
    /// A socket in the file system, whose mode says who may send.
    Unix(UnixListener),
}

/// What is taken at the most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) connections_max: usize,
    /// Of those, connections of one address. On a Unix socket there are no addresses.
    pub(super) connections_per_peer_max: usize,
    /// How long somebody was silent who has to make room for another one.
    pub(super) idle_min: Duration,
    pub(super) message_bytes_max: usize,
    pub(super) framing: Framing,
}

/// Makes a line of each message.
pub(super) trait Opens: Send {
    /// Adds what is in `message` to `batch`.
    fn open(&mut self, message: &[u8], batch: &mut Batch) -> Added;
}

/// Takes up connections and reads them until it is asked to stop.
pub(super) struct Attendant {
    listener: Listener,
    limits: Limits,
    opens: Box<dyn Opens>,
    sink: Sink,
    tally: Arc<InletTally>,
    connections: Vec<Connection>,
    batch: Batch,
    /// Messages that are too long as they come.
    overlong: Overlong,
    /// Messages that are too long as they are handed on.
    overlong_lines: Overlong,
    turned_away: Seldom,
}

struct Connection {
    stream: File,
    peer: Option<IpAddr>,
    cutter: Cutter,
    heard_at: Instant,
}

impl Attendant {
    pub(super) fn new(
        listener: Listener,
        limits: Limits,
        opens: Box<dyn Opens>,
        tally: Arc<InletTally>,
        sink: Sink,
    ) -> Self {
        Self {
            listener,
            limits,
            opens,
            sink,
            tally,
            connections: Vec::new(),
            batch: Batch::default(),
            overlong: Overlong::new(limits.message_bytes_max),
            overlong_lines: Overlong::new(EVENT_BYTES_MAX),
            turned_away: Seldom::default(),
        }
    }

    pub(super) fn run(mut self, stop: &Stop) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let Some((arrived, ready)) = self.wait(stop) else {
                return;
            };
            let mut ready = ready.into_iter();
            let mut keeps_on = true;
            // Those that have ended are left out; nobody is read any more once it is to stop.
            let mut connections = std::mem::take(&mut self.connections);
            connections.retain_mut(|connection| {
                let is_ready = ready.next().unwrap_or(false);
                if !keeps_on {
                    return true;
                }
                if is_ready {
                    self.read(connection, &mut buffer, stop, &mut keeps_on)
                } else {
                    !connection.cutter.is_within() || connection.heard_at.elapsed() < UNFINISHED_DEADLINE
                }
            });
            self.connections = connections;
            if !keeps_on || !self.batch.hand_on(&mut self.sink, stop) {
                return;
            }
            if arrived && !self.accept() && stop.within(ACCEPT_PAUSE) {
                return;
            }
        }
    }

    /// Waits until there is something to do: whether somebody has connected, and which connections can be read. `None`
    /// when it is to stop.
    fn wait(&self, stop: &Stop) -> Option<(bool, Vec<bool>)> {
        let unfinished = self.connections.iter().filter(|it| it.cutter.is_within());
        let left = unfinished.map(|it| UNFINISHED_DEADLINE.saturating_sub(it.heard_at.elapsed()));
        let timeout = match left.min() {
            Some(left) => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut wanted = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        wanted.push(PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
        let streams = self.connections.iter();
        wanted.extend(streams.map(|it| PollFd::new(it.stream.as_fd(), PollFlags::POLLIN)));
        // When it is interrupted, nothing is ready.
        let _ = poll(&mut wanted, timeout);
        let mut ready = wanted.iter().map(|it| it.any().unwrap_or(false));
        let (asked, arrived) = (ready.next() == Some(true), ready.next() == Some(true));
        (!asked).then(|| (arrived, ready.collect()))
    }

    /// Reads some of what `connection` has sent. False when it has ended.
    fn read(&mut self, connection: &mut Connection, buffer: &mut [u8], stop: &Stop, keeps_on: &mut bool) -> bool {
        let read = match connection.stream.read(buffer) {
            Ok(read) => read,
            Err(error) => {
                return matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            }
        };
        connection.heard_at = Instant::now();
        connection.cutter.push(&buffer[..read]);
        while let Some(cut) = connection.cutter.next() {
            match cut {
                Cut::Message(message) => {
                    if self.opens.open(message, &mut self.batch) == Added::TooLong {
                        self.overlong_lines.add(&self.tally);
                    }
                }
                Cut::TooLong => self.overlong.add(&self.tally),
            }
            if self.batch.is_full() && !self.batch.hand_on(&mut self.sink, stop) {
                *keeps_on = false;
                return true;
            }
        }
        if read == 0
            && let Some(last) = connection.cutter.last()
            && self.opens.open(last, &mut self.batch) == Added::TooLong
        {
            self.overlong_lines.add(&self.tally);
        }
        read > 0
    }

    /// Takes up who has connected, up to [`ACCEPTS_MAX`]. False when that is not possible at present.
    fn accept(&mut self) -> bool {
        for _ in 0..ACCEPTS_MAX {
            match self.listener.accept() {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // Somebody who has gone meanwhile is no reason to wait.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    if self.turned_away.add(1).is_some() {
                        tracing::warn!(%error, inlet = self.tally.follows(), "connections cannot be taken up");
                    }
                    return false;
                }
            }
        }
        true
    }

    fn admit(&mut self, stream: OwnedFd, peer: Option<IpAddr>) {
        let why = if !self.listener.may_send(peer) {
            "its address is not among those that may send"
        } else if self.has_its_share(peer) && !self.make_room(|it| it.peer == peer) {
            "it has as many connections as one address may have"
        } else if self.connections.len() >= self.limits.connections_max && !self.make_room(|_| true) {
            "all connections are in use"
        } else {
            self.connections.push(Connection {
                stream: stream.into(),
                peer,
                cutter: Cutter::new(self.limits.framing, self.limits.message_bytes_max),
                heard_at: Instant::now(),
            });
            return;
        };
        if let Some(connections) = self.turned_away.add(1) {
            let (inlet, peer) = (self.tally.follows(), peer.map(tracing::field::display));
            tracing::warn!(inlet, connections, peer, why, "connections were turned away");
        }
    }

    /// Whether `peer` has as many connections as one address may have. Without an address, there is no share of it.
    fn has_its_share(&self, peer: Option<IpAddr>) -> bool {
        let of_peer = self.connections.iter().filter(|it| it.peer == peer);
        peer.is_some() && of_peer.count() >= self.limits.connections_per_peer_max
    }

    /// Closes that of the connections of `whom` that was silent longest, if that was long.
    fn make_room(&mut self, whom: impl Fn(&Connection) -> bool) -> bool {
        let connections = self.connections.iter().enumerate();
        let silent = connections.filter(|(_, it)| whom(it)).min_by_key(|(_, it)| it.heard_at);
        match silent {
            Some((at, it)) if it.heard_at.elapsed() >= self.limits.idle_min => {
                self.connections.swap_remove(at);
                true
            }
            _ => false,
        }
    }
}

impl Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener, _) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }

    /// Takes up one connection, which does not block, and whose it is.
    fn accept(&self) -> io::Result<(OwnedFd, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener, _) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                // Somebody who has gone without a word is noticed.
                setsockopt(&stream, sockopt::KeepAlive, &true)?;
                Ok((stream.into(), Some(peer.ip().to_canonical())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((stream.into(), None))
            }
        }
    }

    fn may_send(&self, peer: Option<IpAddr>) -> bool {
        match self {
            Self::Tcp(_, from) => peer.is_some_and(|peer| from.iter().any(|network| network.contains(&peer))),
            Self::Unix(_) => true,
        }
    }
}

#[cfg(test)]
mod tests;
