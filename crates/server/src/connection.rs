//! Connections: how many there may be, and how long a client may take.
//!
//! Never looks into a request. A client that sends or takes its bytes too slowly is cut off, so that nobody can hold
//! connections without using them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::auth::Identity;
use crate::limits::{HEAD_BYTES_MAX, HttpLimits, LINGER, LINGER_BYTES_MAX, OPERATOR_CONNECTIONS_MAX};
use crate::tls::{Secured, Tls};

/// How long to wait after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// Answers for clients that never come to a request.
const CROWDED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
content-type: application/problem+json\r\ncontent-length: 140\r\n\r\n\
{\"type\":\"urn:staunch:problem:too-many-connections\",\"title\":\"too many connections\",\"status\":503,\
\"detail\":\"no further connection is accepted\"}";
const SLOW_HEAD: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const LARGE_HEAD: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Accepts connections up to a limit, and up to a smaller one from one peer.
pub(crate) struct Gate {
    door: Door,
    free: Arc<Semaphore>,
    peers: Arc<Peers>,
    limits: HttpLimits,
}

/// Where connections come in.
enum Door {
    /// The network, in the clear or with TLS.
    Tcp(TcpListener, Option<Arc<Tls>>),
    /// The socket for operators on this machine: whatever senders do, it has places of its own.
    Local(UnixListener),
}

impl Gate {
    pub(crate) fn new(listener: TcpListener, tls: Option<Arc<Tls>>, limits: HttpLimits) -> Self {
        Self::with(Door::Tcp(listener, tls), limits.connections_max, limits)
    }

    pub(crate) fn local(listener: UnixListener, limits: HttpLimits) -> Self {
        Self::with(Door::Local(listener), OPERATOR_CONNECTIONS_MAX, limits)
    }

    fn with(door: Door, connections_max: usize, limits: HttpLimits) -> Self {
        Self {
            door,
            free: Arc::new(Semaphore::new(connections_max)),
            peers: Arc::default(),
            limits,
        }
    }

    async fn next(&self, watch: &Arc<Watch>) -> io::Result<(Stream, Origin)> {
        match &self.door {
            Door::Tcp(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                // An answer that waits for the next one to fill a packet costs 40 ms.
                drop(stream.set_nodelay(true));
                let stream = match tls {
                    None => Stream::Tcp(stream),
                    Some(tls) => Stream::Secured(Box::new(Secured::new(stream, tls.clone(), watch.clone()))),
                };
                Ok((stream, Origin::Network(peer)))
            }
            Door::Local(listener) => {
                let (stream, _) = listener.accept().await?;
                let user = stream.peer_cred()?.uid();
                Ok((Stream::Local(stream), Origin::Local { user }))
            }
        }
    }
}

impl Listener for Gate {
    type Io = Guarded;
    type Addr = Origin;

    async fn accept(&mut self) -> (Guarded, Origin) {
        loop {
            let watch = Arc::default();
            let (mut stream, from) = match self.next(&watch).await {
                Ok(accepted) => accepted,
                Err(error) => {
                    if !is_of_one_connection(&error) {
                        tracing::warn!(%error, "cannot accept connections");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    continue;
                }
            };
            let place = Peers::take(&self.peers, from, self.limits.connections_per_peer_max);
            let (Some(place), Ok(permit)) = (place, self.free.clone().try_acquire_owned()) else {
                // What the client does not take at once, it does not get.
                stream.try_write(CROWDED);
                continue;
            };
            return (Guarded::new(stream, watch, self.limits, (permit, place)), from);
        }
    }

    fn local_addr(&self) -> io::Result<Origin> {
        match &self.door {
            Door::Tcp(listener, _) => listener.local_addr().map(Origin::Network),
            Door::Local(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a socket of the file system",
            )),
        }
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This address.
    Network(SocketAddr),
    /// The operators' socket. Its file lets in the user of the server, and root.
    Local {
        /// The user of the process at the other end.
        user: u32,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Local { user } => write!(f, "user {user} of this machine"),
        }
    }
}

/// How many connections each peer has. An IPv6 peer is a /64: whoever has one address of it has them all.
#[derive(Debug, Default)]
struct Peers(Mutex<BTreeMap<IpAddr, usize>>);

impl Peers {
    /// A place for one more connection from there; `None` when it has `most` already.
    fn take(peers: &Arc<Self>, from: Origin, most: usize) -> Option<Place> {
        let peer = match from {
            Origin::Network(address) => network_of(address.ip()),
            // Few places, and all of one trust.
            Origin::Local { .. } => return Some(Place(None)),
        };
        let mut counts = peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place(Some((peers.clone(), peer))))
    }
}

fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// A place of a peer; given back when it is dropped.
#[derive(Debug)]
struct Place(Option<(Arc<Peers>, IpAddr)>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some((peers, peer)) = self.0.take() else { return };
        let mut counts = peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&peer);
            }
        }
    }
}

/// The bytes of a connection, wherever it came in.
enum Stream {
    Tcp(TcpStream),
    Secured(Box<Secured>),
    Local(UnixStream),
}

/// The same call on whichever stream it is.
macro_rules! either {
    ($stream:expr, $it:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($it) => $call,
            Stream::Secured($it) => $call,
            Stream::Local($it) => $call,
        }
    };
}

impl Stream {
    /// Sends what fits at once. It is the last word of a connection: what the client does not take, it does not get.
    fn try_write(&mut self, bytes: &[u8]) {
        match self {
            Self::Tcp(stream) => drop(stream.try_write(bytes)),
            Self::Secured(stream) => stream.try_write(bytes),
            Self::Local(stream) => drop(stream.try_write(bytes)),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), it => Pin::new(it).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), it => Pin::new(it).poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), it => Pin::new(it).poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, it => it.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), it => Pin::new(it).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), it => Pin::new(it).poll_shutdown(cx))
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionRefused | Kind::ConnectionAborted | Kind::ConnectionReset
    )
}

/// Where a connection is. Its handler knows; the stream needs to.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    phase: AtomicU8,
    linger: AtomicBool,
    client: OnceLock<Identity>,
}

/// Waiting for a request, or reading its head.
const WAITING: u8 = 0;
/// A request is being dealt with. Its handler has its own deadlines.
const BUSY: u8 = 1;
/// The answer is ready and has not begun to leave.
const ANSWERED: u8 = 2;

impl Watch {
    /// The client has shown a certificate that was verified, and this is who it is by it.
    pub(crate) fn known_by_certificate(&self, identity: Identity) {
        // There is one handshake for each connection.
        let _ = self.client.set(identity);
    }

    /// Who the client is by its certificate.
    pub(crate) fn client(&self) -> Option<&Identity> {
        self.client.get()
    }

    /// A whole head has arrived.
    pub(crate) fn busy(&self) {
        self.phase.store(BUSY, Ordering::Release);
    }

    /// The answer is ready. With `linger` the client may still be sending, and should see the answer nevertheless.
    pub(crate) fn answered(&self, linger: bool) {
        self.linger.store(linger, Ordering::Release);
        self.phase.store(ANSWERED, Ordering::Release);
    }
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) from: Origin,
    pub(crate) watch: Arc<Watch>,
}

impl Connected<IncomingStream<'_, Gate>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Gate>) -> Self {
        Self {
            from: *stream.remote_addr(),
            watch: stream.io().watch.clone(),
        }
    }
}

/// The head of a request, as far as it has arrived.
#[derive(Debug, Default)]
struct Head {
    bytes: usize,
    /// Whether its first line has begun. Empty lines before it do not count.
    begun: bool,
    /// Whether nothing has come since the last line feed but perhaps a carriage return.
    in_empty_line: bool,
    /// Whether the empty line behind it has arrived.
    ended: bool,
}

impl Head {
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.bytes += 1;
            match byte {
                b'\n' if self.begun && self.in_empty_line => {
                    self.ended = true;
                    return;
                }
                b'\n' => self.in_empty_line = true,
                b'\r' => {}
                _ => {
                    self.begun = true;
                    self.in_empty_line = false;
                }
            }
        }
    }
}

/// A stream with deadlines.
pub(crate) struct Guarded {
    stream: Stream,
    limits: HttpLimits,
    watch: Arc<Watch>,
    head: Head,
    /// For the next head; after the shutdown, for lingering.
    read_deadline: Pin<Box<Sleep>>,
    /// Set while the client takes nothing.
    write_deadline: Option<Pin<Box<Sleep>>>,
    /// The same for what was written and waits behind TLS, whose bytes can be taken over before they leave.
    flush_deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes dropped after the shutdown.
    lingered: Option<usize>,
    _place: (OwnedSemaphorePermit, Place),
}

impl Guarded {
    fn new(stream: Stream, watch: Arc<Watch>, limits: HttpLimits, place: (OwnedSemaphorePermit, Place)) -> Self {
        Self {
            stream,
            limits,
            watch,
            head: Head::default(),
            read_deadline: Box::pin(sleep_until(Instant::now() + limits.head_timeout)),
            write_deadline: None,
            flush_deadline: None,
            lingered: None,
            _place: place,
        }
    }

    /// Takes note of what became of a write.
    fn wrote(&mut self, result: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.write_deadline = None;
            let phase = self.watch.phase.load(Ordering::Acquire);
            if phase == ANSWERED {
                self.watch.phase.store(WAITING, Ordering::Release);
                self.head = Head::default();
            }
            if phase != BUSY && self.head.bytes == 0 {
                self.read_deadline
                    .as_mut()
                    .reset(Instant::now() + self.limits.idle_timeout);
            }
            return result;
        }
        ready!(wait(&mut self.write_deadline, self.limits.write_timeout, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Takes note of what became of a flush or a shutdown.
    fn flushed(&mut self, result: Poll<io::Result<()>>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if result.is_ready() {
            self.flush_deadline = None;
            return result;
        }
        ready!(wait(&mut self.flush_deadline, self.limits.write_timeout, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn refuse(&mut self, answer: &'static [u8], kind: io::ErrorKind) -> Poll<io::Result<()>> {
        self.stream.try_write(answer);
        Poll::Ready(Err(kind.into()))
    }
}

/// Waits for `deadline`, which is `timeout` from now when it is not set yet.
fn wait(deadline: &mut Option<Pin<Box<Sleep>>>, timeout: Duration, cx: &mut Context<'_>) -> Poll<()> {
    let timer = deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + timeout)));
    timer.as_mut().poll(cx)
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Behind the head comes the body, some of which is read before the handler has begun.
        if this.head.ended || this.watch.phase.load(Ordering::Acquire) != WAITING {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        if this.head.bytes > HEAD_BYTES_MAX {
            return this.refuse(LARGE_HEAD, io::ErrorKind::InvalidData);
        }
        if this.read_deadline.as_mut().poll(cx).is_ready() {
            let answer = if this.head.bytes > 0 { SLOW_HEAD } else { b"" };
            return this.refuse(answer, io::ErrorKind::TimedOut);
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            if this.head.bytes == 0 {
                this.read_deadline
                    .as_mut()
                    .reset(Instant::now() + this.limits.head_timeout);
            }
            this.head.read(read);
        }
        result
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, data);
        this.wrote(result, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, data);
        this.wrote(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(cx);
        this.flushed(result, cx)
    }

    /// Ends the stream. When the client may still be sending, what it sends is read and dropped for a while: closing at
    /// once would reset the connection and take the answer away from it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingered.is_none() {
            let result = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.flushed(result, cx))?;
            this.lingered = Some(0);
            this.read_deadline.as_mut().reset(Instant::now() + LINGER);
        }
        if !this.watch.linger.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0; 8 << 10];
        while this.lingered.is_some_and(|bytes| bytes < LINGER_BYTES_MAX) {
            if this.read_deadline.as_mut().poll(cx).is_ready() {
                break;
            }
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {
                    this.lingered = this.lingered.map(|bytes| bytes + buf.filled().len());
                }
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn a_head_ends_with_its_empty_line_and_not_before() {
        let ended = |parts: &[&str]| {
            let mut head = Head::default();
            parts.iter().for_each(|part| head.read(part.as_bytes()));
            (head.ended, head.bytes)
        };
        assert_eq!(ended(&["GET / HTTP/1.1\r\na: b\r\n\r\nbody"]), (true, 24));
        assert_eq!(ended(&["GET / HTTP/1.1\r", "\n\r", "\n"]), (true, 18));
        assert_eq!(ended(&["GET / HTTP/1.1\n\n"]), (true, 16));
        assert_eq!(ended(&["GET / HTTP/1.1\r\na: b\r\n"]), (false, 22));
        assert_eq!(
            ended(&["\r\n\r\n\r\nGET"]),
            (false, 9),
            "empty lines before a head do not end it"
        );
    }

    #[test]
    fn one_peer_takes_no_more_than_its_part() {
        let peers = Arc::<Peers>::default();
        let take = |text: &str| {
            let ip = text.parse().expect("an address");
            Peers::take(&peers, Origin::Network(SocketAddr::new(ip, 1)), 2)
        };
        let first = take("192.0.2.1").expect("there is room");
        let _second = take("::ffff:192.0.2.1").expect("there is room");
        assert!(take("192.0.2.1").is_none(), "both were the same peer");
        let _other = take("192.0.2.2").expect("another peer has places of its own");
        let _six = [take("2001:db8::1"), take("2001:db8::ffff")].map(|it| it.expect("there is room"));
        assert!(take("2001:db8::2").is_none(), "a /64 is one peer");
        drop(first);
        let _again = take("192.0.2.1").expect("its place was given back");
        for _ in 0..10 {
            let place = Peers::take(&peers, Origin::Local { user: 0 }, 0);
            assert!(place.is_some(), "operators have a door of their own");
        }
    }

    /// With TLS a write is done when its bytes are encrypted; whether the client takes them shows when they are flushed.
    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_off_behind_tls_too() {
        let limits = HttpLimits {
            write_timeout: Duration::from_millis(100),
            ..HttpLimits::default()
        };
        let (tls, roots) = crate::tls::made_up();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let gate = &mut Gate::new(listener, Some(Arc::new(tls)), limits);
        let client = async {
            let config =
                rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                    .with_safe_default_protocol_versions()
                    .expect("they are known")
                    .with_root_certificates(roots)
                    .with_no_client_auth();
            let stream = TcpStream::connect(address).await.expect("it accepts");
            let name = "localhost".try_into().expect("a name");
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            connector.connect(name, stream).await.expect("a handshake")
        };
        let server = async {
            let (mut stream, _) = gate.accept().await;
            // The client says nothing more, so this ends with the handshake at the earliest.
            let mut byte = [0];
            let mut read = ReadBuf::new(&mut byte);
            std::future::poll_fn(|cx| {
                let pending = Pin::new(&mut stream).poll_read(cx, &mut read).is_pending();
                match &stream.stream {
                    Stream::Secured(secured) if secured.is_open() => Poll::Ready(()),
                    _ => {
                        assert!(pending, "the handshake ends well");
                        Poll::Pending
                    }
                }
            })
            .await;
            stream
        };
        let (_client, mut stream) = tokio::join!(client, server);
        let ended = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                stream.write_all(&[0; 16 << 10]).await?;
                stream.flush().await?;
            }
        });
        let result: io::Result<()> = ended.await.expect("it does not wait for ever");
        assert_eq!(result.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn the_answer_to_a_crowd_has_the_length_it_says() {
        let text = std::str::from_utf8(CROWDED).expect("it is text");
        let (head, body) = text.split_once("\r\n\r\n").expect("it has a head");
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
        let problem: crate::dto::Problem = serde_json::from_str(body).expect("it is a problem");
        assert_eq!((problem.code(), problem.status), ("too-many-connections", 503));
    }
}
