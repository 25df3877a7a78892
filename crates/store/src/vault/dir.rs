//! A vault in a directory; its artefacts are there, or in a bucket that locks them.
//!
//! ```text
//! lock                                 one writer at a time
//! objects/ab/ab12….zst                 the bytes of an artefact, by their SHA-256, as zstd
//! objects/ab/ab12…/cd34….ef56….zst.age the same, encrypted to recipients of age, by the hash of these bytes
//! objects/ab/ab12….receipt.json        that the bucket has it: under which version, until when; others are numbered
//! manifests/INC-3/EV-17/00000001.json  what is known of it
//! records/INC-3/EV-17/cd34….json       what a collection came to, by its SHA-256
//! outbox/                              the names of what is not in the bucket
//! tmp/                                 what is being written; emptied at a start
//! ```
//!
//! # Expected flow
//! Bytes are hashed and compressed as they come, into a file in `tmp`. Sealing syncs it, gives it its name, syncs the
//! directory, sets the immutable flag, and then writes the manifest the same way.
//!
//! # Guarantees
//! - What has a name is whole and durable: a file gets its name when all of it is on stable storage.
//! - No file is written to, or replaced, once it has its name. Whether the file system holds others to that is
//!   in each manifest, as read back from the file itself.
//! - A crash leaves at the most an artefact without a manifest, or a manifest that no record names.
//! - Memory for an artefact is bounded by what zstd needs, a few megabytes, whatever its size.
//!
//! # Assumptions
//! The file system has hard links and tells the truth about `fsync`.
//!
//! # Caveats
//! Whoever has the capability to set the immutable flag can take it away. That something was changed is then found by
//! its hash, and that something was removed by the transparency log.
//!
//! A bucket that is away loses nothing: what is sealed then is kept here, and sent later ([`DirVault::send`]).

mod chain;
mod deposit;
pub(crate) mod name;
pub(crate) mod note;
pub(crate) mod outbox;
mod read;
pub(crate) mod receipts;
mod remote;

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use staunch_model::custody::{COLLECTION_BYTES_MAX, MANIFEST_BYTES_MAX};
use staunch_model::{
    CollectionRecord, EvidenceId, Failure, FailureKind, IncidentId, Manifest, ManifestDraft, Sha256Hash, Taken,
    WriteOnce,
};
use staunch_ports::vault::Visit;
use staunch_ports::{Deposit, SealedManifest, SealedRecord, Vault, VaultDescription};

use crate::age::{Identity, Recipient};
use crate::files::{FileHook, Files, Lock, failure, parent};
use crate::s3::Bucket;
use crate::tlog::LogKey;
use chain::Chains;
use deposit::{DirDeposit, Stored, Stream};
use name::ObjectName;
pub use outbox::{Arrived, Sent, Waiting};
pub(crate) use read::decoder;
pub use receipts::unfinished;
use remote::Remote;

/// How hard zstd tries: its own default.
const LEVEL: i32 = 3;

/// How a vault in a directory behaves.
#[derive(Clone)]
pub struct DirVaultOptions {
    /// The most bytes of one artefact, before compression. Default 16 GiB.
    pub artefact_bytes_max: u64,
    /// Whether the immutable flag is set on what is sealed. Default true.
    pub is_immutable: bool,
    /// Where artefacts go, and copies of manifests and records. Default nowhere: they stay in the directory.
    pub bucket: Option<Arc<Bucket>>,
    /// How long sealing waits for the bucket. Default 10 s.
    pub at_once: Duration,
    /// Whom artefacts are encrypted to. Default nobody: they are not encrypted.
    pub recipients: Vec<Recipient>,
    /// What encrypted artefacts are read with. Default nothing: who collects them cannot read them any more.
    pub identities: Arc<[Identity]>,
    /// What manifests are signed with. Default nothing: they are not signed.
    pub key: Option<Arc<LogKey>>,
    /// For tests.
    pub hook: Option<Arc<dyn FileHook>>,
}

impl Default for DirVaultOptions {
    fn default() -> Self {
        Self {
            artefact_bytes_max: 16 << 30,
            is_immutable: true,
            bucket: None,
            at_once: Duration::from_secs(10),
            recipients: Vec::new(),
            identities: Arc::default(),
            key: None,
            hook: None,
        }
    }
}

/// A vault in a directory. See the module for what it guarantees.
#[derive(Debug)]
pub struct DirVault {
    shared: Arc<Shared>,
    /// `None` when it is open for reading only.
    lock: Option<Lock>,
}

#[derive(Debug)]
struct Shared {
    files: Files,
    artefact_bytes_max: u64,
    is_immutable: bool,
    remote: Option<Remote>,
    recipients: Vec<Recipient>,
    identities: Arc<[Identity]>,
    key: Option<Arc<LogKey>>,
    /// What the last check has found.
    write_once: Mutex<WriteOnce>,
    next_staged: AtomicU64,
    chains: Chains,
}

impl DirVault {
    /// Opens the vault in `dir`, which is made when it is not there, and removes what a crash has left half written.
    ///
    /// # Errors
    /// `Conflict` when another process writes to it; otherwise what the disk says.
    pub fn open(dir: &Path, options: DirVaultOptions) -> Result<Self, Failure> {
        let shared = Shared::new(dir, options);
        let files = &shared.files;
        files
            .make_root()
            .map_err(|error| failure("make the vault", dir, &error))?;
        let lock = Lock::take(files)
            .map_err(|error| failure("lock the vault", dir, &error))?
            .ok_or_else(|| {
                let what = format!("another process writes to the vault {}", dir.display());
                Failure::new(FailureKind::Conflict, &what)
            })?;
        for name in ["objects", "manifests", "records", "tmp"] {
            files
                .make_dirs(name)
                .map_err(|error| failure("make a directory of the vault", &files.path(name), &error))?;
        }
        shared
            .clear_staged()
            .map_err(|error| failure("empty", &files.path("tmp"), &error))?;
        Ok(Self {
            shared: Arc::new(shared),
            lock: Some(lock),
        })
    }

    /// Opens the vault in `dir` to be read, also while another process writes to it. Nothing there is changed.
    /// Artefacts that are in a bucket are told of, and cannot be opened.
    #[must_use]
    pub fn read_only(dir: &Path) -> Self {
        Self::read_with(dir, DirVaultOptions::default())
    }

    /// As [`DirVault::read_only`], with the bucket that its artefacts are in, and what they are decrypted with.
    #[must_use]
    pub fn read_with(dir: &Path, options: DirVaultOptions) -> Self {
        Self {
            shared: Arc::new(Shared::new(dir, options)),
            lock: None,
        }
    }

    /// Where the artefact with this SHA-256 is in a vault, relative to its directory, when it is not encrypted.
    #[must_use]
    pub fn object_name(artefact: Sha256Hash) -> String {
        ObjectName {
            artefact,
            encrypted: None,
        }
        .to_string()
    }

    /// As [`Vault::check`], of the directory alone.
    ///
    /// # Errors
    /// Why nothing can be kept in it.
    pub fn check_here(&self) -> Result<WriteOnce, Failure> {
        let found = self.writable()?.probe()?;
        *self.shared.write_once.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(found)
    }

    fn writable(&self) -> Result<&Arc<Shared>, Failure> {
        if self.lock.is_some() {
            return Ok(&self.shared);
        }
        let what = format!(
            "the vault {} is open for reading only",
            self.shared.files.root().display()
        );
        Err(Failure::new(FailureKind::Denied, &what))
    }
}

impl Vault for DirVault {
    fn describe(&self) -> VaultDescription {
        let shared = &self.shared;
        let here = shared.files.root().display();
        let place = match &shared.remote {
            Some(remote) => format!("{} and {here}", remote.bucket.settings().place),
            None => here.to_string(),
        };
        VaultDescription {
            place: place.into(),
            write_once: *shared.write_once.lock().unwrap_or_else(PoisonError::into_inner),
            artefact_bytes_max: shared.artefact_bytes_max,
        }
    }

    fn check(&self) -> Result<WriteOnce, Failure> {
        let shared = self.writable()?;
        let mut found = shared.probe()?;
        if let Some(remote) = &shared.remote {
            remote.prove()?;
            found = remote.bucket.settings().mode.write_once();
        }
        *shared.write_once.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(found)
    }

    fn begin(&self, bytes_max: Option<u64>) -> Result<Box<dyn Deposit>, Failure> {
        let shared = self.writable()?;
        let bytes_max = bytes_max.map_or(shared.artefact_bytes_max, |max| max.min(shared.artefact_bytes_max));
        let staged = shared.staged();
        let begin = || {
            let file = shared.files.create_new(&staged)?;
            let stored = Stored {
                shared: Arc::clone(shared),
                staged: staged.clone(),
                file,
                hash: Sha256::new(),
                bytes: 0,
            };
            zstd::stream::write::Encoder::new(Stream::begin(stored)?, LEVEL)
        };
        let encoder = begin().map_err(|error| failure("begin", &shared.files.path(&staged), &error))?;
        Ok(Box::new(DirDeposit {
            encoder: Some(encoder),
            hash: Sha256::new(),
            bytes: 0,
            bytes_max,
            broken: None,
        }))
    }

    fn put_missed(&self, draft: ManifestDraft, failure: Failure) -> Result<SealedManifest, Failure> {
        self.writable()?.put_manifest(draft, Taken::Missed(failure))
    }

    fn put_record(&self, record: &CollectionRecord) -> Result<Sha256Hash, Failure> {
        let shared = self.writable()?;
        let bytes = record.to_bytes();
        fits(bytes.len() as u64, COLLECTION_BYTES_MAX, "record of a collection")?;
        let hash = Sha256Hash::of(&bytes);
        let name = record_name(record.incident, record.evidence, hash);
        let put = || {
            shared.files.make_dirs(parent(&name))?;
            let _queueing = shared.queueing();
            shared.queue_document(&name)?;
            match shared.files.put_new(&shared.staged(), &name, &bytes) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if shared.files.read(&name, COLLECTION_BYTES_MAX)? != bytes {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "what is there is not it"));
                    }
                    shared.files.sync_dir(parent(&name))?;
                }
                put => put?,
            }
            shared.freeze(&name).map(drop)
        };
        put().map_err(|error| failure("store the record in", shared.files.root(), &error))?;
        Ok(hash)
    }

    fn open(&self, artefact: Sha256Hash) -> Result<Box<dyn Read + Send>, Failure> {
        self.shared.open(artefact)
    }

    fn manifests(&self, incident: IncidentId, visit: Visit<'_, SealedManifest>) -> Result<(), Failure> {
        let above = format!("manifests/{incident}");
        self.shared.each(
            &above,
            sequence_of,
            MANIFEST_BYTES_MAX,
            &mut |evidence, sequence, bytes| {
                let manifest = Manifest::parse(bytes).map_err(|error| error.to_string())?;
                let found = (manifest.custody.incident, manifest.custody.evidence, manifest.sequence);
                if found != (incident, evidence, sequence) {
                    return Err("it is the manifest of something else".to_owned());
                }
                let hash = Sha256Hash::of(bytes);
                Ok(visit(SealedManifest { hash, manifest }))
            },
        )
    }

    fn records(&self, incident: IncidentId, visit: Visit<'_, SealedRecord>) -> Result<(), Failure> {
        let above = format!("records/{incident}");
        self.shared
            .each(&above, hash_of, COLLECTION_BYTES_MAX, &mut |evidence, hash, bytes| {
                let record = parse_record(bytes, incident, evidence, hash)?;
                Ok(visit(SealedRecord { hash, record }))
            })
    }

    fn record(
        &self,
        incident: IncidentId,
        evidence: EvidenceId,
        hash: Sha256Hash,
    ) -> Result<Option<CollectionRecord>, Failure> {
        let files = &self.shared.files;
        let name = record_name(incident, evidence, hash);
        let read = || match files.read(&name, COLLECTION_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => parse_record(&bytes?, incident, evidence, hash)
                .map(Some)
                .map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what)),
        };
        read().map_err(|error| failure("read the record", &files.path(&name), &error))
    }

    fn incidents(&self, visit: Visit<'_, IncidentId>) -> Result<(), Failure> {
        let files = &self.shared.files;
        let mut all = Vec::new();
        for name in ["manifests", "records"] {
            let names = files
                .list(name)
                .map_err(|error| failure("list", &files.path(name), &error))?;
            all.extend(names.iter().filter_map(|name| exactly::<IncidentId>(name)));
        }
        all.sort_unstable();
        all.dedup();
        for incident in all {
            if visit(incident).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Shared {
    fn new(dir: &Path, options: DirVaultOptions) -> Self {
        let hoped = if options.is_immutable {
            WriteOnce::ImmutableFlag
        } else {
            WriteOnce::Permissions
        };
        let hoped = match &options.bucket {
            Some(bucket) => bucket.settings().mode.write_once(),
            None => hoped,
        };
        Self {
            files: Files::new(dir, options.hook),
            artefact_bytes_max: options.artefact_bytes_max,
            is_immutable: options.is_immutable,
            remote: options.bucket.map(|it| Remote::new(it, options.at_once)),
            recipients: options.recipients,
            identities: options.identities,
            key: options.key,
            write_once: Mutex::new(hoped),
            next_staged: AtomicU64::new(0),
            chains: Chains::default(),
        }
    }

    /// A name in `tmp` that nothing has.
    fn staged(&self) -> String {
        format!("tmp/{}", self.next_staged.fetch_add(1, Ordering::Relaxed))
    }

    fn clear_staged(&self) -> io::Result<()> {
        for name in self.files.list("tmp")? {
            let name = format!("tmp/{name}");
            if self.files.remove(&name).is_err() {
                // The probe of a check that was cut off.
                self.files.thaw(&name)?;
                self.files.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Makes a file unchangeable as far as it goes, and tells how far that is.
    fn freeze(&self, name: &str) -> io::Result<WriteOnce> {
        let is_frozen = self.is_immutable && self.files.freeze(name)?;
        Ok(if is_frozen {
            WriteOnce::ImmutableFlag
        } else {
            WriteOnce::Permissions
        })
    }

    /// Writes a file, makes it unchangeable, tries to change it, and removes it.
    fn probe(&self) -> Result<WriteOnce, Failure> {
        let (staged, name) = (self.staged(), self.staged());
        let path = self.files.path(&name);
        let probe = || {
            self.files.put_new(&staged, &name, b"a probe of the vault\n")?;
            let replaced = self.files.put_new(&staged, &name, b"another\n");
            if replaced.is_ok() {
                return Err(io::Error::other("a name could be taken twice"));
            }
            let found = self.freeze(&name)?;
            let opened = OpenOptions::new().write(true).open(&path);
            if found == WriteOnce::ImmutableFlag && opened.is_ok() {
                return Err(io::Error::other("the immutable flag is set and keeps nobody out"));
            }
            Ok(found)
        };
        let found = probe().map_err(|error| failure("prove that evidence can be stored in", &path, &error));
        let removed = self.files.thaw(&name).and(self.files.remove(&name));
        if found.is_ok() {
            removed.map_err(|error| failure("remove", &path, &error))?;
        }
        found
    }
}

fn fits(bytes: u64, max: u64, what: &str) -> Result<(), Failure> {
    if bytes <= max {
        return Ok(());
    }
    let what = format!("a {what} of {bytes} bytes is longer than {max}");
    Err(Failure::new(FailureKind::Invalid, &what))
}

fn record_name(incident: IncidentId, evidence: EvidenceId, hash: Sha256Hash) -> String {
    format!("records/{incident}/{evidence}/{hash}.json")
}

fn parse_record(
    bytes: &[u8],
    incident: IncidentId,
    evidence: EvidenceId,
    hash: Sha256Hash,
) -> Result<CollectionRecord, String> {
    if Sha256Hash::of(bytes) != hash {
        return Err("it was changed: it has another hash".to_owned());
    }
    let record = CollectionRecord::parse(bytes).map_err(|error| error.to_string())?;
    if (record.incident, record.evidence) != (incident, evidence) {
        return Err("it is the record of something else".to_owned());
    }
    Ok(record)
}

/// The number in the name of a manifest.
pub(crate) fn sequence_of(name: &str) -> Option<u64> {
    let sequence: u64 = name.strip_suffix(".json")?.parse().ok()?;
    (format!("{sequence:08}.json") == name).then_some(sequence)
}

/// The hash in the name of a record.
pub(crate) fn hash_of(name: &str) -> Option<Sha256Hash> {
    exactly(name.strip_suffix(".json")?)
}

/// What `text` says, when it says it in the one way in which it is written.
pub(crate) fn exactly<T: std::str::FromStr + std::fmt::Display>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}
