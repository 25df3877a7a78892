//! Brings what a vault, its handling logs and a journal hold into the transparency log.
//!
//! Never changes any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use staunch_model::{Failure, FailureKind, FrameChain, IncidentId, LogEntry, Logged, Sha256Hash};
use staunch_ports::{Lsn, SealedManifest, StoredFrame, Vault};

use super::handling::{Extent, HandlingLog, Patience};
use crate::files::{Files, failure as disk_failure};
use crate::tlog::merkle::leaf_hash;
use crate::tlog::note::NOTE_BYTES_MAX;
use crate::tlog::state::State;
use crate::tlog::{CHECKPOINT, Checkpoint, LogError, LogReader, LogVerifier, TransparencyLog};

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

/// What a log stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoggedUpTo {
    /// The places of manifests and records in the log, from 0, by their hashes.
    pub entries: BTreeMap<Sha256Hash, u64>,
    /// What stands for all of them; `None` when nothing was logged.
    pub checkpoint: Option<Checkpoint>,
}

impl LoggedUpTo {
    /// Whether the manifest or record with this hash is in the log.
    #[must_use]
    pub fn has(&self, hash: &Sha256Hash) -> bool {
        self.entries.contains_key(hash)
    }
}

/// The manifests and records that the log in `dir` has, up to its checkpoint, whose root its entries have to lead to;
/// none where there is no checkpoint. Who has signed that is looked at with a `key` alone.
///
/// # Errors
/// When the log cannot be read, or its entries are not those of its checkpoint.
pub fn logged_in(dir: &Path, key: Option<&LogVerifier>) -> Result<LoggedUpTo, LogError> {
    let files = Files::new(dir, None);
    let note = match files.read(CHECKPOINT, NOTE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LoggedUpTo::default()),
        read => read.map_err(|error| LogError::io("read", &files.path(CHECKPOINT), error))?,
    };
    let note = String::from_utf8(note).map_err(|error| LogError::damaged(CHECKPOINT, error))?;
    let checkpoint = match key {
        Some(key) => key
            .checkpoint(&note)
            .map_err(|error| LogError::damaged(CHECKPOINT, error))?,
        None => note
            .rfind("\n\n")
            .and_then(|at| Checkpoint::parse(&note[..=at]))
            .ok_or_else(|| LogError::damaged(CHECKPOINT, "it is no checkpoint"))?,
    };
    let mut entries = BTreeMap::new();
    let (mut state, mut tiles) = (State::default(), Vec::new());
    let mut visit = |place, entry: &[u8]| {
        state.push_hash(leaf_hash(entry), &mut tiles);
        tiles.clear();
        // What is no entry of ours stands for nothing of ours.
        match LogEntry::parse(entry).map(|entry| entry.logged) {
            Ok(Logged::Manifest { manifest: hash, .. } | Logged::Collection { record: hash, .. }) => {
                entries.entry(hash).or_insert(place);
            }
            Ok(Logged::Frames { .. } | Logged::Handling { .. }) | Err(_) => {}
        }
        ControlFlow::Continue(())
    };
    LogReader::new(dir, checkpoint.size).entries(0, &mut visit)?;
    if state.root() != checkpoint.root {
        let what = "its entries are not those that the checkpoint stands for";
        return Err(LogError::damaged("tile/entries", what));
    }
    Ok(LoggedUpTo {
        entries,
        checkpoint: Some(checkpoint),
    })
}

/// Keeps a transparency log up with a vault, its handling logs and a journal while they grow, without reading it whole
/// each time. Holds a hash for each manifest and record in memory.
#[derive(Debug)]
pub struct Logbook {
    log: TransparencyLog,
    known: BTreeSet<Sha256Hash>,
    /// The last frame that is logged.
    frames_up_to: Lsn,
    /// How far handling logs are logged.
    handling: BTreeMap<Option<IncidentId>, Extent>,
    /// How long those were that had no more signed lines when they were looked at.
    looked_at: BTreeMap<Option<IncidentId>, u64>,
    /// Whether an append has failed, so that the log may have more than is known.
    is_stale: bool,
}

impl Logbook {
    /// Reads what `log` has.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new(log: TransparencyLog) -> Result<Self, Failure> {
        let mut book = Self {
            log,
            known: BTreeSet::new(),
            frames_up_to: Lsn(0),
            handling: BTreeMap::new(),
            looked_at: BTreeMap::new(),
            is_stale: false,
        };
        book.read()?;
        Ok(book)
    }

    fn read(&mut self) -> Result<(), Failure> {
        let mut known = BTreeSet::new();
        let mut frames_up_to = 0;
        let mut handling = BTreeMap::new();
        each_entry(&self.log, &mut |logged| match logged {
            Logged::Manifest { manifest: hash, .. } | Logged::Collection { record: hash, .. } => {
                known.insert(hash);
            }
            Logged::Frames { last, .. } => frames_up_to = last,
            Logged::Handling {
                incident,
                bytes,
                sha256,
            } => {
                handling.insert(incident, Extent { bytes, sha256 });
            }
        })?;
        self.known = known;
        self.handling = handling;
        self.frames_up_to = Lsn(frames_up_to);
        self.is_stale = false;
        Ok(())
    }

    /// Appends entries. One that failed may have left some in the log: what it has is read again before the next.
    fn append(&mut self, entries: &[Vec<u8>]) -> Result<(), Failure> {
        match self.log.append(entries) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.is_stale = true;
                Err(error.to_failure())
            }
        }
    }

    /// What the log has, when that is not sure. Appending nothing has the log take up what an append has left.
    fn refresh(&mut self) -> Result<(), Failure> {
        if self.is_stale {
            self.log.append::<Vec<u8>>(&[]).map_err(|error| error.to_failure())?;
            self.read()?;
        }
        Ok(())
    }

    /// The log.
    #[must_use]
    pub const fn log(&self) -> &TransparencyLog {
        &self.log
    }

    /// The last frame that is logged; 0 when none is.
    #[must_use]
    pub const fn frames_up_to(&self) -> Lsn {
        self.frames_up_to
    }

    /// Appends entries for what `vault` holds of `incident` and the log does not. Returns how many there were.
    ///
    /// # Errors
    /// When the vault cannot be read or the log cannot be written; what was appended before stays.
    pub fn take_incident(&mut self, vault: &dyn Vault, incident: IncidentId) -> Result<u64, Failure> {
        self.refresh()?;
        let mut new = Vec::new();
        let known = &self.known;
        let manifests = vault.manifests(incident, &mut |it| {
            if !known.contains(&it.hash) {
                new.push((it.hash, entry_of_manifest(&it)));
            }
            ControlFlow::Continue(())
        });
        let records = vault.records(incident, &mut |it| {
            if !known.contains(&it.hash) {
                let logged = Logged::Collection {
                    incident: it.record.incident,
                    evidence: it.record.evidence,
                    record: it.hash,
                };
                new.push((it.hash, LogEntry::new(logged)));
            }
            ControlFlow::Continue(())
        });
        for part in new.chunks(AT_ONCE) {
            let entries: Vec<Vec<u8>> = part.iter().map(|(_, entry)| entry.to_bytes()).collect();
            self.append(&entries)?;
            self.known.extend(part.iter().map(|(hash, _)| *hash));
        }
        // What can be read is logged, whatever stands beside it.
        manifests.and(records)?;
        Ok(new.len() as u64)
    }

    /// The same for all incidents. What cannot be logged of one goes to `failed`, and is no reason to leave the others
    /// out.
    ///
    /// # Errors
    /// When the vault cannot be listed.
    pub fn take_all(&mut self, vault: &dyn Vault, failed: &mut dyn FnMut(IncidentId, Failure)) -> Result<u64, Failure> {
        let mut incidents = Vec::new();
        vault.incidents(&mut |incident| {
            incidents.push(incident);
            ControlFlow::Continue(())
        })?;
        let mut taken = 0;
        for incident in incidents {
            match self.take_incident(vault, incident) {
                Ok(new) => taken += new,
                Err(failure) => failed(incident, failure),
            }
        }
        Ok(taken)
    }

    /// Appends an entry for each handling log that has more signed lines than are logged. Returns how many there were.
    /// What is wrong with one goes to `failed`, and is no reason to leave the others out: it cannot be read, or does
    /// not begin as it was logged (`Conflict`). Such a one is logged no more, so that the entry for what it was stays
    /// the last.
    ///
    /// # Errors
    /// When they cannot be listed, or this log cannot be written.
    pub fn take_handling(&mut self, log: &HandlingLog, failed: &mut dyn FnMut(Failure)) -> Result<u64, Failure> {
        self.refresh()?;
        let unread = |incident: Option<IncidentId>, error: &io::Error| disk_failure("read", &log.file(incident), error);
        let there = log
            .logs(&mut |_| {})
            .map_err(|error| disk_failure("list", &log.file(None), &error))?;
        let mut logs: BTreeSet<Option<IncidentId>> = there.into_iter().collect();
        logs.extend(self.handling.keys());
        let (mut new, key, mut patience) = (Vec::new(), self.log.verifier(), Patience::default());
        for incident in logs {
            let known = self.handling.get(&incident).copied();
            let up_to = known.map_or(0, |it| it.bytes);
            let length = match log.length(incident) {
                Ok(length) if length == up_to || self.looked_at.get(&incident) == Some(&length) => continue,
                Ok(length) => length,
                Err(error) => {
                    failed(unread(incident, &error));
                    continue;
                }
            };
            match log.extent(incident, up_to, &key, &mut patience) {
                Ok((before, now)) if known.is_none_or(|it| before == Some(it.sha256)) => {
                    if now.bytes > up_to {
                        new.push((incident, now));
                    } else {
                        self.looked_at.insert(incident, length);
                    }
                }
                Ok(_) => {
                    let what = format!("{} does not begin as it was logged", log.file(incident).display());
                    failed(Failure::new(FailureKind::Conflict, &what));
                }
                Err(error) => failed(unread(incident, &error)),
            }
        }
        for part in new.chunks(AT_ONCE) {
            let entry = |(incident, it): &(Option<IncidentId>, Extent)| {
                LogEntry::new(Logged::Handling {
                    incident: *incident,
                    bytes: it.bytes,
                    sha256: it.sha256,
                })
                .to_bytes()
            };
            self.append(&part.iter().map(entry).collect::<Vec<_>>())?;
            self.handling.extend(part.iter().copied());
        }
        Ok(new.len() as u64)
    }

    /// Appends an entry for the frames of a journal that the log has none for, if there are any. Returns the last frame
    /// that is logged. `read` shows the frames from a position on, and none that is not durable.
    ///
    /// # Errors
    /// When the journal cannot be read or the log cannot be written; `Conflict` when the journal ends before what is
    /// logged.
    pub fn take_frames<E: ToString>(
        &mut self,
        read: impl FnOnce(Lsn, &mut dyn FnMut(StoredFrame)) -> Result<(), E>,
    ) -> Result<Lsn, Failure> {
        self.refresh()?;
        let after = self.frames_up_to;
        // The frame that was logged last is read again: a journal that ends before it is not the one that was logged.
        let from = Lsn(after.0.max(1));
        let mut last = None;
        read(from, &mut |frame| last = Some((frame.lsn, frame.hash)))
            .map_err(|error| Failure::new(FailureKind::Unavailable, &error.to_string()))?;
        match last {
            Some((lsn, hash)) if lsn > after => {
                let entry = LogEntry::new(Logged::Frames {
                    first: after.next().0,
                    last: lsn.0,
                    chain: FrameChain(hash),
                });
                self.append(&[entry.to_bytes()])?;
                self.frames_up_to = lsn;
            }
            None if after.0 > 0 => {
                let what = format!("the journal ends before frame {after}, up to which frames are logged");
                return Err(Failure::new(FailureKind::Conflict, &what));
            }
            _ => {}
        }
        Ok(self.frames_up_to)
    }
}
