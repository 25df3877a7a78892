//! The wiring: with its parts the only place that names concrete parts.
//!
//! Never decides anything; it puts parts together as the configuration says.

mod access;
mod actions;
mod evidence;
pub(crate) mod inlets;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use staunch_connectors::actions::block_ip::{Claim, ClaimError};
use staunch_connectors::actions::exec_job::Runs;
use staunch_connectors::actions::isolate_host::Lifelines;
use staunch_connectors::enrichers::conntrack::ConntrackShare;
use staunch_connectors::enrichers::own_addresses::{PROC, RESOLV_CONF, own_addresses, protections};
use staunch_connectors::otlp::Resource;
use staunch_connectors::sources::SourceSettings;
use staunch_model::{Description, Frame, Input, InstallationId, NeverTouch, Policy, Printable, Protection};
use staunch_playbook::{CheckContext, Compiled};
use staunch_ports::clock::SystemClock;
use staunch_ports::{Action, Clock, Enricher, Follower, Journal, Lsn, Source};
use staunch_runtime::{Archiver, ArchiverThread, Handle, Parts, Preserver, Settings};
use staunch_store::index::{AwaitedIndex, Index, IndexReader};
use staunch_store::journal::PAYLOAD_BYTES_MAX;
use staunch_store::{ArchiveOptions, EventArchive, JournalOptions, MemoryJournal, ReadOnlyJournal, SegmentJournal};

use crate::cli::Driver;
use crate::commands::open_fault;
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::misbehave::{self, LiveOrders, Orders, WrongClock};
use crate::names::{self, Names};
use crate::narrator::Narrator;
use crate::traces::{Sending, Tracer};
use crate::whole;

pub(crate) use access::{http_limits, senders, tls};
pub(crate) use actions::{
    Direct, firewall, firewall_labelled, frozen, is_enabled, isolated, locked, release_directly, sinkholed, targets,
};
pub(crate) use evidence::{LOG, Meters, VAULT, preserver};

/// Everything that is opened before the engine starts.
pub(crate) struct Opened {
    pub(crate) parts: Parts,
    pub(crate) index: IndexReader,
    pub(crate) installation: InstallationId,
    /// Where the journal ended.
    pub(crate) journal_start: Lsn,
    /// What the drivers say about themselves, for policies that are made later.
    pub(crate) drivers: Vec<Description>,
    /// Held for as long as this process enforces; `None` for a driver that only pretends.
    pub(crate) claim: Option<Claim>,
    /// What operators order for drills; `None` without a scope for them.
    pub(crate) drills: Option<Arc<LiveOrders>>,
}

/// The version of the program, for the record.
pub(crate) fn build() -> Box<str> {
    concat!("staunch ", env!("CARGO_PKG_VERSION")).into()
}

/// How the journal is laid out.
pub(crate) fn journal_options(config: &Config) -> JournalOptions {
    let segment = usize::try_from(config.journal.segment_bytes).unwrap_or(usize::MAX);
    JournalOptions {
        segment_bytes: config.journal.segment_bytes,
        reserve_bytes: config.journal.reserve_bytes,
        // A fresh segment must hold the reserve, which is at most half of it, and the longest frame.
        payload_bytes_max: PAYLOAD_BYTES_MAX.min(segment / 4),
        ..JournalOptions::default()
    }
}

/// How the runtime behaves.
pub(crate) fn settings(config: &Config) -> Settings {
    Settings {
        snapshot_every: config.journal.snapshot_every,
        refresh_interval: config.traffic.refresh.to_std(),
        ..Settings::default()
    }
}

/// Makes the data directory of `config`.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make_data_dir(config: &Config) -> Result<(), Fault> {
    make_private_dir(&config.data_dir).map_err(|fault| {
        fault.hint(if config.data_dir.is_file() {
            "it is a file: name a directory with --data-dir, or data_dir in the configuration"
        } else {
            "make it and give it to this user, or name another with --data-dir, or data_dir in the configuration"
        })
    })
}

/// Whether no other process uses the data directory.
///
/// # Errors
/// [`Exit::InUse`] when one does.
pub(crate) fn check_free(config: &Config) -> Result<(), Fault> {
    SegmentJournal::check_free(&config.journal_dir()).map_err(|error| open_fault(&error))
}

/// Opens journal, index and driver in the data directory of `config`, in this order. With `lifelines`, this machine can
/// be isolated.
///
/// # Errors
/// [`Fault`] with a way out. Nothing was blocked or released.
pub(crate) fn open(
    config: &Config,
    driver: Driver,
    rehearse: Option<&Path>,
    lifelines: Option<Arc<dyn Lifelines>>,
    preserver: Option<Preserver>,
    runs: Option<Arc<dyn Runs>>,
) -> Result<Opened, Fault> {
    make_data_dir(config)?;
    let dir = config.journal_dir();
    let journal = SegmentJournal::open(&dir, journal_options(config)).map_err(|error| open_fault(&error))?;
    let journal_start = journal.tail().lsn;
    let installation = installation(config, journal_start)?;
    // Containment does not depend on the index: without it only the questions of people go unanswered.
    let (follower, index): (Box<dyn Follower>, _) = match Index::open(&config.index_file(), &dir) {
        Ok(index) => {
            let reader = index.reader();
            (Box::new(Narrator::new(index)), reader)
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(
                %error, cause,
                "there is no index: incidents cannot be listed, containment goes on; it is tried again every few seconds"
            );
            let index = AwaitedIndex::new(&config.index_file(), &dir, &error);
            let reader = index.reader();
            (Box::new(Narrator::new(index)), reader)
        }
    };
    let clock: Arc<dyn Clock> = match rehearse {
        Some(orders) => Arc::new(WrongClock(orders.to_owned())),
        None => Arc::new(SystemClock),
    };
    let claim = match driver {
        Driver::Nftables => Some(claim(config)?),
        Driver::Memory => None,
    };
    let mut actions = actions::acting(config, driver, installation, &clock, lifelines, runs)?;
    let mut traffic = traffic(config);
    let drills = (!config.drill.scope.is_empty()).then(|| Arc::new(LiveOrders::new(config.drill.scope.clone())));
    let orders = match (rehearse, &drills) {
        (Some(file), _) => Some(Orders::File(file.to_owned())),
        (None, Some(live)) => Some(Orders::Live(live.clone())),
        (None, None) => None,
    };
    // Without a stage and a scope for drills, nothing that can misbehave is there at all.
    if let Some(orders) = orders {
        tracing::warn!("{}", misbehave::CAN_MISBEHAVE);
        let wrong = |it| Box::new(misbehave::Driver::new(it, orders.clone())) as Box<dyn Action>;
        actions = actions.into_iter().map(wrong).collect();
        traffic = Arc::new(misbehave::Feed::new(traffic, orders));
    }
    let drivers = actions.iter().map(|it| it.describe()).collect();
    let parts = Parts {
        journal: Box::new(journal),
        actions,
        traffic: Some(traffic),
        notifiers: crate::notices::notifiers(config, installation),
        preserver,
        signals: crate::health::signals(config),
        follower: Some(follower),
        clock,
        installation,
        build: build(),
    };
    Ok(Opened {
        parts,
        index,
        installation,
        journal_start,
        drivers,
        claim,
        drills,
    })
}

/// Has traces made of what the index follows, where there is a receiver for them.
///
/// # Errors
/// When there can be no thread that sends them.
pub(crate) fn traces(config: &Config, opened: &mut Opened, compiled: &[Compiled]) -> Result<Option<Sending>, Fault> {
    let Some(url) = &config.telemetry.otlp else {
        return Ok(None);
    };
    let Some(inner) = opened.parts.follower.take() else {
        return Ok(None);
    };
    let resource = Resource {
        version: env!("CARGO_PKG_VERSION").into(),
        installation: opened.installation.to_string().into(),
    };
    let (sending, outbox) = Sending::start(url, resource)?;
    let names = compiled
        .iter()
        .map(|it| (it.program.playbook.hash, it.program.playbook.name.clone()));
    let tracer = Tracer::new(inner, opened.installation, names.collect(), outbox);
    opened.parts.follower = Some(Box::new(tracer));
    Ok(Some(sending))
}

/// Claims the table, so that no other process enforces with it.
fn claim(config: &Config) -> Result<Claim, Fault> {
    Claim::take(&config.nftables.table).map_err(|error| match error {
        ClaimError::Held { .. } => Fault::of(Exit::InUse, &error).hint(
            "stop that one; or give this one a table of its own: `[nftables] table` in the configuration. Several data \
             directories on one table would undo each other's work",
        ),
        ClaimError::Claim { .. } => Fault::of(Exit::Failed, &error),
    })
}

/// The parts of an engine that only plans.
pub(crate) struct Local {
    pub(crate) parts: Parts,
    pub(crate) drivers: Vec<Description>,
    /// Whether this machine's firewall is what is looked at.
    pub(crate) real: bool,
}

/// The parts for a plan without a running Staunch: an empty state, and this machine's firewall to look at.
pub(crate) fn open_local(config: &Config) -> Local {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let installation = read_installation(&config.installation_file())
        .ok()
        .flatten()
        .unwrap_or_default();
    let (actions, real) = actions::looking(config, installation, &clock);
    let drivers = actions.iter().map(|it| it.describe()).collect();
    let enricher = traffic(config);
    enricher.refresh(clock.now());
    let parts = Parts {
        journal: Box::new(MemoryJournal::default()),
        actions,
        traffic: Some(enricher),
        notifiers: Vec::new(),
        preserver: None,
        signals: Vec::new(),
        follower: None,
        clock,
        installation,
        build: build(),
    };
    Local { parts, drivers, real }
}

/// The decoders, by the settings alone: they read an event alike on every machine.
///
/// # Errors
/// When the settings cannot be used; the configuration was checked, so this is a mistake of ours.
pub(crate) fn event_sources(config: &Config) -> Result<Vec<Arc<dyn Source>>, Fault> {
    sources(&config.sources.settings())
}

/// The decoders of this machine. Of a connection, they take the side that is at home for the attacked one: what this
/// machine has for addresses is at home, whatever the settings say.
///
/// # Errors
/// As [`event_sources`].
pub(crate) fn event_sources_here(config: &Config) -> Result<Vec<Arc<dyn Source>>, Fault> {
    let mut settings = config.sources.settings();
    match own_addresses() {
        Ok(own) => settings
            .suricata
            .home_networks
            .extend(own.into_iter().map(ipnet::IpNet::from)),
        Err(error) => {
            tracing::warn!(%error, "the addresses of this machine are at home only where home_networks says so");
        }
    }
    sources(&settings)
}

fn sources(settings: &SourceSettings) -> Result<Vec<Arc<dyn Source>>, Fault> {
    staunch_connectors::sources::ports(settings).map_err(|error| Fault::of(Exit::Usage, &error).hint(error.hint))
}

/// The archive of `config`; nothing when there is to be none. Containment does not depend on it: one that cannot be
/// opened is told, and done without.
pub(crate) fn archive(config: &Config, handle: &Handle) -> Option<(Archiver, ArchiverThread)> {
    if !config.archive.enabled {
        return None;
    }
    let options = ArchiveOptions {
        bytes_max: config.archive.bytes_max,
        file_bytes_max: config.archive.file_bytes_max,
    };
    let opened = EventArchive::open(&config.archive_dir(), options);
    let archive = opened
        .map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, "there is no archive: events that match nothing are not kept");
        })
        .ok()?;
    Archiver::start(Box::new(archive), handle)
        .map_err(|error| tracing::error!(%error, "there is no archive: events that match nothing are not kept"))
        .ok()
}

/// What playbooks are checked against.
pub(crate) fn check_context(config: &Config) -> CheckContext {
    let mut context = CheckContext {
        lease_max: config.limits.lease_max,
        environment: config.playbooks.environment.clone(),
        parameters: config.playbooks.parameters.clone(),
        ..CheckContext::default()
    };
    context
        .systems
        .extend(config.sources.generic.iter().map(|it| it.name.clone()));
    context.systems.sort();
    context.systems.dedup();
    context.drivers = actions::described(config);
    context.signals = Some(config.health.keys().cloned().collect());
    // Without any, nobody has said which there are: playbooks can be checked on another machine.
    let jobs = (!config.jobs.is_empty()).then(|| config.jobs.keys().map(|name| name.as_str().into()).collect());
    context.jobs = jobs;
    context
}

/// The policy of `config` with `playbooks` and what `discovered` protects.
pub(crate) fn policy(
    config: &Config,
    compiled: &[Compiled],
    discovered: &[Protection],
    drivers: &[Description],
) -> Policy {
    Policy {
        limits: config.limits.into(),
        never_touch: never_touch(config, discovered),
        mode_max: config.mode,
        playbooks: compiled.iter().map(|it| it.program.playbook.clone()).collect(),
        drivers: drivers.to_vec(),
    }
}

/// The networks of `config`, and what `discovered` protects.
pub(crate) fn never_touch(config: &Config, discovered: &[Protection]) -> NeverTouch {
    let configured = config.never_touch.networks.iter();
    let mut all: NeverTouch = configured
        .map(|it| Protection {
            network: it.network,
            reason: Printable(&it.reason).to_string().into(),
        })
        .collect();
    all.extend_from_slice(discovered);
    all
}

/// What this machine depends on, with the services that Staunch calls, as far as they were found; nothing when that is
/// switched off.
///
/// # Errors
/// When it cannot be found out: then too little would be protected.
pub(crate) fn discover(config: &Config, called: &Names) -> Result<Vec<Protection>, Fault> {
    if !config.never_touch.discover {
        return Ok(Vec::new());
    }
    let mut found = protections(Path::new(RESOLV_CONF), Path::new(PROC)).map_err(|error| {
        Fault::of(Exit::Failed, &error).hint("protect them under [never_touch] networks and set discover = false")
    })?;
    // Whom a resolver on this machine asks is in another file.
    found.extend(names::resolvers().into_iter().map(|it| Protection {
        network: it.into(),
        reason: "resolver".into(),
    }));
    found.extend(called.protections());
    found.sort_by(|a, b| (a.network, &a.reason).cmp(&(b.network, &b.reason)));
    found.dedup();
    Ok(found)
}

fn traffic(config: &Config) -> Arc<dyn Enricher> {
    Arc::new(ConntrackShare::new(config.nftables.track_flows))
}

/// Makes `dir` with mode 0700. One that is there keeps its mode, and others being able to enter it is said, once.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make_private_dir(dir: &Path) -> Result<(), Fault> {
    let failed = |error: &io::Error| {
        let exit = if error.kind() == io::ErrorKind::PermissionDenied {
            Exit::Denied
        } else {
            Exit::Failed
        };
        let shown = dir.display().to_string();
        Fault::doing(exit, format!("cannot make the directory {}", Printable(&shown)), error)
            .hint("make it and give it to this user, or name another")
    };
    private_dir(dir).map_err(|error| failed(&error))
}

/// As [`make_private_dir`], and says what the disk says.
fn private_dir(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => return Err(error),
        _ => {}
    }
    let mode = fs::metadata(dir)?.permissions().mode();
    if mode & 0o077 != 0 && is_first_time(dir) {
        let shown = dir.display().to_string();
        tracing::warn!(dir = %shown, mode = format!("{:o}", mode & 0o777), "others can enter this directory of ours");
    }
    Ok(())
}

/// Whether this process has not asked it of `dir` before: a start makes the data directory wherever something needs it.
fn is_first_time(dir: &Path) -> bool {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    TOLD.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(dir.to_owned())
}

/// The installation's id: from its file, else from the journal, else drawn at random. It is written when it was not
/// there.
fn installation(config: &Config, tail: Lsn) -> Result<InstallationId, Fault> {
    let path = config.installation_file();
    let shown = path.display().to_string();
    let failed = |what: &str, error: &io::Error| {
        Fault::doing(
            Exit::Failed,
            format!("cannot {what} the installation id {}", Printable(&shown)),
            error,
        )
        .hint(
            "it says which elements in the kernel are ours: restore it from a backup, or delete it to have it restored \
                   from the journal",
        )
    };
    if let Some(id) = read_installation(&path).map_err(|error| failed("read", &error))? {
        return Ok(id);
    }
    let known = if tail > Lsn(0) {
        installation_in(&config.journal_dir())
    } else {
        None
    };
    let id = match known {
        Some(id) => id,
        None => {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).map_err(|error| failed("draw", &io::Error::other(error.to_string())))?;
            InstallationId(bytes)
        }
    };
    whole::keep(&path, format!("{id}\n").as_bytes()).map_err(|error| failed("write", &error))?;
    Ok(id)
}

/// The id in the file; `None` when there is no file.
fn read_installation(path: &Path) -> io::Result<Option<InstallationId>> {
    match fs::read_to_string(path) {
        Ok(text) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|error: String| io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The id that the journal was begun with.
fn installation_in(journal: &Path) -> Option<InstallationId> {
    let mut found = None;
    let read = ReadOnlyJournal::open(journal).ok()?.read(Lsn(1), &mut |stored| {
        if let Ok(Frame {
            input: Input::Started { installation, .. },
            ..
        }) = postcard::from_bytes(&stored.payload)
        {
            found = Some(installation);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    read.ok().and(found)
}
