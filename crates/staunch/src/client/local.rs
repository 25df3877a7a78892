//! HTTP over the operators' socket of a server on this machine.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};
use ureq::{Error, Timeout};

/// The pause between two tries to connect.
const AGAIN: Duration = Duration::from_millis(10);

/// True when a server listens at `socket`, which this user may open: also one that stands still.
pub(crate) fn is_served(socket: &Path) -> bool {
    match try_connect(socket) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Connects to the socket at `path` within this time: a server that has stood still for long has as many connections
/// waiting as there may be, and another one would wait for as long.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when there was no room for it; otherwise why there is no connection.
fn connect(path: &Path, within: Duration) -> io::Result<UnixStream> {
    let until = Instant::now().checked_add(within);
    loop {
        match try_connect(path) {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && until.is_none_or(|until| Instant::now() < until) =>
            {
                std::thread::sleep(AGAIN);
            }
            done => return done,
        }
    }
}

fn try_connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let ours = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::connect(ours.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(ours);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Opens a connection to one socket, whatever the address of the request says.
#[derive(Debug)]
pub(super) struct LocalConnector(pub(super) PathBuf);

impl Connector for LocalConnector {
    type Out = LocalTransport;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<LocalTransport>, Error> {
        Ok(Some(LocalTransport {
            stream: connect(&self.0, *details.timeout.after).map_err(|error| told(error, details.timeout.reason))?,
            buffers: LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size()),
        }))
    }
}

/// A connection for one request.
#[derive(Debug)]
pub(super) struct LocalTransport {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl Transport for LocalTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.set_write_timeout(timeout.not_zero().map(|it| *it))?;
        let output = &self.buffers.output()[..amount];
        self.stream
            .write_all(output)
            .map_err(|error| told(error, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.set_read_timeout(timeout.not_zero().map(|it| *it))?;
        let input = self.buffers.input_append_buf();
        let amount = loop {
            match self.stream.read(input) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|error| told(error, timeout.reason))?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }
}

/// The system says of a deadline that the call would have blocked.
fn told(error: io::Error, reason: Timeout) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(reason),
        _ => Error::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_server_that_takes_no_more_connections_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("socket");
        assert!(!is_served(&path), "nobody listens");
        let listener = UnixListener::bind(&path).expect("it is our directory");
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).expect("it is small"))
            .expect("it listens");
        let mut waiting = Vec::new();
        let full = loop {
            match connect(&path, Duration::ZERO) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            assert!(waiting.len() < 100, "it has a bound");
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(is_served(&path), "it is there all the same");
        assert!(matches!(told(full, Timeout::Connect), Error::Timeout(Timeout::Connect)));
    }
}
