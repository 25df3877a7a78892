//! The server: what it serves, and how it is started and stopped.

use std::future::{Future, IntoFuture as _};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::extract::ConnectInfo;
use staunch_model::{DrillFault, DrillId, InstallationId, Span, Timestamp};
use staunch_ports::Lsn;
use staunch_runtime::{Busy, Handle, Intake};
use staunch_store::index::IndexReader;
use tokio::sync::{oneshot, watch};

use crate::app::App;
use crate::auth::Tokens;
use crate::connection::{Gate, Peer};
use crate::dto::{DrillView, Mistake, Reloaded};
use crate::limits::HttpLimits;
use crate::problem::Failed;
use crate::routes;
use crate::senders::Senders;
use crate::tls::Tls;

/// Threads that serve connections. What takes long has threads of its own.
pub const WORKERS: usize = 2;

/// Threads for questions, plans and large bodies.
pub const BLOCKING_THREADS_MAX: usize = 64;

/// What the API serves.
#[derive(Clone)]
pub struct Service {
    /// Takes events.
    pub intake: Arc<Intake>,
    /// Takes commands and answers questions.
    pub handle: Handle,
    /// Answers questions about the past; `None` without an index.
    pub index: Option<IndexReader>,
    /// Who may ask.
    pub tokens: Arc<Tokens>,
    /// Who may post events that they have signed, without a token.
    pub senders: Arc<Senders>,
    /// How connections from the network are protected; `None` for plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// What clients may take up.
    pub limits: HttpLimits,
    /// The version of the program.
    pub version: Arc<str>,
    /// Whose journal it serves.
    pub installation: InstallationId,
    /// Where the journal ended before the runtime was started; `None` when that is not known, and then nobody can tell
    /// how far the index is behind.
    pub journal_start: Option<Lsn>,
    /// Whether requests from this machine to a loopback address need no token. It holds for a listener on a loopback
    /// address only, whatever is said here.
    pub unauthenticated_loopback: bool,
    /// What operators may have go wrong on purpose; `None` without a scope for drills.
    pub drills: Option<Arc<dyn Drills>>,
    /// What can be read again while the server runs; `None` when there is nothing.
    pub reloads: Option<Arc<dyn Reloads>>,
    /// What the kernel does not hold the process to, of the sandbox that it was to have.
    pub sandbox_gaps: Arc<[String]>,
}

/// Playbooks, protections and whatever else a running server can read again.
pub trait Reloads: Send + Sync {
    /// Reads all of it. Then `record` is told how many mistakes there are, and makes durable that this was asked for;
    /// when there are none, what was read is put in force. `done` is told how it went. Returns at once.
    fn reload(&self, record: RecordReload, done: ReloadDone);

    /// How the configuration that is in force stands to its file.
    fn standing(&self) -> Configured;
}

/// How the configuration that is in force stands to its file, as far as the file was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// When the file was last read and found good.
    pub read_at: Timestamp,
    /// Keys that were changed in it since the start, and take effect with the next one only.
    pub at_next_start: Vec<String>,
}

/// Makes durable that a reload was asked for, in which so many mistakes were found. Blocks.
pub type RecordReload = Box<dyn FnOnce(u32) -> Result<(), NotRecorded> + Send>;

/// Called when a reload has ended.
pub type ReloadDone = Box<dyn FnOnce(Result<Reloaded, NotReloaded>) + Send>;

/// Why it is not durable that a reload was asked for.
#[derive(Debug)]
pub struct NotRecorded(pub(crate) Failed);

impl From<Busy> for NotRecorded {
    fn from(busy: Busy) -> Self {
        Self(busy.into())
    }
}

/// Why a reload did not put everything in force.
#[derive(Debug)]
pub enum NotReloaded {
    /// There are mistakes. Nothing has changed.
    Mistakes(Vec<Mistake>),
    /// It could not be recorded. Nothing has changed.
    NotRecorded(NotRecorded),
    /// Others are waited for already. Nothing was read.
    TooMany,
    /// The engine took a part of it at the most.
    Partly(Busy),
}

/// Parts that can be made to misbehave for drills, within the scope that the configuration declares.
pub trait Drills: Send + Sync {
    /// The scope, and what goes wrong at present.
    fn view(&self) -> DrillView;

    /// Has `fault` happen for as long as `lasts`, by the order `drill`.
    fn order(&self, drill: DrillId, fault: DrillFault, lasts: Span);

    /// Makes all well again at once, or only what the order `only` has going wrong. Returns what went wrong until now,
    /// if anything did.
    fn stop(&self, only: Option<DrillId>) -> Option<(DrillId, DrillFault)>;
}

/// Serves `service` on `listener` until `shutdown`; requests under way may then end within
/// [`HttpLimits::stop_timeout`].
///
/// # Errors
/// When the listener has no address.
pub async fn serve(
    listener: tokio::net::TcpListener,
    service: Service,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_with_operators(listener, None, service, Box::pin(shutdown)).await
}

/// A server that runs as long as it is polled.
pub type ServerFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// As [`serve`], and on a socket of the file system as well. Who may open it is an operator, with or without a token:
/// its file must let in nobody but the user of the server. Senders cannot take its connections away.
///
/// Nothing here is generic, and the future is in a box, so that all that works on a request is compiled with this
/// crate: otherwise whoever polls it would compile it, and the package of the program is compiled for its size
/// (`docs/adr/0036-bars-in-a-crate.md`).
///
/// # Errors
/// When a listener has no address.
#[must_use]
pub fn serve_with_operators(
    listener: tokio::net::TcpListener,
    operators: Option<tokio::net::UnixListener>,
    service: Service,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
) -> ServerFuture {
    Box::pin(run(listener, operators, service, shutdown))
}

async fn run(
    listener: tokio::net::TcpListener,
    operators: Option<tokio::net::UnixListener>,
    service: Service,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
) -> io::Result<()> {
    let local = listener.local_addr()?;
    let limits = service.limits;
    let tls = service.tls.clone();
    let (closing, mut closed) = watch::channel(false);
    let router = routes::router(App::new(service, local, Some(closed.clone())));
    tokio::spawn(async move {
        shutdown.await;
        // Nobody waits any more when the server has ended by itself.
        let _ = closing.send(true);
        closing.closed().await;
    });
    let stopping = |mut closed: watch::Receiver<bool>| async move {
        // A sender that has gone means stop too.
        let _ = closed.wait_for(|it| *it).await;
    };
    let network = axum::serve(
        Gate::new(listener, tls, limits),
        router.clone().into_make_service_with_connect_info::<Peer>(),
    )
    .with_graceful_shutdown(stopping(closed.clone()));
    let stopped = stopping(closed.clone());
    let operators = async move {
        match operators {
            Some(listener) => {
                axum::serve(
                    Gate::local(listener, limits),
                    router.into_make_service_with_connect_info::<Peer>(),
                )
                .with_graceful_shutdown(stopped)
                .await
            }
            None => Ok(()),
        }
    };
    let server = async {
        let (network, operators) = tokio::join!(network.into_future(), operators);
        network.and(operators)
    };
    let overdue = async move {
        // A sender that has gone means stop too.
        let _ = closed.wait_for(|it| *it).await;
        tokio::time::sleep(limits.stop_timeout).await;
    };
    tokio::select! {
        result = server => result,
        () = overdue => {
            tracing::warn!("requests were cut off because they did not end in time");
            Ok(())
        }
    }
}

/// The API without a listener, for requests that a test brings itself: it answers as on a connection from `peer` to
/// `local`. The deadlines and limits of connections are the listener's and do not hold.
pub fn in_process(service: Service, local: SocketAddr, peer: SocketAddr) -> axum::Router {
    let peer = Peer {
        from: crate::connection::Origin::Network(peer),
        watch: Arc::default(),
    };
    routes::router(App::new(service, local, None)).layer(axum::Extension(ConnectInfo(peer)))
}

/// A server on threads of its own.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Starts to serve `service` on `listener`.
    ///
    /// # Errors
    /// When the listener cannot be used or a thread cannot be started.
    pub fn start(listener: std::net::TcpListener, service: Service) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("http")
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("http-main".into()).spawn(move || {
            let result = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                // A sender that is dropped means the same as one that is used.
                serve(listener, service, async { drop(stopped.await) }).await
            });
            // Questions that hang do not hold up the stop.
            runtime.shutdown_background();
            result
        })?;
        Ok(Self { address, stop, thread })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// True when it has ended on its own.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Accepts no more, lets requests under way end, and stops.
    ///
    /// # Errors
    /// When it had failed on its own.
    ///
    /// # Panics
    /// When it panicked.
    pub fn stop(self) -> io::Result<()> {
        drop(self.stop);
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
