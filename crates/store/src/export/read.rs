//! Verifies an archive, or the folder that it was unpacked to.
//!
//! Never writes anything, follows no link, and believes nothing that the key has not signed. An archive is hostile
//! until its inventory is proved, and after that each file of it until its hash is.

mod checks;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use staunch_model::{EvidenceId, IncidentId, Printable, Sha256Hash};

use super::inventory::parse_sums;
use super::tar::{TarError, TarReader};
use super::{ArchiveFinding, FILES_MAX, INVENTORY, Inventory, SUMS, SUMS_BYTES_MAX, WINDOW_LOG_MAX};
use crate::files::open_plain;
use crate::tlog::note::NOTE_BYTES_MAX;
use crate::tlog::state::State;
use crate::tlog::{Checkpoint, LogVerifier, NotProved};
use crate::vault::Finding;
use crate::vault::dir::name::ObjectName;
use crate::vault::handling::Head;

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
    /// Those of them that carry no signature of the key themselves: the log alone stands for them.
    pub unsigned: u64,
    /// Records of collections.
    pub records: u64,
    /// Proofs that hold.
    pub proofs: u64,
    /// Artefacts.
    pub artefacts: u64,
    /// Those of them that are encrypted: their stored bytes are those of their manifests, and what they are was not
    /// looked at.
    pub encrypted: u64,
    /// The original bytes of all, as manifests say.
    pub bytes: u64,
    /// Lines of handling logs that the key has signed.
    pub lines: u64,
    /// Those that it has not, or that cannot be read.
    pub lines_unproved: u64,
    /// What was found.
    pub findings: u64,
}

/// Verifies the archive, or the unpacked folder, at `path` with `key`: calls `progress` now and then with the bytes
/// that are done and those there are, and `found` for each finding.
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
    progress: &mut dyn FnMut(u64, u64),
    found: &mut dyn FnMut(ArchiveFinding),
) -> ArchiveSummary {
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
    /// What the log has of handling logs, by their names.
    heads: BTreeMap<String, Vec<Head>>,
    /// The last manifest of each evidence.
    before: BTreeMap<EvidenceId, (u64, Sha256Hash)>,
    /// The artefacts of manifests: original size, the hash of what is stored, and the manifest.
    objects: BTreeMap<ObjectName, (u64, Sha256Hash, String)>,
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
            heads: BTreeMap::new(),
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
            Ok(note) => note,
            Err(error) => {
                self.wrong(INVENTORY, &Printable(&error.to_string()));
                return Ok(());
            }
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
