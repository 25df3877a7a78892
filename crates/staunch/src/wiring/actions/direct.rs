//! How everything is lifted without a server.
//!
//! Never writes a record, and lifts nothing that carries no label of Staunch.

use staunch_connectors::actions::Whose;
use staunch_connectors::actions::block_ip::{count_labelled, release_everything};
use staunch_connectors::actions::freeze_process::{CgroupFreezeProcess, RootError};
use staunch_connectors::actions::isolate_host;
use staunch_connectors::actions::kill_process::CgroupKillProcess;
use staunch_connectors::actions::lock_account::ShadowLockAccount;
use staunch_connectors::actions::sinkhole_domain::UnboundSinkhole;

use super::options::{groups, isolation_table, limit_table, records, resolver};
use super::{driver_fault, release_fault};
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::wiring::{boot, read_installation};

/// What was removed without a server, and what was left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Direct {
    /// Containments that were lifted.
    pub(crate) released: usize,
    /// Containments of other installations that are still there.
    pub(crate) former: usize,
}

/// Lifts what Staunch has put in force directly in the kernel, without a record. Only what this installation has
/// labelled, when its id can be read; otherwise, and with `former`, what any Staunch has. Nothing else is ever lifted.
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
    // Also when it is switched off. Without the socket nothing is held, because a resolver keeps nothing while it is
    // down.
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
    if let Err(fault) = boot::forget(config) {
        faults.push(fault);
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
