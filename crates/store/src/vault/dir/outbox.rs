//! What waits to be sent to the bucket: artefacts that could not be sent when they were sealed, and copies of manifests
//! and records.
//!
//! ```text
//! outbox/manifests+INC-3+EV-17+00000001.json    a note: the name of what waits, with `+` for `/`
//! ```
//!
//! A note holds why it waits, and for whom.
//!
//! # Guarantees
//! - An artefact is removed from the directory only after the bucket has said that it keeps it as it was asked to, and
//!   after a receipt of that is durable.
//! - Nothing is sent that is not what its name says. A name is read in the one way in which it is written, and
//!   otherwise none.
//! - A crash leaves what is sent twice, which the bucket refuses and this takes for sent when it is the same.
//! - What has the name of an artefact in the bucket and is not it is never taken for it: a further version is put over
//!   it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{PoisonError, RwLockReadGuard};
use std::time::{Duration, Instant};

use staunch_model::custody::COLLECTION_BYTES_MAX;
use staunch_model::{Encryption, Failure, FailureKind, Printable, Receipt, Sha256Hash, Storage, Timestamp};

use super::name::{Encrypted, ObjectName};
use super::note::{Note, Queued, note_of};
use super::read::stored_already;
use super::receipts::{by, newest, object_of, sent_name};
use super::remote::{Remote, receipt_of, storage_of};
use super::{DirVault, Shared};
use crate::files::failure;
use crate::s3::{Payload, Untold, is_outage};

/// The names of what is not in the bucket.
pub(crate) const OUTBOX: &str = "outbox";

/// The most bytes of a note.
const NOTE_BYTES_MAX: u64 = 64 << 10;

/// The pause before something that was refused for a second time is sent again; it doubles with each further one.
const REFUSED: Duration = Duration::from_secs(5);

/// The longest of them.
const REFUSED_MAX: Duration = Duration::from_secs(600);

/// Refused files that are remembered; others are tried each time.
const REFUSALS_MAX: usize = 1_024;

/// How many are tried in succession that nobody answers for: a bucket that is away costs no more in a round.
const UNANSWERED_MAX: usize = 2;

/// What is remembered from one round of sending to the next.
#[derive(Default)]
pub(super) struct Sending {
    /// What was refused, by its note: it is tried again by itself, and holds up nothing else.
    refusals: HashMap<String, Refused>,
    /// The last note that nobody has answered in a round that it has ended: the next one begins after it.
    after: Option<String>,
}

pub(super) struct Refused {
    times: u32,
    until: Instant,
    failure: Failure,
}

/// What one round of sending came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The artefacts that have arrived.
    pub artefacts: Vec<Arrived>,
    /// How many manifests and records have.
    pub documents: u64,
    /// What still waits; `None` when nobody knows.
    pub waiting: Option<u64>,
    /// Why something still waits.
    pub failure: Option<Failure>,
    /// Whether nothing can be sent, because the bucket is away, or does not show that it locks.
    pub is_held_up: bool,
}

/// An artefact that has arrived in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// What says so.
    pub receipt: Receipt,
    /// The file in the vault that it was.
    pub from: Box<str>,
    /// Why it was kept here first.
    pub why: Box<str>,
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

impl Shared {
    /// Is held from queueing a file until that file is there.
    pub(super) fn queueing(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let remote = self.remote.as_ref()?;
        Some(remote.queueing.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Queues an artefact, when there is a bucket.
    pub(super) fn queue_artefact(&self, of: ObjectName, why: &str) -> io::Result<()> {
        let encryption = self.encryption(of);
        let recipients = encryption.map(|it| it.recipients.iter().map(ToString::to_string).collect());
        let note = Note {
            why: why.to_owned(),
            recipients: recipients.unwrap_or_default(),
        };
        self.queue(&of.to_string(), &note.to_text())
    }

    /// Queues a manifest or a record, when there is a bucket.
    pub(super) fn queue_document(&self, name: &str) -> io::Result<()> {
        self.queue(name, "")
    }

    fn queue(&self, name: &str, text: &str) -> io::Result<()> {
        if self.remote.is_none() {
            return Ok(());
        }
        self.files.make_dirs(OUTBOX)?;
        let note = format!("{OUTBOX}/{}", note_of(name));
        match self.files.put_new(&self.staged(), &note, text.as_bytes()) {
            // Who was killed after naming it need not have made that durable.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.files.sync_dir(OUTBOX),
            put => put,
        }
    }

    /// What a note says. One that cannot be read says nothing: its name says what waits.
    fn note(&self, note: &str) -> Note {
        let read = self.files.read(&format!("{OUTBOX}/{note}"), NOTE_BYTES_MAX);
        Note::parse(&String::from_utf8_lossy(&read.unwrap_or_default()))
    }

    /// Removes a note, and the artefact that it is of when the bucket has that. Whoever seals the same meanwhile comes
    /// before, and finds it here, or after, and finds its receipt.
    fn dequeue(&self, remote: &Remote, note: &str, artefact: Option<&str>) -> Result<(), Failure> {
        let _nobody = remote.queueing.write().unwrap_or_else(PoisonError::into_inner);
        self.dequeue_locked(note, artefact)
    }

    fn dequeue_locked(&self, note: &str, artefact: Option<&str>) -> Result<(), Failure> {
        if let Some(name) = artefact {
            // One that waits may be immutable.
            let removed = self
                .files
                .remove(name)
                .or_else(|_| self.files.thaw(name).and_then(|()| self.files.remove(name)));
            removed.map_err(|error| here("remove", &self.files.path(name), &error))?;
        }
        let note = format!("{OUTBOX}/{note}");
        let removed = self.files.remove(&note);
        removed.map_err(|error| here("remove", &self.files.path(&note), &error))
    }

    /// Whether there is no such file, and nobody is about to write it: then its note is removed.
    fn is_stale(&self, remote: &Remote, name: &str, note: &str) -> Result<bool, Failure> {
        let _nobody = remote.queueing.write().unwrap_or_else(PoisonError::into_inner);
        let looked = self.files.path(name).symlink_metadata();
        if !looked.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(false);
        }
        self.dequeue_locked(note, None).map(|()| true)
    }

    /// Sends what these notes are of, one after the other.
    fn send_all(&self, remote: &Remote, sending: &mut Sending, notes: &[String], sent: &mut Sent) {
        let refusals = &mut sending.refusals;
        // By their names, so that the same one is told of in each round.
        let mut failed: BTreeMap<&str, Failure> = BTreeMap::new();
        // In succession. Who knows whether it is the bucket that is away, or what is wrong is of this object?
        let mut unanswered: Vec<(&String, Failure)> = Vec::new();
        for note in notes {
            if let Some(refused) = refusals.get(note).filter(|it| it.until > Instant::now()) {
                failed.insert(note, refused.failure.clone());
                continue;
            }
            match self.send_queued(remote, note) {
                // Nothing was asked.
                Ok(None) => {}
                Ok(Some(done)) => {
                    refusals.remove(note);
                    for (note, failure) in unanswered.drain(..) {
                        refuse(refusals, note, &failure);
                        failed.insert(note, failure);
                    }
                    match done {
                        Done::Artefact(arrived) => sent.artefacts.push(*arrived),
                        Done::Document => sent.documents += 1,
                    }
                }
                Err(failure) if is_outage(&failure) => {
                    unanswered.push((note, failure));
                    if unanswered.len() == UNANSWERED_MAX {
                        break;
                    }
                }
                Err(failure) => {
                    refuse(refusals, note, &failure);
                    failed.insert(note, failure);
                }
            }
        }
        sending.after = unanswered.last().map(|(note, _)| (*note).clone());
        // What was refused before says nothing of the bucket.
        sent.is_held_up = unanswered.iter().any(|(note, _)| !refusals.contains_key(*note));
        if sent.is_held_up {
            sent.failure = unanswered.into_iter().next().map(|(_, failure)| failure);
            return;
        }
        for (note, failure) in unanswered {
            refuse(refusals, note, &failure);
            failed.insert(note, failure);
        }
        sent.failure = failed.into_values().next();
    }

    /// Sends what a note is of; `None` when that was sent, or a crash came before it was there.
    fn send_queued(&self, remote: &Remote, note: &str) -> Result<Option<Done>, Failure> {
        let Some(queued) = Queued::parse(note) else {
            let what = format!(
                "{OUTBOX}/{} is no name of what waits: somebody put it there",
                Printable(note)
            );
            return Err(Failure::new(FailureKind::Invalid, &what));
        };
        let name = queued.file();
        if self.is_stale(remote, &name, note)? {
            return Ok(None);
        }
        match queued {
            Queued::Document(name) => {
                self.send_document(remote, &name)?;
                self.dequeue(remote, note, None)?;
                Ok(Some(Done::Document))
            }
            Queued::Artefact(of) => {
                let said = self.note(note);
                let receipt = self.send_artefact(remote, of, &said)?;
                self.dequeue(remote, note, Some(&name))?;
                let (from, why) = (name.into(), said.why.into());
                Ok(Some(Done::Artefact(Box::new(Arrived { receipt, from, why }))))
            }
        }
    }

    /// Has the bucket keep an artefact that is in the directory; what says so.
    fn send_artefact(&self, remote: &Remote, of: ObjectName, note: &Note) -> Result<Receipt, Failure> {
        let (bucket, name) = (&remote.bucket, of.to_string());
        let path = self.files.path(&name);
        let (sha256, size) =
            stored_already(&self.files, of).map_err(|error| here("prove, before it is sent,", &path, &error))?;
        let open = || {
            let opened = self.files.open(&name);
            opened.map_err(|error| here("open", &path, &error))
        };
        let receipts = self.receipts(of).map_err(of_file)?;
        let known = newest(&receipts, Some(bucket)).and_then(|it| it.receipt.as_ref().ok());
        let mut spent = None;
        if let Some(receipt) = known.filter(|it| it.storage.sha256 == sha256) {
            let storage = &receipt.storage;
            let of_parts = open().and_then(|file| bucket.parts_of(&file, size))?;
            match bucket.keep_storage(&object_of(storage), storage, of_parts, Untold::Read, by(size)) {
                Ok(_) => {
                    self.settle_receipts(of).map_err(of_file)?;
                    return Ok(receipt.clone());
                }
                Err(doubt) if doubt.is_outage() => return Err(doubt.into_failure()),
                Err(doubt) => {
                    let failure = doubt.into_failure();
                    tracing::warn!(%failure, %name, "the bucket does not keep evidence as its receipt says: it is put there again");
                    spent = storage.version.as_deref();
                }
            }
        }
        let kept = bucket.put_or_renew(&sent_name(sha256, of), &open, size, sha256, spent)?;
        let encryption = self.encryption_noted(of, note);
        let storage = storage_of(remote, of, (sha256, size), kept, encryption);
        let receipt = self.put_receipt(of, receipt_of(remote, of, storage));
        receipt.map_err(of_file)
    }

    /// How a queued artefact is encrypted: to whom its note says, when its name says the same; to nobody knows whom
    /// otherwise.
    fn encryption_noted(&self, of: ObjectName, note: &Note) -> Option<Encryption> {
        let encrypted = of.encrypted?;
        let is_to = |all: &[String]| Encrypted::new(encrypted.stored, all.iter().map(String::as_str)) == encrypted;
        let ours: Vec<String> = self.recipients.iter().map(|it| it.text().to_owned()).collect();
        let recipients = [&note.recipients, &ours].into_iter().find(|it| is_to(it));
        Some(Encryption {
            scheme: "age".into(),
            recipients: recipients.map_or_else(Vec::new, |all| all.iter().map(|it| it.as_str().into()).collect()),
        })
    }

    /// Sends a manifest or a record.
    fn send_document(&self, remote: &Remote, name: &str) -> Result<(), Failure> {
        let bucket = &remote.bucket;
        let bytes = self
            .files
            .read(name, COLLECTION_BYTES_MAX)
            .map_err(|error| here("read", &self.files.path(name), &error))?;
        let (sha256, until) = (Sha256Hash::of(&bytes), bucket.retain_until());
        let by = by(bytes.len() as u64);
        let put = bucket.put_or_confirm_alone(name, Payload::Bytes(&bytes), sha256, until, by);
        put.map(drop)
    }
}

/// What an error of this machine is to who sends: of one file alone, and no outage of the bucket, whatever it is.
fn of_file(failure: Failure) -> Failure {
    if is_outage(&failure) {
        return Failure {
            kind: FailureKind::Conflict,
            ..failure
        };
    }
    failure
}

/// The same, of an error with a file.
fn here(doing: &str, path: &Path, error: &io::Error) -> Failure {
    of_file(failure(doing, path, error))
}

/// What was sent.
enum Done {
    Artefact(Box<Arrived>),
    Document,
}

impl DirVault {
    /// Sends what waits, in the order of the names, until the bucket answers for none of two in succession: one object
    /// may be what is wrong, and then it waits alone. The next round begins after those. A bucket that has not shown
    /// that it locks is asked to before. Nothing is sent without a bucket.
    ///
    /// # Errors
    /// When what waits cannot be listed. Why something still waits is no error.
    pub fn send(&self) -> Result<Sent, Failure> {
        let shared = self.writable()?;
        let mut sent = Sent::default();
        let Some(remote) = &shared.remote else {
            sent.waiting = Some(0);
            return Ok(sent);
        };
        let mut sending = remote.sending.lock().unwrap_or_else(PoisonError::into_inner);
        let list = || {
            let listed = shared.files.list(OUTBOX);
            listed.map_err(|error| failure("list", &shared.files.path(OUTBOX), &error))
        };
        let mut notes = list()?;
        notes.sort_unstable();
        sending.refusals.retain(|note, _| notes.binary_search(note).is_ok());
        let is_proved = remote.state().has_proved;
        if !notes.is_empty()
            && !is_proved
            && let Err(failure) = remote.prove()
        {
            sent.waiting = Some(notes.len() as u64);
            sent.failure = Some(failure);
            sent.is_held_up = true;
            return Ok(sent);
        }
        remote.tidy();
        if let Some(after) = sending.after.take() {
            let first = notes.partition_point(|it| *it <= after);
            notes.rotate_left(first);
        }
        shared.send_all(remote, &mut sending, &notes, &mut sent);
        remote.heard(sent.failure.as_ref().filter(|_| sent.is_held_up));
        sent.waiting = list().ok().map(|it| it.len() as u64);
        Ok(sent)
    }

    /// Whether an artefact that is stored so waits to be sent.
    #[must_use]
    pub fn is_waiting(&self, artefact: Sha256Hash, storage: &Storage) -> bool {
        let note = note_of(&ObjectName::of(artefact, storage).to_string());
        self.shared.files.path(&format!("{OUTBOX}/{note}")).exists()
    }

    /// What waits to be sent.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn waiting(&self) -> Result<Waiting, Failure> {
        let files = &self.shared.files;
        let failed = |error: &io::Error| failure("list", &files.path(OUTBOX), error);
        let mut waiting = Waiting::default();
        for note in files.list(OUTBOX).map_err(|error| failed(&error))? {
            let at = match files.path(&format!("{OUTBOX}/{note}")).symlink_metadata() {
                Ok(about) => about.modified().map_err(|error| failed(&error))?,
                // It was sent in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&error)),
            };
            waiting.files += 1;
            waiting.artefacts += u64::from(matches!(Queued::parse(&note), Some(Queued::Artefact(_))));
            let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let at = Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
            waiting.since = Some(waiting.since.map_or(at, |it| it.min(at)));
        }
        Ok(waiting)
    }
}

/// Remembers that something was refused. The first time it is tried again in the next round.
fn refuse(refusals: &mut HashMap<String, Refused>, note: &str, failure: &Failure) {
    if refusals.len() >= REFUSALS_MAX && !refusals.contains_key(note) {
        return;
    }
    let times = refusals.get(note).map_or(0, |it| it.times);
    let pause = match times {
        0 => Duration::ZERO,
        times => REFUSED_MAX.min(REFUSED * 2_u32.saturating_pow((times - 1).min(16))),
    };
    let refused = Refused {
        times: times.saturating_add(1),
        until: Instant::now() + pause,
        failure: failure.clone(),
    };
    refusals.insert(note.to_owned(), refused);
}
