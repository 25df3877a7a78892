//! A vault that could not be opened when the server started, as on a disk that was full.
//!
//! Never holds up who wants something stored: a thread of its own tries to open it, which is there before the sandbox,
//! and until it has, everything is refused with what the last attempt said.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use staunch_model::{CollectionRecord, EvidenceId, Failure, IncidentId, ManifestDraft, Sha256Hash, WriteOnce};
use staunch_ports::vault::Visit;
use staunch_ports::{Deposit, SealedManifest, SealedRecord, Vault, VaultDescription};
use staunch_runtime::telemetry::VaultMeter;

use super::{NoVault, Opening};

/// The pause between two attempts: somebody who has made room sees it in force within moments.
const PAUSE: Duration = Duration::from_secs(3);

/// See the module.
pub(super) struct AwaitedVault {
    opened: OnceLock<Arc<dyn Vault>>,
    /// Why it is not opened.
    why: Mutex<Failure>,
    description: VaultDescription,
}

impl AwaitedVault {
    /// Starts the thread that opens it, which could not be for `why`. How it stands is told to `meter`.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start(opening: Opening, why: Failure, meter: Arc<VaultMeter>) -> io::Result<Arc<dyn Vault>> {
        let config = &opening.config;
        let vault = Arc::new(Self {
            opened: OnceLock::new(),
            why: Mutex::new(why),
            description: VaultDescription {
                place: config.evidence_dir().display().to_string().into(),
                write_once: WriteOnce::Permissions,
                artefact_bytes_max: config.evidence.artefact_mib_max << 20,
            },
        });
        let of = Arc::clone(&vault);
        thread::Builder::new()
            .name("vault".into())
            .spawn(move || of.keep_trying(&opening, &meter))?;
        Ok(vault)
    }

    fn keep_trying(&self, opening: &Opening, meter: &VaultMeter) {
        loop {
            thread::sleep(PAUSE);
            match opening.open() {
                Ok(vault) => {
                    // Nobody else sets it.
                    let _ = self.opened.set(vault);
                    meter.reading().absent = None;
                    tracing::info!("there is a vault again: what is asked for from here on is kept");
                    return;
                }
                Err(NoVault { failure, may_go_away }) => {
                    let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
                    if *why != failure {
                        tracing::error!(%failure, "there is no vault, for another reason than before: evidence is missed");
                        meter.reading().absent = Some(failure.what.clone());
                    }
                    *why = failure;
                    if !may_go_away {
                        return;
                    }
                }
            }
        }
    }

    fn get(&self) -> Result<&dyn Vault, Failure> {
        self.opened.get().map(AsRef::as_ref).ok_or_else(|| {
            let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
            Failure::new(why.kind, &format!("there is no vault: {why}"))
        })
    }
}

impl Vault for AwaitedVault {
    fn describe(&self) -> VaultDescription {
        self.get().map_or_else(|_| self.description.clone(), Vault::describe)
    }

    fn check(&self) -> Result<WriteOnce, Failure> {
        self.get()?.check()
    }

    fn begin(&self, bytes_max: Option<u64>) -> Result<Box<dyn Deposit>, Failure> {
        self.get()?.begin(bytes_max)
    }

    fn put_missed(&self, draft: ManifestDraft, failure: Failure) -> Result<SealedManifest, Failure> {
        self.get()?.put_missed(draft, failure)
    }

    fn put_record(&self, record: &CollectionRecord) -> Result<Sha256Hash, Failure> {
        self.get()?.put_record(record)
    }

    fn open(&self, artefact: Sha256Hash) -> Result<Box<dyn Read + Send>, Failure> {
        self.get()?.open(artefact)
    }

    fn manifests(&self, incident: IncidentId, visit: Visit<'_, SealedManifest>) -> Result<(), Failure> {
        self.get()?.manifests(incident, visit)
    }

    fn records(&self, incident: IncidentId, visit: Visit<'_, SealedRecord>) -> Result<(), Failure> {
        self.get()?.records(incident, visit)
    }

    fn record(
        &self,
        incident: IncidentId,
        evidence: EvidenceId,
        hash: Sha256Hash,
    ) -> Result<Option<CollectionRecord>, Failure> {
        self.get()?.record(incident, evidence, hash)
    }

    fn incidents(&self, visit: Visit<'_, IncidentId>) -> Result<(), Failure> {
        self.get()?.incidents(visit)
    }
}
