//! `staunch serve`
//!
//! Starts in this order: configuration, playbooks, journal (locked), index, claim on the table, driver, policy, engine,
//! HTTP and the operators' socket. Ends in the opposite one.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use ipnet::IpNet;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use staunch_engine::EngineState;
use staunch_model::{Description, Policy, Protection, TransactionId};
use staunch_playbook::Compiled;
use staunch_runtime::{Handle, Intake, Runtime};
use staunch_server::{BLOCKING_THREADS_MAX, Drills, Service, Tokens, WORKERS};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::run::{self, Input};
use super::token;
use crate::cli::{Driver, ServeArgs};
use crate::config::{self, Config, Loaded};
use crate::exit::{Exit, Fault};
use crate::output::print;
use crate::playbooks::Texts;
use crate::stage::STAGE_PREFIX;
use crate::{log, wiring};

/// How often it is looked at whether the engine has ended by itself.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// How often it is looked at whether this machine depends on other addresses than before: SSH sessions come and go.
const DISCOVER_INTERVAL: Duration = Duration::from_secs(30);

/// How long the engine may take to stop: its own deadline for actions in flight, and a snapshot.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Files that are open beside those of connections: journal, index and its readers, netlink, the operators' socket.
const FILES_BESIDE_CONNECTIONS: u64 = 256;

/// What to do when the engine has ended.
const START_AGAIN: &str = "start it again: it recovers from disk. What is in force ends with its lease meanwhile";

/// How long threads of the HTTP server may take to end after the last connection.
const HTTP_STOP_DEADLINE: Duration = Duration::from_secs(2);

pub(super) fn run(args: &ServeArgs) -> Result<Exit, Fault> {
    serve(args, None)
}

/// Serves until it is asked to stop, or until `input` has ended and what came of it has settled.
pub(super) fn serve(args: &ServeArgs, mut input: Option<Input>) -> Result<Exit, Fault> {
    crate::allocator::use_one_arena();
    let Loaded { mut config, file } = config::load(args.data.config.config.as_deref())?;
    apply(args, &mut config);
    log::start(&config.log)?;
    make_room_for_files(&mut config);
    match &file {
        Some(file) => tracing::info!(file = %file.display(), "configuration read"),
        None => tracing::info!("no configuration file, defaults hold"),
    }
    if args.rehearse.is_some() {
        check_rehearsal(&config.data_dir)?;
        end_with_the_play(&config.data_dir)?;
    }
    let compiled = compile(&config)?;
    let tokens = Tokens::load(&config.tokens_file()).map_err(|error| token::fault(&error))?;
    let senders = wiring::senders(&config)?;
    let tls = wiring::tls(&config)?;
    let by_certificate = config.http.tls.as_ref().is_some_and(|it| !it.clients.is_empty());
    let others = by_certificate || !senders.is_empty();
    check_access(args, &config, &tokens, others, input.is_some())?;
    if tls.is_none() && !config.http.listen.ip().is_loopback() {
        tracing::warn!(
            listen = %config.http.listen,
            "the API speaks plain HTTP: tokens and events can be read on their way. Set [http.tls], or put a TLS proxy in \
             front of it"
        );
    }
    let sources = wiring::event_sources(&config)?;
    if let Some(input) = &input {
        input.check(sources.iter().map(|source| source.name()))?;
    }
    let opened = wiring::open(&config, args.driver, args.rehearse.as_deref())?;
    if args.driver == Driver::Memory {
        tracing::warn!("THE DRIVER IS memory: NOTHING IS BLOCKED, acts are pretended");
    }
    let discovered = wiring::discover(&config)?;
    check_scope(&config, &discovered)?;
    let policy = wiring::policy(&config, &compiled, &discovered, &opened.drivers);
    let (playbooks, protected) = (policy.playbooks.len(), policy.never_touch.len());
    let runtime = Runtime::start(opened.parts, wiring::settings(&config), policy).map_err(|error| {
        Fault::of(Exit::Failed, &error).hint("`staunch journal verify` tells whether the journal is sound")
    })?;
    let recovered = runtime.recovered();
    tracing::info!(
        frames = recovered.frames,
        open = recovered.open,
        took = ?recovered.took,
        installation = %opened.installation,
        mode = %runtime.handle().query(EngineState::mode_max).unwrap_or(config.mode),
        playbooks,
        protected,
        "recovered"
    );
    let programs = compiled.into_iter().map(|it| it.program).collect();
    let (archiver, archive) = wiring::archive(&config, &runtime.handle()).unzip();
    let intake = Intake::new(sources, programs, runtime.handle()).with_archive(archiver);
    let intake = Arc::new(intake);
    let inlets = wiring::inlets(&config, &intake).and_then(|mut inlets| {
        if let Some(input) = &mut input {
            input.start(&mut inlets, &runtime.handle())?;
        }
        Ok(inlets)
    });
    let inlets = match inlets {
        Ok(inlets) => inlets,
        // Those that were started have been stopped as they were dropped.
        Err(fault) => {
            if let Some(archive) = archive {
                archive.stop();
            }
            let stopped = stop(runtime, Ended::Failed(fault));
            drop(opened.claim);
            return stopped;
        }
    };
    let service = Service {
        handle: runtime.handle(),
        intake: intake.clone(),
        index: opened.index,
        tokens: Arc::new(tokens),
        senders: Arc::new(senders),
        tls: tls.map(Arc::new),
        limits: wiring::http_limits(&config),
        version: env!("CARGO_PKG_VERSION").into(),
        journal_start: Some(opened.journal_start),
        unauthenticated_loopback: args.allow_unauthenticated_loopback,
        drills: opened.drills.map(|it| it as Arc<dyn Drills>),
    };
    let reload = Reload {
        file: args.data.config.config.clone().or(file),
        handle: runtime.handle(),
        intake,
        drivers: opened.drivers,
        in_force: config.clone(),
    };
    let ended = serve_http(args, config.http.listen, service, reload, &runtime, input.as_mut());
    inlets.stop();
    let told = input.map_or(Ok(()), |input| input.tell(&runtime.handle()));
    if let Some(archive) = archive {
        archive.stop();
    }
    let stopped = stop(runtime, ended);
    // Whoever starts next must not enforce before this one has ended.
    drop(opened.claim);
    stopped.and_then(|exit| told.map(|()| exit))
}

fn apply(args: &ServeArgs, config: &mut Config) {
    if let Some(dir) = &args.data.data_dir {
        config.data_dir.clone_from(dir);
    }
    if let Some(listen) = args.listen {
        config.http.listen = listen;
    }
}

/// A driver that can be told to lie by a file has no place in an installation: only a stage may have one.
fn check_rehearsal(data_dir: &Path) -> Result<(), Fault> {
    // The directory itself may not be there yet.
    let on_a_stage = fs::canonicalize(data_dir)
        .or_else(|_| fs::canonicalize(data_dir.parent().unwrap_or(data_dir)).map(|parent| parent.join("data")))
        .is_ok_and(|real| {
            let parent = real.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            parent.is_some_and(|name| name.starts_with(STAGE_PREFIX))
        });
    if on_a_stage {
        return Ok(());
    }
    Err(Fault::new(
        Exit::Usage,
        "--rehearse makes the driver misbehave on demand: it is for the stage of the demo and the drills only",
    )
    .hint("leave it out; `staunch demo` and `staunch drill` show what it is for"))
}

/// A drill must not touch what this machine depends on. What the configuration protects was compared when it was read.
fn check_scope(config: &Config, discovered: &[Protection]) -> Result<(), Fault> {
    let overlaps = |network: &&IpNet| {
        let mut all = discovered.iter();
        all.any(|it| it.network.contains(*network) || network.contains(&it.network))
    };
    match config.drill.scope.iter().find(overlaps) {
        None => Ok(()),
        Some(network) => Err(Fault::new(
            Exit::Usage,
            format!("the scope of drills has {network} in it, which this machine depends on"),
        )
        .hint("name under [drill] scope a network that nothing depends on, such as 192.0.2.0/28")),
    }
}

/// Ends this process and clears its directory away when the demo that started it has gone, however it went.
fn end_with_the_play(data_dir: &Path) -> Result<(), Fault> {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    let demo = nix::unistd::getppid();
    let directory = data_dir.parent().unwrap_or(data_dir).to_owned();
    let watch = move || {
        while nix::unistd::getppid() == demo {
            std::thread::sleep(LOOK_EVERY);
        }
        // What is left of it is a directory under the system's temporary one.
        let _ = fs::remove_dir_all(&directory);
        std::process::exit(i32::from(Exit::Failed.code()));
    };
    std::thread::Builder::new()
        .name("demo-watch".into())
        .spawn(watch)
        .map(drop)
        .map_err(|error| Fault::of(Exit::Failed, &error))
}

/// Compiles the playbooks of `config`, with every mistake told.
fn compile(config: &Config) -> Result<Vec<Compiled>, Fault> {
    let texts = Texts::configured(config);
    let outcome = texts.compile(&wiring::check_context(config));
    texts.tell(&outcome.diagnostics);
    if outcome.usable {
        return Ok(outcome.compiled);
    }
    Err(Fault::new(Exit::Usage, "the playbooks cannot be used").hint("mend them and look again with `staunch check`"))
}

/// Nobody can reach an API without tokens but this machine, and that only when it is said so; and whoever has proved in
/// another way who it is.
fn check_access(
    args: &ServeArgs,
    config: &Config,
    tokens: &Tokens,
    others: bool,
    has_input: bool,
) -> Result<(), Fault> {
    if others || !tokens.list().is_empty() {
        return Ok(());
    }
    let hint = "make one with `staunch token create NAME --role operator`";
    let fault = Fault::new(
        Exit::Usage,
        "there is no token, so nobody could send an event or give a command",
    );
    match (
        args.allow_unauthenticated_loopback,
        config.http.listen.ip().is_loopback(),
    ) {
        (true, true) => Ok(()),
        (true, false) => Err(fault.hint(format!(
            "{hint}; without one only an address such as 127.0.0.1 can be listened on"
        ))),
        // Events come another way, and operators have a socket of their own.
        (false, _) if has_input => Ok(()),
        (false, _) => Err(fault.hint(format!(
            "{hint}, or let this machine in without one: --allow-unauthenticated-loopback"
        ))),
    }
}

/// Why serving ended.
enum Ended {
    /// It was asked to.
    Asked,
    /// Its input has ended, and so many transactions have not settled since.
    Input(u64),
    /// The engine ended by itself.
    EngineDied,
    /// It could not begin or go on.
    Failed(Fault),
}

fn serve_http(
    args: &ServeArgs,
    listen: SocketAddr,
    service: Service,
    reload: Reload,
    runtime: &Runtime,
    input: Option<&mut Input>,
) -> Ended {
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
        match run_until_asked(args, listen, service, reload, runtime, input).await {
            Ok(ended) => ended,
            Err(fault) => Ended::Failed(fault),
        }
    });
    // Handles that the server holds must be gone before the engine is waited for.
    tokio.shutdown_timeout(HTTP_STOP_DEADLINE);
    ended
}

async fn run_until_asked(
    args: &ServeArgs,
    listen: SocketAddr,
    service: Service,
    reload: Reload,
    runtime: &Runtime,
    input: Option<&mut Input>,
) -> Result<Ended, Fault> {
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
    let server = staunch_server::serve_with_operators(listener, operators, service, async {
        // A sender that is gone means stop too.
        let _ = stopped.await;
    });
    let server = tokio::spawn(server);
    let reloader = tokio::spawn(reload.run(hangup));
    let (has_input, stays) = (input.is_some(), input.as_ref().is_none_or(|input| input.stays()));
    let before = input.as_ref().map_or(TransactionId(0), |input| input.before());
    let mut input_ends = std::pin::pin!(input_ends(input.and_then(Input::end), stays, before, runtime));
    if has_input {
        // What it prints is the summary.
        tracing::info!("listening on {scheme}://{address}");
    } else {
        print(&format!("listening on {scheme}://{address}\n"))?;
    }
    if io::stdout().is_terminal() && args.allow_unauthenticated_loopback {
        tracing::info!("ctrl-c stops it; what is in force stays in force until its lease ends");
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

/// Waits until the input has ended and what came after `before` has settled; for ever when there is none, or when it stays.
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

/// Makes the socket for operators on this machine. Its file has mode 0600 from the moment it has its name, whatever the
/// mode of the data directory is. One that an earlier process has left is replaced: the journal's lock says that it has
/// ended.
fn operators_socket(path: &Path) -> io::Result<UnixListener> {
    let dir = tempfile::tempdir_in(path.parent().unwrap_or(Path::new(".")))?;
    let unnamed = dir.path().join("s");
    let listener = UnixListener::bind(&unnamed)?;
    fs::set_permissions(&unnamed, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unnamed, path)?;
    Ok(listener)
}

/// Lets this process open as many files as the system allows, and takes no more connections than that leaves room for:
/// without a file, a block cannot be lifted either.
fn make_room_for_files(config: &mut Config) {
    let (allowed, most) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => return tracing::warn!(%error, "the limit of open files is not known"),
    };
    let wanted = config.http.connections_max as u64 + FILES_BESIDE_CONNECTIONS;
    let raised = allowed.max(wanted.min(most));
    if raised > allowed
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, raised, most)
    {
        return tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    if raised < wanted {
        let left = usize::try_from(raised.saturating_sub(FILES_BESIDE_CONNECTIONS)).unwrap_or(usize::MAX);
        config.http.connections_max = left.max(4).min(config.http.connections_max);
        tracing::warn!(
            files = raised,
            connections_max = config.http.connections_max,
            "fewer connections are taken: this process may open few files (LimitNOFILE in a systemd unit)"
        );
    }
}

/// Stops the engine and says how it ended.
fn stop(runtime: Runtime, ended: Ended) -> Result<Exit, Fault> {
    let stopped = wait_for(move || runtime.stop(), STOP_DEADLINE)
        .map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))?;
    match (ended, stopped) {
        (Ended::Failed(fault), _) => Err(fault),
        (_, Stopped::Done(Err(error))) => {
            tracing::error!(%error, cause = std::error::Error::source(&error).map(ToString::to_string), "the engine has ended");
            Err(Fault::of(Exit::Poisoned, &error).hint(START_AGAIN))
        }
        (_, Stopped::Panicked(why)) => {
            tracing::error!(why, "the engine has ended by a panic");
            Err(Fault::new(Exit::Poisoned, format!("the engine has ended by a panic: {why}")).hint(START_AGAIN))
        }
        (_, Stopped::TimedOut) => Err(Fault::new(
            Exit::Failed,
            "the engine did not stop in time; the next start recovers what was under way",
        )),
        (Ended::Input(left @ 1..), Stopped::Done(Ok(()))) => {
            let what = format!("the input has ended, and {left} transactions have not settled since");
            Err(Fault::new(Exit::Failed, what).hint("the next start takes them up"))
        }
        (Ended::Asked | Ended::Input(0), Stopped::Done(Ok(()))) => {
            tracing::info!("stopped; what is in force stays in force until its lease ends");
            Ok(Exit::Ok)
        }
        (Ended::EngineDied, Stopped::Done(Ok(()))) => {
            Err(Fault::new(Exit::Poisoned, "the engine has ended by itself").hint(START_AGAIN))
        }
    }
}

/// How something that was waited for ended.
#[derive(Debug, PartialEq, Eq)]
enum Stopped<T> {
    Done(T),
    /// It panicked, and said this.
    Panicked(String),
    TimedOut,
}

/// Does `work` on a thread of its own, and waits for it for as long as `deadline`.
fn wait_for<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    deadline: Duration,
) -> io::Result<Stopped<T>> {
    let (done, wait) = crossbeam_channel::bounded(1);
    let worker = std::thread::Builder::new().name("stop".into()).spawn(move || {
        // Nobody waits any more after the deadline.
        drop(done.send(work()));
    })?;
    Ok(match wait.recv_timeout(deadline) {
        Ok(result) => Stopped::Done(result),
        Err(RecvTimeoutError::Timeout) => Stopped::TimedOut,
        // The thread has dropped its end without a word: it is unwinding.
        Err(RecvTimeoutError::Disconnected) => {
            let why = worker.join().err().and_then(|panic| match panic.downcast::<String>() {
                Ok(text) => Some(*text),
                Err(panic) => panic.downcast::<&str>().ok().map(|text| (*text).to_owned()),
            });
            Stopped::Panicked(why.unwrap_or_else(|| "it did not say why".to_owned()))
        }
    })
}

/// Reads playbooks and protected networks again: on SIGHUP, and the discovered ones from time to time.
struct Reload {
    file: Option<PathBuf>,
    handle: Handle,
    intake: Arc<Intake>,
    drivers: Vec<Description>,
    /// The configuration whose playbooks and protected networks are in force.
    in_force: Config,
}

impl Reload {
    async fn run(mut self, mut hangup: Signal) {
        let mut discover = tokio::time::interval(DISCOVER_INTERVAL);
        discover.tick().await;
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                _ = discover.tick() => false,
            };
            let done = tokio::task::spawn_blocking(move || {
                if asked {
                    self.again();
                } else {
                    self.discover_again();
                }
                self
            });
            match done.await {
                Ok(it) => self = it,
                Err(error) => {
                    tracing::error!(%error, "the configuration can no longer be read again");
                    return;
                }
            }
        }
    }

    fn again(&mut self) {
        let read = config::load(self.file.as_deref()).and_then(|loaded| {
            let mut config = self.in_force.clone();
            config.playbooks = loaded.config.playbooks;
            config.never_touch = loaded.config.never_touch;
            let compiled = compile(&config)?;
            let policy = self.policy(&config, &compiled)?;
            Ok((config, compiled, policy))
        });
        match read {
            Ok((config, compiled, policy)) => {
                let (playbooks, protected) = (policy.playbooks.len(), policy.never_touch.len());
                if let Err(error) = self.handle.set_policy(Arc::new(policy)) {
                    tracing::error!(%error, "the configuration was not read again; the earlier one stays in force");
                    return;
                }
                self.intake
                    .set_programs(compiled.into_iter().map(|it| it.program).collect());
                self.in_force = config;
                tracing::info!(playbooks, protected, "playbooks and protected networks were read again");
            }
            Err(fault) => {
                let why = fault.render(false);
                tracing::error!(
                    why = why.trim_end(),
                    "the configuration was not read again; the earlier one stays in force"
                );
            }
        }
    }

    fn policy(&self, config: &Config, compiled: &[Compiled]) -> Result<Policy, Fault> {
        let discovered = wiring::discover(config)?;
        Ok(wiring::policy(config, compiled, &discovered, &self.drivers))
    }

    /// Protects what this machine depends on by now, with everything else as it is.
    fn discover_again(&self) {
        if !self.in_force.never_touch.discover {
            return;
        }
        let discovered = match wiring::discover(&self.in_force) {
            Ok(discovered) => discovered,
            Err(fault) => {
                let why = fault.render(false);
                tracing::warn!(
                    why = why.trim_end(),
                    "own addresses were not found again; the earlier ones stay protected"
                );
                return;
            }
        };
        let Ok(Some(policy)) = self.handle.query(|state| state.policy.clone()) else {
            return;
        };
        let never_touch = wiring::never_touch(&self.in_force, &discovered);
        if policy.never_touch == never_touch {
            return;
        }
        let protected = never_touch.len();
        match self.handle.set_policy(Arc::new(Policy {
            never_touch,
            ..(*policy).clone()
        })) {
            Ok(()) => tracing::info!(
                protected,
                "this machine depends on other addresses than before; they are protected"
            ),
            Err(error) => tracing::warn!(%error, "own addresses were not protected anew"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_from_a_deadline() {
        let long = Duration::from_secs(20);
        assert_eq!(wait_for(|| 7, long).expect("a thread"), Stopped::Done(7));
        let panicked = wait_for(|| panic!("the state is {}", "odd"), long).expect("a thread");
        assert_eq!(panicked, Stopped::<()>::Panicked("the state is odd".into()));
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        let late = wait_for(move || held.recv().is_ok(), Duration::from_millis(20)).expect("a thread");
        assert_eq!(late, Stopped::TimedOut);
        drop(hold);
    }

    #[test]
    fn only_a_directory_of_a_stage_is_rehearsed_in() {
        let demo = tempfile::Builder::new()
            .prefix(STAGE_PREFIX)
            .tempdir()
            .expect("a directory");
        let other = tempfile::tempdir().expect("a directory");
        assert!(check_rehearsal(&demo.path().join("data")).is_ok());
        fs::create_dir(demo.path().join("data")).expect("it is our directory");
        assert!(check_rehearsal(&demo.path().join("data")).is_ok());
        for refused in [
            other.path().join("data"),
            demo.path().join(".."),
            demo.path().to_owned(),
        ] {
            assert!(check_rehearsal(&refused).is_err(), "{refused:?}");
        }
        std::os::unix::fs::symlink(other.path(), demo.path().join("link")).expect("it is our directory");
        assert!(check_rehearsal(&demo.path().join("link")).is_err());
    }
}
