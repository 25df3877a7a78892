//! Brings what a vault and a journal hold into the transparency log.
//!
//! Never changes a vault or a journal.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use staunch_model::{Failure, FailureKind, FrameChain, LogEntry, Logged, Sha256Hash};
use staunch_ports::{Journal, Lsn, SealedManifest, Vault};

use crate::tlog::TransparencyLog;

/// Entries that are appended at once, so that memory is bounded and a tile is full.
const AT_ONCE: usize = 256;

/// The entry of the log for a manifest.
#[must_use]
pub fn entry_of_manifest(sealed: &SealedManifest) -> LogEntry {
    LogEntry::new(Logged::Manifest {
        incident: sealed.manifest.custody.incident,
        evidence: sealed.manifest.custody.evidence,
        sequence: sealed.manifest.sequence,
        manifest: sealed.hash,
    })
}

/// Appends entries for all manifests and records of `vault` that the log does not have: what was sealed before a crash and not
/// logged, for one. Returns how many there were. Takes memory for a hash of each entry of the log.
///
/// # Errors
/// When vault or log cannot be read or the log cannot be written. What was appended before stays.
pub fn catch_up(vault: &dyn Vault, log: &mut TransparencyLog) -> Result<u64, Failure> {
    let mut known = BTreeSet::new();
    each_entry(log, &mut |logged| match logged {
        Logged::Manifest { manifest: hash, .. } | Logged::Collection { record: hash, .. } => {
            known.insert(hash);
        }
        Logged::Frames { .. } => {}
    })?;
    let mut incidents = Vec::new();
    vault.incidents(&mut |incident| {
        incidents.push(incident);
        ControlFlow::Continue(())
    })?;
    let mut missing = Missing {
        log,
        known,
        waiting: Vec::new(),
        appended: 0,
        failed: None,
    };
    for incident in incidents {
        // What cannot be read is not logged, and is no reason to leave the rest out.
        let manifests = vault.manifests(incident, &mut |it| missing.take(it.hash, || entry_of_manifest(&it)));
        let records = vault.records(incident, &mut |it| {
            missing.take(it.hash, || {
                LogEntry::new(Logged::Collection {
                    incident: it.record.incident,
                    evidence: it.record.evidence,
                    record: it.hash,
                })
            })
        });
        for failure in [manifests.err(), records.err()].into_iter().flatten() {
            tracing::error!(%failure, %incident, "evidence cannot be read, and is not logged");
        }
    }
    missing.flush();
    missing.failed.map_or(Ok(missing.appended), Err)
}

/// Appends an entry for the frames of `journal` that the log has none for. Returns the position of the last frame that it stands
/// for.
///
/// # Errors
/// When the log cannot be read or written; `Conflict` when the journal ends before what is logged.
pub fn log_frames(journal: &dyn Journal, log: &mut TransparencyLog) -> Result<Lsn, Failure> {
    let mut logged_up_to = 0;
    each_entry(log, &mut |logged| {
        if let Logged::Frames { last, .. } = logged {
            logged_up_to = last;
        }
    })?;
    log_frames_after(journal, Lsn(logged_up_to), log)
}

/// As [`log_frames`], by who knows up to where frames are logged.
///
/// # Errors
/// As [`log_frames`].
pub fn log_frames_after(journal: &dyn Journal, after: Lsn, log: &mut TransparencyLog) -> Result<Lsn, Failure> {
    let tail = journal.tail();
    if tail.lsn < after {
        let what = format!("the journal ends at {}, and frames up to {after} are logged", tail.lsn);
        return Err(Failure::new(FailureKind::Conflict, &what));
    }
    if tail.lsn > after {
        let entry = LogEntry::new(Logged::Frames {
            first: after.next().0,
            last: tail.lsn.0,
            chain: FrameChain(tail.hash),
        });
        log.append(&[entry.to_bytes()]).map_err(|error| error.to_failure())?;
    }
    Ok(tail.lsn)
}

fn each_entry(log: &TransparencyLog, take: &mut dyn FnMut(Logged)) -> Result<(), Failure> {
    let mut visit = |_, entry: &[u8]| {
        // What is no entry of ours stands for nothing of ours.
        if let Ok(entry) = LogEntry::parse(entry) {
            take(entry.logged);
        }
        ControlFlow::Continue(())
    };
    log.reader().entries(0, &mut visit).map_err(|error| error.to_failure())
}

/// Entries that the log does not have.
struct Missing<'a> {
    log: &'a mut TransparencyLog,
    known: BTreeSet<Sha256Hash>,
    waiting: Vec<Vec<u8>>,
    appended: u64,
    failed: Option<Failure>,
}

impl Missing<'_> {
    fn take(&mut self, hash: Sha256Hash, entry: impl FnOnce() -> LogEntry) -> ControlFlow<()> {
        if !self.known.contains(&hash) {
            self.waiting.push(entry().to_bytes());
        }
        if self.waiting.len() >= AT_ONCE {
            self.flush();
        }
        if self.failed.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn flush(&mut self) {
        if self.failed.is_some() {
            return;
        }
        match self.log.append(&self.waiting) {
            Ok(_) => self.appended += self.waiting.len() as u64,
            Err(error) => self.failed = Some(error.to_failure()),
        }
        self.waiting.clear();
    }
}
