//! What a try that failed came to, until it is known whether another follows.
//!
//! A try that is followed by another leaves nothing in the vault: twenty tries of what is not there are one piece that
//! was missed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use staunch_model::{CollectionRecord, EvidenceId, EvidenceKind, Failure, ManifestDraft, MissedArtefact, Sha256Hash};

use super::Common;

/// What a try came to, and is not in the vault.
pub(super) struct Held {
    record: CollectionRecord,
    /// The manifests of what was missed first.
    drafts: Vec<ManifestDraft>,
    tries: u32,
    of_vault: Option<Failure>,
}

/// What is in the vault of a try.
pub(super) struct Kept {
    /// The hash of its record.
    pub(super) hash: Sha256Hash,
    /// Why not all of it is.
    pub(super) trouble: Option<Failure>,
}

/// The last try of each piece that is to be tried again; the engine bounds how many there are.
#[derive(Default)]
pub(super) struct HeldTries(Mutex<BTreeMap<EvidenceId, Held>>);

impl Held {
    pub(super) const fn new(
        record: CollectionRecord,
        drafts: Vec<ManifestDraft>,
        tries: u32,
        of_vault: Option<Failure>,
    ) -> Self {
        Self {
            record,
            drafts,
            tries,
            of_vault,
        }
    }

    /// What was to be taken.
    pub(super) const fn kind(&self) -> EvidenceKind {
        self.record.kind
    }

    /// How often it was tried, this time included.
    pub(super) const fn tries(&self) -> u32 {
        self.tries
    }

    /// Keeps it, for nobody who waits for it.
    pub(super) fn keep(self, common: &Common) {
        let evidence = self.record.evidence;
        match self.keep_with(common) {
            Ok(Kept { trouble: None, .. }) => {}
            Ok(Kept {
                trouble: Some(failure), ..
            })
            | Err(failure) => {
                tracing::warn!(%evidence, %failure, "the vault does not have all of why it was missed, which the journal has");
            }
        }
    }

    /// Keeps it in the vault, and tells the meter how the vault did.
    ///
    /// # Errors
    /// When the record cannot be stored.
    pub(super) fn keep_with(self, common: &Common) -> Result<Kept, Failure> {
        let Self {
            mut record,
            drafts,
            tries,
            of_vault,
        } = self;
        if let Some(failure) = record.failure.as_mut().filter(|_| tries > 1) {
            *failure = Failure::new(failure.kind, &format!("{failure} (tried {tries} times)"));
        }
        let trouble = put_missed(common, &mut record.missed, drafts);
        if record.failure.is_none() {
            record.failure.clone_from(&trouble);
        }
        let put = common.vault.put_record(&record);
        // They are in the vault, or missed, whether or not the record could be stored.
        common
            .meter
            .count(record.kind, record.artefacts.len(), record.missed.len());
        let is_sealed = put.is_ok() && record.failure.is_none();
        if is_sealed {
            common.meter.sealed();
        } else if let Some(why) = put.as_ref().err().or(of_vault.as_ref()).or(trouble.as_ref()) {
            common.meter.missed(why);
        }
        Ok(Kept { hash: put?, trouble })
    }
}

impl HeldTries {
    /// Holds a try, in the place of the one before.
    pub(super) fn hold(&self, held: Held) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(held.record.evidence, held);
    }

    /// Gives back the last try of a piece.
    pub(super) fn take(&self, evidence: EvidenceId) -> Option<Held> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&evidence)
    }
}

/// Stores the manifests of what was missed, which begins with those of `drafts`. Returns why one could not be.
pub(super) fn put_missed(
    common: &Common,
    missed: &mut [MissedArtefact],
    drafts: Vec<ManifestDraft>,
) -> Option<Failure> {
    let mut trouble = None;
    for (it, draft) in missed.iter_mut().zip(drafts) {
        match common.vault.put_missed(draft, it.failure.clone()) {
            Ok(sealed) => it.manifest = Some(sealed.hash),
            Err(failure) => {
                trouble.get_or_insert(failure);
            }
        }
    }
    trouble
}
