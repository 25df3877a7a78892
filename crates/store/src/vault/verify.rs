//! Verifies a copied folder of evidence with a public key and nothing else.
//!
//! Never changes anything, never stops at the first finding, and follows no link. What is in memory is bounded by a
//! hash for each entry of the log and for each artefact; artefacts themselves are streamed.
//!
//! # Expected flow
//! The checkpoint is proved with the key. The tree is computed from the entries, and held against the tiles, the
//! checkpoint and an earlier checkpoint. Each entry leads to a manifest or record, whose hash it holds. Each manifest
//! leads to the artefact that has its hash as its name, and each artefact is hashed. Lines of the handling logs are
//! held against their signatures, and against the entries that say how far each log had come. What is there and in no
//! entry is reported, too, and counted apart: whoever can write to the folder can put it there.

mod artefacts;
mod finding;
mod log;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use staunch_model::custody::{COLLECTION_BYTES_MAX, MANIFEST_BYTES_MAX};
use staunch_model::{CollectionRecord, EvidenceId, FrameChain, IncidentId, Manifest, Printable, Sha256Hash, Taken};
use staunch_ports::Lsn;

use super::dir::name::ObjectName;
use super::dir::note::Queued;
use super::dir::outbox::OUTBOX;
use super::dir::receipts::receipts;
use super::dir::{exactly, hash_of, sequence_of};
use super::handling::{Checked, HANDLING, HandlingLog, Head, Patience, check, name_of};
use crate::files::Files;
use crate::journal::ReadOnlyJournal;
use crate::s3::Bucket;
use crate::tlog::{Checkpoint, LogVerifier};

pub use finding::Finding;

/// What is verified, and by what.
#[derive(Clone, Copy, Debug)]
pub struct EvidenceFolder<'a> {
    /// The directory of the vault.
    pub vault: &'a Path,
    /// The directory of the transparency log.
    pub log: &'a Path,
    /// The handling logs beside both.
    pub handling: &'a HandlingLog,
    /// The directory of the journal, when the frames that the log stands for are to be verified, too.
    pub journal: Option<&'a Path>,
    /// The public key of the log, which has to come from elsewhere.
    pub key: &'a LogVerifier,
    /// A checkpoint of the log from an earlier time, as it was signed, which has to come from elsewhere.
    pub earlier: Option<&'a str>,
    /// The bucket that artefacts are in. Without it, those that are in one are counted, and not read.
    pub bucket: Option<&'a Bucket>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many of the entries of the log, with their manifests and records.
    Entries {
        /// How many were looked at.
        done: u64,
        /// How many there are.
        total: u64,
    },
    /// Artefacts.
    Artefacts {
        /// How many were looked at.
        done: u64,
        /// Their original bytes.
        bytes: u64,
    },
}

/// What is there and what no entry of the log stands for: nothing of it is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unlogged {
    /// Artefacts that no manifest in the log stands for.
    pub artefacts: u64,
    /// Manifests.
    pub manifests: u64,
    /// Records of collections.
    pub records: u64,
    /// Lines of handling logs that the key has not signed, or that cannot be read.
    pub lines: u64,
}

impl Unlogged {
    /// Whether there is nothing of the kind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceSummary {
    /// What the log was signed at, when that is proved.
    pub checkpoint: Option<Checkpoint>,
    /// Whether an earlier checkpoint was given and the log continues it.
    pub continues_earlier: bool,
    /// Entries of the log.
    pub entries: u64,
    /// Manifests in the vault that the log stands for, as far as it is known what that is.
    pub manifests: u64,
    /// Those of them that carry no signature of the key themselves: the log alone stands for them.
    pub unsigned: u64,
    /// Records of collections in the vault, likewise.
    pub records: u64,
    /// Artefacts in the vault that such a manifest stands for.
    pub artefacts: u64,
    /// Their original bytes.
    pub bytes: u64,
    /// Artefacts that were read from the bucket; each of them is kept there as its receipt says, or there is a finding.
    pub in_bucket: u64,
    /// Artefacts that are encrypted: their stored bytes are those of their manifests, and what they are was not looked
    /// at.
    pub encrypted: u64,
    /// Artefacts in a bucket that nobody has named, or that did not answer: nothing is proved of them.
    pub not_read: u64,
    /// Those of them whose bucket did not answer.
    pub away: u64,
    /// Lines of handling logs that the key has signed.
    pub lines: u64,
    /// What is there beside them, and is in none of these numbers.
    pub unlogged: Unlogged,
    /// What was found.
    pub findings: u64,
}

/// Verifies `folder`: calls `progress` now and then, and `found` for each finding, and goes on.
pub fn verify_evidence(
    folder: &EvidenceFolder<'_>,
    progress: &mut dyn FnMut(Progress),
    found: &mut dyn FnMut(Finding),
) -> EvidenceSummary {
    let mut verifying = Verifying {
        vault: Files::new(folder.vault, None),
        log: Files::new(folder.log, None),
        progress,
        found,
        summary: EvidenceSummary::default(),
        logged: BTreeSet::new(),
        referenced: BTreeMap::new(),
        reported: BTreeSet::new(),
        frames: Vec::new(),
        heads: BTreeMap::new(),
        is_log_whole: false,
        are_manifests_known: false,
        bucket: folder.bucket,
        unanswered: 0,
        key: folder.key,
    };
    verifying.log(folder.key, folder.earlier);
    verifying.names();
    verifying.manifests();
    verifying.records();
    verifying.artefacts();
    verifying.handling(folder.handling);
    if let Some(dir) = folder.journal {
        verifying.journal(dir);
    }
    verifying.summary
}

struct Verifying<'a> {
    vault: Files,
    log: Files,
    progress: &'a mut dyn FnMut(Progress),
    found: &'a mut dyn FnMut(Finding),
    summary: EvidenceSummary,
    /// The hashes of manifests and records in the log.
    logged: BTreeSet<Sha256Hash>,
    /// The artefacts in manifests.
    referenced: BTreeMap<ObjectName, Referenced>,
    /// Files that there is a finding of already.
    reported: BTreeSet<String>,
    /// Entries for frames: number, last frame, its chain value.
    frames: Vec<(u64, u64, FrameChain)>,
    /// What entries say of handling logs.
    heads: BTreeMap<Option<IncidentId>, Vec<Head>>,
    /// Whether all entries are known.
    is_log_whole: bool,
    /// Whether every manifest could be looked into, so that an artefact without one has none.
    are_manifests_known: bool,
    bucket: Option<&'a Bucket>,
    /// Artefacts in a row for which the bucket did not answer.
    unanswered: u32,
    key: &'a LogVerifier,
}

/// What a manifest says of its artefact.
#[derive(Clone, Copy, Debug)]
struct Referenced {
    /// The hash of the bytes that are stored.
    stored: Sha256Hash,
    /// How many they unpack to.
    size: u64,
    /// Whether a manifest that says so is in the log.
    is_logged: bool,
}

/// A manifest or record that there is no finding of but that it may not be in the log.
struct Read {
    hash: Sha256Hash,
    bytes: Vec<u8>,
    is_logged: bool,
}

impl Verifying<'_> {
    fn find(&mut self, finding: Finding) {
        self.summary.findings += 1;
        (self.found)(finding);
    }

    /// As `find`, for a file: nothing more is said of it afterwards.
    fn find_at(&mut self, name: &str, finding: Finding) {
        self.reported.insert(name.to_owned());
        self.find(finding);
    }

    fn unreadable(&mut self, name: &str, error: &impl ToString) {
        let what = Printable(&error.to_string()).to_string();
        let finding = Finding::Unreadable {
            name: name.to_owned(),
            what,
        };
        self.find_at(name, finding);
    }

    /// Looks for what is no part of a vault at its top.
    fn names(&mut self) {
        for name in self.list("") {
            if !["lock", "tmp", "objects", "manifests", "records", OUTBOX].contains(&name.as_str()) {
                self.foreign(&name);
            }
        }
        // A name there becomes that of a file and of an object.
        for note in self.list(OUTBOX) {
            if Queued::parse(&note).is_none() {
                self.foreign(&format!("{OUTBOX}/{note}"));
            }
        }
    }

    fn foreign(&mut self, name: &str) {
        let name = Printable(name).to_string();
        self.find(Finding::Foreign { name });
    }

    /// The names in a directory of the vault, sorted.
    fn list(&mut self, name: &str) -> Vec<String> {
        match self.vault.list(name) {
            Ok(mut names) => {
                names.sort_unstable();
                names
            }
            Err(error) => {
                self.unreadable(name, &error);
                Vec::new()
            }
        }
    }

    /// Calls `take` for each file of each evidence in `above` whose name `key` can read, in order.
    fn each<K: Ord>(
        &mut self,
        above: &str,
        key: impl Fn(&str) -> Option<K>,
        mut take: impl FnMut(&mut Self, IncidentId, EvidenceId, Vec<(K, String)>),
    ) {
        for incident in self.list(above) {
            let within = format!("{above}/{incident}");
            let Some(incident) = exactly::<IncidentId>(&incident) else {
                self.foreign(&within);
                continue;
            };
            for evidence in self.list(&within) {
                let dir = format!("{within}/{evidence}");
                let Some(evidence) = exactly::<EvidenceId>(&evidence) else {
                    self.foreign(&dir);
                    continue;
                };
                let mut keys = Vec::new();
                for name in self.list(&dir) {
                    let whole = format!("{dir}/{name}");
                    match key(&name) {
                        Some(key) => keys.push((key, whole)),
                        None => self.foreign(&whole),
                    }
                }
                keys.sort_unstable();
                take(self, incident, evidence, keys);
            }
        }
    }

    fn manifests(&mut self) {
        self.each("manifests", sequence_of, |it, incident, evidence, all| {
            // The number and hash of the manifest before; `None` when nothing is known of it.
            let mut before = Some((0, None));
            for (sequence, name) in all {
                let known = before.take();
                let Some((hash, manifest)) = it.manifest(&name) else {
                    continue;
                };
                before = Some((sequence, Some(hash)));
                let found = (manifest.custody.incident, manifest.custody.evidence, manifest.sequence);
                if found != (incident, evidence, sequence) {
                    let what = "it is of something else".to_owned();
                    it.find_at(
                        &name,
                        Finding::Wrong {
                            name: name.clone(),
                            what,
                        },
                    );
                }
                let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
                let one_before = format!("{dir}/{:08}.json", sequence.saturating_sub(1));
                let follows = known.is_none_or(|(last, hash)| last + 1 == sequence && manifest.previous == hash);
                if !follows && !it.reported.contains(&one_before) {
                    it.find(Finding::ChainBroken { name });
                }
            }
        });
    }

    /// Reads a manifest and looks for what it stands for; `None` when there is a finding of it.
    fn manifest(&mut self, name: &str) -> Option<(Sha256Hash, Manifest)> {
        let read = self.logged_bytes(name, MANIFEST_BYTES_MAX);
        if read.as_ref().is_none_or(|it| it.is_logged) {
            self.summary.manifests += 1;
        } else {
            self.summary.unlogged.manifests += 1;
        }
        let Read { hash, bytes, is_logged } = read?;
        match Manifest::parse(&bytes) {
            Ok(manifest) => {
                self.signature(name, &manifest, is_logged);
                if let Taken::Stored { size, sha256, storage } = &manifest.taken {
                    let object = ObjectName::of(*sha256, storage);
                    let says = Referenced {
                        stored: storage.sha256,
                        size: *size,
                        is_logged,
                    };
                    let is_first = self.refer(object, says);
                    let is_missing = |name: &str| {
                        let looked = self.vault.path(name).symlink_metadata();
                        looked.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
                    };
                    if is_first
                        && is_missing(&object.to_string())
                        && receipts(&self.vault, object).is_ok_and(|it| it.is_empty())
                    {
                        let (name, manifest) = (object.to_string(), name.to_owned());
                        self.find(Finding::ArtefactRemoved { name, manifest });
                    }
                }
                Some((hash, manifest))
            }
            Err(error) => {
                let what = error.to_string();
                let finding = Finding::Wrong {
                    name: name.to_owned(),
                    what,
                };
                self.find_at(name, finding);
                None
            }
        }
    }

    /// Looks at the signature of a manifest itself. One of another key, or none, proves nothing and is no finding: the
    /// log stands for it.
    fn signature(&mut self, name: &str, manifest: &Manifest, is_logged: bool) {
        match self.key.has_signed(manifest) {
            Ok(is_signed) => self.summary.unsigned += u64::from(is_logged && !is_signed),
            Err(why) => self.find(Finding::Wrong {
                name: name.to_owned(),
                what: why.to_string(),
            }),
        }
    }

    /// Takes down what a manifest says of an artefact; whether it is the first to say anything. One that is not in the
    /// log says nothing against one that is.
    fn refer(&mut self, object: ObjectName, says: Referenced) -> bool {
        let known = self.referenced.get(&object);
        if known.is_none_or(|it| says.is_logged || !it.is_logged) {
            return self.referenced.insert(object, says).is_none();
        }
        false
    }

    /// Whether a manifest in the log stands for an artefact. While a manifest is missing, it may have.
    fn is_stood_for(&self, object: ObjectName) -> bool {
        let known = self.referenced.get(&object);
        known.map_or(!self.are_manifests_known, |it| it.is_logged)
    }

    /// A manifest or record that there is no finding of; it finds one when it is in no entry of the log.
    fn logged_bytes(&mut self, name: &str, max: u64) -> Option<Read> {
        if self.reported.contains(name) {
            return None;
        }
        match self.vault.read(name, max) {
            Ok(bytes) => {
                let hash = Sha256Hash::of(&bytes);
                // While entries are missing, nobody knows.
                let is_logged = !self.is_log_whole || self.logged.contains(&hash);
                if !is_logged {
                    let name = name.to_owned();
                    self.find(Finding::Unlogged { name });
                }
                Some(Read { hash, bytes, is_logged })
            }
            Err(error) => {
                self.unreadable(name, &error);
                None
            }
        }
    }

    fn records(&mut self) {
        self.each("records", hash_of, |it, incident, evidence, all| {
            for (hash, name) in all {
                let read = it.logged_bytes(&name, COLLECTION_BYTES_MAX);
                if read.as_ref().is_none_or(|it| it.is_logged) {
                    it.summary.records += 1;
                } else {
                    it.summary.unlogged.records += 1;
                }
                let Some(read) = read else {
                    continue;
                };
                let what = match CollectionRecord::parse(&read.bytes) {
                    _ if read.hash != hash => "it has another hash".to_owned(),
                    Ok(record) if (record.incident, record.evidence) != (incident, evidence) => {
                        "it is of something else".to_owned()
                    }
                    Ok(_) => continue,
                    Err(error) => error.to_string(),
                };
                it.find_at(
                    &name,
                    Finding::Wrong {
                        name: name.clone(),
                        what,
                    },
                );
            }
        });
    }

    /// Holds the handling logs against their signatures and against how far they were logged. Both only grow, and the
    /// transparency log was read before them.
    fn handling(&mut self, log: &HandlingLog) {
        let mut logs: BTreeSet<Option<IncidentId>> = self.heads.keys().copied().collect();
        let mut foreign = Vec::new();
        match log.logs(&mut |name| foreign.push(name.to_owned())) {
            Ok(there) => logs.extend(there),
            Err(error) => self.unreadable(HANDLING, &error),
        }
        let mut patience = Patience::default();
        foreign.sort_unstable();
        for name in foreign {
            let name = Printable(&name);
            let name = format!("{HANDLING}/{name}");
            self.find(Finding::Foreign { name });
        }
        for incident in logs {
            let name = name_of(incident);
            let heads = self.heads.remove(&incident).unwrap_or_default();
            let key = self.key;
            let checked = log.open_whole(incident, &mut patience).and_then(|file| {
                let from: Box<dyn io::Read> = match file {
                    Some(file) => Box::new(file),
                    None => Box::new(io::empty()),
                };
                check(&name, from, key, heads, &mut |finding| self.find(finding))
            });
            match checked {
                Ok(Checked { signed, unproved }) => {
                    self.summary.lines += signed;
                    self.summary.unlogged.lines += unproved;
                }
                Err(error) => self.unreadable(&name, &error),
            }
        }
    }

    /// Holds the journal against the chain values that were logged.
    fn journal(&mut self, dir: &Path) {
        let mut wanted = std::mem::take(&mut self.frames);
        wanted.sort_unstable_by_key(|(_, last, _)| *last);
        let mut wanted = wanted.into_iter().peekable();
        let mut wrong = Vec::new();
        let read = ReadOnlyJournal::open(dir)
            .map_err(|error| error.to_string())
            .and_then(|journal| {
                let mut visit = |frame: staunch_ports::StoredFrame| {
                    while let Some((number, last, chain)) = wanted.next_if(|(_, last, _)| *last <= frame.lsn.0) {
                        if last == frame.lsn.0 && chain.0 != frame.hash {
                            wrong.push(Finding::FramesChanged { number, last });
                        }
                    }
                    ControlFlow::Continue(())
                };
                journal.read(Lsn(1), &mut visit).map_err(|error| error.to_string())
            });
        wrong.into_iter().for_each(|finding| self.find(finding));
        match read {
            Ok(()) => {
                for (number, last, _) in wanted {
                    self.find(Finding::FramesRemoved { number, last });
                }
            }
            Err(error) => self.unreadable("the journal", &error),
        }
    }
}
