//! What each file of an archive is held against.
//!
//! Never decides which files there are: that is the list that was signed.

use std::io::{self, Read};

use staunch_model::custody::{COLLECTION_BYTES_MAX, MANIFEST_BYTES_MAX};
use staunch_model::{
    CollectionRecord, EvidenceId, IncidentId, LogEntry, Logged, Manifest, Printable, Sha256Hash, Taken,
};

use super::Checking;
use crate::export::{ArchiveFinding, PROOF};
use crate::tlog::merkle::leaf_hash;
use crate::tlog::note::NOTE_BYTES_MAX;
use crate::tlog::proof::PROOF_BYTES_MAX;
use crate::tlog::tile::{BUNDLE_BYTES_MAX, Shelf, TILE_WIDTH, Tile, decode_entries};
use crate::tlog::{CHECKPOINT, LogProof, NotProved};
use crate::vault::Finding;
use crate::vault::dir::name::ObjectName;
use crate::vault::dir::{decoder, exactly, hash_of, sequence_of};
use crate::vault::handling::{HANDLING, Head, check, name_of};
use crate::vault::hashing::Hashing;

/// The most findings of one handling log.
const LINES_MAX: usize = 100;

impl Checking<'_> {
    /// Looks at one file that is in the list. Errors are those of reading.
    pub(super) fn file(&mut self, name: &str, expected: Sha256Hash, size: u64, from: &mut dyn Read) -> io::Result<()> {
        let last = self.last.take();
        let max = match name.split_once('/') {
            Some(("log", CHECKPOINT)) => NOTE_BYTES_MAX,
            Some(("log", _)) => BUNDLE_BYTES_MAX,
            Some(("manifests" | "records", _)) if name.ends_with(PROOF) => PROOF_BYTES_MAX,
            Some(("manifests", _)) => MANIFEST_BYTES_MAX,
            Some(("records", _)) => COLLECTION_BYTES_MAX,
            Some(("objects", _)) => return self.object(name, expected, from),
            Some((HANDLING, _)) => return self.handling(name, expected, size, from),
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
            Ok(Logged::Handling {
                incident,
                bytes,
                sha256,
            }) => {
                // An archive has the log of its incident, and that of everything.
                if incident.is_none_or(|it| Some(it) == wanted) {
                    let head = Head { bytes, sha256, number };
                    self.heads.entry(name_of(incident)).or_default().push(head);
                }
                return;
            }
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
        match self.key.has_signed(&manifest) {
            Ok(is_signed) => self.summary.unsigned += u64::from(!is_signed),
            Err(why) => self.wrong(name, &why),
        }
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
            let object = ObjectName::of(*sha256, storage);
            self.objects.insert(object, (*size, storage.sha256, name.to_owned()));
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
        let known = ObjectName::parse(name).and_then(|of| Some((of, self.objects.remove(&of)?)));
        let mut stored = Hashing::new(Told {
            inner: from,
            failed: None,
            checking: self,
        });
        let what = match &known {
            None => Some("no manifest stands for it".to_owned()),
            // What it is, is for those to prove who can read it.
            Some((of, _)) if of.encrypted.is_some() => None,
            Some((of, (size, _, _))) => unpacked(&mut stored, of.artefact, *size),
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
        } else if let Some((of, (size, sha256, manifest))) = known {
            self.summary.encrypted += u64::from(of.encrypted.is_some());
            self.summary.bytes += size;
            if sha256 != hash {
                self.wrong(name, &format!("{manifest} has another hash for it"));
            }
        }
        Ok(())
    }

    /// Holds a handling log against its signatures, and against what the transparency log says of it.
    fn handling(&mut self, name: &str, expected: Sha256Hash, size: u64, from: &mut dyn Read) -> io::Result<()> {
        let heads = self.heads.remove(name).unwrap_or_default();
        let mut hashing = Hashing::new(from);
        let mut found = Vec::new();
        let checked = check(name, &mut hashing, self.key, heads, &mut |finding| {
            if found.len() < LINES_MAX {
                found.push(finding);
            }
        })?;
        io::copy(&mut hashing, &mut io::sink())?;
        self.tell(size);
        if hashing.finish().0 == expected {
            self.summary.lines += checked.signed;
            self.summary.lines_unproved += checked.unproved;
            found.into_iter().for_each(|it| self.find(it.into()));
        } else {
            let name = name.to_owned();
            self.find(ArchiveFinding::Changed { name });
        }
        Ok(())
    }

    /// What is missing when all was looked at.
    pub(super) fn ended(&mut self) {
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
        for (of, (_, _, manifest)) in &self.objects {
            let name = of.to_string();
            if !self.places.contains_key(&name) {
                let manifest = manifest.clone();
                removed.push(Finding::ArtefactRemoved { name, manifest });
            }
        }
        for (name, heads) in std::mem::take(&mut self.heads) {
            if let Some(head) = heads.into_iter().min().filter(|_| !self.places.contains_key(&name)) {
                let Head { bytes, number, .. } = head;
                removed.push(Finding::HandlingCutOff {
                    name,
                    number,
                    bytes,
                    found: 0,
                });
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

/// The part of a name after the last slash.
fn leaf(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, leaf)| leaf)
}
