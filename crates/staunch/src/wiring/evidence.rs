//! What evidence is taken with, and the vault that it is kept in.

use std::fs;
use std::sync::Arc;

use nix::time::{ClockId, clock_gettime};
use staunch_connectors::evidence::{HostOptions, host};
use staunch_model::{EvidenceSource, Span};
use staunch_ports::Vault as _;
use staunch_ports::clock::SystemClock;
use staunch_runtime::{PreserveParts, Preserver};
use staunch_store::vault::{DirVault, DirVaultOptions};

use crate::config::Config;
use crate::exit::{Exit, Fault};

/// Starts the threads that take evidence; nothing when none is to be taken. They look into all processes, so start them before
/// the sandbox is entered.
///
/// # Errors
/// When there can be no thread, or no random numbers.
pub(crate) fn preserver(config: &Config) -> Result<Option<Preserver>, Fault> {
    if !config.evidence.enabled {
        return Ok(None);
    }
    super::make_data_dir(config)?;
    let dir = config.evidence_dir();
    let options = DirVaultOptions {
        artefact_bytes_max: config.evidence.artefact_mib_max << 20,
        is_immutable: config.evidence.immutable,
        ..DirVaultOptions::default()
    };
    let vault = DirVault::open(&dir, options).and_then(|vault| {
        let kept_by = vault.check()?;
        Ok((vault, kept_by))
    });
    // Containment does not depend on it: what cannot be kept is missed, which is recorded and told.
    let (vault, kept_by) = match vault {
        Ok(opened) => opened,
        Err(failure) => {
            tracing::error!(vault = %dir.display(), %failure, "there is no vault: evidence is missed, containment goes on");
            return Ok(None);
        }
    };
    tracing::info!(vault = %dir.display(), %kept_by, "evidence is kept");
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| {
        let message = format!("this machine gives no random numbers: {error}");
        Fault::new(Exit::Failed, message)
    })?;
    let started = Preserver::start(PreserveParts {
        collectors: host(HostOptions::new(key)),
        vault: Arc::new(vault),
        source: source(),
        version: env!("CARGO_PKG_VERSION").into(),
        clock: Arc::new(SystemClock),
        since_boot,
    });
    started
        .map(Some)
        .map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))
}

/// This machine.
fn source() -> EvidenceSource {
    let line = |path: &str| {
        let text = fs::read_to_string(path).ok()?;
        Some(Box::from(text.trim())).filter(|it: &Box<str>| !it.is_empty())
    };
    EvidenceSource {
        kind: "host".into(),
        host: line("/proc/sys/kernel/hostname").unwrap_or_else(|| "unknown".into()),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        machine_id: line("/etc/machine-id"),
        provider: None,
        account: None,
        resource: None,
    }
}

/// The time since this machine was started, suspended time included.
fn since_boot() -> Span {
    // The kernel has had this clock since 2.6.39.
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |it| {
        it.tv_sec().unsigned_abs() * 1_000_000 + it.tv_nsec().unsigned_abs() / 1_000
    });
    Span::from_micros(time)
}
