//! Keeps the transparency log of evidence, its handling and the journal up with them, on a thread of its own.
//!
//! Never in the way of containment or of evidence: what cannot be logged now is logged later, which is told, and
//! evidence that was sealed stays sealed. The thread is there before the server enters its sandbox, because a vault may
//! be anywhere.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use staunch_model::{
    CollectionRecord, EvidenceId, Failure, FailureKind, IncidentId, ManifestDraft, Sha256Hash, WithCauses, WriteOnce,
};
use staunch_ports::vault::Visit;
use staunch_ports::{Deposit, SealedManifest, SealedRecord, StoredFrame, Vault, VaultDescription};
use staunch_runtime::telemetry::LogMeter;
use staunch_store::tlog::CHECKPOINT;
use staunch_store::vault::HandlingLog;
use staunch_store::vault::logged::Logbook;
use staunch_store::{LogKey, LogVerifier, ReadOnlyJournal, TransparencyLog, disk_failure};

use crate::whole;

/// Incidents that may wait to be logged; what does not fit is found at the next round.
const WAITING_MAX: usize = 1_024;

/// How often frames of the journal and lines of handling logs are logged when no evidence comes. Frames that were not
/// logged can be changed without trace, and lines cut off.
const ROUND: Duration = Duration::from_secs(60);

/// How often the whole vault is looked through for what was not logged.
const WHOLE_ROUND: Duration = Duration::from_secs(600);

/// The pause before what could not be logged is tried again; it doubles each time, up to a [`WHOLE_ROUND`].
const RETRY: Duration = Duration::from_secs(2);

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
    /// The handling logs of the folder of evidence.
    pub(crate) handling: HandlingLog,
}

impl LogbookParts {
    /// Its secret key, which is made where there is neither a key nor a log.
    ///
    /// # Errors
    /// `Conflict` when there is a log and no key; otherwise why it cannot be used.
    pub(crate) fn open_key(&self) -> Result<LogKey, Failure> {
        if !self.key.exists() && self.dir.join(CHECKPOINT).exists() {
            let what = format!(
                "the secret key {} is gone, with which the log in {} is signed; a log of its own is begun where that one is not",
                self.key.display(),
                self.dir.display()
            );
            return Err(Failure::new(FailureKind::Conflict, &what));
        }
        LogKey::open(&self.key, &self.name).map_err(|error| error.to_failure())
    }
}

/// A vault whose evidence is logged.
pub(crate) struct LoggedVault {
    inner: Arc<dyn Vault>,
    told: SyncSender<IncidentId>,
    key: LogVerifier,
}

impl LoggedVault {
    /// Starts the thread that logs what `vault` takes from now on, after what it has, and signs with `key`. Nothing of
    /// the journal is signed beyond what `meter` knows to be durable.
    ///
    /// # Errors
    /// When the log cannot be used, or there can be no thread.
    pub(crate) fn start(
        vault: Arc<dyn Vault>,
        key: LogKey,
        parts: LogbookParts,
        meter: Arc<LogMeter>,
    ) -> Result<Self, Failure> {
        let unusable = |error: staunch_store::LogError| error.to_failure();
        let verifier = key.verifier();
        let public = format!("{verifier}\n");
        let log = TransparencyLog::open(&parts.dir, key, None).map_err(unusable)?;
        tell_key(&parts.public_key, &public)?;
        let mut logbook = Logbook::new(log)?;
        meter.logged_up_to(logbook.frames_up_to().0);
        let (told, incidents) = sync_channel(WAITING_MAX);
        let of = vault.clone();
        thread::Builder::new()
            .name("logbook".into())
            .spawn(move || keep(&mut logbook, of.as_ref(), &parts, &meter, &incidents))
            .map_err(|error| Failure::new(FailureKind::Unavailable, &error.to_string()))?;
        Ok(Self {
            inner: vault,
            told,
            key: verifier,
        })
    }

    /// The public key of the log.
    pub(crate) const fn key(&self) -> &LogVerifier {
        &self.key
    }
}

/// Writes the public key where there is none; it is durable then. One that is there and is another is somebody's proof
/// of an older log.
fn tell_key(file: &Path, public: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| disk_failure("write", file, &error);
    match std::fs::read_to_string(file) {
        Ok(known) if known == public => Ok(()),
        Ok(_) => {
            let what = format!("{} holds the key of another log; move it away", file.display());
            Err(Failure::new(FailureKind::Conflict, &what))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            whole::make(file, public, whole::FOR_ALL).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn keep(
    logbook: &mut Logbook,
    vault: &dyn Vault,
    parts: &LogbookParts,
    meter: &LogMeter,
    incidents: &Receiver<IncidentId>,
) {
    let was_empty = logbook.log().checkpoint().size == 0;
    let (mut left, mut told) = (Left::default(), BTreeSet::new());
    match logbook.take_all(vault, &mut |incident, failure| left.add(incident, &failure)) {
        Ok(0) => {}
        Ok(new) if was_empty => tracing::error!(
            new,
            "the vault holds evidence and the log was empty: it was removed, or evidence was put there; it is signed from now on"
        ),
        Ok(new) => tracing::warn!(
            new,
            "the vault held more than was logged, as after a crash; it is signed now"
        ),
        Err(failure) => left.tell(&failure),
    }
    let (mut whole_at, mut handling_at) = (Instant::now() + WHOLE_ROUND, Instant::now());
    loop {
        if Instant::now() >= whole_at {
            let taken = logbook.take_all(vault, &mut |incident, failure| left.add(incident, &failure));
            if let Err(failure) = taken {
                left.tell(&failure);
            }
            whole_at = Instant::now() + WHOLE_ROUND;
        }
        for incident in left.due() {
            left.took(incident, logbook.take_incident(vault, incident));
        }
        if let Err(failure) = take_frames(logbook, &parts.journal, meter) {
            left.tell(&failure);
        }
        if Instant::now() >= handling_at {
            take_handling(logbook, &parts.handling, &mut told);
            handling_at = Instant::now() + ROUND;
        }
        match incidents.recv_timeout(left.pause()) {
            Ok(first) => {
                let mut all: Vec<IncidentId> = std::iter::once(first).chain(incidents.try_iter()).collect();
                all.sort();
                all.dedup();
                for incident in all {
                    left.took(incident, logbook.take_incident(vault, incident));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Logs how far handling logs have come. What is wrong with one is told once, until something else is.
fn take_handling(logbook: &mut Logbook, handling: &HandlingLog, told: &mut BTreeSet<String>) {
    let mut wrong = BTreeSet::new();
    let mut failed = |failure: Failure| {
        if !told.contains(&failure.to_string()) {
            tracing::error!(
                %failure,
                "the transparency log does not stand for all that was done with evidence; it is tried again"
            );
        }
        wrong.insert(failure.to_string());
    };
    if let Err(failure) = logbook.take_handling(handling, &mut failed) {
        failed(failure);
    }
    *told = wrong;
}

/// Logs the frames that are durable, and tells `meter` how far the log is then.
fn take_frames(logbook: &mut Logbook, journal: &Path, meter: &LogMeter) -> Result<(), Failure> {
    let up_to = meter.ask();
    // Before the first frame there is no journal.
    if up_to == 0 {
        return Ok(());
    }
    let read = |from, visit: &mut dyn FnMut(StoredFrame)| {
        let journal = ReadOnlyJournal::open(journal).map_err(|error| WithCauses(&error).to_string())?;
        let read = journal.read(from, &mut |frame| {
            if frame.lsn.0 > up_to {
                return ControlFlow::Break(());
            }
            visit(frame);
            ControlFlow::Continue(())
        });
        read.map_err(|error| WithCauses(&error).to_string())
    };
    let taken = logbook.take_frames(read);
    match &taken {
        Ok(last) => meter.logged_up_to(last.0),
        Err(_) => meter.failed(),
    }
    taken.map(|_| ())
}

/// The incidents of which something could not be logged, as on a disk that was full.
#[derive(Default)]
struct Left {
    incidents: BTreeSet<IncidentId>,
    /// When they are tried again, and how often they were.
    again: Option<Instant>,
    times: u32,
    /// What was told last: once for each thing that is wrong.
    told: String,
}

impl Left {
    fn add(&mut self, incident: IncidentId, failure: &Failure) {
        self.tell(failure);
        if self.incidents.insert(incident) || self.again.is_none() {
            self.times = 0;
            self.again = Some(Instant::now() + RETRY);
        }
    }

    /// Remembers what became of an incident.
    fn took(&mut self, incident: IncidentId, taken: Result<u64, Failure>) {
        match taken {
            Ok(new) => {
                if self.incidents.remove(&incident) {
                    tracing::info!(%incident, new, "what was left of an incident is in the transparency log");
                }
                if self.incidents.is_empty() {
                    *self = Self::default();
                }
            }
            Err(failure) => self.add(incident, &failure),
        }
    }

    /// Those that are to be tried again; none before their time.
    fn due(&mut self) -> Vec<IncidentId> {
        if self.again.is_none_or(|at| at > Instant::now()) {
            return Vec::new();
        }
        self.times = self.times.saturating_add(1);
        let pause = WHOLE_ROUND.min(RETRY * 2_u32.saturating_pow(self.times.min(16)));
        self.again = Some(Instant::now() + pause);
        self.incidents.iter().copied().collect()
    }

    /// How long to wait for something new.
    fn pause(&self) -> Duration {
        let until = self.again.map(|at| at.saturating_duration_since(Instant::now()));
        until.map_or(ROUND, |it| it.min(ROUND))
    }

    fn tell(&mut self, failure: &Failure) {
        let told = failure.to_string();
        if self.told != told {
            tracing::error!(%failure, "the transparency log does not have all that was sealed; it is tried again");
            self.told = told;
        }
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
        let put = self.inner.put_record(record);
        // Without a record, too: its manifests may be there. When there is no room, the next round finds them.
        let _ = self.told.try_send(record.incident);
        put
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

#[cfg(test)]
mod tests;
