//! Connections: how many there may be, and how long a client may take.
//!
//! Never looks into a request. A client that sends or takes its bytes too slowly is cut off, so that nobody can hold
//! connections without using them.

mod guarded;
mod places;
mod stream;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use crate::limits::{HttpLimits, OPERATOR_CONNECTIONS_MAX};
use crate::tls::{Secured, Tls};

pub(crate) use guarded::{Guarded, Watch};
use places::Peers;
use stream::Stream;

/// How long to wait after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// The answer for a client that there is no place for.
const CROWDED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
content-type: application/problem+json\r\ncontent-length: 140\r\n\r\n\
{\"type\":\"urn:staunch:problem:too-many-connections\",\"title\":\"too many connections\",\"status\":503,\
\"detail\":\"no further connection is accepted\"}";

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

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionRefused | Kind::ConnectionAborted | Kind::ConnectionReset
    )
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

#[cfg(test)]
mod tests {
    use super::*;

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
