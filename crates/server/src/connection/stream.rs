//! The bytes of a connection, wherever it came in: the network, TLS, or the socket for operators.
//!
//! Never waits on its own and knows no deadline.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::tls::Secured;

/// The bytes of a connection, wherever it came in.
pub(super) enum Stream {
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
    pub(super) fn try_write(&mut self, bytes: &[u8]) {
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
