//! `staunch serve`
//!
//! Starts in this order: configuration, playbooks, journal (locked), index, claim on the table, driver, policy, engine,
//! HTTP and the operators' socket. Ends in the opposite one.

mod confined;
mod http;
mod mistakes;
mod reload;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use ipnet::IpNet;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use staunch_engine::EngineState;
use staunch_engine::lists::List;
use staunch_model::{ActionKind, Protection};
use staunch_playbook::Compiled;
use staunch_ports::{Reputations, Targets};
use staunch_runtime::{Intake, Runtime};
use staunch_server::{Drills, Reloads, Service, Tokens};

use self::http::Serving;
use self::reload::{Orders, Reload, Standing};
use super::run::Input;
use super::token;
use crate::cli::{Driver, ServeArgs};
use crate::clock_offset::Offset;
use crate::config::{self, Config, Loaded};
use crate::context::{Context, pin};
use crate::exit::{Exit, Fault};
use crate::feeds::{Feeds, Fetching};
use crate::finding::Finding;
use crate::lists::Watch;
use crate::lookups::Lookups;
use crate::names::Names;
use crate::output::now;
use crate::playbooks::{Texts, say_idle};
use crate::reach::Reach;
use crate::service_manager::ServiceManager;
use crate::stage::STAGE_PREFIX;
use crate::{log, traces, wiring};

/// How long the engine may take to stop: its own deadline for actions in flight, and a snapshot.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Files that are open beside those of connections: journal, index and its readers, netlink, the operators' socket.
const FILES_BESIDE_CONNECTIONS: u64 = 256;

/// What to do when the engine has ended.
const START_AGAIN: &str = "start it again: it recovers from disk. What is in force ends with its lease meanwhile";

pub(super) fn run(args: &ServeArgs) -> Result<Exit, Fault> {
    serve(args, None)
}

/// Serves until it is asked to stop, or until `input` has ended and what came of it has settled.
pub(super) fn serve(args: &ServeArgs, mut input: Option<Input>) -> Result<Exit, Fault> {
    let read_at = now();
    let Loaded { mut config, file, .. } = config::load(args.data.config.config.as_deref())?;
    let started_with = config.clone();
    apply(args, &mut config);
    log::start(&config.log)?;
    make_room_for_files(&mut config);
    match &file {
        Some(file) => tracing::info!(file = %file.display(), "configuration read"),
        None => tracing::info!("no configuration file, defaults hold"),
    }
    // One that is started twice says so before it looks for a vault, which the other one has.
    wiring::check_free(&config)?;
    let finder = wiring::targets(&config)?;
    // To tell processes, its thread has to look into them from outside of the sandbox.
    let outside = finder.clone().filter(|_| config.processes.enabled);
    let outside = outside.map(finding).transpose()?;
    // So may the one that looks for management sessions.
    let called = Names::as_before(&config, now());
    let lifelines = Reach::start(&config, called.clone())?;
    if args.rehearse.is_some() {
        check_rehearsal(&config.data_dir)?;
        end_with_the_play(&config.data_dir)?;
    }
    // And the one that jobs are run from.
    let runs = crate::jobs::start(&config)?;
    // And those that take evidence.
    let meters = wiring::Meters::default();
    let clock = Offset::of(&config);
    let preserver = wiring::preserver(&config, &meters, clock.tells())?;
    let manager = ServiceManager::of_environment();
    let sandbox_gaps = if args.rehearse.is_none() && config.sandbox.enabled {
        // Before there is another thread. The stage clears itself away, which a server may not.
        confined::enter_sandbox(&config)?
    } else {
        Vec::new()
    };
    clock.start()?;
    let looking = if config.isolation.enabled || config.never_touch.discover {
        Some(called.start()?)
    } else {
        None
    };
    let targets = match outside {
        Some(outside) => Some(outside),
        None => finder.map(finding).transpose()?,
    };
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
    let sources = wiring::event_sources_here(&config)?;
    let feeds = Feeds::start(&config, now());
    let context = Context::start(&config, feeds.clone())?;
    let (lists, listed) = Watch::start(&config)?;
    if let Some(input) = &input {
        input.check(sources.iter().map(|source| source.name()))?;
    }
    let mut opened = wiring::open(
        &config,
        args.driver,
        args.rehearse.as_deref(),
        lifelines,
        preserver,
        runs,
    )?;
    opened.parts.lost = match args.driver {
        // What it pretends is gone with each process.
        Driver::Memory => {
            wiring::boot::forget(&config)?;
            ActionKind::ALL.to_vec()
        }
        Driver::Nftables => wiring::boot::lost(&config),
    };
    if args.driver == Driver::Nftables {
        opened.parts.released_before = wiring::released::before(&config);
    }
    opened.parts.log = config.evidence.enabled.then(|| Arc::clone(&meters.log));
    let sending = wiring::traces(&config, &mut opened, &compiled)?;
    if args.driver == Driver::Memory {
        tracing::warn!("THE DRIVER IS memory: NOTHING IS BLOCKED, acts are pretended");
    }
    if let Some(looking) = &looking {
        looking.wait();
    }
    let discovered = wiring::discover(&config, &called)?;
    check_scope(&config, &discovered)?;
    let policy = wiring::policy(&config, &compiled, &discovered, &opened.drivers);
    wiring::check_size(&config, &policy)?;
    let (playbooks, protected) = (policy.playbooks.len(), policy.never_touch.len());
    let risk = Some(Arc::new(config.risk.table()));
    let started = Runtime::start_with(opened.parts, wiring::settings(&config), policy, &listed, risk);
    let listed = listed.values().map(List::len).sum::<usize>();
    let runtime = started.map_err(|error| {
        Fault::of(Exit::Failed, &error).hint("`staunch journal verify` tells whether the journal is sound")
    })?;
    if args.driver == Driver::Nftables {
        wiring::boot::note_after_a_sweep(&config, runtime.handle());
    }
    let recovered = runtime.recovered();
    tracing::info!(
        frames = recovered.frames,
        open = recovered.open,
        took = ?recovered.took,
        installation = %opened.installation,
        mode = %runtime.handle().query(EngineState::mode_max).unwrap_or(config.mode),
        playbooks,
        protected,
        listed,
        "recovered"
    );
    if let Some(sending) = &sending {
        // Nobody else sets it.
        let _ = runtime.handle().telemetry().spans.set(sending.tally.clone());
        let contained = runtime.handle().query(traces::contained);
        let _ = sending.before.set(contained.unwrap_or_default());
    }
    meters.show_in(runtime.handle().telemetry());
    lists.tell(&runtime.handle());
    context.tell(&runtime.handle());
    pin(&runtime.handle(), Arc::new(config.context.table())).map_err(|error| Fault::of(Exit::Failed, &error))?;
    if let Some(feeds) = &feeds {
        feeds.tell(&runtime.handle());
    }
    let fetching = feeds
        .as_ref()
        .and_then(|feeds| Fetching::start(feeds, &runtime.handle()));
    let programs = compiled.into_iter().map(|it| it.program).collect();
    let (archiver, archive) = wiring::archive(&config, &runtime.handle()).unzip();
    let by_feeds = feeds.clone().map(|it| it as Arc<dyn Reputations>);
    let lookups = Lookups::start(&config, by_feeds.clone())?;
    if let Some(lookups) = &lookups {
        // Nobody else sets it.
        let _ = runtime.handle().telemetry().lookups.set(lookups.meter());
    }
    let reputations = lookups.map_or(by_feeds, |it| Some(it as Arc<dyn Reputations>));
    let intake = Intake::new(sources, programs, runtime.handle());
    let intake = intake
        .with_archive(archiver)
        .with_reputations(reputations)
        .with_targets(targets)
        .with_knowledge(context.knowledge(&config));
    let intake = Arc::new(intake);
    let inlets = wiring::inlets::start(&config, &intake).and_then(|mut inlets| {
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
    let standing = Standing::at_start(read_at);
    let (orders, ordered) = Orders::new(standing.clone());
    let service = Service {
        handle: runtime.handle(),
        intake: intake.clone(),
        index: Some(opened.index),
        tokens: Arc::new(tokens),
        senders: Arc::new(senders),
        tls: tls.map(Arc::new),
        limits: wiring::http_limits(&config),
        version: env!("CARGO_PKG_VERSION").into(),
        installation: opened.installation,
        journal_start: Some(opened.journal_start),
        unauthenticated_loopback: args.allow_unauthenticated_loopback,
        drills: opened.drills.map(|it| it as Arc<dyn Drills>),
        reloads: Some(Arc::new(orders) as Arc<dyn Reloads>),
        sandbox_gaps: sandbox_gaps.into(),
    };
    let reload = Reload {
        file: args.data.config.config.clone().or(file),
        handle: runtime.handle(),
        intake,
        drivers: opened.drivers,
        in_force: config.clone(),
        started_with,
        standing,
        ordered,
        lists,
        context,
        feeds,
        called,
        called_news: 0,
        looking,
    };
    let ended = http::serve(Serving {
        args,
        service,
        reload,
        runtime: &runtime,
        manager: &manager,
        input: input.as_mut(),
    });
    manager.stopping();
    inlets.stop();
    drop(fetching);
    let told = input.map_or(Ok(()), |input| input.tell(&runtime.handle()));
    if let Some(archive) = archive {
        archive.stop();
    }
    let stopped = stop(runtime, ended);
    // The runtime had the other end.
    if let Some(sending) = sending {
        sending.finish();
    }
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

/// Has targets told from outside of the sandbox.
fn finding(finder: Arc<dyn Targets>) -> Result<Arc<dyn Targets>, Fault> {
    let started = Finding::start(finder);
    let finding = started.map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))?;
    Ok(Arc::new(finding))
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
    let overlapped = |network: &IpNet| {
        let mut all = discovered.iter().map(|it| it.network);
        all.find(|it| it.contains(network) || network.contains(it))
    };
    let found = config.drill.scope.iter().find_map(|it| Some((it, overlapped(it)?)));
    match found {
        None => Ok(()),
        // No network is named as an example: this machine may be in just that one.
        Some((network, needed)) => Err(Fault::new(
            Exit::Usage,
            format!("the scope of drills has {network} in it, which overlaps {needed}: this machine depends on that"),
        )
        .hint("name under [drill] scope addresses that nobody has, in a network that this machine is not in")),
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
    texts.tell_briefly(&outcome.diagnostics);
    say_idle(&outcome.idle);
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
            tracing::error!(error = %staunch_model::WithCauses(&error), "the engine has ended");
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
            tracing::info!(
                "stopped; what is in force stays in force: addresses until their leases end, processes, accounts and domains until \
                 they are released"
            );
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
