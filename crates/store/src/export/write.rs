//! Writes an archive.
//!
//! Never changes what it reads, and never writes what it has not held against its hash.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use staunch_model::{Failure, FailureKind, IncidentId, LogEntry, Logged, Printable, Receipt, Sha256Hash, Taken};
use staunch_ports::Vault as _;

use super::counted::{Counted, Followed};
use super::inventory::{is_name, sums_of};
use super::tar::{write_end, write_file};
use super::{FILES_MAX, INVENTORY, Inventory, PROOF, SUMS, SUMS_BYTES_MAX};
use crate::files::Files;
use crate::s3::Bucket;
use crate::tlog::note::NOTE_BYTES_MAX;
use crate::tlog::tile::{Shelf, TILE_WIDTH, Tile, decode_entries};
use crate::tlog::{CHECKPOINT, Checkpoint, LogError, LogKey, LogProof, LogReader, read_tile};
use crate::vault::DirVault;
use crate::vault::Finding;
use crate::vault::dir::name::ObjectName;
use crate::vault::dir::receipts::{fetch, newest, receipts};
use crate::vault::handling::{HandlingLog, Head, check, name_of};
use crate::vault::hashing::Hashing;
use crate::vault::logged::entry_of_manifest;

/// How hard zstd tries: its own default. Most of what is packed is packed already.
const LEVEL: i32 = 3;

/// The most that is told of handling logs.
const TOLD_MAX: usize = 20;

/// What says how an archive is verified.
const VERIFY: &str = include_str!("VERIFY.md");

/// What is exported, and by whom.
#[derive(Debug)]
pub struct ExportParts<'a> {
    /// The directory of the vault.
    pub vault: &'a Path,
    /// The directory of its transparency log.
    pub log: &'a Path,
    /// The key of the log, which signs the inventory.
    pub key: &'a LogKey,
    /// The incident.
    pub incident: IncidentId,
    /// The handling logs beside both.
    pub handling: &'a HandlingLog,
    /// Further files, with their names, such as the timeline.
    pub further: Vec<(String, Vec<u8>)>,
    /// The bucket that artefacts are in, when they are in one.
    pub bucket: Option<Arc<Bucket>>,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportSummary {
    /// The checkpoint of the log that is in it.
    pub checkpoint: Checkpoint,
    /// Manifests.
    pub manifests: u64,
    /// Records of collections.
    pub records: u64,
    /// Artefacts, each of which is there once.
    pub artefacts: u64,
    /// Their original bytes.
    pub artefact_bytes: u64,
    /// Parts and collections that could not be taken.
    pub missed: u64,
    /// Collections that ended after containment had stopped waiting for them.
    pub late: u64,
    /// What is wrong with the handling logs in it, the first of it: whoever verifies the archive finds that.
    pub of_handling: Vec<Finding>,
    /// The files of the archive.
    pub files: u64,
    /// The bytes of the archive.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Sha256Hash,
}

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Nothing was preserved.
    #[error("there is no evidence of {incident} in this vault")]
    Nothing {
        /// The incident.
        incident: IncidentId,
    },
    /// Something is not in the log, so that nothing would prove it.
    #[error("{count} manifests and records of {incident} are not in the log, of which {name} is one")]
    Unlogged {
        /// The incident.
        incident: IncidentId,
        /// How many.
        count: usize,
        /// One of them.
        name: String,
    },
    /// What is stored is not what was sealed.
    #[error("{name} is not what was sealed: {what}")]
    Changed {
        /// The file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// There is more than an archive holds.
    #[error("an archive holds {FILES_MAX} files, and this would be {files}")]
    TooMany {
        /// How many.
        files: usize,
    },
    /// A handling log cannot be read.
    #[error("cannot read {}", file.display())]
    Handling {
        /// The log.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The vault cannot be read.
    #[error("the vault cannot be read whole: {0}")]
    Vault(Failure),
    /// The log cannot be read, or is not of this key.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

/// One file of the archive.
struct Item {
    name: String,
    size: u64,
    sha256: Sha256Hash,
    from: Source,
}

/// Where its bytes come from when it is written.
enum Source {
    Bytes(Vec<u8>),
    Vault(String),
    Bucket(Box<Receipt>),
    Bundle(Tile),
    Proof { index: u64, entry: Vec<u8> },
}

struct Export<'a> {
    parts: &'a ExportParts<'a>,
    vault: Files,
    log: Files,
    reader: LogReader,
    note: String,
    /// Where the manifests and records of the incident are in the log, by their hash.
    logged: BTreeMap<Sha256Hash, (u64, Vec<u8>)>,
    /// What the log has of handling logs.
    heads: BTreeMap<Option<IncidentId>, Vec<Head>>,
    unlogged: Vec<String>,
    items: Vec<Item>,
    summary: ExportSummary,
}

/// Writes the archive of an incident into `to`: calls `progress` now and then with the bytes that are done, and those
/// there are.
///
/// # Errors
/// See [`ExportError`]. What was written before is no archive then.
pub fn export_incident<W: Write>(
    parts: &ExportParts<'_>,
    progress: &mut dyn FnMut(u64, u64),
    to: W,
) -> Result<ExportSummary, ExportError> {
    let log = Files::new(parts.log, None);
    let path = log.path(CHECKPOINT);
    let note = log
        .read(CHECKPOINT, NOTE_BYTES_MAX)
        .map_err(|error| LogError::io("read", &path, error))?;
    let note = String::from_utf8(note).map_err(|error| LogError::damaged(CHECKPOINT, error))?;
    let checkpoint = parts.key.verifier().checkpoint(&note);
    let checkpoint = checkpoint.map_err(|error| LogError::damaged(CHECKPOINT, error))?;
    let mut export = Export {
        parts,
        vault: Files::new(parts.vault, None),
        reader: LogReader::new(parts.log, checkpoint.size),
        log,
        note,
        logged: BTreeMap::new(),
        heads: BTreeMap::new(),
        unlogged: Vec::new(),
        items: Vec::new(),
        summary: ExportSummary {
            checkpoint,
            manifests: 0,
            records: 0,
            artefacts: 0,
            artefact_bytes: 0,
            missed: 0,
            late: 0,
            of_handling: Vec::new(),
            files: 0,
            bytes: 0,
            sha256: Sha256Hash::of(b""),
        },
    };
    export.log()?;
    export.evidence()?;
    export.handling()?;
    export.further();
    export.write(progress, to)
}

impl Export<'_> {
    fn add(&mut self, name: String, bytes: Vec<u8>) {
        debug_assert!(is_name(&name), "{name}");
        let (size, sha256) = (bytes.len() as u64, Sha256Hash::of(&bytes));
        let from = Source::Bytes(bytes);
        self.items.push(Item {
            name,
            size,
            sha256,
            from,
        });
    }

    /// The log, and what of it is of the incident.
    fn log(&mut self) -> Result<(), ExportError> {
        self.add(format!("log/{CHECKPOINT}"), self.note.clone().into_bytes());
        let (full, width) = Tile::count(Shelf::Entries, self.summary.checkpoint.size);
        for index in 0..full + u64::from(width > 0) {
            let width = if index < full { TILE_WIDTH } else { width };
            let shelf = Shelf::Entries;
            let tile = Tile { shelf, index, width };
            let bundle = self.bundle(tile)?;
            let entries = decode_entries(&bundle, width).map_err(|error| LogError::damaged(tile, error))?;
            for (number, entry) in (index * TILE_WIDTH..).zip(entries) {
                let hash = match LogEntry::parse(entry).map(|it| it.logged) {
                    Ok(Logged::Manifest { incident, manifest, .. }) if incident == self.parts.incident => manifest,
                    Ok(Logged::Collection { incident, record, .. }) if incident == self.parts.incident => record,
                    Ok(Logged::Handling {
                        incident,
                        bytes,
                        sha256,
                    }) => {
                        let head = Head { bytes, sha256, number };
                        self.heads.entry(incident).or_default().push(head);
                        continue;
                    }
                    _ => continue,
                };
                // What is in the log twice is proved by its first entry.
                self.logged.entry(hash).or_insert_with(|| (number, entry.to_vec()));
            }
            self.items.push(Item {
                name: format!("log/{tile}"),
                size: bundle.len() as u64,
                sha256: Sha256Hash::of(&bundle),
                from: Source::Bundle(tile),
            });
        }
        Ok(())
    }

    fn bundle(&self, tile: Tile) -> Result<Vec<u8>, LogError> {
        let path = self.log.path(&tile.to_string());
        read_tile(&self.log, tile).map_err(|error| LogError::io("read", &path, error))
    }

    fn evidence(&mut self) -> Result<(), ExportError> {
        let incident = self.parts.incident;
        let vault = DirVault::read_only(self.parts.vault);
        let mut objects = BTreeMap::new();
        let mut found = Vec::new();
        let mut missed = BTreeSet::new();
        let read = vault.manifests(incident, &mut |sealed| {
            let custody = &sealed.manifest.custody;
            match &sealed.manifest.taken {
                Taken::Stored { size, sha256, storage } => {
                    objects.insert(ObjectName::of(*sha256, storage), (*size, storage.size, storage.sha256));
                }
                Taken::Missed(_) => drop(missed.insert(sealed.hash)),
            }
            let name = format!("manifests/{}/{:08}.json", custody.evidence, sealed.manifest.sequence);
            let below = format!(
                "manifests/{incident}/{}/{:08}.json",
                custody.evidence, sealed.manifest.sequence
            );
            let size = sealed.manifest.to_bytes().len() as u64;
            found.push((name, below, size, sealed.hash, entry_of_manifest(&sealed)));
            ControlFlow::Continue(())
        });
        read.map_err(ExportError::Vault)?;
        self.summary.manifests = found.len() as u64;
        let (mut late, mut without_manifest) = (0, 0);
        let read = vault.records(incident, &mut |sealed| {
            let (it, hash) = (&sealed.record, sealed.hash);
            // Of what was missed nothing came late.
            late += u64::from(it.failure.is_none() && it.is_late() == Some(true));
            // What a record says of a part that has a manifest is the same miss.
            if it.failure.is_some() && it.missed.is_empty() {
                missed.insert(hash);
            }
            missed.extend(it.missed.iter().filter_map(|part| part.manifest));
            without_manifest += it.missed.iter().filter(|part| part.manifest.is_none()).count();
            let name = format!("records/{}/{hash}.json", it.evidence);
            let below = format!("records/{incident}/{}/{hash}.json", it.evidence);
            let entry = LogEntry::new(Logged::Collection {
                incident,
                evidence: it.evidence,
                record: hash,
            });
            found.push((name, below, it.to_bytes().len() as u64, hash, entry));
            ControlFlow::Continue(())
        });
        read.map_err(ExportError::Vault)?;
        if found.is_empty() {
            return Err(ExportError::Nothing { incident });
        }
        self.summary.records = found.len() as u64 - self.summary.manifests;
        self.summary.missed = (missed.len() + without_manifest) as u64;
        self.summary.late = late;
        let files = self.items.len() + 2 * found.len() + 2 * objects.len() + self.parts.further.len() + 2;
        if files > FILES_MAX {
            return Err(ExportError::TooMany { files });
        }
        for (name, below, size, sha256, expected) in found {
            let Some((index, entry)) = self.logged.remove(&sha256) else {
                self.unlogged.push(name);
                continue;
            };
            if entry != expected.to_bytes() {
                let what = format!("entry {} of the log says something else of it", index + 1);
                return Err(ExportError::Changed { name, what });
            }
            let proof = self.proof(index, entry.clone())?;
            self.items.push(Item {
                name: name.clone(),
                size,
                sha256,
                from: Source::Vault(below),
            });
            self.items.push(Item {
                name: format!("{name}{PROOF}"),
                size: proof.len() as u64,
                sha256: Sha256Hash::of(proof.as_bytes()),
                from: Source::Proof { index, entry },
            });
        }
        if let Some(name) = self.unlogged.first().cloned() {
            let count = self.unlogged.len();
            return Err(ExportError::Unlogged { incident, count, name });
        }
        // What the log has of the incident and the vault has not.
        if let Some((hash, (number, _))) = self.logged.first_key_value() {
            let what = format!(
                "it is not in the vault, and entry {} of the log stands for it",
                number + 1
            );
            let name = hash.to_string();
            return Err(ExportError::Changed { name, what });
        }
        for (of, (original, size, sha256)) in objects {
            self.summary.artefacts += 1;
            self.summary.artefact_bytes += original;
            let name = of.to_string();
            let from = self.object(of)?;
            self.items.push(Item {
                name,
                size,
                sha256,
                from,
            });
        }
        Ok(())
    }

    /// Where the stored bytes of an artefact are: in the vault, or in the bucket that its receipt names, which is
    /// added.
    fn object(&mut self, of: ObjectName) -> Result<Source, ExportError> {
        let name = of.to_string();
        if self.vault.path(&name).symlink_metadata().is_ok() {
            return Ok(Source::Vault(name));
        }
        let mut found = receipts(&self.vault, of).map_err(|error| changed(&of.receipt(1), &error))?;
        let bucket = self.parts.bucket.as_deref();
        let counts = newest(&found, bucket)
            .or_else(|| newest(&found, None))
            .map(|it| it.number);
        found.retain(|it| counts.is_none_or(|number| it.number == number));
        let Some(it) = found.pop() else {
            return Ok(Source::Vault(name));
        };
        let parsed = it
            .receipt
            .map_err(|what| ExportError::Changed { name: it.name, what })?;
        self.add(format!("receipts/{}.json", parsed.storage.sha256), it.bytes);
        Ok(Source::Bucket(Box::new(parsed)))
    }

    fn proof(&self, index: u64, entry: Vec<u8>) -> Result<String, ExportError> {
        let hashes = self
            .reader
            .prove_inclusion(index)?
            .ok_or_else(|| LogError::damaged(CHECKPOINT, "an entry is beyond it"))?;
        let proof = LogProof {
            entry,
            index,
            hashes,
            note: self.note.clone(),
        };
        if let Err(error) = proof.check_against(&self.summary.checkpoint) {
            return Err(LogError::damaged(format!("entry {}", index + 1), error).into());
        }
        Ok(proof.to_string())
    }

    /// The handling logs as they are, with what is wrong with them; they are read after the checkpoint: they have what
    /// it says of them.
    fn handling(&mut self) -> Result<(), ExportError> {
        for incident in [Some(self.parts.incident), None] {
            let log = self.parts.handling;
            let read = log.bytes(incident).map_err(|source| ExportError::Handling {
                file: log.file(incident),
                source,
            })?;
            let name = name_of(incident);
            let heads = self.heads.remove(&incident).unwrap_or_default();
            let key = self.parts.key.verifier();
            let mut find = |finding: Finding| {
                if self.summary.of_handling.len() < TOLD_MAX {
                    self.summary.of_handling.push(finding);
                }
            };
            let from = read.as_deref().unwrap_or_default();
            check(&name, from, &key, heads, &mut find).expect("it is in memory");
            if let Some(bytes) = read {
                self.add(name, bytes);
            }
        }
        Ok(())
    }

    fn further(&mut self) {
        for (name, bytes) in &self.parts.further {
            self.add(name.clone(), bytes.clone());
        }
        self.add(
            "key.pub".into(),
            format!("{}\n", self.parts.key.verifier()).into_bytes(),
        );
        let verify = VERIFY.replace("INC-3", &self.parts.incident.to_string());
        self.add("VERIFY.md".into(), verify.into_bytes());
    }

    fn write<W: Write>(mut self, progress: &mut dyn FnMut(u64, u64), to: W) -> Result<ExportSummary, ExportError> {
        let incident = self.parts.incident;
        let sums = sums_of(self.items.iter().map(|it| (&*it.name, it.sha256)));
        if sums.len() as u64 > SUMS_BYTES_MAX {
            let files = self.items.len();
            return Err(ExportError::TooMany { files });
        }
        self.summary.files = self.items.len() as u64 + 2;
        let total = self.items.iter().map(|it| it.size).sum();
        let inventory = Inventory {
            incident,
            sums: Sha256Hash::of(sums.as_bytes()),
            files: self.items.len() as u64,
            bytes: total,
        };
        let inventory = self.parts.key.sign(&inventory.to_text());
        let counted = Counted {
            inner: to,
            hash: Sha256::new(),
            bytes: 0,
        };
        let begin = || {
            let mut encoder = zstd::stream::write::Encoder::new(counted, LEVEL)?;
            encoder.include_checksum(true)?;
            for (name, bytes) in [(INVENTORY, &inventory), (SUMS, &sums)] {
                let mut from = bytes.as_bytes();
                write_file(
                    &mut encoder,
                    &format!("{incident}/{name}"),
                    bytes.len() as u64,
                    &mut from,
                )?;
            }
            Ok(encoder)
        };
        let mut encoder = begin().map_err(ExportError::Write)?;
        let mut done = 0;
        for item in std::mem::take(&mut self.items) {
            let name = format!("{incident}/{}", item.name);
            let mut from = Hashing::new(Followed {
                inner: self.open(&item)?,
                done,
                total,
                progress: &mut *progress,
                failed: None,
            });
            let written = write_file(&mut encoder, &name, item.size, &mut from);
            let (followed, hash) = from.into_parts();
            match (written, followed.failed) {
                (_, Some(what)) => return Err(ExportError::Changed { name: item.name, what }),
                (Err(error), None) if error.kind() == io::ErrorKind::InvalidData => {
                    let what = error.to_string();
                    return Err(ExportError::Changed { name: item.name, what });
                }
                (Err(error), None) => return Err(ExportError::Write(error)),
                (Ok(()), None) if hash != item.sha256 => {
                    let what = "it has another hash".to_owned();
                    return Err(ExportError::Changed { name: item.name, what });
                }
                (Ok(()), None) => done += item.size,
            }
        }
        let end = || {
            write_end(&mut encoder)?;
            let mut counted = encoder.finish()?;
            counted.flush()?;
            Ok((counted.bytes, counted.hash))
        };
        let (bytes, hash) = end().map_err(ExportError::Write)?;
        self.summary.bytes = bytes;
        self.summary.sha256 = Sha256Hash(hash.finalize().into());
        Ok(self.summary)
    }

    fn open(&self, item: &Item) -> Result<Box<dyn Read>, ExportError> {
        let bytes = match &item.from {
            Source::Bytes(bytes) => bytes.clone(),
            Source::Bundle(tile) => self.bundle(*tile)?,
            Source::Proof { index, entry } => self.proof(*index, entry.clone())?.into_bytes(),
            Source::Bucket(receipt) => {
                let Some(bucket) = &self.parts.bucket else {
                    let what = format!(
                        "an artefact is at {}, and no configuration names that bucket",
                        Printable(&receipt.storage.path)
                    );
                    return Err(ExportError::Vault(Failure::new(FailureKind::Unavailable, &what)));
                };
                let body = fetch(bucket, receipt).map_err(ExportError::Vault)?;
                return Ok(body);
            }
            Source::Vault(name) => {
                let file = self.vault.open(name).map_err(|error| changed(name, &error))?;
                return Ok(Box::new(file));
            }
        };
        Ok(Box::new(io::Cursor::new(bytes)))
    }
}

fn changed(name: &str, error: &io::Error) -> ExportError {
    ExportError::Changed {
        name: name.to_owned(),
        what: Printable(&error.to_string()).to_string(),
    }
}
