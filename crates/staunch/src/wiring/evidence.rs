//! What evidence is taken with, and the vault that it is kept in.

mod awaited;

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use staunch_connectors::evidence::{HostOptions, Redaction, host};
use staunch_model::{EvidenceSource, Failure, FailureKind, Sha256Hash, Span, WriteOnce};
use staunch_ports::Vault;
use staunch_ports::clock::SystemClock;
use staunch_runtime::telemetry::{CopyMeter, LogMeter, Telemetry, VaultMeter};
use staunch_runtime::{ClockOffsetFn, Labels, PreserveParts, Preserver};
use staunch_store::age::Recipient;
use staunch_store::vault::{DirVault, DirVaultOptions, HandlingLog};
use staunch_store::{LogKey, disk_failure};

use crate::config::{Config, EvidencePlace};
use crate::digest::sha256_of;
use crate::exit::{Exit, Fault};
use crate::logbook::{LogbookParts, LoggedVault};
use crate::{anchors, bucket, outbox};
use awaited::AwaitedVault;

/// The vault, in the directory of evidence.
pub(crate) const VAULT: &str = "vault";

/// Its transparency log, in the directory of evidence.
pub(crate) const LOG: &str = "log";

/// Starts the threads that take evidence; nothing when none is to be taken. They look into all processes, so start them
/// before the sandbox is entered. How the vault, its log, and the places that evidence is brought to stand is told to
/// `meters`; that of the log says what is durable of the journal, and may be signed. `clock_offset` tells how far the
/// clock is off.
///
/// # Errors
/// When there can be no thread, or no random numbers.
pub(crate) fn preserver(
    config: &Config,
    meters: &Meters,
    clock_offset: ClockOffsetFn,
) -> Result<Option<Preserver>, Fault> {
    if !config.evidence.enabled {
        return Ok(None);
    }
    super::make_data_dir(config)?;
    let source = source(&config.evidence.source);
    let opening = Opening {
        config: config.clone(),
        log: Arc::clone(&meters.log),
        copies: Arc::clone(&meters.copies),
        host: source.host.clone(),
    };
    let place = config.evidence_dir();
    // Containment does not depend on it: what cannot be kept is missed, which is recorded and told.
    let vault: Arc<dyn Vault> = match opening.open() {
        Ok(vault) => vault,
        Err(NoVault { failure, may_go_away }) => {
            tracing::error!(vault = %place.display(), %failure, "there is no vault: evidence is missed, containment goes on; `staunch doctor` says what to do");
            meters.vault.reading().absent = Some(failure.what.clone());
            if !may_go_away {
                return Ok(None);
            }
            let awaited = AwaitedVault::start(opening, failure, Arc::clone(&meters.vault));
            awaited.map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))?
        }
    };
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| {
        let message = format!("this machine gives no random numbers: {error}");
        Fault::new(Exit::Failed, message)
    })?;
    let started = Preserver::start(PreserveParts {
        collectors: host(HostOptions {
            processes_are_told: config.processes.enabled,
            redaction: Redaction::usual(key).and(config.evidence.redact.iter().map(String::as_str)),
            ..HostOptions::new(key)
        }),
        vault,
        meter: Arc::clone(&meters.vault),
        source,
        labels: Labels {
            classification: config.evidence.classification.as_deref().map(Into::into),
            tlp: config.evidence.tlp,
            keep: config.evidence.keep,
        },
        version: env!("CARGO_PKG_VERSION").into(),
        build: build()?,
        tools: tools(),
        clock_offset,
        clock: Arc::new(SystemClock),
        since_boot,
    });
    started
        .map(Some)
        .map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))
}

/// Who is told how the vault stands, and the places that evidence is brought to.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) copies: Arc<CopyMeter>,
    pub(crate) vault: Arc<VaultMeter>,
    pub(crate) log: Arc<LogMeter>,
}

impl Meters {
    /// Has `telemetry` show those of the vault and of the copies; the engine's loop has that of the log.
    pub(crate) fn show_in(self, telemetry: &Telemetry) {
        // Nobody else sets them.
        let _ = telemetry.copies.set(self.copies);
        let _ = telemetry.vault.set(self.vault);
    }
}

/// What a vault is opened with, and its transparency log.
struct Opening {
    config: Config,
    log: Arc<LogMeter>,
    copies: Arc<CopyMeter>,
    /// The name of this machine.
    host: Box<str>,
}

impl Opening {
    /// Opens the vault, and starts what goes with it: the log of what is sealed, and what brings both elsewhere.
    fn open(&self) -> Result<Arc<dyn Vault>, NoVault> {
        let config = &self.config;
        let dir = config.evidence_dir();
        let parts = LogbookParts {
            dir: dir.join(LOG),
            key: config.evidence_secret_key_file(),
            public_key: config.evidence_key_file(),
            name: key_name(&self.host),
            journal: config.journal_dir(),
            handling: HandlingLog::in_folder(&dir),
        };
        // Without a key, evidence is sealed and nobody signs it, which is told below.
        let key = parts.open_key();
        let handling = parts
            .handling
            .clone()
            .signed_with(key.as_ref().ok().cloned().map(Arc::new));
        let (vault, kept_by) = open(config, &dir, key.as_ref().ok())?;
        let vault = Arc::new(vault);
        let started = key.and_then(|key| LoggedVault::start(vault.clone(), key, parts, Arc::clone(&self.log)));
        let logged = match started {
            Ok(logged) => {
                let started = anchors::start(&config.evidence.anchors, &dir, logged.key(), &self.copies);
                if let Err(failure) = started {
                    tracing::error!(%failure, "checkpoints of the transparency log are not anchored");
                }
                Arc::new(logged) as Arc<dyn Vault>
            }
            // What has no room for its log has none for evidence.
            Err(failure) if failure.kind == FailureKind::Full => return Err(NoVault::of_disk(failure)),
            Err(failure) => {
                tracing::error!(%failure, "there is no transparency log: evidence is sealed, and nobody signs that it was");
                vault.clone()
            }
        };
        tracing::info!(vault = %vault.describe().place, %kept_by, "evidence is kept");
        if config.evidence.s3.is_some() {
            let started = outbox::start(vault, dir, handling, Arc::clone(&self.copies));
            if let Err(failure) = started {
                tracing::error!(%failure, "evidence that waits is not sent to its bucket");
            }
        }
        Ok(logged)
    }
}

/// Why there is no vault.
struct NoVault {
    failure: Failure,
    /// Whether there may be one a while later, without a new start.
    may_go_away: bool,
}

impl NoVault {
    /// What the disk says: room is made, a disk is mounted, a directory is given to this user. What is another's, or is
    /// damaged, stays so.
    fn of_disk(failure: Failure) -> Self {
        Self {
            may_go_away: !matches!(failure.kind, FailureKind::Conflict | FailureKind::Invalid),
            failure,
        }
    }

    /// What the settings or the bucket are to blame for: a bucket is not asked again and again to prove that it locks.
    const fn stays(failure: Failure) -> Self {
        Self {
            failure,
            may_go_away: false,
        }
    }
}

/// Opens the vault, and has it prove that what is stored cannot be changed. A bucket that is away may prove it later,
/// and gets nothing before; one that does not lock makes it no vault. Manifests are signed with `key`.
fn open(config: &Config, dir: &Path, key: Option<&LogKey>) -> Result<(DirVault, WriteOnce), NoVault> {
    let bucket = config.evidence.s3.as_ref();
    let options = DirVaultOptions {
        artefact_bytes_max: config.evidence.artefact_mib_max << 20,
        is_immutable: config.evidence.immutable,
        bucket: bucket.map(bucket::of_evidence).transpose().map_err(NoVault::stays)?,
        recipients: recipients(&config.evidence.recipients).map_err(NoVault::stays)?,
        at_once: bucket.map_or(Duration::ZERO, |it| it.wait.to_std()),
        key: key.cloned().map(Arc::new),
        ..DirVaultOptions::default()
    };
    let made = super::place::private_dir(dir).map_err(|error| disk_failure("make the directory", dir, &error));
    made.map_err(NoVault::of_disk)?;
    let vault = DirVault::open(&dir.join(VAULT), options).map_err(NoVault::of_disk)?;
    let here = vault.check_here().map_err(NoVault::of_disk)?;
    match vault.check() {
        Ok(kept_by) => Ok((vault, kept_by)),
        Err(failure)
            if bucket.is_some() && matches!(failure.kind, FailureKind::Unavailable | FailureKind::TimedOut) =>
        {
            tracing::warn!(%failure, "the bucket of evidence is away: evidence is kept here, and sent later");
            Ok((vault, here))
        }
        Err(failure) => Err(NoVault::stays(failure)),
    }
}

/// Whom evidence is encrypted to. One that cannot be read is not left out: what is for nobody would be stored for
/// everybody.
fn recipients(named: &[String]) -> Result<Vec<Recipient>, Failure> {
    let parse = |(number, it): (usize, &String)| {
        Recipient::parse(it).ok_or_else(|| {
            let what = format!("recipient {} of evidence is no public key of age", number + 1);
            Failure::new(FailureKind::Denied, &what)
        })
    };
    named.iter().enumerate().map(parse).collect()
}

/// The hash of this program, computed beside everything else: what is taken before it is known has none.
fn build() -> Result<Arc<OnceLock<Sha256Hash>>, Fault> {
    let build = Arc::new(OnceLock::new());
    let told = Arc::clone(&build);
    let hashed = move || {
        // Nobody else sets it.
        let _ = told.set(sha256_of(File::open("/proc/self/exe")?)?);
        io::Result::Ok(())
    };
    thread::Builder::new()
        .name("build".into())
        .spawn(move || {
            if let Err(error) = hashed() {
                tracing::warn!(%error, "the program cannot be hashed: manifests do not say which build took evidence");
            }
        })
        .map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))?;
    Ok(build)
}

/// What every collector works with: the kernel and the system around it.
fn tools() -> Vec<Box<str>> {
    let kernel = line("/proc/sys/kernel/osrelease").map(|it| format!("Linux {it}").into());
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let system = name.map(|it| it.trim_matches('"').chars().take(200).collect::<String>().into());
    kernel.into_iter().chain(system).collect()
}

/// The name of the key of this machine: a word, as a signed note has it.
fn key_name(host: &str) -> String {
    let kept = |it: &char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_');
    let host: String = host.chars().filter(kept).take(200).collect();
    format!("{host}/staunch")
}

/// This machine, which belongs to `place`.
fn source(place: &EvidencePlace) -> EvidenceSource {
    let named = |name: &Option<String>| name.as_deref().map(Into::into);
    EvidenceSource {
        kind: "host".into(),
        host: line("/proc/sys/kernel/hostname").unwrap_or_else(|| "unknown".into()),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        machine_id: line("/etc/machine-id"),
        provider: named(&place.provider),
        account: named(&place.account),
        region: named(&place.region),
        resource: named(&place.resource),
    }
}

/// What a file of one line says.
fn line(path: &str) -> Option<Box<str>> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim()).filter(|it| !it.is_empty()).map(Box::from)
}

/// The time since this machine was started, suspended time included.
fn since_boot() -> Span {
    // The kernel has had this clock since 2.6.39.
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |it| {
        it.tv_sec().unsigned_abs() * 1_000_000 + it.tv_nsec().unsigned_abs() / 1_000
    });
    Span::from_micros(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_that_cannot_be_read_leaves_no_evidence_in_the_clear() {
        let sound = "age15fmqtrfjp6htye4gj4yz02dsmqw67xarh7cr8sz7a0484vnk5amq8qg30y".to_owned();
        assert_eq!(recipients(std::slice::from_ref(&sound)).map(|it| it.len()), Ok(1));
        assert_eq!(recipients(&[]).map(|it| it.len()), Ok(0));
        let mistyped = sound.replace("5fm", "5mf");
        let failure = recipients(&[sound, mistyped.clone()]).expect_err("it is none");
        assert_eq!(failure.kind, FailureKind::Denied);
        assert!(recipients(&[mistyped]).is_err());
    }
}
