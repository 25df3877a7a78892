//! The drivers: what acts on this machine, what only looks at it, and what removes everything without a server.

use std::sync::Arc;

use staunch_connectors::actions::Whose;
use staunch_connectors::actions::block_ip::{
    MemoryBlockIp, MemoryWorld, NftablesIp, NftablesOptions, ReleaseError, StartError, count_labelled,
    release_everything,
};
use staunch_connectors::actions::exec_job::{ExecJob, ExecJobOptions, Runs};
use staunch_connectors::actions::freeze_process::{CgroupFreezeProcess, CgroupOptions, RootError};
use staunch_connectors::actions::isolate_host::{self, Lifelines, NftablesIsolateHost, NftablesIsolationOptions};
use staunch_connectors::actions::kill_process::CgroupKillProcess;
use staunch_connectors::actions::lock_account::{ShadowLockAccount, ShadowOptions};
use staunch_connectors::actions::sinkhole_domain::{UnboundOptions, UnboundSinkhole};
use staunch_connectors::enrichers::{
    AccountFinder, AccountOptions, ByAim, DomainOptions, DomainTeller, HostTeller, JobTeller, ProcessFinder,
    ProcessOptions, ThisHost,
};
use staunch_model::{ActionKind, Aim, Description, Failure, FailureKind, InstallationId, Observation, Outcome, Target};
use staunch_netlink::nftables::{Allowed, Limit, NftError};
use staunch_ports::{Action, Clock, ExecuteRequest, Owned, Targets, UndoRequest};

use super::{Driver, read_installation};
use crate::called::endpoints;
use crate::config::{Config, ISOLATION_TABLE_END, LIMIT_TABLE_END};
use crate::exit::{Exit, Fault};

/// The directory in the data directory that says what accounts were before they were locked.
const ACCOUNTS_DIR: &str = "accounts";

/// The directory in the data directory that says which jobs may be in force.
const JOBS_DIR: &str = "jobs";

/// Whether there is a driver for `kind`.
pub(crate) fn is_enabled(config: &Config, kind: ActionKind) -> bool {
    match kind {
        ActionKind::BlockIp | ActionKind::RateLimitIp => true,
        ActionKind::FreezeProcess => config.processes.enabled,
        ActionKind::KillProcess => config.processes.enabled && config.processes.kill,
        ActionKind::SinkholeDomain => config.domains.enabled,
        ActionKind::LockAccount => config.accounts.enabled,
        ActionKind::IsolateHost => config.isolation.enabled,
        ActionKind::ExecJob => !config.jobs.is_empty(),
    }
}

/// The drivers of `config` that act.
///
/// # Errors
/// When one cannot start.
pub(super) fn acting(
    config: &Config,
    driver: Driver,
    installation: InstallationId,
    clock: &Arc<dyn Clock>,
    lifelines: Option<Arc<dyn Lifelines>>,
    runs: Option<Arc<dyn Runs>>,
) -> Result<Vec<Box<dyn Action>>, Fault> {
    if driver == Driver::Memory {
        let world = MemoryWorld::with_clock(clock.clone());
        return Ok(vec![Box::new(MemoryBlockIp::new(world, installation))]);
    }
    let blocks = NftablesIp::start(blocking(config, installation)).map_err(|error| start_fault(&error))?;
    let limits = NftablesIp::start_limiting(limiting(config, installation)).map_err(|error| start_fault(&error))?;
    if let Some(limit) = limits.other_limit() {
        tracing::warn!(
            packets_per_second = limit.packets_per_second,
            burst = limit.burst,
            "addresses are limited already, and keep their rate; [rate_limit] takes effect at a start when none is"
        );
    }
    let mut all: Vec<Box<dyn Action>> = vec![Box::new(blocks), Box::new(limits)];
    if config.processes.enabled {
        all.push(Box::new(freezer(config, installation)?));
    }
    if is_enabled(config, ActionKind::KillProcess) {
        all.push(Box::new(killer(config, installation)?));
    }
    if config.domains.enabled {
        let sinkhole = UnboundSinkhole::new(resolver(config, installation));
        // It may be started later, and what needs it is tried again.
        if let Err(failure) = sinkhole.count_labelled(Whose::Anybodys) {
            tracing::warn!(%failure, "no domain can be sinkholed yet");
        }
        all.push(Box::new(sinkhole));
    }
    if config.accounts.enabled {
        all.push(Box::new(locker(config, installation)?));
    }
    if let Some(runs) = runs {
        all.push(Box::new(ExecJob::new(jobs(config, installation), runs)));
    }
    if let Some(lifelines) = lifelines {
        let isolates = NftablesIsolateHost::start(isolating(config, installation, lifelines));
        all.push(Box::new(isolates.map_err(|error| start_fault(&error))?));
    }
    Ok(all)
}

fn locker(config: &Config, installation: InstallationId) -> Result<ShadowLockAccount, Fault> {
    let locker = ShadowLockAccount::new(records(config, installation));
    locker.check().map_err(|failure| {
        driver_fault(&failure)
            .hint("let the server write in /etc (see docs/guide/accounts.md), or set [accounts] enabled = false")
    })?;
    Ok(locker)
}

/// How many accounts this installation has locked; `None` when accounts are not to be acted on.
///
/// # Errors
/// Why that cannot be told, or none can be locked.
pub(crate) fn locked(config: &Config) -> Option<Result<usize, Fault>> {
    if !config.accounts.enabled {
        return None;
    }
    let installation = read_installation(&config.installation_file()).ok().flatten();
    let installation = installation.unwrap_or_default();
    let count = |locker: ShadowLockAccount| {
        let counted = locker.count_labelled(Whose::Of(installation));
        counted.map_err(|failure| driver_fault(&failure))
    };
    Some(locker(config, installation).and_then(count))
}

fn freezer(config: &Config, installation: InstallationId) -> Result<CgroupFreezeProcess, Fault> {
    CgroupFreezeProcess::start(groups(config, installation)).map_err(|error| {
        Fault::doing(Exit::Failed, "cannot freeze processes", &error)
            .hint("mount cgroup v2, as distributions with systemd do; or set [processes] enabled = false")
    })
}

fn killer(config: &Config, installation: InstallationId) -> Result<CgroupKillProcess, Fault> {
    CgroupKillProcess::start(groups(config, installation), &config.killed_dir()).map_err(|error| {
        Fault::doing(Exit::Failed, "cannot end processes", &error)
            .hint("that takes cgroup v2 and Linux 5.14; or set [processes] kill = false")
    })
}

/// How many processes of this installation are frozen; `None` when processes are not to be acted on.
///
/// # Errors
/// Why that cannot be told, or none can be frozen, or ended where that is configured.
pub(crate) fn frozen(config: &Config) -> Option<Result<usize, Fault>> {
    if !config.processes.enabled {
        return None;
    }
    let installation = read_installation(&config.installation_file()).ok().flatten();
    if is_enabled(config, ActionKind::KillProcess)
        && let Err(fault) = killer(config, installation.unwrap_or_default())
    {
        return Some(Err(fault));
    }
    let count = |mut freezer: CgroupFreezeProcess| {
        let owned = freezer.owned();
        owned
            .map(|it| it.targets.len())
            .map_err(|failure| Fault::new(Exit::Failed, failure.to_string()))
    };
    Some(freezer(config, installation.unwrap_or_default()).and_then(count))
}

/// How many domains of this installation are sinkholed, as the resolver says; `None` when domains are not to be acted on.
///
/// # Errors
/// Why that cannot be told.
pub(crate) fn sinkholed(config: &Config) -> Option<Result<usize, Failure>> {
    if !config.domains.enabled {
        return None;
    }
    let installation = read_installation(&config.installation_file()).ok().flatten();
    let mut sinkhole = UnboundSinkhole::new(resolver(config, installation.unwrap_or_default()));
    Some(sinkhole.owned().map(|it| it.targets.len()))
}

/// The drivers of `config`, none of which changes anything; and whether this machine's firewall is what is looked at.
pub(super) fn looking(
    config: &Config,
    installation: InstallationId,
    clock: &Arc<dyn Clock>,
) -> (Vec<Box<dyn Action>>, bool) {
    let mut all = all(config, installation);
    let real = all.first_mut().is_some_and(|it| it.owned().is_ok());
    if !real {
        all[0] = Box::new(MemoryBlockIp::new(MemoryWorld::with_clock(clock.clone()), installation));
    }
    let looking = all.into_iter().map(|it| Box::new(ReadOnly(it)) as Box<dyn Action>);
    (looking.collect(), real)
}

/// What the drivers of `config` say of themselves.
pub(super) fn described(config: &Config) -> Vec<Description> {
    all(config, InstallationId::default())
        .iter()
        .map(|it| it.describe())
        .collect()
}

/// The drivers of `config`, of which nothing is started.
fn all(config: &Config, installation: InstallationId) -> Vec<Box<dyn Action>> {
    let mut all: Vec<Box<dyn Action>> = vec![
        Box::new(NftablesIp::new(blocking(config, installation))),
        Box::new(NftablesIp::new(limiting(config, installation))),
    ];
    if config.processes.enabled {
        all.push(Box::new(CgroupFreezeProcess::new(groups(config, installation))));
    }
    if is_enabled(config, ActionKind::KillProcess) {
        all.push(Box::new(CgroupKillProcess::new(
            groups(config, installation),
            &config.killed_dir(),
        )));
    }
    if config.domains.enabled {
        all.push(Box::new(UnboundSinkhole::new(resolver(config, installation))));
    }
    if config.accounts.enabled {
        all.push(Box::new(ShadowLockAccount::new(records(config, installation))));
    }
    if !config.jobs.is_empty() {
        let runs = Arc::new(crate::jobs::launcher());
        all.push(Box::new(ExecJob::new(jobs(config, installation), runs)));
    }
    if config.isolation.enabled {
        all.push(Box::new(NftablesIsolateHost::new(isolating(
            config,
            installation,
            nobody(),
        ))));
    }
    all
}

fn jobs(config: &Config, installation: InstallationId) -> ExecJobOptions {
    let jobs = config.jobs.iter();
    ExecJobOptions {
        installation,
        records: config.data_dir.join(JOBS_DIR),
        jobs: jobs.map(|(name, job)| (name.as_str().into(), job.spec())).collect(),
    }
}

/// What a driver leaves reachable that never acts.
fn nobody() -> Arc<dyn Lifelines> {
    Arc::new(Vec::<Allowed>::new())
}

/// Whether this machine is isolated by this installation; `None` when it is never to be.
///
/// # Errors
/// Why it cannot be isolated, or that cannot be told.
pub(crate) fn isolated(config: &Config) -> Option<Result<bool, Fault>> {
    if !config.isolation.enabled {
        return None;
    }
    let installation = read_installation(&config.installation_file()).ok().flatten();
    let options = isolating(config, installation.unwrap_or_default(), nobody());
    let told = this_host(config).name().map_err(|why| {
        Fault::new(Exit::Failed, why).hint("give this machine a name of letters, digits, - and . with hostnamectl")
    });
    Some(told.and_then(|_| {
        let mut driver = NftablesIsolateHost::start(options).map_err(|error| start_fault(&error))?;
        let owned = driver.owned();
        owned
            .map(|it| !it.targets.is_empty())
            .map_err(|failure| Fault::new(Exit::Failed, failure.to_string()))
    }))
}

/// Who tells the targets that are no addresses; nobody unless something is to act on them.
///
/// # Errors
/// When the settings cannot be used.
pub(crate) fn targets(config: &Config) -> Result<Option<Arc<dyn Targets>>, Fault> {
    let mut by_aim = ByAim::default();
    if config.processes.enabled {
        by_aim = by_aim.with(Aim::Process, processes(config)?);
    }
    if config.domains.enabled {
        by_aim = by_aim.with(Aim::Domain, domains(config));
    }
    if config.accounts.enabled {
        by_aim = by_aim.with(Aim::Account, accounts(config));
    }
    if config.isolation.enabled {
        by_aim = by_aim.with(Aim::Host, HostTeller(this_host(config)));
    }
    if !config.jobs.is_empty() {
        let jobs = config.jobs.iter();
        let protected = jobs.map(|(name, job)| (name.as_str().into(), job.protected.clone()));
        by_aim = by_aim.with(Aim::Job, JobTeller::new(protected.collect()));
    }
    Ok((!by_aim.is_empty()).then(|| Arc::new(by_aim) as Arc<dyn Targets>))
}

fn processes(config: &Config) -> Result<ProcessFinder, Fault> {
    let options = ProcessOptions {
        host: this_host(config),
        protected_always: config.processes.protected.clone(),
        ..ProcessOptions::default()
    };
    ProcessFinder::new(options)
        .map_err(|error| Fault::of(Exit::Usage, &error).hint("look at [processes] in the configuration"))
}

fn domains(config: &Config) -> DomainTeller {
    DomainTeller::new(DomainOptions {
        host_names: config.host.names.clone(),
        // The configuration was checked.
        protected: config
            .domains
            .protected
            .iter()
            .filter_map(|it| it.parse().ok())
            .collect(),
        needed: endpoints(config).into_iter().map(|it| (it.host, it.what)).collect(),
        ..DomainOptions::default()
    })
}

fn accounts(config: &Config) -> AccountFinder {
    AccountFinder::new(AccountOptions {
        host: this_host(config),
        protected: config.accounts.protected.clone(),
        ..AccountOptions::default()
    })
}

fn this_host(config: &Config) -> ThisHost {
    ThisHost {
        names: config.host.names.clone(),
        unnamed: config.host.unnamed,
        ..ThisHost::default()
    }
}

/// What this machine's firewall holds of this installation; nothing when there is none yet.
///
/// # Errors
/// Why it cannot be looked at.
pub(crate) fn firewall(config: &Config) -> Result<Owned, Fault> {
    let file = config.installation_file();
    let installation = read_installation(&file).map_err(|error| {
        let shown = file.display().to_string();
        let what = format!("cannot read {}", staunch_model::Printable(&shown));
        Fault::doing(Exit::Failed, what, &error)
    })?;
    let installation = installation.unwrap_or_default();
    let failed = |failure: Failure| Fault::new(Exit::Failed, format!("nf_tables cannot be used: {failure}"));
    let mut owned = NftablesIp::new(blocking(config, installation))
        .owned()
        .map_err(failed)?;
    let mut limits =
        NftablesIp::limiting_as_found(limiting(config, installation)).map_err(|error| start_fault(&error))?;
    let limited = limits.owned().map_err(failed)?;
    owned.enforcing &= limited.enforcing || limited.targets.is_empty();
    owned.targets.extend(limited.targets);
    Ok(owned)
}

/// How many blocks and limits in the tables of this configuration carry the label of an installation, whichever it is.
///
/// # Errors
/// Why it cannot be looked at.
pub(crate) fn firewall_labelled(config: &Config) -> Result<usize, Fault> {
    let mut count = 0;
    for table in [config.nftables.table.clone(), limit_table(config)] {
        count += count_labelled(&table, Whose::Anybodys).map_err(|error| release_fault(&error))?;
    }
    Ok(count)
}

/// What was removed without a server, and what was left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Direct {
    /// Containments that were lifted.
    pub(crate) released: usize,
    /// Containments of other installations that are still there.
    pub(crate) former: usize,
}

/// Lifts what Staunch has put in force directly in the kernel, without a record. Only what this installation has labelled,
/// when its id can be read; otherwise, and with `former`, what any Staunch has. Nothing else is ever lifted.
///
/// # Errors
/// When the kernel says no.
pub(crate) fn release_directly(config: &Config, former: bool) -> Result<Direct, Fault> {
    let installation = read_installation(&config.installation_file()).ok().flatten();
    let whose = match installation {
        Some(installation) if !former => Whose::Of(installation),
        _ => Whose::Anybodys,
    };
    let mut direct = Direct::default();
    // All are tried, whatever becomes of one.
    let mut faults = Vec::new();
    for table in [config.nftables.table.clone(), limit_table(config)] {
        match release_everything(&table, whose) {
            Ok(released) => direct.released += released,
            Err(error) => faults.push(release_fault(&error)),
        }
        match count_labelled(&table, Whose::Anybodys) {
            Ok(former) => direct.former += former,
            Err(error) => faults.push(release_fault(&error)),
        }
    }
    // Also when it is switched off: it may have been on.
    let table = isolation_table(config);
    match isolate_host::release_everything(&table, whose) {
        Ok(released) => direct.released += released,
        Err(error) => faults.push(release_fault(&error)),
    }
    match isolate_host::count_labelled(&table, Whose::Anybodys) {
        Ok(former) => direct.former += former,
        Err(error) => faults.push(release_fault(&error)),
    }
    match CgroupFreezeProcess::start(groups(config, installation.unwrap_or_default())) {
        Ok(freezer) => {
            match freezer.release_everything(whose) {
                Ok(thawed) => direct.released += usize::try_from(thawed).unwrap_or(usize::MAX),
                Err(failure) => faults.push(driver_fault(&failure)),
            }
            match freezer.count_labelled(Whose::Anybodys) {
                Ok(former) => direct.former += former,
                Err(failure) => faults.push(driver_fault(&failure)),
            }
            // What was held, to be ended, and was not.
            let killer = CgroupKillProcess::new(groups(config, installation.unwrap_or_default()), &config.killed_dir());
            match killer.release_everything(whose) {
                Ok(given_back) => direct.released += usize::try_from(given_back).unwrap_or(usize::MAX),
                Err(failure) => faults.push(driver_fault(&failure)),
            }
            match killer.count_labelled(Whose::Anybodys) {
                Ok(former) => direct.former += former,
                Err(failure) => faults.push(driver_fault(&failure)),
            }
        }
        // Without a tree nothing is held in it.
        Err(RootError::NoCgroup2) => {}
        Err(error) => faults.push(Fault::doing(Exit::Failed, "cannot thaw processes", &error)),
    }
    // Also when it is switched off. Without the socket nothing is held, because a resolver keeps nothing while it is down.
    if config.domains.control.exists() {
        let sinkhole = UnboundSinkhole::new(resolver(config, installation.unwrap_or_default()));
        let lifted = sinkhole.release_everything(whose);
        let left = sinkhole.count_labelled(Whose::Anybodys);
        match lifted.and_then(|lifted| Ok((lifted, left?))) {
            Ok((lifted, left)) => {
                direct.released += usize::try_from(lifted).unwrap_or(usize::MAX);
                direct.former += left;
            }
            Err(failure) if config.domains.enabled => faults.push(driver_fault(&failure)),
            // Somebody else's resolver, which is none of ours to talk to.
            Err(failure) => tracing::debug!(%failure, "a resolver that is not configured was not asked"),
        }
    }
    let locker = ShadowLockAccount::new(records(config, installation.unwrap_or_default()));
    match locker.release_everything(whose) {
        Ok(unlocked) => direct.released += usize::try_from(unlocked).unwrap_or(usize::MAX),
        Err(failure) => faults.push(driver_fault(&failure)),
    }
    match locker.count_labelled(Whose::Anybodys) {
        Ok(former) => direct.former += former,
        Err(failure) => faults.push(driver_fault(&failure)),
    }
    match faults.into_iter().next() {
        None => Ok(direct),
        Some(fault) if direct.released == 0 => Err(fault),
        Some(fault) => Err(fault.hint(format!(
            "{} were lifted all the same; mend this and try again",
            direct.released
        ))),
    }
}

fn start_fault(error: &StartError) -> Fault {
    let denied = matches!(error.source, NftError::Denied { .. });
    Fault::of(if denied { Exit::Denied } else { Exit::Failed }, error).hint(error.hint())
}

fn driver_fault(failure: &Failure) -> Fault {
    let denied = failure.kind == FailureKind::Denied;
    Fault::new(if denied { Exit::Denied } else { Exit::Failed }, failure.to_string())
}

fn release_fault(error: &ReleaseError) -> Fault {
    let denied = matches!(error.source, NftError::Denied { .. });
    Fault::of(if denied { Exit::Denied } else { Exit::Failed }, error).hint(error.hint())
}

fn blocking(config: &Config, installation: InstallationId) -> NftablesOptions {
    NftablesOptions {
        table: config.nftables.table.clone(),
        elements_max: config.nftables.elements_max,
        track_flows: config.nftables.track_flows,
        timeout: config.nftables.timeout.to_std(),
        ..NftablesOptions::new(installation)
    }
}

/// A table of its own, beside the one that blocks.
fn limiting(config: &Config, installation: InstallationId) -> NftablesOptions {
    NftablesOptions {
        table: limit_table(config),
        limit: Some(Limit {
            packets_per_second: config.rate_limit.packets_per_second,
            burst: config.rate_limit.burst,
        }),
        // The table that blocks sees to that.
        track_flows: false,
        ..blocking(config, installation)
    }
}

fn groups(config: &Config, installation: InstallationId) -> CgroupOptions {
    CgroupOptions {
        root: config.processes.below.clone(),
        ..CgroupOptions::new(installation)
    }
}

fn resolver(config: &Config, installation: InstallationId) -> UnboundOptions {
    UnboundOptions {
        control: config.domains.control.clone(),
        // The configuration was checked.
        answer: config.domains.sinkhole().unwrap_or_default(),
        resolver: config.domains.resolver,
        ..UnboundOptions::new(installation)
    }
}

fn records(config: &Config, installation: InstallationId) -> ShadowOptions {
    ShadowOptions::new(installation, config.data_dir.join(ACCOUNTS_DIR))
}

fn isolating(config: &Config, installation: InstallationId, lifelines: Arc<dyn Lifelines>) -> NftablesIsolationOptions {
    NftablesIsolationOptions {
        table: isolation_table(config),
        host: this_host(config),
        timeout: config.nftables.timeout.to_std(),
        ..NftablesIsolationOptions::new(installation, lifelines)
    }
}

fn isolation_table(config: &Config) -> String {
    format!("{}{ISOLATION_TABLE_END}", config.nftables.table)
}

fn limit_table(config: &Config) -> String {
    format!("{}{LIMIT_TABLE_END}", config.nftables.table)
}

/// A driver that looks and never acts.
struct ReadOnly(Box<dyn Action>);

impl ReadOnly {
    fn refuse(count: usize) -> Vec<Outcome> {
        let failure = Failure::new(FailureKind::Denied, "a plan without a running Staunch changes nothing");
        vec![Outcome::DidNotHappen(failure); count]
    }
}

impl Action for ReadOnly {
    fn describe(&self) -> Description {
        self.0.describe()
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        self.0.observe(targets)
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        Self::refuse(requests.len())
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        Self::refuse(requests.len())
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        // Nothing is reported as ours: with an empty state all of it would look like orphans to be lifted.
        Ok(Owned {
            targets: Vec::new(),
            enforcing: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_staunch_calls_is_protected() {
        let text = "[domains]\nenabled = true\nprotected = [\"shop.company.com\"]\n\
                    [[feeds]]\nname = \"drop\"\nurl = \"https://feeds.intel.com/drop.txt\"\n\
                    [[lookups]]\nname = \"abuse\"\nkind = \"abuseipdb\"\nkey_file = \"key\"\n\
                    [telemetry]\notlp = \"http://traces.watch.net:4318\"\n";
        let config = crate::config::parse(text).expect("a configuration");
        let targets = targets(&config).expect("it can be used").expect("somebody tells");
        for (name, says) in [
            ("intel.com", Some("the feed drop")),
            ("abuseipdb.com", Some("the look-up abuse")),
            ("watch.net", Some("the receiver of traces")),
            ("pay.shop.company.com", Some("protected by the configuration")),
            ("evil.com", None),
        ] {
            let target = Target::Domain(name.parse().expect("a domain"));
            let why = targets.look_again(&target).facts.expect("it can be told").protected;
            assert_eq!(why.is_some(), says.is_some(), "{name}: {why:?}");
            assert!(why.unwrap_or_default().contains(says.unwrap_or_default()), "{name}");
        }
    }
}
