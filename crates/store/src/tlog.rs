//! The transparency log: an append-only Merkle tree over what was kept and decided, in the layout of
//! <https://c2sp.org/tlog-tiles>, so that a third party checks it with tools that are not ours.
//!
//! Never looks into an entry, and never signs what is not durable.
//!
//! ```text
//! checkpoint              size and root, signed: what a verifier starts from
//! tile/entries/000.p/5    entries
//! tile/0/000.p/5          their hashes
//! lock, tmp/              of the writer; no part of the log
//! ```
//!
//! # Expected flow
//! `append` writes bundles of entries, then tiles of hashes, each synced with its directory, then signs the tree over
//! them, and puts the checkpoint in place of the one before.
//!
//! # Guarantees
//! - No two checkpoints that were ever signed contradict each other, also when the process is killed at any point: an
//!   entry that is durable stays in its place, whether its checkpoint was signed or not. A start takes up what is
//!   there.
//! - A checkpoint is durable before anybody can read it, and all that it stands for is durable before it is signed.
//! - A start reads one tile for each level of the tree, however long the log is.
//!
//! # Assumptions
//! The directory is this log's alone, and is not put back to an earlier state. When it is, the log goes on from there:
//! that is found by whoever has a checkpoint from before.
//!
//! # Caveats
//! Each append has a partial tile and a partial bundle of its own until 256 entries are full, because a checkpoint
//! promises them. They are removed then.

pub mod merkle;
pub mod note;
pub mod proof;
pub mod put_back;
mod reader;
pub mod stamp;
pub(crate) mod state;
pub mod tile;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use staunch_model::{Failure, Printable, Sha256Hash};

pub use note::{Checkpoint, LogKey, LogVerifier, NotProved};
pub use proof::LogProof;
pub use reader::LogReader;

use crate::files::{self, FileHook, Files, Lock, parent};
use note::NOTE_BYTES_MAX;
use state::State;
use tile::{BUNDLE_BYTES_MAX, ENTRY_BYTES_MAX, Shelf, TILE_WIDTH, Tile};

/// The name of the file with the newest checkpoint.
pub const CHECKPOINT: &str = "checkpoint";

/// A log that is written to. See the module for what it guarantees.
#[derive(Debug)]
pub struct TransparencyLog {
    files: Files,
    key: LogKey,
    state: State,
    signed: Checkpoint,
    note: String,
    next_staged: Cell<u64>,
    /// True while it is open what is on the disk: the next call reads it anew.
    is_stale: bool,
    _lock: Lock,
}

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk says no.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// Another process writes to it.
    #[error("another process writes to the log {}", dir.display())]
    Locked {
        /// The log.
        dir: PathBuf,
    },
    /// It is not as it was left. Nothing is signed.
    #[error("the log is damaged at {name}: {what}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// The key cannot be used.
    #[error("cannot use the key {}: {what}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// An entry is longer than the format has room for. Nothing was appended.
    #[error("an entry of {bytes} bytes is longer than {ENTRY_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl LogError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io { doing, path, source }
    }

    fn key(path: &Path, what: String) -> Self {
        let path = path.to_owned();
        Self::Key { path, what }
    }

    pub(crate) fn damaged(name: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::Damaged {
            name: name.to_string(),
            what: Printable(&what.to_string()).to_string(),
        }
    }

    /// The same in the words of ports.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        use staunch_model::FailureKind as K;
        let kind = match self {
            Self::Io { doing, path, source } => return files::failure(doing, path, source),
            Self::Locked { .. } | Self::Damaged { .. } => K::Conflict,
            Self::Key { .. } => K::Denied,
            Self::TooLong { .. } => K::Invalid,
        };
        Failure::new(kind, &self.to_string())
    }
}

impl TransparencyLog {
    /// Opens the log in `dir`, or makes an empty one, whose origin is the name of the key.
    ///
    /// # Errors
    /// See [`LogError`]. A log that is damaged, or that another key has signed, is left as it is.
    pub fn open(dir: &Path, key: LogKey, hook: Option<Arc<dyn FileHook>>) -> Result<Self, LogError> {
        let files = Files::new(dir, hook);
        let failed = |doing| move |error| LogError::io(doing, dir, error);
        files.make_root().map_err(failed("make the log"))?;
        let lock = Lock::take(&files)
            .map_err(failed("lock the log"))?
            .ok_or_else(|| LogError::Locked { dir: dir.to_owned() })?;
        let prepare = || {
            files.make_dirs("tmp")?;
            for name in files.list("tmp")? {
                files.remove(&format!("tmp/{name}"))?;
            }
            Ok(())
        };
        prepare().map_err(failed("prepare the log"))?;
        let origin = key.verifier().name().to_owned();
        let mut log = Self {
            files,
            key,
            state: State::default(),
            signed: Checkpoint {
                origin,
                size: 0,
                root: merkle::empty_root(),
            },
            note: String::new(),
            next_staged: Cell::default(),
            is_stale: true,
            _lock: lock,
        };
        log.take_up()?;
        Ok(log)
    }

    /// Appends `entries` in their order: all of them are durable, and in the tree that is signed, when this returns.
    ///
    /// After an error some of the first of them may be in the log all the same, and stay in it: whoever appends them
    /// again, has them in it twice.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn append<E: AsRef<[u8]>>(&mut self, entries: &[E]) -> Result<&Checkpoint, LogError> {
        if let Some(long) = entries.iter().find(|entry| entry.as_ref().len() > ENTRY_BYTES_MAX) {
            let bytes = long.as_ref().len();
            return Err(LogError::TooLong { bytes });
        }
        if self.is_stale {
            self.take_up()?;
        }
        if entries.is_empty() {
            return Ok(&self.signed);
        }
        self.is_stale = true;
        let mut full = Vec::new();
        for entry in entries {
            let bundle = self.state.push(entry.as_ref(), &mut full);
            if let Some((tile, bundle)) = bundle {
                self.put(tile, &bundle)?;
            }
        }
        if let Some((tile, bundle)) = self.state.partial_bundle() {
            self.put(tile, bundle)?;
        }
        self.publish(&full)?;
        self.is_stale = false;
        Ok(&self.signed)
    }

    /// The newest checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.signed
    }

    /// The newest checkpoint as it was signed.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The public key.
    #[must_use]
    pub fn verifier(&self) -> LogVerifier {
        self.key.verifier()
    }

    /// Reads the log as of the newest checkpoint.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.files.root(), self.signed.size)
    }

    /// Reads what is on the disk, and signs what is durable and was not signed.
    fn take_up(&mut self) -> Result<(), LogError> {
        let signed = self.read_checkpoint()?;
        let size = signed.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size);
        let mut state = State::read(&self.files, size)?;
        if let Some((checkpoint, _)) = &signed
            && state.root() != checkpoint.root
        {
            return Err(LogError::damaged(CHECKPOINT, "the tree has another root"));
        }
        // A log is signed before it has its first entry: without a checkpoint, somebody has taken it away.
        if signed.is_none() && widest_bundle(&self.files, 0)?.is_some() {
            return Err(LogError::damaged(CHECKPOINT, "it is not there, and there are entries"));
        }
        let full = self.adopt(&mut state)?;
        let is_new = state.size() > size || signed.is_none();
        self.state = state;
        if let Some((checkpoint, note)) = signed {
            self.signed = checkpoint;
            self.note = note;
        }
        if is_new {
            self.publish(&full)?;
        }
        self.is_stale = false;
        Ok(())
    }

    fn read_checkpoint(&self) -> Result<Option<(Checkpoint, String)>, LogError> {
        let bytes = match self.files.read(CHECKPOINT, NOTE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|error| LogError::io("read", &self.files.path(CHECKPOINT), error))?,
        };
        let note = String::from_utf8(bytes).map_err(|error| LogError::damaged(CHECKPOINT, error))?;
        let checkpoint = self.key.verifier().checkpoint(&note);
        let checkpoint = checkpoint.map_err(|error| LogError::damaged(CHECKPOINT, error))?;
        Ok(Some((checkpoint, note)))
    }

    /// Takes up entries that are durable beyond what is signed: an append was cut off. Full tiles that follow.
    fn adopt(&self, state: &mut State) -> Result<Vec<(Tile, Vec<u8>)>, LogError> {
        let mut full = Vec::new();
        while let Some(tile) = widest_bundle(&self.files, state.size())? {
            let path = self.files.path(&tile.to_string());
            let failed = |doing| {
                let path = path.clone();
                move |error| LogError::io(doing, &path, error)
            };
            let bundle = self
                .files
                .read(&tile.to_string(), BUNDLE_BYTES_MAX)
                .map_err(failed("read"))?;
            // The process may have been killed between the name and its sync.
            self.files.sync_dir(parent(&tile.to_string())).map_err(failed("sync"))?;
            let entries = tile::decode_entries(&bundle, tile.width).map_err(|error| LogError::damaged(tile, error))?;
            let known = state.partial_bundle().map_or(&[][..], |(_, bundle)| bundle);
            if !bundle.starts_with(known) {
                return Err(LogError::damaged(tile, "it does not begin as what is signed does"));
            }
            let have = usize::try_from(state.size() % TILE_WIDTH).expect("it is below 256");
            for entry in &entries[have..] {
                // Its file is there.
                let _ = state.push(entry, &mut full);
            }
            if tile.width < TILE_WIDTH {
                break;
            }
        }
        Ok(full)
    }

    /// Writes the tiles of the tree, signs it, and puts the checkpoint in its place.
    fn publish(&mut self, full: &[(Tile, Vec<u8>)]) -> Result<(), LogError> {
        for (tile, bytes) in full {
            self.put(*tile, bytes)?;
        }
        for (tile, bytes) in self.state.partial_tiles() {
            self.put(tile, &bytes)?;
        }
        let checkpoint = Checkpoint {
            origin: self.signed.origin.clone(),
            size: self.state.size(),
            root: self.state.root(),
        };
        let note = self.key.sign(&checkpoint.to_text());
        let staged = self.staged();
        self.files
            .replace(&staged, CHECKPOINT, note.as_bytes(), 0o400)
            .map_err(|error| LogError::io("write", &self.files.path(CHECKPOINT), error))?;
        self.signed = checkpoint;
        self.note = note;
        for (tile, _) in full {
            self.forget_partial(*tile);
            if tile.shelf == Shelf::Hashes(0) {
                let shelf = Shelf::Entries;
                self.forget_partial(Tile { shelf, ..*tile });
            }
        }
        Ok(())
    }

    /// Writes a tile durably. It may be there already, when an append was cut off.
    fn put(&self, tile: Tile, bytes: &[u8]) -> Result<(), LogError> {
        let name = tile.to_string();
        let staged = self.staged();
        let put = || {
            self.files.make_dirs(parent(&name))?;
            match self.files.put_new(&staged, &name, bytes) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let is_same = self.files.read(&name, BUNDLE_BYTES_MAX)? == bytes;
                    self.files.sync_dir(parent(&name)).map(|()| is_same)
                }
                put => put.map(|()| true),
            }
        };
        match put() {
            Ok(true) => Ok(()),
            Ok(false) => Err(LogError::damaged(name, "what is there is another")),
            Err(error) => Err(LogError::io("write", &self.files.path(&name), error)),
        }
    }

    /// Removes the partial tiles that a full one holds. What stays costs room and nothing else.
    fn forget_partial(&self, tile: Tile) {
        let dir = tile.partial_dir();
        let forget = || {
            for name in self.files.list(&dir)? {
                self.files.remove(&format!("{dir}/{name}"))?;
            }
            self.files.remove_dir(&dir)
        };
        if let Err(error) = forget() {
            tracing::warn!(%error, %tile, "cannot remove partial tiles of the log");
        }
    }

    fn staged(&self) -> String {
        self.next_staged.set(self.next_staged.get() + 1);
        format!("tmp/{}", self.next_staged.get())
    }
}

/// The bundle with the most entries beyond `size`, among those that entry `size` is in.
pub(crate) fn widest_bundle(files: &Files, size: u64) -> Result<Option<Tile>, LogError> {
    let full = Tile {
        shelf: Shelf::Entries,
        index: size / TILE_WIDTH,
        width: TILE_WIDTH,
    };
    let path = files.path(&full.to_string());
    let exists = path
        .try_exists()
        .map_err(|error| LogError::io("look for", &path, error))?;
    if exists {
        return Ok(Some(full));
    }
    let dir = full.partial_dir();
    let names = files
        .list(&dir)
        .map_err(|error| LogError::io("list", &files.path(&dir), error))?;
    let tiles = names.iter().filter_map(|name| Tile::parse(&format!("{dir}/{name}")));
    Ok(tiles.filter(|tile| tile.width > size % TILE_WIDTH).max())
}

/// The bytes of a tile that a tree of some size has; the full one has them too, when it has taken the place of the
/// partial.
pub(crate) fn read_tile(files: &Files, tile: Tile) -> io::Result<Vec<u8>> {
    let partial = files.read(&tile.to_string(), BUNDLE_BYTES_MAX);
    match partial {
        Err(error) if error.kind() == io::ErrorKind::NotFound && tile.width < TILE_WIDTH => {
            let full = Tile {
                width: TILE_WIDTH,
                ..tile
            };
            let bytes = files.read(&full.to_string(), BUNDLE_BYTES_MAX)?;
            let cut = match tile.shelf {
                Shelf::Hashes(_) => usize::try_from(tile.width * 32).ok(),
                Shelf::Entries => tile::decode_entries(&bytes, TILE_WIDTH).ok().and_then(|entries| {
                    let width = usize::try_from(tile.width).ok()?;
                    Some(entries[..width].iter().map(|entry| entry.len() + 2).sum())
                }),
            };
            let cut = cut.and_then(|cut| bytes.get(..cut)).map(<[u8]>::to_vec);
            cut.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the full tile is damaged"))
        }
        bytes => bytes,
    }
}

/// The hash tile of a tree, decoded.
pub(crate) fn read_hashes(files: &Files, tile: Tile) -> Result<Vec<Sha256Hash>, LogError> {
    let bytes = read_tile(files, tile).map_err(|error| LogError::io("read", &files.path(&tile.to_string()), error))?;
    tile::decode_hashes(&bytes, tile.width).map_err(|error| LogError::damaged(tile, error))
}
