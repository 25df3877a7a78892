//! Reading a log: entries, and proofs.
//!
//! Never believes what it reads: whoever asks for a proof holds it against a signed checkpoint.

use std::cell::RefCell;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use staunch_model::Sha256Hash;

use super::merkle::{self, Nodes, root_of};
use super::tile::{Shelf, TILE_WIDTH, Tile, decode_entries};
use super::{CHECKPOINT, Checkpoint, LogError, LogVerifier, read_hashes, read_tile};
use crate::files::Files;
use crate::tlog::note::NOTE_BYTES_MAX;

/// Reads the first `size` entries of a log, and proofs of them.
#[derive(Debug)]
pub struct LogReader {
    files: Files,
    size: u64,
    /// The tile that was read last: proofs ask for neighbours.
    last: RefCell<Option<(Tile, Vec<Sha256Hash>)>>,
}

impl LogReader {
    /// Reads the log in `dir` as it was with `size` entries.
    #[must_use]
    pub fn new(dir: &Path, size: u64) -> Self {
        Self {
            files: Files::new(dir, None),
            size,
            last: RefCell::default(),
        }
    }

    /// Opens the log in `dir` at the checkpoint that is there.
    ///
    /// # Errors
    /// When there is none that `verifier` has signed.
    pub fn open(dir: &Path, verifier: &LogVerifier) -> Result<(Self, Checkpoint), LogError> {
        let files = Files::new(dir, None);
        let bytes = files
            .read(CHECKPOINT, NOTE_BYTES_MAX)
            .map_err(|error| LogError::io("read", &files.path(CHECKPOINT), error))?;
        let note = String::from_utf8(bytes).map_err(|error| LogError::damaged(CHECKPOINT, error))?;
        let checkpoint = verifier.checkpoint(&note);
        let checkpoint = checkpoint.map_err(|error| LogError::damaged(CHECKPOINT, error))?;
        Ok((Self::new(dir, checkpoint.size), checkpoint))
    }

    /// Shows the entries from `first` on, with their numbers, until `visit` breaks.
    ///
    /// # Errors
    /// When a bundle cannot be read.
    pub fn entries(&self, first: u64, visit: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>) -> Result<(), LogError> {
        let (full, width) = Tile::count(Shelf::Entries, self.size);
        for index in first / TILE_WIDTH..full + u64::from(width > 0) {
            let width = if index < full { TILE_WIDTH } else { width };
            let shelf = Shelf::Entries;
            let tile = Tile { shelf, index, width };
            let path = self.files.path(&tile.to_string());
            let bundle = read_tile(&self.files, tile).map_err(|error| LogError::io("read", &path, error))?;
            let entries = decode_entries(&bundle, width).map_err(|error| LogError::damaged(tile, error))?;
            for (number, entry) in (index * TILE_WIDTH..).zip(entries) {
                if number >= first && visit(number, entry).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The root of the tree.
    ///
    /// # Errors
    /// When a tile cannot be read.
    pub fn root(&self) -> Result<Sha256Hash, LogError> {
        merkle::root(self, self.size)
    }

    /// The proof that entry `index` is in the log; `None` when there is no such entry.
    ///
    /// # Errors
    /// When a tile cannot be read.
    pub fn prove_inclusion(&self, index: u64) -> Result<Option<Vec<Sha256Hash>>, LogError> {
        merkle::prove_inclusion(self, index, self.size)
    }

    /// The proof that the log begins with its first `earlier` entries; `None` when it has fewer.
    ///
    /// # Errors
    /// When a tile cannot be read.
    pub fn prove_consistency(&self, earlier: u64) -> Result<Option<Vec<Sha256Hash>>, LogError> {
        merkle::prove_consistency(self, earlier, self.size)
    }
}

impl Nodes for LogReader {
    type Error = LogError;

    fn node(&self, level: u32, index: u64) -> Result<Sha256Hash, LogError> {
        let shelf = Shelf::Hashes(level / 8);
        let within = level % 8;
        let first = index << within;
        let (full, width) = Tile::count(shelf, self.size);
        let number = first / TILE_WIDTH;
        let width = if number < full { TILE_WIDTH } else { width };
        let tile = Tile {
            shelf,
            index: number,
            width,
        };
        let mut last = self.last.borrow_mut();
        if last.as_ref().is_none_or(|(known, _)| *known != tile) {
            *last = Some((tile, read_hashes(&self.files, tile)?));
        }
        let hashes = last.as_ref().map_or(&[][..], |(_, hashes)| hashes);
        let first = usize::try_from(first % TILE_WIDTH).expect("it is below 256");
        let hashes = hashes.get(first..first + (1 << within)).ok_or_else(|| {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the tree has no such node");
            LogError::io("prove with", &self.files.path(&tile.to_string()), source)
        })?;
        Ok(root_of(hashes))
    }
}
