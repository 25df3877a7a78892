//! The drivers: which of them act on this machine, and which only look at it.
//!
//! Never decides what they do. What the configuration says to each is in `options`, and who tells their targets in
//! `targets`; what is in force is told by `in_force`, and lifted without a server by `direct`.

mod direct;
mod in_force;
mod options;
mod targets;

use std::sync::Arc;

use staunch_connectors::actions::Whose;
use staunch_connectors::actions::block_ip::{MemoryBlockIp, MemoryWorld, NftablesIp, ReleaseError, StartError};
use staunch_connectors::actions::exec_job::{ExecJob, Runs};
use staunch_connectors::actions::freeze_process::CgroupFreezeProcess;
use staunch_connectors::actions::isolate_host::{Lifelines, NftablesIsolateHost};
use staunch_connectors::actions::kill_process::CgroupKillProcess;
use staunch_connectors::actions::lock_account::ShadowLockAccount;
use staunch_connectors::actions::sinkhole_domain::UnboundSinkhole;
use staunch_model::{ActionKind, Description, Failure, FailureKind, InstallationId, Observation, Outcome, Target};
use staunch_netlink::nftables::NftError;
use staunch_ports::{Action, Clock, ExecuteRequest, Owned, UndoRequest};

use super::Driver;
use crate::config::Config;
use crate::exit::{Exit, Fault};

pub(crate) use direct::{Direct, release_directly};
pub(crate) use in_force::{firewall, firewall_labelled, frozen, isolated, locked, sinkholed};
use options::{blocking, groups, isolating, jobs, limiting, nobody, records, resolver};
pub(crate) use targets::targets;

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
    if let Err(failure) = locker.remove_left() {
        tracing::warn!(%failure, "a copy of the passwords' hashes is left in /etc");
    }
    Ok(locker)
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
            unread: Vec::new(),
        })
    }
}
