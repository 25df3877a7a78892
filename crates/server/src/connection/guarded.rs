//! How long a client may take with the head of a request, with an answer, and with its last bytes.
//!
//! Never looks at the body of a request: its handler has deadlines of its own.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::places::Place;
use super::stream::Stream;
use crate::auth::Identity;
use crate::limits::{HEAD_BYTES_MAX, HttpLimits, LINGER, LINGER_BYTES_MAX};

const SLOW_HEAD: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const LARGE_HEAD: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

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
    pub(super) watch: Arc<Watch>,
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
    pub(super) fn new(
        stream: Stream,
        watch: Arc<Watch>,
        limits: HttpLimits,
        place: (OwnedSemaphorePermit, Place),
    ) -> Self {
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
    use axum::serve::Listener as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::super::Gate;
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

    /// With TLS a write is done when its bytes are encrypted; whether the client takes them shows when they are
    /// flushed.
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
}
