//! The bucket that a vault in a directory sends its artefacts to, and what waits to be sent.
//!
//! # Expected flow
//! A sealed artefact is sent at once when the bucket is there and it is not large. Otherwise it stays in the directory, as in one
//! without a bucket, and its name is put into `outbox`; so are the names of manifests and records. [`DirVault::send`] sends
//! what waits.
//!
//! # Guarantees
//! - An artefact is removed from the directory only after the bucket has said that it keeps it as it was asked to, and
//!   after a receipt of that is durable.
//! - A crash leaves what is sent twice, which the bucket refuses and this takes for sent when it is the same.
//! - What is there under the name of an artefact and is not it is never taken for it.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use staunch_model::custody::{COLLECTION_BYTES_MAX, CUSTODY_SCHEMA_VERSION, RECEIPT_BYTES_MAX};
use staunch_model::{Compression, Failure, FailureKind, Printable, Receipt, Sha256Hash, Storage, Timestamp};

use super::name::ObjectName;
use super::{DirVault, Shared};
use crate::files::{failure, parent};
use crate::s3::{Bucket, Payload, Put};
use crate::vault::hashing::Hashing;

/// The names of what is not in the bucket.
pub(crate) const OUTBOX: &str = "outbox";

/// Larger artefacts are sent by [`DirVault::send`] alone, so that sealing does not wait for them.
const AT_ONCE_BYTES_MAX: u64 = 64 << 20;

/// How long a bucket that could not be reached is not tried by who seals.
const AWAY: Duration = Duration::from_secs(30);

/// How long a small object may take.
const SMALL_WITHIN: Duration = Duration::from_secs(30);

/// The slowest connection over which a large one arrives: bytes in a second.
const RATE_MIN: u64 = 256 << 10;

/// A bucket, and what is known of it.
pub(super) struct Remote {
    pub(super) bucket: Arc<Bucket>,
    /// How long sealing waits for it.
    at_once: Duration,
    state: Mutex<State>,
    /// One at a time sends what waits.
    sending: Mutex<()>,
    /// Whoever notes that a file is to be sent reads it until the file is there; who takes a note for stale writes it.
    noting: RwLock<()>,
}

#[derive(Default)]
struct State {
    /// Whether it has shown that it locks.
    has_proved: bool,
    /// Until when it is not tried by who seals.
    away_until: Option<Instant>,
}

/// What one round of sending came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// What has arrived: artefacts by their hash, with their receipts.
    pub artefacts: Vec<Receipt>,
    /// How many manifests and records have.
    pub documents: u64,
    /// What still waits.
    pub waiting: u64,
    /// Why something still waits.
    pub failure: Option<Failure>,
}

/// What waits to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Artefacts, manifests and records.
    pub files: u64,
    /// Those of them that are artefacts.
    pub artefacts: u64,
    /// Since when the oldest does.
    pub since: Option<Timestamp>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

impl Remote {
    pub(super) fn new(bucket: Arc<Bucket>, at_once: Duration) -> Self {
        Self {
            bucket,
            at_once,
            state: Mutex::default(),
            sending: Mutex::default(),
            noting: RwLock::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the bucket show that it locks.
    pub(super) fn prove(&self) -> Result<(), Failure> {
        let proved = self.bucket.prove(Instant::now() + SMALL_WITHIN);
        let mut state = self.state();
        state.has_proved = proved.is_ok();
        state.away_until = proved.is_err().then(|| Instant::now() + AWAY);
        proved
    }

    /// Whether who seals tries it.
    fn is_there(&self) -> bool {
        let state = self.state();
        state.has_proved && state.away_until.is_none_or(|until| until <= Instant::now())
    }

    /// Remembers that it could not be reached.
    fn note(&self, failure: &Failure) {
        tracing::warn!(%failure, "evidence could not be put into the bucket; it waits in the directory of the vault");
        self.state().away_until = Some(Instant::now() + AWAY);
    }
}

/// By when an object of so many bytes is to be there.
fn by(bytes: u64) -> Instant {
    Instant::now() + SMALL_WITHIN + Duration::from_secs(bytes / RATE_MIN)
}

/// The name in the bucket of bytes that are stored so: their own SHA-256, so that it is the same bytes whenever the name is
/// taken, and so that the bucket is not told what they were before they were encrypted.
pub(crate) fn sent_name(stored: Sha256Hash, is_encrypted: bool) -> String {
    let name = DirVault::object_name(stored);
    if is_encrypted { format!("{name}.age") } else { name }
}

/// The receipt in these bytes, when it is the one for this name.
pub(crate) fn parse_receipt(bytes: &[u8], name: ObjectName) -> Result<Receipt, String> {
    let receipt = Receipt::parse(bytes).map_err(|error| error.to_string())?;
    if ObjectName::of(receipt.artefact, &receipt.storage) != name {
        return Err("it is the receipt of something else".to_owned());
    }
    Ok(receipt)
}

/// Reads the stored bytes that a receipt is of, from the bucket.
pub(crate) fn fetch(bucket: &Bucket, receipt: &Receipt) -> Result<Box<dyn Read + Send>, Failure> {
    let name = sent_name(receipt.storage.sha256, receipt.storage.encryption.is_some());
    if *receipt.storage.path != *bucket.address(&name) {
        let what = format!(
            "the artefact is at {}, and the configuration names another bucket",
            Printable(&receipt.storage.path)
        );
        return Err(Failure::new(FailureKind::Unavailable, &what));
    }
    let version = receipt.storage.version.as_deref();
    let (_, body) = bucket.get(&name, version, by(receipt.storage.size))?;
    Ok(body)
}

impl Shared {
    /// The receipt for a name; `None` when there is none.
    pub(super) fn receipt(&self, of: ObjectName) -> Result<Option<Receipt>, Failure> {
        let name = of.receipt();
        let read = || match self.files.read(&name, RECEIPT_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => parse_receipt(&bytes?, of)
                .map(Some)
                .map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what)),
        };
        read().map_err(|error| failure("read the receipt", &self.files.path(&name), &error))
    }

    /// The stored bytes of what is in the bucket; `None` when there is no receipt for it.
    pub(super) fn fetch(&self, name: ObjectName) -> Result<Option<Box<dyn Read + Send>>, Failure> {
        let Some(receipt) = self.receipt(name)? else {
            return Ok(None);
        };
        let Some(remote) = &self.remote else {
            let what = format!(
                "the artefact is at {}, and no configuration names that bucket",
                Printable(&receipt.storage.path)
            );
            return Err(Failure::new(FailureKind::Unavailable, &what));
        };
        fetch(&remote.bucket, &receipt).map(Some)
    }

    /// Is held from noting that a file is to be sent until that file is there.
    pub(super) fn noting(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let remote = self.remote.as_ref()?;
        Some(remote.noting.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that a file is to be sent, when there is a bucket.
    pub(super) fn to_be_sent(&self, name: &str) -> io::Result<()> {
        if self.remote.is_none() {
            return Ok(());
        }
        self.files.make_dirs(OUTBOX)?;
        let waiting = format!("{OUTBOX}/{}", name.replace('/', "+"));
        match self.files.put_new(&self.staged(), &waiting, b"") {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            put => put,
        }
    }

    /// How an artefact is kept in the bucket that is there already, once that is proved anew.
    pub(super) fn kept_already(&self, remote: &Remote, receipt: &Receipt) -> Result<Storage, Failure> {
        // Where it is was confirmed once, and nobody can be asked at the moment.
        let as_known = |why: &Failure| {
            remote.note(why);
            Ok(receipt.storage.clone())
        };
        if !remote.is_there() {
            return Ok(receipt.storage.clone());
        }
        let mut stored = match fetch(&remote.bucket, receipt) {
            Ok(stored) => Hashing::new(stored),
            Err(failure) if is_away(&failure) => return as_known(&failure),
            Err(failure) if failure.kind == FailureKind::Invalid => return Err(not_it(&receipt.storage.path)),
            Err(failure) => return Err(failure),
        };
        if let Err(error) = io::copy(&mut stored, &mut io::sink()) {
            let failure = Failure::new(FailureKind::Unavailable, &error.to_string());
            return as_known(&failure);
        }
        if stored.finish() != (receipt.storage.sha256, receipt.storage.size) {
            return Err(not_it(&receipt.storage.path));
        }
        let name = sent_name(receipt.storage.sha256, receipt.storage.encryption.is_some());
        let version = receipt.storage.version.as_deref().unwrap_or_default();
        let until = remote.bucket.retain_until();
        match remote.bucket.keep(
            &name,
            version,
            until,
            receipt.storage.sha256,
            Instant::now() + remote.at_once,
        ) {
            Ok(()) => Ok(Storage {
                retain_until: Some(until),
                legal_hold: remote.bucket.settings().legal_hold,
                write_once: remote.bucket.settings().mode.write_once(),
                ..receipt.storage.clone()
            }),
            Err(failure) if is_away(&failure) => as_known(&failure),
            Err(failure) => Err(failure),
        }
    }

    /// Sends an artefact from a file while it is being sealed; `None` when it is left for later.
    ///
    /// # Errors
    /// `Conflict` when something else is there under its hash.
    pub(super) fn send_at_once(
        &self,
        remote: &Remote,
        file: &str,
        of: ObjectName,
        sha256: Sha256Hash,
        size: u64,
    ) -> Result<Option<Storage>, Failure> {
        if size > AT_ONCE_BYTES_MAX || !remote.is_there() {
            return Ok(None);
        }
        match self.send_artefact(remote, file, of, sha256, size, Instant::now() + remote.at_once) {
            Ok(receipt) => Ok(Some(receipt.storage)),
            Err(failure) if failure.kind == FailureKind::Conflict => Err(failure),
            Err(failure) => {
                remote.note(&failure);
                Ok(None)
            }
        }
    }

    /// Sends an artefact, has the bucket say that it keeps it, and writes the receipt.
    fn send_artefact(
        &self,
        remote: &Remote,
        file: &str,
        of: ObjectName,
        sha256: Sha256Hash,
        size: u64,
        by: Instant,
    ) -> Result<Receipt, Failure> {
        let bucket = &remote.bucket;
        let name = sent_name(sha256, of.sealed.is_some());
        let from = self
            .files
            .open(file)
            .map_err(|error| failure("open", &self.files.path(file), &error))?;
        let until = bucket.retain_until();
        let put = bucket.put(&name, Payload::File(&from, size), sha256, until, by)?;
        let version = match put {
            Put::New(version) => {
                bucket.check_kept(&name, &version, until, sha256, by)?;
                version
            }
            // An attempt whose answer was lost, or an artefact of another installation, or something else.
            Put::Taken => {
                let (version, body) = bucket.get(&name, None, by)?;
                let mut there = Hashing::new(body);
                io::copy(&mut there, &mut io::sink()).map_err(|error| cut_off(&error))?;
                if there.finish() != (sha256, size) {
                    return Err(not_it(&bucket.address(&name)));
                }
                bucket.keep(&name, &version, until, sha256, by)?;
                version
            }
        };
        let storage = Storage {
            path: bucket.address(&name).into(),
            size,
            sha256,
            compression: Compression::Zstd,
            encryption: self.encryption(of),
            write_once: bucket.settings().mode.write_once(),
            retain_until: Some(until),
            legal_hold: bucket.settings().legal_hold,
            version: Some(version.into()),
        };
        self.put_receipt(Receipt {
            schema_version: CUSTODY_SCHEMA_VERSION,
            artefact: of.artefact,
            storage,
            at: bucket.now(),
        })
    }

    fn put_receipt(&self, receipt: Receipt) -> Result<Receipt, Failure> {
        let of = ObjectName::of(receipt.artefact, &receipt.storage);
        let name = of.receipt();
        let put = || {
            self.files.make_dirs(parent(&name))?;
            self.files.put_new(&self.staged(), &name, &receipt.to_bytes())?;
            self.freeze(&name)
        };
        match put() {
            Ok(_) => Ok(receipt),
            // Two have sealed the same at the same time.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.receipt(of)?.ok_or_else(|| {
                let what = "the receipt of an artefact was there and is gone";
                Failure::new(FailureKind::Conflict, what)
            }),
            Err(error) => Err(failure("write", &self.files.path(&name), &error)),
        }
    }

    /// Whether there is no such file, and nobody is about to write it.
    fn is_stale(&self, remote: &Remote, name: &str) -> bool {
        let _nobody = remote.noting.write().unwrap_or_else(PoisonError::into_inner);
        let looked = self.files.path(name).symlink_metadata();
        looked.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Sends one file that waits; `None` when there is nothing to send any more.
    fn send_waiting(&self, remote: &Remote, name: &str) -> Result<Option<Arrived>, Failure> {
        // It was sent, or a crash came before it was there.
        if self.is_stale(remote, name) {
            return Ok(None);
        }
        let path = self.files.path(name);
        let Some(of) = ObjectName::parse(name) else {
            return self.send_document(remote, name).map(Some);
        };
        let file = self.files.open(name).map_err(|error| failure("open", &path, &error))?;
        let mut stored = Hashing::new(file);
        let known = self.receipt(of)?;
        let receipt = match known {
            Some(receipt) => receipt,
            None => {
                io::copy(&mut stored, &mut io::sink()).map_err(|error| failure("read", &path, &error))?;
                let (sha256, size) = stored.finish();
                self.send_artefact(remote, name, of, sha256, size, by(size))?
            }
        };
        // One that waits may be immutable.
        let removed = self
            .files
            .remove(name)
            .or_else(|_| self.files.thaw(name).and_then(|()| self.files.remove(name)));
        removed.map_err(|error| failure("remove", &path, &error))?;
        Ok(Some(Arrived::Artefact(Box::new(receipt))))
    }

    /// Sends a manifest or a record.
    fn send_document(&self, remote: &Remote, name: &str) -> Result<Arrived, Failure> {
        let bucket = &remote.bucket;
        let bytes = self
            .files
            .read(name, COLLECTION_BYTES_MAX)
            .map_err(|error| failure("read", &self.files.path(name), &error))?;
        let (sha256, until) = (Sha256Hash::of(&bytes), bucket.retain_until());
        let by = by(bytes.len() as u64);
        match bucket.put(name, Payload::Bytes(&bytes), sha256, until, by)? {
            Put::New(version) => bucket.check_kept(name, &version, until, sha256, by)?,
            Put::Taken => {
                let (version, mut body) = bucket.get(name, None, by)?;
                let mut there = Vec::new();
                let read = body.by_ref().take(COLLECTION_BYTES_MAX + 1).read_to_end(&mut there);
                read.map_err(|error| cut_off(&error))?;
                if there != bytes {
                    return Err(not_it(&bucket.address(name)));
                }
                bucket.keep(name, &version, until, sha256, by)?;
            }
        }
        Ok(Arrived::Document)
    }
}

enum Arrived {
    Artefact(Box<Receipt>),
    Document,
}

impl DirVault {
    /// Sends what waits, the oldest name first, until the bucket cannot be reached. A bucket that has not shown that it locks is
    /// asked to before. Nothing is sent without a bucket.
    ///
    /// # Errors
    /// When what waits cannot be listed. Why something still waits is no error.
    pub fn send(&self) -> Result<Sent, Failure> {
        let shared = self.writable()?;
        let mut sent = Sent::default();
        let Some(remote) = &shared.remote else {
            return Ok(sent);
        };
        let _one = remote.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let list = || {
            let listed = shared.files.list(OUTBOX);
            listed.map_err(|error| failure("list", &shared.files.path(OUTBOX), &error))
        };
        let mut names = list()?;
        names.sort_unstable();
        let is_proved = remote.state().has_proved;
        if !names.is_empty()
            && !is_proved
            && let Err(failure) = remote.prove()
        {
            sent.waiting = names.len() as u64;
            sent.failure = Some(failure);
            return Ok(sent);
        }
        for waiting in &names {
            let name = waiting.replace('+', "/");
            let done = shared.send_waiting(remote, &name).and_then(|arrived| {
                let note = format!("{OUTBOX}/{waiting}");
                let removed = shared.files.remove(&note);
                removed.map_err(|error| failure("remove", &shared.files.path(&note), &error))?;
                Ok(arrived)
            });
            match done {
                Ok(Some(Arrived::Artefact(receipt))) => sent.artefacts.push(*receipt),
                Ok(Some(Arrived::Document)) => sent.documents += 1,
                Ok(None) => {}
                Err(failure) => {
                    let is_away = is_away(&failure);
                    sent.failure.get_or_insert(failure);
                    if is_away {
                        break;
                    }
                }
            }
        }
        remote.state().away_until = sent.failure.as_ref().map(|_| Instant::now() + AWAY);
        sent.waiting = list()?.len() as u64;
        Ok(sent)
    }

    /// What says that the bucket has an artefact that is stored so; `None` when it has not, or nobody knows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn receipt(&self, artefact: Sha256Hash, storage: &Storage) -> Result<Option<Receipt>, Failure> {
        self.shared.receipt(ObjectName::of(artefact, storage))
    }

    /// Whether an artefact that is stored so waits to be sent.
    #[must_use]
    pub fn is_waiting(&self, artefact: Sha256Hash, storage: &Storage) -> bool {
        let name = ObjectName::of(artefact, storage).to_string().replace('/', "+");
        self.shared.files.path(&format!("{OUTBOX}/{name}")).exists()
    }

    /// What waits to be sent.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn waiting(&self) -> Result<Waiting, Failure> {
        let files = &self.shared.files;
        let failed = |error: &io::Error| failure("list", &files.path(OUTBOX), error);
        let mut waiting = Waiting::default();
        for name in files.list(OUTBOX).map_err(|error| failed(&error))? {
            waiting.files += 1;
            waiting.artefacts += u64::from(name.starts_with("objects+"));
            let at = match files.path(&format!("{OUTBOX}/{name}")).symlink_metadata() {
                Ok(about) => about.modified().map_err(|error| failed(&error))?,
                // It was sent in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&error)),
            };
            let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let at = Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
            waiting.since = Some(waiting.since.map_or(at, |it| it.min(at)));
        }
        Ok(waiting)
    }
}

fn cut_off(error: &io::Error) -> Failure {
    let what = format!(
        "the answer of the bucket was cut off: {}",
        Printable(&error.to_string())
    );
    Failure::new(FailureKind::Unavailable, &what)
}

fn not_it(place: &str) -> Failure {
    let what = format!("what is at {} under this name is not it", Printable(place));
    Failure::new(FailureKind::Conflict, &what)
}

/// Whether it is worth trying again by itself.
const fn is_away(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Unavailable | FailureKind::TimedOut)
}
