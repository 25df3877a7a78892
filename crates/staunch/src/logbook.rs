//! Keeps the transparency log of evidence and journal up with both, on a thread of its own.
//!
//! Never in the way of containment or of evidence: what cannot be logged now is logged later, which is told, and evidence that was
//! sealed stays sealed. The thread is there before the server enters its sandbox, because a vault may be anywhere.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use staunch_model::{CollectionRecord, EvidenceId, Failure, IncidentId, ManifestDraft, Sha256Hash, WriteOnce};
use staunch_ports::vault::Visit;
use staunch_ports::{Deposit, SealedManifest, SealedRecord, Vault, VaultDescription};
use staunch_store::vault::logged::Logbook;
use staunch_store::{LogKey, ReadOnlyJournal, TransparencyLog};

/// Incidents that may wait to be logged; what does not fit is found at the next round.
const WAITING_MAX: usize = 1_024;

/// How often frames of the journal are logged when no evidence comes. What was not logged can be changed without trace.
const ROUND: Duration = Duration::from_secs(60);

/// Where the log is, and what it is about.
pub(crate) struct LogbookParts {
    /// The directory of the log.
    pub(crate) dir: PathBuf,
    /// The file of its secret key, made when it is not there.
    pub(crate) key: PathBuf,
    /// The file of its public key, written when it is not there.
    pub(crate) public_key: PathBuf,
    /// The name of the key, when it is made: who signs.
    pub(crate) name: String,
    /// The directory of the journal.
    pub(crate) journal: PathBuf,
}

/// A vault whose evidence is logged.
pub(crate) struct LoggedVault {
    inner: Arc<dyn Vault>,
    told: SyncSender<IncidentId>,
}

impl LoggedVault {
    /// Starts the thread that logs what `vault` takes from now on, after what it has.
    ///
    /// # Errors
    /// When the log cannot be used, or there can be no thread.
    pub(crate) fn start(vault: Arc<dyn Vault>, parts: LogbookParts) -> Result<Self, Failure> {
        let unusable = |error: staunch_store::LogError| error.to_failure();
        let key = LogKey::open(&parts.key, &parts.name).map_err(unusable)?;
        let public = format!("{}\n", key.verifier());
        if std::fs::read_to_string(&parts.public_key).ok().as_deref() != Some(&public) {
            std::fs::write(&parts.public_key, public).map_err(|error| {
                let what = format!("cannot write {}: {error}", parts.public_key.display());
                Failure::new(staunch_model::FailureKind::Unavailable, &what)
            })?;
        }
        let log = TransparencyLog::open(&parts.dir, key, None).map_err(unusable)?;
        let mut logbook = Logbook::new(log)?;
        let (told, incidents) = sync_channel(WAITING_MAX);
        let of = vault.clone();
        thread::Builder::new()
            .name("logbook".into())
            .spawn(move || keep(&mut logbook, of.as_ref(), &parts.journal, &incidents))
            .map_err(|error| Failure::new(staunch_model::FailureKind::Unavailable, &error.to_string()))?;
        Ok(Self { inner: vault, told })
    }
}

fn keep(logbook: &mut Logbook, vault: &dyn Vault, journal: &std::path::Path, incidents: &Receiver<IncidentId>) {
    let mut anew = true;
    loop {
        if std::mem::take(&mut anew) {
            tell(logbook.take_all(vault).map(drop));
        }
        // Before the first frame there is no journal.
        if let Ok(journal) = ReadOnlyJournal::open(journal) {
            let read = |from, visit: &mut dyn FnMut(staunch_ports::StoredFrame)| {
                journal.read(from, &mut |frame| {
                    visit(frame);
                    ControlFlow::Continue(())
                })
            };
            tell(logbook.take_frames(read).map(drop));
        }
        match incidents.recv_timeout(ROUND) {
            Ok(first) => {
                let mut all: Vec<IncidentId> = std::iter::once(first).chain(incidents.try_iter()).collect();
                all.sort();
                all.dedup();
                for incident in all {
                    tell(logbook.take_incident(vault, incident).map(drop));
                }
            }
            Err(RecvTimeoutError::Timeout) => anew = true,
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn tell(result: Result<(), Failure>) {
    if let Err(failure) = result {
        tracing::error!(%failure, "the transparency log does not have all that was sealed; it is tried again");
    }
}

impl Vault for LoggedVault {
    fn describe(&self) -> VaultDescription {
        self.inner.describe()
    }

    fn check(&self) -> Result<WriteOnce, Failure> {
        self.inner.check()
    }

    fn begin(&self, bytes_max: Option<u64>) -> Result<Box<dyn Deposit>, Failure> {
        self.inner.begin(bytes_max)
    }

    fn put_missed(&self, draft: ManifestDraft, failure: Failure) -> Result<SealedManifest, Failure> {
        self.inner.put_missed(draft, failure)
    }

    fn put_record(&self, record: &CollectionRecord) -> Result<Sha256Hash, Failure> {
        let hash = self.inner.put_record(record)?;
        // When there is no room, the next round finds it.
        let _ = self.told.try_send(record.incident);
        Ok(hash)
    }

    fn open(&self, artefact: Sha256Hash) -> Result<Box<dyn Read + Send>, Failure> {
        self.inner.open(artefact)
    }

    fn manifests(&self, incident: IncidentId, visit: Visit<'_, SealedManifest>) -> Result<(), Failure> {
        self.inner.manifests(incident, visit)
    }

    fn records(&self, incident: IncidentId, visit: Visit<'_, SealedRecord>) -> Result<(), Failure> {
        self.inner.records(incident, visit)
    }

    fn record(
        &self,
        incident: IncidentId,
        evidence: EvidenceId,
        hash: Sha256Hash,
    ) -> Result<Option<CollectionRecord>, Failure> {
        self.inner.record(incident, evidence, hash)
    }

    fn incidents(&self, visit: Visit<'_, IncidentId>) -> Result<(), Failure> {
        self.inner.incidents(visit)
    }
}
