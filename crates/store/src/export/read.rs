//! Verifies an archive, or the folder that it was unpacked to.
//!
//! Never writes anything, follows no link, and believes nothing that the key has not signed. An archive is hostile until its
//! inventory is proved, and after that each file of it until its hash is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use staunch_model::custody::{COLLECTION_BYTES_MAX, MANIFEST_BYTES_MAX};
use staunch_model::{
    CollectionRecord, EvidenceId, IncidentId, LogEntry, Logged, Manifest, Printable, Sha256Hash, Taken,
};

use super::inventory::parse_sums;
use super::tar::{TarError, TarReader};
use super::{ArchiveFinding, FILES_MAX, INVENTORY, Inventory, PROOF, SUMS, SUMS_BYTES_MAX, WINDOW_LOG_MAX};
use crate::files::open_plain;
use crate::tlog::merkle::leaf_hash;
use crate::tlog::note::NOTE_BYTES_MAX;
use crate::tlog::proof::PROOF_BYTES_MAX;
use crate::tlog::state::State;
use crate::tlog::tile::{BUNDLE_BYTES_MAX, Shelf, TILE_WIDTH, Tile, decode_entries};
use crate::tlog::{CHECKPOINT, Checkpoint, LogProof, LogVerifier, NotProved};
use crate::vault::dir::{decoder, exactly, hash_of, sequence_of};
use crate::vault::hashing::Hashing;
use crate::vault::{DirVault, Finding};

/// Files of a folder that are in no list, and told.
const FOREIGN_MAX: usize = 1_000;

/// How deep folders are looked into: an archive has six levels.
const DEPTH_MAX: usize = 16;

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// Of which incident, when that is proved.
    pub incident: Option<IncidentId>,
    /// The checkpoint in it, when that is proved.
    pub checkpoint: Option<Checkpoint>,
    /// Whether an earlier checkpoint was given and the log continues it.
    pub continues_earlier: bool,
    /// Entries of the log.
    pub entries: u64,
    /// Manifests.
    pub manifests: u64,
    /// Records of collections.
    pub records: u64,
    /// Proofs that hold.
    pub proofs: u64,
    /// Artefacts.
    pub artefacts: u64,
    /// Their original bytes.
    pub bytes: u64,
    /// What was found.
    pub findings: u64,
}

/// Verifies the archive, or the unpacked folder, at `path` with `key`: calls `progress` now and then with the bytes that are done and
/// those there are, and `found` for each finding.
///
/// # Errors
/// When `path` cannot be opened. What is wrong with what is in it is a finding.
pub fn verify_archive(
    path: &Path,
    key: &LogVerifier,
    earlier: Option<&str>,
    progress: &mut dyn FnMut(u64, u64),
    found: &mut dyn FnMut(ArchiveFinding),
) -> io::Result<ArchiveSummary> {
    let mut checking = Checking::new(key, earlier, progress, found);
    if path.is_dir() {
        checking.folder(path)?;
    } else {
        checking.archive(open_plain(path)?);
    }
    Ok(checking.summary)
}

/// Verifies the archive that `from` has, like [`verify_archive`].
pub fn verify_archive_from(
    from: impl Read,
    key: &LogVerifier,
    earlier: Option<&str>,
    found: &mut dyn FnMut(ArchiveFinding),
) -> ArchiveSummary {
    let progress = &mut |_, _| ();
    let mut checking = Checking::new(key, earlier, progress, found);
    checking.archive(from);
    checking.summary
}

struct Checking<'a> {
    key: &'a LogVerifier,
    progress: &'a mut dyn FnMut(u64, u64),
    found: &'a mut dyn FnMut(ArchiveFinding),
    summary: ArchiveSummary,
    earlier: Option<Checkpoint>,
    /// The files that were signed, in their order.
    files: Vec<(String, Sha256Hash)>,
    places: BTreeMap<String, usize>,
    total: u64,
    done: u64,
    /// The checkpoint, as it was signed.
    note: Option<String>,
    tree: State,
    is_log_whole: bool,
    /// What the log has of the incident: the file, the entry and its number, by hash.
    logged: BTreeMap<Sha256Hash, (String, u64, Vec<u8>)>,
    /// The manifest or record that was looked at last, with its hash.
    last: Option<(String, Sha256Hash)>,
    /// The last manifest of each evidence.
    before: BTreeMap<EvidenceId, (u64, Sha256Hash)>,
    /// The artefacts of manifests: original size, the hash of what is stored, and the manifest.
    objects: BTreeMap<Sha256Hash, (u64, Sha256Hash, String)>,
    /// The manifests that records name, with the record.
    named: BTreeMap<Sha256Hash, String>,
    /// The manifests and records that are there.
    seen: BTreeSet<Sha256Hash>,
}

impl<'a> Checking<'a> {
    fn new(
        key: &'a LogVerifier,
        earlier: Option<&str>,
        progress: &'a mut dyn FnMut(u64, u64),
        found: &'a mut dyn FnMut(ArchiveFinding),
    ) -> Self {
        let mut checking = Self {
            key,
            progress,
            found,
            summary: ArchiveSummary::default(),
            earlier: None,
            files: Vec::new(),
            places: BTreeMap::new(),
            total: 0,
            done: 0,
            note: None,
            tree: State::default(),
            is_log_whole: true,
            logged: BTreeMap::new(),
            last: None,
            before: BTreeMap::new(),
            objects: BTreeMap::new(),
            named: BTreeMap::new(),
            seen: BTreeSet::new(),
        };
        if let Some(earlier) = earlier {
            match key.checkpoint(earlier) {
                Ok(earlier) => checking.earlier = Some(earlier),
                Err(why) => checking.find(Finding::EarlierNotProved { why }.into()),
            }
        }
        checking
    }

    fn find(&mut self, finding: ArchiveFinding) {
        self.summary.findings += 1;
        (self.found)(finding);
    }

    fn wrong(&mut self, name: &str, what: &dyn std::fmt::Display) {
        let (name, what) = (name.to_owned(), what.to_string());
        self.find(ArchiveFinding::Wrong { name, what });
    }

    /// Reads an archive, front to back.
    fn archive(&mut self, from: impl Read) {
        let mut after = "its beginning".to_owned();
        if let Err(error) = self.entries(from, &mut after) {
            self.find(match error {
                TarError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    ArchiveFinding::Truncated { after }
                }
                TarError::Io(error) => ArchiveFinding::Malformed {
                    after,
                    what: Printable(&error.to_string()).to_string(),
                },
                TarError::Form(what) => ArchiveFinding::Malformed {
                    after,
                    what: what.to_owned(),
                },
            });
        }
    }

    fn entries(&mut self, from: impl Read, after: &mut String) -> Result<(), TarError> {
        let mut decoder = zstd::stream::read::Decoder::new(from)?.single_frame();
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        let mut tar = TarReader::new(decoder);
        let small = |tar: &mut TarReader<_>, wanted: &str, max: u64| -> Result<Option<(String, Vec<u8>)>, TarError> {
            let Some((path, size)) = tar.next()? else {
                return Ok(None);
            };
            let Some(root) = path.strip_suffix(wanted).filter(|_| size <= max) else {
                return Ok(None);
            };
            let mut bytes = Vec::new();
            tar.read_to_end(&mut bytes)?;
            Ok(Some((root.to_owned(), bytes)))
        };
        let Some((root, note)) = small(&mut tar, INVENTORY, NOTE_BYTES_MAX)? else {
            self.find(ArchiveFinding::InventoryMissing);
            return Ok(());
        };
        let Some(inventory) = self.inventory(&note) else {
            return Ok(());
        };
        if root != format!("{}/", inventory.incident) {
            let root = Printable(&root).to_string();
            self.find(ArchiveFinding::Foreign { name: root });
        }
        *after = INVENTORY.to_owned();
        let sums = small(&mut tar, &format!("/{SUMS}"), SUMS_BYTES_MAX)?;
        if !self.sums(&inventory, sums.as_ref().map(|(_, bytes)| &**bytes)) {
            return Ok(());
        }
        *after = SUMS.to_owned();
        let mut next = 0;
        // So many headers and bytes are all that is read: each place is taken once, and others are told and end it.
        let mut foreign = 0;
        let mut left = self.total;
        while let Some((path, size)) = tar.next()? {
            let place = path.strip_prefix(&root).and_then(|name| self.places.get(name)).copied();
            let Some(place) = place.filter(|place| *place >= next) else {
                foreign += 1;
                let name = Printable(&path).to_string();
                self.find(ArchiveFinding::Foreign { name });
                if foreign > FOREIGN_MAX || size > left {
                    return Err(TarError::Form("it holds too much that is no part of it"));
                }
                continue;
            };
            if size > left {
                return Err(TarError::Form("it is larger than what was signed"));
            }
            left -= size;
            self.skipped(next..place);
            next = place + 1;
            let (name, hash) = self.files[place].clone();
            self.file(&name, hash, size, &mut tar)?;
            *after = name;
        }
        self.skipped(next..self.files.len());
        self.ended();
        let mut rest = tar.into_inner().finish();
        if rest.read(&mut [0])? != 0 {
            return Err(TarError::Form("there is something after its end"));
        }
        Ok(())
    }

    fn skipped(&mut self, places: std::ops::Range<usize>) {
        for place in places {
            let name = self.files[place].0.clone();
            self.is_log_whole &= !name.starts_with("log/");
            self.find(ArchiveFinding::Removed { name });
        }
    }

    /// Reads a folder, in the order of the list.
    fn folder(&mut self, root: &Path) -> io::Result<()> {
        let small = |name: &str, max: u64| {
            let mut bytes = Vec::new();
            open_plain(&root.join(name))?.take(max + 1).read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        let note = match small(INVENTORY, NOTE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.find(ArchiveFinding::InventoryMissing);
                return Ok(());
            }
            note => note?,
        };
        let Some(inventory) = self.inventory(&note) else {
            return Ok(());
        };
        let sums = small(SUMS, SUMS_BYTES_MAX).ok();
        if !self.sums(&inventory, sums.as_deref()) {
            return Ok(());
        }
        for place in 0..self.files.len() {
            let (name, hash) = self.files[place].clone();
            let opened = without_links(root, &name).and_then(|path| {
                let file = open_plain(&path)?;
                let size = file.metadata()?.len();
                Ok((file, size))
            });
            let read = match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.skipped(place..place + 1);
                    continue;
                }
                Err(error) => Err(error),
                Ok((mut file, size)) => self.file(&name, hash, size, &mut file),
            };
            if let Err(error) = read {
                self.is_log_whole &= !name.starts_with("log/");
                self.wrong(&name, &Printable(&error.to_string()));
            }
        }
        self.ended();
        let mut foreign = Vec::new();
        self.walk(root, "", 0, &mut foreign)?;
        for name in foreign {
            self.find(ArchiveFinding::Foreign { name });
        }
        Ok(())
    }

    /// Looks for what is in no list.
    fn walk(&self, root: &Path, below: &str, depth: usize, foreign: &mut Vec<String>) -> io::Result<()> {
        let mut entries = fs::read_dir(root.join(below))?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = if below.is_empty() {
                name
            } else {
                format!("{below}/{name}")
            };
            if entry.file_type()?.is_dir() && depth < DEPTH_MAX {
                self.walk(root, &name, depth + 1, foreign)?;
            } else if !self.places.contains_key(&name) && ![INVENTORY, SUMS].contains(&&*name) {
                if foreign.len() == FOREIGN_MAX {
                    return Ok(());
                }
                foreign.push(Printable(&name).to_string());
            }
        }
        Ok(())
    }

    fn inventory(&mut self, note: &[u8]) -> Option<Inventory> {
        let opened = std::str::from_utf8(note)
            .map_err(|_| NotProved::Malformed)
            .and_then(|note| self.key.open(note))
            .and_then(|text| Inventory::parse(text).ok_or(NotProved::Malformed));
        match opened {
            Ok(inventory) => {
                self.summary.incident = Some(inventory.incident);
                Some(inventory)
            }
            Err(why) => {
                self.find(ArchiveFinding::InventoryNotProved { why });
                None
            }
        }
    }

    /// Takes the list of files, when it is the one that was signed.
    fn sums(&mut self, inventory: &Inventory, bytes: Option<&[u8]>) -> bool {
        let files = bytes
            .filter(|bytes| Sha256Hash::of(bytes) == inventory.sums)
            .and_then(|bytes| parse_sums(std::str::from_utf8(bytes).ok()?))
            .filter(|files| files.len() as u64 == inventory.files && files.len() <= FILES_MAX);
        let Some(files) = files else {
            self.find(ArchiveFinding::SumsChanged);
            return false;
        };
        let places = files.iter().zip(0..).map(|((name, _), place)| (name.clone(), place));
        self.places = places.collect();
        self.files = files;
        self.total = inventory.bytes;
        true
    }

    /// Looks at one file that is in the list. Errors are those of reading.
    fn file(&mut self, name: &str, expected: Sha256Hash, size: u64, from: &mut dyn Read) -> io::Result<()> {
        let last = self.last.take();
        let max = match name.split_once('/') {
            Some(("log", CHECKPOINT)) => NOTE_BYTES_MAX,
            Some(("log", _)) => BUNDLE_BYTES_MAX,
            Some(("manifests" | "records", _)) if name.ends_with(PROOF) => PROOF_BYTES_MAX,
            Some(("manifests", _)) => MANIFEST_BYTES_MAX,
            Some(("records", _)) => COLLECTION_BYTES_MAX,
            Some(("objects", _)) => return self.object(name, expected, from),
            _ => 0,
        };
        let mut hashing = Hashing::new(from);
        let mut bytes = Vec::new();
        (&mut hashing).take(max).read_to_end(&mut bytes)?;
        io::copy(&mut hashing, &mut io::sink())?;
        self.tell(size);
        let (hash, length) = hashing.finish();
        if hash != expected {
            self.is_log_whole &= !name.starts_with("log/");
            let name = name.to_owned();
            self.find(ArchiveFinding::Changed { name });
            return Ok(());
        }
        match name.split_once('/') {
            Some(("log" | "manifests" | "records", _)) if length > max => self.wrong(name, &"it is longer than any"),
            Some(("log", CHECKPOINT)) => self.checkpoint(&bytes),
            Some(("log", tile)) => self.bundle(name, tile, &bytes),
            Some(("manifests" | "records", _)) if name.ends_with(PROOF) => self.proof(name, &bytes, last),
            Some(("manifests", _)) => self.manifest(name, &bytes, hash),
            Some(("records", _)) => self.record(name, &bytes, hash),
            // What Staunch tells beside the evidence: it is in the signed list.
            _ => {}
        }
        Ok(())
    }

    fn tell(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(self.done, self.total);
    }

    fn checkpoint(&mut self, bytes: &[u8]) {
        let note = String::from_utf8_lossy(bytes).into_owned();
        match self.key.checkpoint(&note) {
            Ok(checkpoint) => {
                if let Some(earlier) = self.earlier.take_if(|it| it.size > checkpoint.size) {
                    let (earlier, found) = (earlier.size, checkpoint.size);
                    self.find(Finding::RolledBack { earlier, found }.into());
                }
                self.note = Some(note);
                self.summary.checkpoint = Some(checkpoint);
                self.compare();
            }
            Err(why) => self.find(Finding::CheckpointNotProved { why }.into()),
        }
    }

    /// Holds the tree, at the size that it had then, against the earlier checkpoint.
    fn compare(&mut self) {
        let size = self.tree.size();
        let Some(earlier) = self.earlier.take_if(|it| it.size == size) else {
            return;
        };
        if self.tree.root() == earlier.root {
            self.summary.continues_earlier = true;
        } else {
            let earlier = earlier.size;
            self.find(Finding::HistoryRewritten { earlier }.into());
        }
    }

    fn bundle(&mut self, name: &str, tile: &str, bytes: &[u8]) {
        let size = self.summary.checkpoint.as_ref().map_or(0, |it| it.size);
        let (full, width) = Tile::count(Shelf::Entries, size);
        let index = self.tree.size() / TILE_WIDTH;
        let width = if index < full { TILE_WIDTH } else { width };
        let shelf = Shelf::Entries;
        let expected = Tile { shelf, index, width };
        if !self.is_log_whole || Tile::parse(tile) != Some(expected) {
            if self.is_log_whole {
                self.wrong(name, &"it does not follow on the entries before it");
            }
            self.is_log_whole = false;
            return;
        }
        let entries = match decode_entries(bytes, width) {
            Ok(entries) => entries,
            Err(error) => {
                self.is_log_whole = false;
                return self.wrong(name, &error);
            }
        };
        let mut full = Vec::new();
        for entry in entries {
            let number = self.tree.size();
            self.tree.push_hash(leaf_hash(entry), &mut full);
            full.clear();
            self.compare();
            self.summary.entries += 1;
            self.entry(number, entry);
        }
    }

    fn entry(&mut self, number: u64, entry: &[u8]) {
        let wanted = self.summary.incident;
        let (incident, file, hash) = match LogEntry::parse(entry).map(|it| it.logged) {
            Ok(Logged::Manifest {
                incident,
                evidence,
                sequence,
                manifest,
            }) => (incident, format!("manifests/{evidence}/{sequence:08}.json"), manifest),
            Ok(Logged::Collection {
                incident,
                evidence,
                record,
            }) => (incident, format!("records/{evidence}/{record}.json"), record),
            Ok(Logged::Frames { .. }) => return,
            Err(error) => {
                let what = error.to_string();
                return self.find(Finding::EntryUnreadable { number, what }.into());
            }
        };
        if Some(incident) == wanted {
            let entry = entry.to_vec();
            self.logged.entry(hash).or_insert((file, number, entry));
        }
    }

    /// Holds a manifest or record against the log.
    fn logged(&mut self, name: &str, hash: Sha256Hash) {
        self.seen.insert(hash);
        self.last = Some((name.to_owned(), hash));
        // One that is in the list and not there is told as such.
        if !self.places.contains_key(&format!("{name}{PROOF}")) {
            let name = name.to_owned();
            self.find(ArchiveFinding::NoProof { name });
        }
        // While entries are missing, nobody knows.
        let is_there = self.logged.get(&hash).is_some_and(|(file, _, _)| file == name);
        if self.is_log_whole && !is_there {
            let name = name.to_owned();
            self.find(Finding::Unlogged { name }.into());
        }
    }

    fn manifest(&mut self, name: &str, bytes: &[u8], hash: Sha256Hash) {
        self.summary.manifests += 1;
        self.logged(name, hash);
        let manifest = match Manifest::parse(bytes) {
            Ok(manifest) => manifest,
            Err(error) => return self.wrong(name, &error),
        };
        let custody = &manifest.custody;
        let expected = format!("manifests/{}/{:08}.json", custody.evidence, manifest.sequence);
        if Some(custody.incident) != self.summary.incident || expected != name || sequence_of(leaf(name)).is_none() {
            return self.wrong(name, &"it is of something else");
        }
        let before = self.before.insert(custody.evidence, (manifest.sequence, hash));
        let (last, previous) = before.map_or((0, None), |(last, hash)| (last, Some(hash)));
        if manifest.sequence != last + 1 || manifest.previous != previous {
            let name = name.to_owned();
            self.find(Finding::ChainBroken { name }.into());
        }
        if let Taken::Stored { size, sha256, storage } = &manifest.taken {
            self.objects.insert(*sha256, (*size, storage.sha256, name.to_owned()));
        }
    }

    fn record(&mut self, name: &str, bytes: &[u8], hash: Sha256Hash) {
        self.summary.records += 1;
        self.logged(name, hash);
        let record = match CollectionRecord::parse(bytes) {
            Ok(record) => record,
            Err(error) => return self.wrong(name, &error),
        };
        let expected = format!("records/{}/{hash}.json", record.evidence);
        if Some(record.incident) != self.summary.incident || expected != name || hash_of(leaf(name)).is_none() {
            return self.wrong(name, &"it is of something else");
        }
        let missed = record.missed.iter().filter_map(|it| it.manifest);
        for manifest in record.artefacts.iter().map(|it| it.manifest).chain(missed) {
            self.named.insert(manifest, name.to_owned());
        }
    }

    /// Holds a proof against the file before it.
    fn proof(&mut self, name: &str, bytes: &[u8], last: Option<(String, Sha256Hash)>) {
        match self.proves(name, bytes, last) {
            Ok(()) => self.summary.proofs += 1,
            Err(why) => {
                let (name, why) = (name.to_owned(), why.to_string());
                self.find(ArchiveFinding::ProofWrong { name, why });
            }
        }
    }

    fn proves(&self, name: &str, bytes: &[u8], last: Option<(String, Sha256Hash)>) -> Result<(), NoProof> {
        let of = name.strip_suffix(PROOF);
        let (file, hash) = last.filter(|(file, _)| of == Some(file)).ok_or(NoProof::Of)?;
        let text = std::str::from_utf8(bytes).ok();
        let proof = text.and_then(LogProof::parse).ok_or(NoProof::Form)?;
        let checkpoint = self.summary.checkpoint.as_ref().ok_or(NoProof::Checkpoint)?;
        // It is the one that was proved.
        if self.note.as_ref() != Some(&proof.note) {
            return Err(NoProof::Checkpoint);
        }
        if expected_entry(self.summary.incident, &file, hash).as_ref() != Some(&proof.entry) {
            return Err(NoProof::Entry);
        }
        Ok(proof.check_against(checkpoint)?)
    }

    /// Reads an artefact to its end, as it is stored and as it was read.
    fn object(&mut self, name: &str, expected: Sha256Hash, from: &mut dyn Read) -> io::Result<()> {
        self.summary.artefacts += 1;
        let known = name
            .strip_suffix(".zst")
            .and_then(|it| exactly::<Sha256Hash>(leaf(it)))
            .filter(|hash| DirVault::object_name(*hash) == name)
            .and_then(|hash| Some((hash, self.objects.remove(&hash)?)));
        let mut stored = Hashing::new(Told {
            inner: from,
            failed: None,
            checking: self,
        });
        let what = match &known {
            None => Some("no manifest stands for it".to_owned()),
            Some((hash, (size, _, _))) => unpacked(&mut stored, *hash, *size),
        };
        let rest = io::copy(&mut stored, &mut io::sink());
        let (told, hash) = stored.into_parts();
        if let Some(error) = told.failed {
            return Err(error);
        }
        rest?;
        if hash != expected {
            let name = name.to_owned();
            self.find(ArchiveFinding::Changed { name });
        } else if let Some(what) = what {
            self.wrong(name, &what);
        } else if let Some((_, (size, sha256, manifest))) = known {
            self.summary.bytes += size;
            if sha256 != hash {
                self.wrong(name, &format!("{manifest} has another hash for it"));
            }
        }
        Ok(())
    }

    /// What is missing when all was looked at.
    fn ended(&mut self) {
        let size = self.tree.size();
        match &self.summary.checkpoint {
            None => self.is_log_whole = false,
            Some(checkpoint) if self.is_log_whole => {
                if checkpoint.size != size || self.tree.root() != checkpoint.root {
                    let size = checkpoint.size;
                    self.find(Finding::HistoryChanged { size }.into());
                }
            }
            Some(_) => {}
        }
        let mut removed = Vec::new();
        for (hash, (name, number, _)) in &self.logged {
            // What is in the list and is not there was told.
            if !self.seen.contains(hash) && !self.places.contains_key(name) {
                let (name, number) = (name.clone(), *number);
                removed.push(Finding::Removed { name, number });
            }
        }
        for (hash, (_, _, manifest)) in &self.objects {
            let name = DirVault::object_name(*hash);
            if !self.places.contains_key(&name) {
                let manifest = manifest.clone();
                removed.push(Finding::ArtefactRemoved { name, manifest });
            }
        }
        removed.into_iter().for_each(|it| self.find(it.into()));
        let named = std::mem::take(&mut self.named);
        for (manifest, record) in named {
            let is_told = self.summary.findings > 0;
            if !self.seen.contains(&manifest) && !is_told {
                self.wrong(&record, &format!("the manifest {manifest} that it names is not there"));
            }
        }
    }
}

/// Why a proof does not prove the file that it stands beside.
#[derive(Debug, thiserror::Error)]
enum NoProof {
    #[error("that is not there, or was changed")]
    Of,
    #[error("it has another form")]
    Form,
    #[error("it is for another checkpoint")]
    Checkpoint,
    #[error("its entry is of something else")]
    Entry,
    #[error(transparent)]
    Log(#[from] NotProved),
}

/// The entry that the log has to have for a manifest or record with `hash`; `None` for any other file.
fn expected_entry(incident: Option<IncidentId>, file: &str, hash: Sha256Hash) -> Option<Vec<u8>> {
    let incident = incident?;
    let (evidence, leaf_of_file) = file.rsplit_once('/')?;
    let evidence = exactly::<EvidenceId>(leaf(evidence))?;
    let logged = if file.starts_with("manifests/") {
        Logged::Manifest {
            incident,
            evidence,
            sequence: sequence_of(leaf_of_file)?,
            manifest: hash,
        }
    } else {
        Logged::Collection {
            incident,
            evidence,
            record: hash,
        }
    };
    Some(LogEntry::new(logged).to_bytes())
}

/// Tells how far an artefact is read, and keeps apart what cannot be read from what cannot be unpacked.
struct Told<'a, 'b, 'c> {
    inner: &'a mut dyn Read,
    failed: Option<io::Error>,
    checking: &'b mut Checking<'c>,
}

impl Read for Told<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(read) => {
                self.checking.tell(read as u64);
                Ok(read)
            }
            Err(error) => {
                let kind = error.kind();
                if kind != io::ErrorKind::Interrupted {
                    self.failed = Some(error);
                }
                Err(kind.into())
            }
        }
    }
}

/// Why what `stored` unpacks to is not `size` bytes with `hash`.
fn unpacked(stored: &mut impl Read, hash: Sha256Hash, size: u64) -> Option<String> {
    let read = decoder(stored).and_then(|decoder| {
        // What unpacks to more is no further unpacked.
        let mut original = Hashing::new(decoder.take(size.saturating_add(1)));
        io::copy(&mut original, &mut io::sink())?;
        Ok(original.finish())
    });
    match read {
        Err(error) => Some(format!("it cannot be unpacked: {}", Printable(&error.to_string()))),
        Ok((_, found)) if found > size => Some(format!("it unpacks to more than the {size} bytes of its manifest")),
        Ok((found, _)) if found != hash => Some("its bytes are not those that were sealed".to_owned()),
        Ok(_) => None,
    }
}

/// The path of `name` in `root`, when no directory on the way is a link.
fn without_links(root: &Path, name: &str) -> io::Result<PathBuf> {
    let mut path = root.to_owned();
    for word in name.split('/') {
        if fs::symlink_metadata(&path)?.is_symlink() && path != root {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a link leads to it"));
        }
        path.push(word);
    }
    Ok(path)
}

/// The part of a name after the last slash.
fn leaf(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, leaf)| leaf)
}
