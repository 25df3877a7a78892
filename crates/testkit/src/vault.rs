//! A vault in memory, for tests of what stores evidence.
//!
//! Never lets anything be changed but by [`MemoryVault::damage`], and keeps nothing when it goes.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use staunch_model::custody::CUSTODY_SCHEMA_VERSION;
use staunch_model::{
    CollectionRecord, Compression, EvidenceId, Failure, FailureKind, IncidentId, Manifest, ManifestDraft, Sha256Hash,
    Storage, Taken, WriteOnce,
};
use staunch_ports::vault::Visit;
use staunch_ports::{Deposit, SealedManifest, SealedRecord, Vault, VaultDescription};

/// A vault in memory. Clones are the same vault.
#[derive(Clone, Debug)]
pub struct MemoryVault {
    kept: Arc<Mutex<Kept>>,
    artefact_bytes_max: u64,
}

#[derive(Debug, Default)]
struct Kept {
    objects: BTreeMap<Sha256Hash, Arc<[u8]>>,
    manifests: BTreeMap<(IncidentId, EvidenceId), Vec<SealedManifest>>,
    records: BTreeMap<(IncidentId, EvidenceId, Sha256Hash), CollectionRecord>,
    /// Whatever is to be stored fails with it.
    failing: Option<Failure>,
}

impl MemoryVault {
    /// An empty vault for artefacts of at most so many bytes.
    #[must_use]
    pub fn new(artefact_bytes_max: u64) -> Self {
        Self {
            kept: Arc::default(),
            artefact_bytes_max,
        }
    }

    /// Has everything that is to be stored from here on fail, or no longer.
    pub fn set_failing(&self, failure: Option<Failure>) {
        self.kept().failing = failure;
    }

    /// Changes one bit of an artefact.
    ///
    /// # Panics
    /// When there is no such artefact, or it is empty.
    pub fn damage(&self, artefact: Sha256Hash) {
        let mut kept = self.kept();
        let object = kept.objects.get_mut(&artefact).expect("it is stored");
        let mut bytes = object.to_vec();
        bytes[0] ^= 1;
        *object = bytes.into();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writable(&self) -> Result<MutexGuard<'_, Kept>, Failure> {
        let kept = self.kept();
        match &kept.failing {
            Some(failure) => Err(failure.clone()),
            None => Ok(kept),
        }
    }
}

impl Vault for MemoryVault {
    fn describe(&self) -> VaultDescription {
        VaultDescription {
            place: "memory".into(),
            write_once: WriteOnce::Memory,
            artefact_bytes_max: self.artefact_bytes_max,
        }
    }

    fn check(&self) -> Result<WriteOnce, Failure> {
        self.writable().map(|_| WriteOnce::Memory)
    }

    fn begin(&self, bytes_max: Option<u64>) -> Result<Box<dyn Deposit>, Failure> {
        drop(self.writable()?);
        Ok(Box::new(MemoryDeposit {
            vault: self.clone(),
            bytes: Vec::new(),
            bytes_max: bytes_max.map_or(self.artefact_bytes_max, |max| max.min(self.artefact_bytes_max)),
            is_too_long: false,
        }))
    }

    fn put_missed(&self, draft: ManifestDraft, failure: Failure) -> Result<SealedManifest, Failure> {
        Ok(self.writable()?.put_manifest(draft, Taken::Missed(failure)))
    }

    fn put_record(&self, record: &CollectionRecord) -> Result<Sha256Hash, Failure> {
        let hash = record.hash();
        let key = (record.incident, record.evidence, hash);
        self.writable()?.records.insert(key, record.clone());
        Ok(hash)
    }

    fn open(&self, artefact: Sha256Hash) -> Result<Box<dyn Read + Send>, Failure> {
        let Some(bytes) = self.kept().objects.get(&artefact).cloned() else {
            let what = format!("there is no artefact {artefact} in the vault");
            return Err(Failure::new(FailureKind::Invalid, &what));
        };
        if Sha256Hash::of(&bytes) == artefact {
            return Ok(Box::new(Cursor::new(bytes)));
        }
        Ok(Box::new(Cursor::new(bytes).chain(Changed)))
    }

    fn manifests(&self, incident: IncidentId, visit: Visit<'_, SealedManifest>) -> Result<(), Failure> {
        let all: Vec<_> = {
            let kept = self.kept();
            let of = kept.manifests.iter().filter(|(key, _)| key.0 == incident);
            of.flat_map(|(_, manifests)| manifests.iter().cloned()).collect()
        };
        let _ = all.into_iter().try_for_each(visit);
        Ok(())
    }

    fn records(&self, incident: IncidentId, visit: Visit<'_, SealedRecord>) -> Result<(), Failure> {
        let all: Vec<_> = {
            let kept = self.kept();
            let of = kept.records.iter().filter(|(key, _)| key.0 == incident);
            of.map(|(key, record)| SealedRecord {
                hash: key.2,
                record: record.clone(),
            })
            .collect()
        };
        let _ = all.into_iter().try_for_each(visit);
        Ok(())
    }

    fn record(
        &self,
        incident: IncidentId,
        evidence: EvidenceId,
        hash: Sha256Hash,
    ) -> Result<Option<CollectionRecord>, Failure> {
        Ok(self.kept().records.get(&(incident, evidence, hash)).cloned())
    }

    fn incidents(&self, visit: Visit<'_, IncidentId>) -> Result<(), Failure> {
        let all: Vec<_> = {
            let kept = self.kept();
            let manifests = kept.manifests.keys().map(|key| key.0);
            let mut all: Vec<_> = manifests.chain(kept.records.keys().map(|key| key.0)).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let _ = all.into_iter().try_for_each(visit);
        Ok(())
    }
}

impl Kept {
    fn put_manifest(&mut self, custody: ManifestDraft, taken: Taken) -> SealedManifest {
        let chain = self.manifests.entry((custody.incident, custody.evidence)).or_default();
        let manifest = Manifest {
            schema_version: CUSTODY_SCHEMA_VERSION,
            sequence: chain.len() as u64 + 1,
            previous: chain.last().map(|it| it.hash),
            custody,
            taken,
            uuid: None,
            signature: None,
        };
        let hash = manifest.hash();
        let sealed = SealedManifest { hash, manifest };
        chain.push(sealed.clone());
        sealed
    }
}

/// Fails where the end of what was changed would be.
struct Changed;

impl Read for Changed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        let what = "what is stored is not what was sealed";
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }
}

struct MemoryDeposit {
    vault: MemoryVault,
    bytes: Vec<u8>,
    bytes_max: u64,
    is_too_long: bool,
}

impl Write for MemoryDeposit {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let writable = self.vault.writable().map(drop);
        writable.map_err(|failure| io::Error::other(failure.to_string()))?;
        self.is_too_long |= (self.bytes.len() + data.len()) as u64 > self.bytes_max;
        if self.is_too_long {
            let what = format!("the artefact is longer than {} bytes", self.bytes_max);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Deposit for MemoryDeposit {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn seal(self: Box<Self>, draft: ManifestDraft) -> Result<SealedManifest, Failure> {
        let Self {
            vault,
            bytes,
            bytes_max,
            is_too_long,
        } = *self;
        if is_too_long {
            let what = format!("the artefact is longer than {bytes_max} bytes");
            return Err(Failure::new(FailureKind::Invalid, &what));
        }
        let mut kept = vault.writable()?;
        let sha256 = Sha256Hash::of(&bytes);
        let size = bytes.len() as u64;
        let stored = kept.objects.entry(sha256).or_insert_with(|| bytes.into());
        if Sha256Hash::of(stored) != sha256 {
            let what = "what is stored there under the same hash is not it any more";
            return Err(Failure::new(FailureKind::Conflict, what));
        }
        let storage = Storage {
            path: sha256.to_string().into(),
            size,
            sha256,
            compression: Compression::None,
            encryption: None,
            write_once: WriteOnce::Memory,
            retain_until: None,
            legal_hold: false,
            version: None,
        };
        Ok(kept.put_manifest(draft, Taken::Stored { size, sha256, storage }))
    }
}
