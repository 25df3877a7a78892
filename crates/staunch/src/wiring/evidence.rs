//! What evidence is taken with, and the vault that it is kept in.

use std::fs;
use std::sync::Arc;

use nix::time::{ClockId, clock_gettime};
use staunch_connectors::evidence::{HostOptions, host};
use staunch_model::{EvidenceSource, Failure, FailureKind, Span};
use staunch_ports::Vault;
use staunch_ports::clock::SystemClock;
use staunch_runtime::{PreserveParts, Preserver};
use staunch_store::vault::{DirVault, DirVaultOptions};

use crate::anchors;
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::logbook::{DurableUpTo, LogbookParts, LoggedVault};

/// The vault, in the directory of evidence.
pub(crate) const VAULT: &str = "vault";

/// Its transparency log, in the directory of evidence.
pub(crate) const LOG: &str = "log";

/// Starts the threads that take evidence; nothing when none is to be taken. They look into all processes, so start them before
/// the sandbox is entered. What is signed of the journal is what `durable` says.
///
/// # Errors
/// When there can be no thread, or no random numbers.
pub(crate) fn preserver(config: &Config, durable: &DurableUpTo) -> Result<Option<Preserver>, Fault> {
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
    let opened = super::make_private_dir(&dir).map_err(|fault| Failure::new(FailureKind::Unavailable, &fault.told()));
    let vault = opened
        .and_then(|()| DirVault::open(&dir.join(VAULT), options))
        .and_then(|vault| {
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
    let vault: Arc<dyn Vault> = Arc::new(vault);
    let source = source();
    let parts = LogbookParts {
        dir: dir.join(LOG),
        key: config.data_dir.join("evidence.key"),
        public_key: config.evidence_key_file(),
        name: key_name(&source.host),
        journal: config.journal_dir(),
    };
    let vault = match LoggedVault::start(vault.clone(), parts, durable.clone()) {
        Ok(logged) => {
            let started = anchors::start(&config.evidence.anchors, &dir, logged.key());
            if let Err(failure) = started {
                tracing::error!(%failure, "checkpoints of the transparency log are not anchored");
            }
            Arc::new(logged) as Arc<dyn Vault>
        }
        Err(failure) => {
            tracing::error!(%failure, "there is no transparency log: evidence is sealed, and nobody signs that it was");
            vault
        }
    };
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| {
        let message = format!("this machine gives no random numbers: {error}");
        Fault::new(Exit::Failed, message)
    })?;
    let started = Preserver::start(PreserveParts {
        collectors: host(HostOptions::new(key)),
        vault,
        source,
        version: env!("CARGO_PKG_VERSION").into(),
        clock: Arc::new(SystemClock),
        since_boot,
    });
    started
        .map(Some)
        .map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))
}

/// The name of the key of this machine: a word, as a signed note has it.
fn key_name(host: &str) -> String {
    let kept = |it: &char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_');
    let host: String = host.chars().filter(kept).take(200).collect();
    format!("{host}/staunch")
}

/// This machine.
fn source() -> EvidenceSource {
    let line = |path: &str| {
        let text = fs::read_to_string(path).ok()?;
        Some(text.trim()).filter(|it| !it.is_empty()).map(Box::from)
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
