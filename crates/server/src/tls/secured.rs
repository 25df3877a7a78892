//! One connection with TLS.
//!
//! Its handshake is part of the connection's own work, so that nobody else waits for it; the deadline for the head of a
//! request holds for both.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::Tls;
use crate::connection::Watch;

/// The first byte of a handshake: a record of that type (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// What a client is told that speaks plain HTTP.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
content-type: application/problem+json\r\ncontent-length: 152\r\n\r\n\
{\"type\":\"urn:staunch:problem:plain-http\",\"title\":\"the connection is not encrypted\",\"status\":400,\
\"detail\":\"this port speaks HTTPS\",\"hint\":\"use https://\"}";

/// A connection with TLS, or on its way there.
pub(crate) struct Secured {
    tls: Arc<Tls>,
    watch: Arc<Watch>,
    state: State,
}

enum State {
    /// Nothing has come yet.
    Begun(TcpStream),
    Handshake(Accept<TcpStream>),
    Open(TlsStream<TcpStream>),
    Failed,
}

impl Secured {
    pub(crate) fn new(stream: TcpStream, tls: Arc<Tls>, watch: Arc<Watch>) -> Self {
        let state = State::Begun(stream);
        Self { tls, watch, state }
    }

    /// True when the handshake is done.
    #[cfg(test)]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Sends what fits at once, when the handshake is done.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) {
        if let State::Open(stream) = &mut self.state {
            let mut cx = Context::from_waker(Waker::noop());
            // It is the last word of a connection that is given up: what the client does not take at once, it does not
            // get.
            let _ = Pin::new(&mut *stream).poll_write(&mut cx, bytes);
            let _ = Pin::new(stream).poll_flush(&mut cx);
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut TlsStream<TcpStream>>> {
        loop {
            match &mut self.state {
                State::Open(_) => break,
                State::Failed => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
                State::Begun(stream) => {
                    let mut first = [0];
                    let read = ready!(stream.poll_peek(cx, &mut ReadBuf::new(&mut first)));
                    let State::Begun(stream) = std::mem::replace(&mut self.state, State::Failed) else {
                        continue;
                    };
                    match read {
                        Err(error) => return Poll::Ready(Err(error)),
                        Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                        Ok(_) if first[0] != HANDSHAKE => {
                            tell_plain(&stream);
                            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                        }
                        Ok(_) => {
                            let acceptor = TlsAcceptor::from(self.tls.config());
                            self.state = State::Handshake(acceptor.accept(stream));
                        }
                    }
                }
                State::Handshake(accept) => match ready!(Pin::new(accept).poll(cx)) {
                    Ok(stream) => {
                        let certificates = stream.get_ref().1.peer_certificates();
                        let certificate = certificates.and_then(<[_]>::first);
                        if let Some(identity) = certificate.and_then(|it| self.tls.identity(it)) {
                            self.watch.known_by_certificate(identity);
                        }
                        self.state = State::Open(stream);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a handshake has failed");
                        self.state = State::Failed;
                        return Poll::Ready(Err(error));
                    }
                },
            }
        }
        match &mut self.state {
            State::Open(stream) => Poll::Ready(Ok(stream)),
            State::Begun(_) | State::Handshake(_) | State::Failed => {
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
        }
    }
}

/// Tells a client that speaks plain HTTP what is spoken here.
fn tell_plain(stream: &TcpStream) {
    // What is left unread would reset the connection and take the answer away.
    let mut scratch = [0; 4 << 10];
    let _ = stream.try_read(&mut scratch);
    let _ = stream.try_write(PLAIN);
}

impl AsyncRead for Secured {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = ready!(self.get_mut().poll_open(cx))?;
        Pin::new(stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let stream = ready!(self.get_mut().poll_open(cx))?;
        Pin::new(stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = ready!(self.get_mut().poll_open(cx))?;
        Pin::new(stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().state {
            State::Open(stream) => Pin::new(stream).poll_flush(cx),
            State::Begun(_) | State::Handshake(_) | State::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().state {
            State::Open(stream) => Pin::new(stream).poll_shutdown(cx),
            State::Begun(_) | State::Handshake(_) | State::Failed => Poll::Ready(Ok(())),
        }
    }
}
