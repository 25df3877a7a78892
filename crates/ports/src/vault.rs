//! The vault: where evidence is kept, written once, under its hash.
//!
//! Never looks into what it stores, and never believes a name in it: where something is follows from hashes and numbers
//! alone. What an artefact is, is told in its manifest (`staunch_model::custody`).

use std::io::{Read, Write};
use std::ops::ControlFlow;

use staunch_model::{
    CollectionRecord, EvidenceId, Failure, IncidentId, Manifest, ManifestDraft, Sha256Hash, WriteOnce,
};

/// Static facts about a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultDescription {
    /// Where it is, in words of an operator: a directory, a bucket.
    pub place: Box<str>,
    /// How what is stored is kept from being changed, as [`Vault::check`] last found it; before that, what is hoped
    /// for.
    pub write_once: WriteOnce,
    /// The most bytes of one artefact.
    pub artefact_bytes_max: u64,
}

/// A manifest with its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedManifest {
    /// The SHA-256 of its encoding.
    pub hash: Sha256Hash,
    /// What it says.
    pub manifest: Manifest,
}

/// A record of a collection with its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRecord {
    /// The SHA-256 of its encoding.
    pub hash: Sha256Hash,
    /// What it says.
    pub record: CollectionRecord,
}

/// What is called with one thing after the other, until it breaks.
pub type Visit<'a, T> = &'a mut dyn FnMut(T) -> ControlFlow<()>;

/// An artefact that is being written. Whatever its size, a bounded part of it is in memory.
///
/// Writing fails with [`std::io::ErrorKind::FileTooLarge`] as soon as it is longer than its bound, and from then on
/// always: it is refused, not cut. Dropping it leaves nothing behind.
pub trait Deposit: Write + Send {
    /// The bytes that were written.
    fn bytes(&self) -> u64;

    /// Ends it: it and its manifest are durable when this returns `Ok`, and can no longer be changed.
    ///
    /// The same bytes are stored once, however often they are sealed; each time has a manifest of its own.
    ///
    /// # Errors
    /// [`FailureKind::Full`](staunch_model::FailureKind) without room; `Invalid` when it was too long, or the draft is;
    /// `Conflict` when what is stored under its hash is not it any more. Nothing counts as stored then.
    fn seal(self: Box<Self>, draft: ManifestDraft) -> Result<SealedManifest, Failure>;
}

/// Where evidence is kept.
///
/// Many threads may store at the same time. Calls take as long as the place does.
pub trait Vault: Send + Sync {
    /// Static facts.
    fn describe(&self) -> VaultDescription;

    /// Proves that it can be written to, and that what is stored cannot be written again; tells how that is prevented.
    ///
    /// # Errors
    /// Why it cannot be used.
    fn check(&self) -> Result<WriteOnce, Failure>;

    /// Begins an artefact of at most `bytes_max` bytes, and never more than the bound of the vault.
    ///
    /// # Errors
    /// When nothing can be stored.
    fn begin(&self, bytes_max: Option<u64>) -> Result<Box<dyn Deposit>, Failure>;

    /// Stores that an artefact could not be taken, and why, as a manifest in the same chain.
    ///
    /// # Errors
    /// As [`Deposit::seal`].
    fn put_missed(&self, draft: ManifestDraft, failure: Failure) -> Result<SealedManifest, Failure>;

    /// Stores what a collection came to. The same record is stored once.
    ///
    /// # Errors
    /// As [`Deposit::seal`].
    fn put_record(&self, record: &CollectionRecord) -> Result<Sha256Hash, Failure>;

    /// Reads the original bytes of the artefact with this SHA-256.
    ///
    /// They are hashed as they are read: the end is reached only when they are the ones that were stored, and reading
    /// fails with [`std::io::ErrorKind::InvalidData`] otherwise. Who acts on them before the end acts on what is not
    /// proved.
    ///
    /// # Errors
    /// `Invalid` when there is no such artefact; `Unavailable` or `Denied` when it cannot be opened.
    fn open(&self, artefact: Sha256Hash) -> Result<Box<dyn Read + Send>, Failure>;

    /// Shows the manifests of an incident, those of one evidence in the order of their numbers, until `visit` breaks.
    ///
    /// # Errors
    /// When one cannot be read, or is not what was stored.
    fn manifests(&self, incident: IncidentId, visit: Visit<'_, SealedManifest>) -> Result<(), Failure>;

    /// Shows the records of the collections of an incident, until `visit` breaks.
    ///
    /// # Errors
    /// As [`Vault::manifests`].
    fn records(&self, incident: IncidentId, visit: Visit<'_, SealedRecord>) -> Result<(), Failure>;

    /// The record of a collection; `None` when there is none with this hash.
    ///
    /// # Errors
    /// As [`Vault::manifests`].
    fn record(
        &self,
        incident: IncidentId,
        evidence: EvidenceId,
        hash: Sha256Hash,
    ) -> Result<Option<CollectionRecord>, Failure>;

    /// Shows every incident of which something is stored, until `visit` breaks.
    ///
    /// # Errors
    /// When the vault cannot be listed.
    fn incidents(&self, visit: Visit<'_, IncidentId>) -> Result<(), Failure>;
}
