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
//! Whoever has the capability to set the immutable flag can take it away. That something was changed is then found by its hash,
//! and that something was removed by the transparency log.
//!
//! A bucket that is away loses nothing: what is sealed then is kept here, and sent later ([`DirVault::send`]).

mod chain;
mod deposit;
pub(crate) mod name;
pub(crate) mod outbox;
pub(crate) mod receipts;
mod remote;

use std::fs::OpenOptions;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
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

use super::hashing::{Hashing, Proving};
use crate::age::{AgeError, Decrypting, Identity, Recipient};
use crate::files::{FileHook, Files, Lock, failure, parent};
use crate::s3::Bucket;
use chain::Chains;
use deposit::{DirDeposit, Stored, Stream};
use name::ObjectName;
pub use outbox::{Arrived, Sent, Waiting};
use remote::Remote;

/// How hard zstd tries: its own default.
const LEVEL: i32 = 3;

/// The largest window that is taken when reading, as a power of two: 8 MiB. Level 3 writes windows of 2 MiB, and a
/// file that was put there by somebody else shall not cost more memory.
const WINDOW_LOG_MAX: u32 = 23;

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
    /// What the last check has found.
    write_once: Mutex<WriteOnce>,
    next_staged: AtomicU64,
    chains: Chains,
}

/// Takes a file of an evidence, by what its name says; tells whether to go on, or what is wrong with it.
type Take<'a, K> = &'a mut dyn FnMut(EvidenceId, K, &[u8]) -> Result<ControlFlow<()>, String>;

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

    /// Opens the vault in `dir` to be read, also while another process writes to it. Nothing there is changed. Artefacts
    /// that are in a bucket are told of, and cannot be opened.
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
        let plain = ObjectName {
            artefact,
            encrypted: None,
        };
        let mut names: Vec<ObjectName> = std::iter::once(plain).chain(self.shared.encrypted(artefact)?).collect();
        // Each of several may be there because another was not kept, or was changed: those that are proved come first.
        let files = &self.shared.files;
        let is_here = |name: &ObjectName| files.path(&name.to_string()).exists();
        if names.len() > 2 || names.len() == 2 && is_here(&plain) {
            names.sort_by_cached_key(|name| match is_here(name) {
                true if stored_already(files, *name).is_ok() => 0,
                true => 2,
                false => 1,
            });
        }
        let mut first = None;
        for name in names {
            let stored: Box<dyn Read + Send> = match self.shared.files.open(&name.to_string()) {
                Ok(file) => Box::new(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => match self.shared.fetch(name) {
                    Ok(Some(body)) => body,
                    Ok(None) => continue,
                    // It may have been put there once more, encrypted anew.
                    Err(failure) => {
                        first.get_or_insert(failure);
                        continue;
                    }
                },
                Err(error) => return Err(failure("open", &self.shared.files.path(&name.to_string()), &error)),
            };
            return self.shared.reader(name, stored);
        }
        if let Some(failure) = first {
            return Err(failure);
        }
        let what = format!("there is no artefact {artefact} in the vault");
        Err(Failure::new(FailureKind::Invalid, &what))
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
            write_once: Mutex::new(hoped),
            next_staged: AtomicU64::new(0),
            chains: Chains::default(),
        }
    }

    /// The names under which an artefact is encrypted, here or in the bucket; none when it is not.
    fn encrypted(&self, artefact: Sha256Hash) -> Result<Vec<ObjectName>, Failure> {
        let dir = ObjectName::encrypted_dir(artefact);
        let names = self
            .files
            .list(&dir)
            .map_err(|error| failure("list", &self.files.path(&dir), &error))?;
        let mut found: Vec<ObjectName> = names
            .iter()
            .map(|name| format!("{dir}/{name}"))
            .filter_map(|name| ObjectName::parse(&name).or_else(|| Some(ObjectName::parse_receipt(&name)?.0)))
            .filter(|name| name.encrypted.is_some())
            .collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Reads stored bytes as the artefact that they are.
    fn reader(&self, name: ObjectName, stored: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>, Failure> {
        let opened = || -> io::Result<Box<dyn Read + Send>> {
            Ok(if name.encrypted.is_none() {
                Box::new(Proving::new(decoder(stored)?, name.artefact))
            } else {
                let plain = Decrypting::begin(stored, &self.identities)?;
                Box::new(Proving::new(decoder(plain)?, name.artefact))
            })
        };
        if name.encrypted.is_some() && self.identities.is_empty() {
            let what = "the artefact is encrypted, and there is no identity to read it with";
            return Err(Failure::new(FailureKind::Denied, what));
        }
        opened().map_err(|error| match error.get_ref().and_then(|it| it.downcast_ref()) {
            Some(AgeError::NoMatch) => Failure::new(FailureKind::Denied, &error.to_string()),
            _ => failure("read", &self.files.path(&name.to_string()), &error),
        })
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

    /// Reads all files of all evidence below `above`. What cannot be read is passed over and reported at the end.
    fn each<K: Ord + Copy>(
        &self,
        above: &str,
        key: impl Fn(&str) -> Option<K>,
        bytes_max: u64,
        take: Take<'_, K>,
    ) -> Result<(), Failure> {
        let list = |dir: &str| {
            self.files
                .list(dir)
                .map_err(|error| failure("list", &self.files.path(dir), &error))
        };
        let mut first = None;
        let mut all: Vec<_> = list(above)?.iter().filter_map(|name| exactly(name)).collect();
        all.sort_unstable();
        for evidence in all {
            let dir = format!("{above}/{evidence}");
            let mut names: Vec<_> = list(&dir)?
                .into_iter()
                .filter_map(|name| Some((key(&name)?, name)))
                .collect();
            names.sort_unstable();
            for (key, name) in names {
                let name = format!("{dir}/{name}");
                let taken = self.files.read(&name, bytes_max).and_then(|bytes| {
                    take(evidence, key, &bytes).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
                });
                match taken {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return first.map_or(Ok(()), Err),
                    Err(error) => {
                        first.get_or_insert_with(|| failure("read", &self.files.path(&name), &error));
                    }
                }
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// Proves that what is stored under the name is what it should be; its hash and size. Of what is encrypted, that is told by the
/// stored bytes.
fn stored_already(files: &Files, name: ObjectName) -> io::Result<(Sha256Hash, u64)> {
    let mut stored = Hashing::new(files.open(&name.to_string())?);
    let changed = || {
        let what = "what is stored there under the same hash is not it any more";
        io::Error::new(io::ErrorKind::InvalidData, what)
    };
    if let Some(encrypted) = name.encrypted {
        io::copy(&mut stored, &mut io::sink())?;
        let found = stored.finish();
        return if found.0 == encrypted.stored {
            Ok(found)
        } else {
            Err(changed())
        };
    }
    let mut original = Hashing::new(decoder(&mut stored)?);
    io::copy(&mut original, &mut io::sink())?;
    if original.finish().0 != name.artefact {
        return Err(changed());
    }
    Ok(stored.finish())
}

/// Reads what was compressed, with bounded memory.
pub(crate) fn decoder<'a, R: Read + 'a>(file: R) -> io::Result<zstd::stream::read::Decoder<'a, BufReader<R>>> {
    let mut decoder = zstd::stream::read::Decoder::new(file)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
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
