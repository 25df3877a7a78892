//! The wiring: with its parts the only place that names concrete parts.
//!
//! Never decides anything; it puts parts together as the configuration says.

mod access;
mod actions;
pub(crate) mod boot;
mod evidence;
mod followers;
pub(crate) mod inlets;
mod place;
pub(crate) mod released;
mod size;

use std::path::Path;
use std::sync::Arc;

use staunch_connectors::actions::block_ip::{Claim, ClaimError};
use staunch_connectors::actions::exec_job::Runs;
use staunch_connectors::actions::isolate_host::Lifelines;
use staunch_connectors::enrichers::conntrack::ConntrackShare;
use staunch_connectors::enrichers::own_addresses::{RESOLV_CONF, Sessions, own_addresses, protections};
use staunch_connectors::sources::SourceSettings;
use staunch_model::{Description, InstallationId, NeverTouch, Policy, Printable, Protection, WithCauses};
use staunch_playbook::{CheckContext, Compiled, Signals};
use staunch_ports::clock::SystemClock;
use staunch_ports::{Action, Clock, Enricher, Journal, Lsn, Source};
use staunch_runtime::{Archiver, ArchiverThread, Handle, HealthSignals, Parts, Preserver, Settings};
use staunch_store::index::IndexReader;
use staunch_store::journal::{Free, PAYLOAD_BYTES_MAX};
use staunch_store::{ArchiveOptions, EventArchive, JournalOptions, MemoryJournal, SegmentJournal};

use crate::cli::Driver;
use crate::commands::open_fault;
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::misbehave::{self, LiveOrders, Orders, WrongClock};
use crate::names::{self, Names};

pub(crate) use access::{http_limits, senders, tls};
pub(crate) use actions::{
    Direct, firewall, firewall_labelled, frozen, is_enabled, isolated, locked, release_directly, sinkholed, targets,
};
pub(crate) use evidence::{LOG, Meters, VAULT, preserver};
pub(crate) use followers::traces;
use place::{installation, read_installation};
pub(crate) use place::{make_data_dir, make_private_dir};
pub(crate) use size::check_size;

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

/// Whether no other process uses the data directory.
///
/// # Errors
/// [`Exit::InUse`] when one does.
pub(crate) fn check_free(config: &Config) -> Result<Free, Fault> {
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
    let (followers, reader) = followers::all(config, journal_start);
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
        followers,
        log: None,
        clock,
        lost: Vec::new(),
        released_before: None,
        installation,
        build: build(),
    };
    Ok(Opened {
        parts,
        index: reader,
        installation,
        journal_start,
        drivers,
        claim,
        drills,
    })
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
        signals: HealthSignals::default(),
        followers: Vec::new(),
        log: None,
        clock,
        lost: Vec::new(),
        released_before: None,
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
            tracing::error!(error = %WithCauses(&error), "there is no archive: events that match nothing are not kept");
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
    context.signals = Some(Signals {
        names: config.health.keys().cloned().collect(),
        prometheus: config.prometheus.is_some(),
    });
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
    let mut found = protections(Path::new(RESOLV_CONF), &Sessions::default()).map_err(|error| {
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
