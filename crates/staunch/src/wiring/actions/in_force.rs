//! What is in force by the machine's own word: blocks, limits, frozen processes, locked accounts, sinkholed domains,
//! isolation.
//!
//! Never asks a server or a journal, and changes no containment.

use staunch_connectors::actions::Whose;
use staunch_connectors::actions::block_ip::{NftablesIp, count_labelled};
use staunch_connectors::actions::freeze_process::CgroupFreezeProcess;
use staunch_connectors::actions::isolate_host::NftablesIsolateHost;
use staunch_connectors::actions::lock_account::ShadowLockAccount;
use staunch_connectors::actions::sinkhole_domain::UnboundSinkhole;
use staunch_model::{ActionKind, Failure, InstallationId};
use staunch_ports::{Action as _, Owned};

use super::options::{blocking, isolating, limit_table, limiting, nobody, resolver, this_host};
use super::{driver_fault, freezer, is_enabled, killer, locker, release_fault, start_fault};
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::wiring::read_installation;

/// What this machine's firewall holds of the installation that is `running`, or else of the one of the data directory;
/// nothing when there is none yet.
///
/// # Errors
/// Why it cannot be looked at.
pub(crate) fn firewall(config: &Config, running: Option<InstallationId>) -> Result<Owned, Fault> {
    let installation = match running {
        Some(running) => running,
        None => installation_of(config)?,
    };
    let failed = |failure: Failure| {
        let told = Failure {
            what: format!("nf_tables cannot be used: {}", failure.what).into(),
            ..failure
        };
        driver_fault(&told)
    };
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

/// The installation whose data directory is configured; the id that nobody has where there is none yet.
fn installation_of(config: &Config) -> Result<InstallationId, Fault> {
    let file = config.installation_file();
    let found = read_installation(&file).map_err(|error| {
        let shown = file.display().to_string();
        let what = format!("cannot read {}", staunch_model::Printable(&shown));
        Fault::doing(Exit::Failed, what, &error)
    })?;
    Ok(found.unwrap_or_default())
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

/// How many domains of this installation are sinkholed, as the resolver says; `None` when domains are not to be acted
/// on.
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
            .map_err(|failure| driver_fault(&failure))
    }))
}
