//! The right edge of a tree: what is needed to append to it.
//!
//! Never writes anything.

use staunch_model::Sha256Hash;

use super::merkle::{fold, leaf_hash, push, root_of};
use super::tile::{LEVELS, Shelf, TILE_WIDTH, Tile, decode_entries, encode_entry, encode_hashes};
use super::{LogError, read_hashes, read_tile};
use crate::files::Files;

/// The partial tiles of a tree, and its partial bundle.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    size: u64,
    /// The hashes of the partial tile of each level, from that of entries.
    levels: [Vec<Sha256Hash>; LEVELS as usize],
    bundle: Vec<u8>,
}

impl State {
    /// Reads the right edge of the tree of `size` entries.
    pub(crate) fn read(files: &Files, size: u64) -> Result<Self, LogError> {
        let mut state = Self {
            size,
            ..Self::default()
        };
        for (level, hashes) in (0..).zip(&mut state.levels) {
            if let Some(tile) = partial(Shelf::Hashes(level), size) {
                *hashes = read_hashes(files, tile)?;
            }
        }
        if let Some(tile) = partial(Shelf::Entries, size) {
            let path = files.path(&tile.to_string());
            let bundle = read_tile(files, tile).map_err(|error| LogError::io("read", &path, error))?;
            let entries = decode_entries(&bundle, tile.width).map_err(|error| LogError::damaged(tile, error))?;
            if !entries
                .iter()
                .map(|entry| leaf_hash(entry))
                .eq(state.levels[0].iter().copied())
            {
                return Err(LogError::damaged(tile, "its entries have other hashes"));
            }
            state.bundle = bundle;
        }
        Ok(state)
    }

    /// How many entries there are.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Sha256Hash {
        let mut stack = Vec::with_capacity(64);
        for (level, hashes) in (0..LEVELS).zip(&self.levels).rev() {
            for hash in hashes {
                push(&mut stack, 1 << (8 * level), *hash);
            }
        }
        fold(&stack)
    }

    /// Adds an entry. Hash tiles that become full are added to `full`; a bundle that becomes full is returned.
    pub(crate) fn push(&mut self, entry: &[u8], full: &mut Vec<(Tile, Vec<u8>)>) -> Option<(Tile, Vec<u8>)> {
        encode_entry(&mut self.bundle, entry);
        self.push_hash(leaf_hash(entry), full);
        self.size.is_multiple_of(TILE_WIDTH).then(|| {
            let tile = Tile {
                shelf: Shelf::Entries,
                index: self.size / TILE_WIDTH - 1,
                width: TILE_WIDTH,
            };
            (tile, std::mem::take(&mut self.bundle))
        })
    }

    /// Adds an entry of which only the hash is known, to a tree that nobody writes.
    pub(crate) fn push_hash(&mut self, hash: Sha256Hash, full: &mut Vec<(Tile, Vec<u8>)>) {
        self.size += 1;
        let mut hash = hash;
        for (level, hashes) in (0..LEVELS).zip(&mut self.levels) {
            hashes.push(hash);
            if (hashes.len() as u64) < TILE_WIDTH {
                break;
            }
            let tile = Tile {
                shelf: Shelf::Hashes(level),
                index: (self.size >> (8 * level)) / TILE_WIDTH - 1,
                width: TILE_WIDTH,
            };
            full.push((tile, encode_hashes(hashes)));
            hash = root_of(hashes);
            hashes.clear();
        }
    }

    /// The bundle that is not full.
    pub(crate) fn partial_bundle(&self) -> Option<(Tile, &[u8])> {
        partial(Shelf::Entries, self.size).map(|tile| (tile, self.bundle.as_slice()))
    }

    /// The hash tiles that are not full.
    pub(crate) fn partial_tiles(&self) -> Vec<(Tile, Vec<u8>)> {
        let all = (0..LEVELS).zip(&self.levels);
        all.filter_map(|(level, hashes)| Some((partial(Shelf::Hashes(level), self.size)?, encode_hashes(hashes))))
            .collect()
    }
}

/// The partial tile that a tree of `size` entries has on `shelf`.
fn partial(shelf: Shelf, size: u64) -> Option<Tile> {
    let (index, width) = Tile::count(shelf, size);
    (width > 0).then_some(Tile { shelf, index, width })
}
