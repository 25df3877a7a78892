//! The bucket that a vault in a directory sends its artefacts to, while they are sealed.
//!
//! # Expected flow
//! A sealed artefact is sent at once when the bucket is there and it is not large. One that the bucket has by its
//! receipt is not sent again, once the bucket has said that it keeps it. Everything else stays in the directory, as in
//! one without a bucket, and is sent later (`outbox.rs`).
//!
//! # Guarantees
//! - What is in hand is never dropped for what a bucket says, or does not say: then it stays in the directory.
//! - Who seals waits for the bucket no longer than it was told to, and asks it for no bytes.
//! - Nothing counts as there that the bucket has not said it keeps as it was asked to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use staunch_model::custody::CUSTODY_SCHEMA_VERSION;
use staunch_model::{Compression, Encryption, Failure, FailureKind, Receipt, Sha256Hash, Storage, Timestamp};

use super::Shared;
use super::name::ObjectName;
use super::outbox::Sending;
use super::receipts::{abort_unfinished, newest, object_of, sent_name};
use crate::files::failure;
use crate::s3::{Bucket, Doubt, Payload, RATE_MIN, SMALL_WITHIN, Untold, is_outage};

/// Larger artefacts are sent by the outbox alone, so that sealing does not wait for them.
const AT_ONCE_BYTES_MAX: u64 = 64 << 20;

/// How long a bucket that could not be reached is not tried by who seals.
pub(super) const AWAY: Duration = Duration::from_secs(30);

/// A bucket, and what is known of it.
pub(super) struct Remote {
    pub(super) bucket: Arc<Bucket>,
    /// How long sealing waits for it.
    at_once: Duration,
    state: Mutex<State>,
    /// One at a time sends what waits.
    pub(super) sending: Mutex<Sending>,
    /// Whoever queues a file reads it until the file is there; who takes a file or its note away writes it.
    pub(super) queueing: RwLock<()>,
}

#[derive(Default)]
pub(super) struct State {
    /// Whether it has shown that it locks.
    pub(super) has_proved: bool,
    /// Whether what uploads before have left there was taken away, or cannot be.
    has_tidied: bool,
    /// Until when it is not tried by who seals.
    pub(super) away_until: Option<Instant>,
}

/// What became of an artefact while it was sealed.
pub(super) enum AtOnce {
    /// The bucket keeps it, under the name in the vault that its storage asks for.
    There(Storage),
    /// It is to be kept here, for this reason.
    Waits(String),
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
            queueing: RwLock::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the bucket show that it locks.
    pub(super) fn prove(&self) -> Result<(), Failure> {
        let proved = self.bucket.prove(Instant::now() + SMALL_WITHIN);
        self.state().has_proved = proved.is_ok();
        self.heard(proved.as_ref().err());
        proved
    }

    /// Aborts what uploads of artefacts have left there, once, before the first of this process: the parts of an upload
    /// that a crash has cut off are paid for until somebody does. It holds up nothing.
    pub(super) fn tidy(&self) {
        let is_due = {
            let state = self.state();
            state.has_proved && !state.has_tidied
        };
        if !is_due {
            return;
        }
        match abort_unfinished(&self.bucket, Instant::now() + SMALL_WITHIN) {
            Ok(0) => {}
            Ok(uploads) => tracing::info!(uploads, "uploads to the bucket that did not end are aborted"),
            Err(failure) if is_outage(&failure) => return,
            Err(failure) => tracing::warn!(
                %failure,
                "not all uploads to the bucket that did not end are aborted; have a rule of the bucket do it"
            ),
        }
        self.state().has_tidied = true;
    }

    /// Whether who seals tries it.
    fn is_there(&self) -> bool {
        let state = self.state();
        state.has_proved && state.away_until.is_none_or(|until| until <= Instant::now())
    }

    /// Whether so many bytes arrive over the slowest connection while sealing waits. More of them that are late say
    /// nothing of the bucket: small evidence may arrive all the same.
    fn has_time_for(&self, bytes: u64) -> bool {
        bytes <= RATE_MIN.saturating_mul(self.at_once.as_secs())
    }

    /// Remembers whether it could be reached. A bucket that says no is there.
    pub(super) fn heard(&self, failure: Option<&Failure>) {
        let is_away = failure.is_some_and(is_outage);
        self.state().away_until = is_away.then(|| Instant::now() + AWAY);
    }
}

impl Shared {
    /// Has the bucket keep an artefact while it is sealed: `file` has its bytes, to be called `own`; the same artefact
    /// is known as `known` besides.
    pub(super) fn keep_at_once(
        &self,
        remote: &Remote,
        file: &str,
        (own, known): (ObjectName, &[ObjectName]),
        (sha256, size): (Sha256Hash, u64),
    ) -> AtOnce {
        // The bytes of what is in parts are proved by who sends: the bucket tells no hash of them.
        let at_once_max = AT_ONCE_BYTES_MAX.min(remote.bucket.settings().parts.above);
        let mut why = match remote.is_there() {
            true if size > at_once_max => Some("it is too large to be sent while it is sealed".to_owned()),
            true => None,
            false => Some("the bucket could not be reached when it was sealed".to_owned()),
        };
        let by = Instant::now() + remote.at_once;
        let mut has_receipts = false;
        for name in known.iter().chain([&own]) {
            let receipts = match self.receipts(*name) {
                Ok(receipts) => receipts,
                Err(failure) => return AtOnce::Waits(failure.to_string()),
            };
            has_receipts |= !receipts.is_empty();
            let Some(receipt) = newest(&receipts, Some(&remote.bucket)).and_then(|it| it.receipt.as_ref().ok()) else {
                continue;
            };
            if why.is_some() {
                break;
            }
            let storage = &receipt.storage;
            let kept = remote
                .bucket
                .keep_storage(&object_of(storage), storage, None, Untold::Doubt, by);
            match kept {
                Ok(storage) => match self.settle_receipts(*name) {
                    Ok(()) => return AtOnce::There(storage),
                    Err(failure) => return AtOnce::Waits(failure.to_string()),
                },
                Err(doubt) => why = Some(self.doubted(remote, doubt, 0)),
            }
        }
        if let Some(why) = why {
            return AtOnce::Waits(why);
        }
        if has_receipts {
            // None of them is of this bucket, or none says where it is: who sends has the time to look.
            return AtOnce::Waits("its receipt names another bucket, or cannot be read".to_owned());
        }
        if known
            .iter()
            .chain([&own])
            .any(|it| self.files.path(&it.to_string()).exists())
        {
            return AtOnce::Waits("it was in the directory already".to_owned());
        }
        match self.send_at_once(remote, file, own, (sha256, size), by) {
            Ok(storage) => AtOnce::There(storage),
            Err(doubt) => AtOnce::Waits(self.doubted(remote, doubt, size)),
        }
    }

    /// What is written down of a bucket that does not keep something for which so many bytes were to be sent.
    fn doubted(&self, remote: &Remote, doubt: Doubt, size: u64) -> String {
        let is_outage = doubt.is_outage();
        let failure = doubt.into_failure();
        let is_late = failure.kind == FailureKind::TimedOut && !remote.has_time_for(size);
        if is_outage && !is_late {
            remote.heard(Some(&failure));
        }
        tracing::warn!(%failure, "the bucket does not keep this evidence; it waits in the directory of the vault");
        failure.to_string()
    }

    fn send_at_once(
        &self,
        remote: &Remote,
        file: &str,
        of: ObjectName,
        (sha256, size): (Sha256Hash, u64),
        by: Instant,
    ) -> Result<Storage, Doubt> {
        let bucket = &remote.bucket;
        let from = self
            .files
            .open(file)
            .map_err(|error| failure("open", &self.files.path(file), &error));
        // It is not the bucket that is away.
        let from = from.map_err(|failure| Doubt::Otherwise(failure.to_string()))?;
        let until = bucket.retain_until();
        let name = sent_name(sha256, of);
        let version = bucket.put_or_recognise(&name, Payload::File(&from, size), sha256, until, by)?;
        let storage = storage_of(remote, of, (sha256, size), (version, until), self.encryption(of));
        let receipt = self.put_receipt(of, receipt_of(remote, of, storage));
        // Without one, nobody finds it there.
        Ok(receipt
            .map_err(|failure| Doubt::Otherwise(failure.to_string()))?
            .storage)
    }
}

/// How a bucket was asked to keep an artefact: as this version, until then.
pub(super) fn storage_of(
    remote: &Remote,
    of: ObjectName,
    (sha256, size): (Sha256Hash, u64),
    (version, until): (String, Timestamp),
    encryption: Option<Encryption>,
) -> Storage {
    let settings = remote.bucket.settings();
    Storage {
        path: remote.bucket.address(&sent_name(sha256, of)).into(),
        size,
        sha256,
        compression: Compression::Zstd,
        encryption,
        write_once: settings.mode.write_once(),
        retain_until: Some(until),
        legal_hold: settings.legal_hold,
        version: Some(version.into()),
    }
}

/// What says that an artefact is in a bucket.
pub(super) fn receipt_of(remote: &Remote, of: ObjectName, storage: Storage) -> Receipt {
    Receipt {
        schema_version: CUSTODY_SCHEMA_VERSION,
        artefact: of.artefact,
        storage,
        at: remote.bucket.now(),
    }
}
