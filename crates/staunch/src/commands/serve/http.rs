//! The HTTP server of `serve`: from the listener to the signal, or the end of the input, that ends it.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::{Duration, Instant};

use staunch_connectors::inlets::socket;
use staunch_model::TransactionId;
use staunch_runtime::Runtime;
use staunch_server::{BLOCKING_THREADS_MAX, Service, WORKERS};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::Ended;
use super::reload::Reload;
use crate::cli::ServeArgs;
use crate::commands::run::{self, Input};
use crate::exit::{Exit, Fault};
use crate::output::print;
use crate::service_manager::ServiceManager;

/// How often it is looked at whether the engine has ended by itself.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// How long threads of the HTTP server may take to end after the last connection.
const HTTP_STOP_DEADLINE: Duration = Duration::from_secs(2);

/// What is served, until when.
pub(super) struct Serving<'a> {
    pub(super) args: &'a ServeArgs,
    pub(super) service: Service,
    pub(super) reload: Reload,
    pub(super) runtime: &'a Runtime,
    pub(super) manager: &'a ServiceManager,
    pub(super) input: Option<&'a mut Input>,
}

/// Serves, and says why that has ended.
pub(super) fn serve(serving: Serving<'_>) -> Ended {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("http")
        .enable_all()
        .build();
    let tokio = match built {
        Ok(tokio) => tokio,
        Err(error) => return Ended::Failed(Fault::doing(Exit::Failed, "cannot start threads", &error)),
    };
    let ended = tokio.block_on(async {
        match run_until_asked(serving).await {
            Ok(ended) => ended,
            Err(fault) => Ended::Failed(fault),
        }
    });
    // Handles that the server holds must be gone before the engine is waited for.
    tokio.shutdown_timeout(HTTP_STOP_DEADLINE);
    ended
}

async fn run_until_asked(serving: Serving<'_>) -> Result<Ended, Fault> {
    let Serving {
        args,
        service,
        reload,
        runtime,
        manager,
        input,
    } = serving;
    let listen = reload.in_force.http.listen;
    let cannot_listen = |error: &io::Error| {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::Denied,
            io::ErrorKind::AddrInUse => Exit::InUse,
            _ => Exit::Failed,
        };
        Fault::doing(exit, format!("cannot listen on {listen}"), error).hint("choose another address with --listen")
    };
    let listener = TcpListener::bind(listen).await.map_err(|error| cannot_listen(&error))?;
    let address = listener.local_addr().map_err(|error| cannot_listen(&error))?;
    let on = |kind| signal(kind).map_err(|error| Fault::doing(Exit::Failed, "cannot wait for signals", &error));
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let hangup = on(SignalKind::hangup())?;
    let (stop, stopped) = oneshot::channel::<()>();
    let operators = match operators_socket(&reload.in_force.operators_socket()) {
        Ok(socket) => Some(socket),
        Err(error) => {
            let socket = reload.in_force.operators_socket().display().to_string();
            tracing::warn!(%error, socket, "operators on this machine have no connections of their own");
            None
        }
    };
    let scheme = if service.tls.is_some() { "https" } else { "http" };
    let shutdown = async {
        // A sender that is gone means stop too.
        let _ = stopped.await;
    };
    let server = staunch_server::serve_with_operators(listener, operators, service, Box::pin(shutdown));
    let server = tokio::spawn(server);
    let reloader = tokio::spawn(reload.run(hangup));
    let (has_input, stays) = (input.is_some(), input.as_ref().is_none_or(|input| input.stays()));
    let before = input.as_ref().map_or(TransactionId(0), |input| input.before());
    let mut input_ends = std::pin::pin!(input_ends(input.and_then(Input::end), stays, before, runtime));
    if has_input {
        // What it prints is the summary.
        tracing::info!("listening on {scheme}://{address}");
    } else {
        // A disk that is full below stdout is no reason to contain nothing, and to let go of nothing.
        if let Err(fault) = print(&format!("listening on {scheme}://{address}\n")) {
            tracing::warn!("listening on {scheme}://{address}; {}", fault.told());
        }
    }
    manager.ready();
    manager.keep_telling(runtime.handle());
    if io::stdout().is_terminal() && args.allow_unauthenticated_loopback {
        tracing::info!("ctrl-c stops it; what is in force stays in force");
    }
    let ended = loop {
        tokio::select! {
            _ = terminate.recv() => break Ended::Asked,
            _ = interrupt.recv() => break Ended::Asked,
            ended = &mut input_ends => break ended,
            () = tokio::time::sleep(WATCH_INTERVAL) => if runtime.has_failed() { break Ended::EngineDied },
        }
    };
    reloader.abort();
    if matches!(ended, Ended::Asked | Ended::Input(_)) {
        tracing::info!("stopping: no further events are taken");
        drop(stop);
        match server.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the HTTP server did not stop well"),
            Err(error) => tracing::warn!(%error, "the HTTP server did not stop well"),
        }
    }
    Ok(ended)
}

/// Waits until the input has ended and what came after `before` has settled; for ever when there is none, or when it
/// stays.
async fn input_ends(
    end: Option<oneshot::Receiver<io::Result<()>>>,
    stays: bool,
    before: TransactionId,
    runtime: &Runtime,
) -> Ended {
    let ended = match end {
        Some(end) => end.await,
        None => std::future::pending().await,
    };
    match ended {
        Ok(Ok(())) if !stays => {}
        Ok(Err(error)) if !stays => return Ended::Failed(Fault::doing(Exit::Failed, "cannot read stdin", &error)),
        Err(_) if !stays => {
            let what = "the thread that reads stdin has ended by itself";
            return Ended::Failed(Fault::new(Exit::Failed, what).hint("the log says why"));
        }
        _ => {
            tracing::info!("the input has ended; serving goes on");
            return std::future::pending().await;
        }
    }
    tracing::info!("the input has ended; what is under way is waited for");
    let begun = Instant::now();
    loop {
        let handle = runtime.handle();
        let unsettled = tokio::task::spawn_blocking(move || run::unsettled(&handle, before)).await;
        match unsettled {
            Ok(Ok(0)) => return Ended::Input(0),
            Ok(Ok(left)) if begun.elapsed() >= run::SETTLE_DEADLINE => return Ended::Input(left),
            Ok(Ok(_)) => tokio::time::sleep(run::SETTLE_INTERVAL).await,
            // It is noticed beside this that the engine has ended.
            Ok(Err(_)) | Err(_) => return std::future::pending().await,
        }
    }
}

/// Makes the socket for operators on this machine, which they alone may open, whatever the mode of the data directory
/// is. One that an earlier process has left is replaced: the journal's lock says that it has ended.
fn operators_socket(path: &Path) -> io::Result<UnixListener> {
    let (listener, _) = socket::put(path, 0o600, None)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}
