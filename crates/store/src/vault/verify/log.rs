//! The transparency log of a folder: its tree is computed from its entries, and each entry leads to what it stands for.

use std::io;

use staunch_model::custody::{COLLECTION_BYTES_MAX, MANIFEST_BYTES_MAX};
use staunch_model::{LogEntry, Logged, Sha256Hash};

use super::{Finding, Progress, Verifying};
use crate::tlog::merkle::{Nodes as _, leaf_hash, root_of};
use crate::tlog::note::NOTE_BYTES_MAX;
use crate::tlog::state::State;
use crate::tlog::tile::{BUNDLE_BYTES_MAX, Shelf, TILE_WIDTH, Tile, decode_entries, decode_hashes};
use crate::tlog::{CHECKPOINT, Checkpoint, LogReader, LogVerifier, NotProved, read_hashes, read_tile, widest_bundle};
use crate::vault::handling::Head;

/// The leaves of a tile from one of the two files that tell them.
struct Told {
    tile: Tile,
    leaves: Option<Vec<Sha256Hash>>,
    is_missing: bool,
}

/// Whether `found` is the partial tile that a wider one with `bytes` begins with.
fn begins_so(partial: Tile, found: &[u8], bytes: &[u8]) -> bool {
    let is_whole = match partial.shelf {
        Shelf::Entries => decode_entries(found, partial.width).is_ok(),
        Shelf::Hashes(_) => decode_hashes(found, partial.width).is_ok(),
    };
    is_whole && bytes.starts_with(found)
}

impl Verifying<'_> {
    pub(super) fn log(&mut self, key: &LogVerifier, earlier: Option<&str>) {
        let note = match self.log.read(CHECKPOINT, NOTE_BYTES_MAX) {
            Ok(note) => String::from_utf8(note).map_err(|_| NotProved::Malformed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.find(Finding::CheckpointMissing),
            Err(error) => return self.unreadable(CHECKPOINT, &error),
        };
        let earlier = earlier.and_then(|note| match key.checkpoint(note) {
            Ok(checkpoint) => Some(checkpoint),
            Err(why) => {
                self.find(Finding::EarlierNotProved { why });
                None
            }
        });
        match note.and_then(|note| key.checkpoint(&note)) {
            Ok(checkpoint) => {
                self.tree(&checkpoint, earlier.as_ref());
                self.summary.checkpoint = Some(checkpoint);
            }
            Err(why) => self.find(Finding::CheckpointNotProved { why }),
        }
    }

    /// Computes the tree from entries, and looks at what each of them stands for.
    fn tree(&mut self, checkpoint: &Checkpoint, earlier: Option<&Checkpoint>) {
        let size = checkpoint.size;
        self.is_log_whole = true;
        let mut then = earlier;
        if let Some(earlier) = earlier
            && earlier.size > size
        {
            let (earlier, found) = (earlier.size, size);
            self.find(Finding::RolledBack { earlier, found });
            then = None;
        }
        let mut state = State::default();
        self.compare(then, &state);
        let (full, width) = Tile::count(Shelf::Entries, size);
        let mut tiles = Vec::new();
        for index in 0..full + u64::from(width > 0) {
            let width = if index < full { TILE_WIDTH } else { width };
            let Some(leaves) = self.leaves(index, width, checkpoint, &state) else {
                // Nothing tells what the tree goes on with.
                return;
            };
            for leaf in leaves {
                state.push_hash(leaf, &mut tiles);
                self.compare(then, &state);
            }
            for (tile, bytes) in tiles.drain(..) {
                self.tile(tile, &bytes);
            }
            let done = state.size();
            (self.progress)(Progress::Entries { done, total: size });
        }
        for (tile, bytes) in state.partial_tiles() {
            self.tile(tile, &bytes);
        }
        if state.root() != checkpoint.root {
            self.find(Finding::HistoryChanged { size });
        }
        match widest_bundle(&self.log, size) {
            Ok(None) => {}
            Ok(Some(tile)) => {
                let name = tile.to_string();
                self.find(Finding::Unsigned { name });
            }
            Err(error) => self.unreadable("tile/entries", &error),
        }
    }

    /// Holds the tree, at the size that it had then, against the earlier checkpoint.
    fn compare(&mut self, earlier: Option<&Checkpoint>, state: &State) {
        let Some(earlier) = earlier.filter(|earlier| earlier.size == state.size()) else {
            return;
        };
        if state.root() == earlier.root {
            self.summary.continues_earlier = true;
        } else {
            let earlier = earlier.size;
            self.find(Finding::HistoryRewritten { earlier });
        }
    }

    /// Holds a tile above those of entries against what it has to be.
    fn tile(&mut self, tile: Tile, bytes: &[u8]) {
        if tile.shelf == Shelf::Hashes(0) {
            return;
        }
        let name = tile.to_string();
        match read_tile(&self.log, tile) {
            Ok(found) if found == bytes => self.superseded(tile, bytes),
            Ok(_) => self.find(Finding::LogFileChanged { name }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.find(Finding::LogFileMissing { name }),
            Err(error) => self.unreadable(&name, &error),
        }
    }

    /// The leaves of a bundle, told by its entries and by the tile of their hashes; `None` when neither can be read.
    /// Where they differ, the tree above says which of them was changed.
    fn leaves(&mut self, index: u64, width: u64, checkpoint: &Checkpoint, state: &State) -> Option<Vec<Sha256Hash>> {
        let shelf = Shelf::Entries;
        let tile = Tile { shelf, index, width };
        let bytes = read_tile(&self.log, tile);
        let entries = bytes.as_ref().ok().and_then(|bytes| decode_entries(bytes, width).ok());
        let told = Told {
            tile,
            leaves: entries
                .as_ref()
                .map(|all| all.iter().map(|entry| leaf_hash(entry)).collect()),
            is_missing: bytes
                .as_ref()
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound),
        };
        let shelf = Shelf::Hashes(0);
        let tile = Tile { shelf, index, width };
        let hashes = Told {
            tile,
            leaves: read_hashes(&self.log, tile).ok(),
            is_missing: matches!(read_tile(&self.log, tile), Err(error) if error.kind() == io::ErrorKind::NotFound),
        };
        let is_sound = if told.leaves.is_some() && told.leaves == hashes.leaves {
            true
        } else {
            // What the tree above, or the checkpoint, says of the right ones.
            let above = (width == TILE_WIDTH).then(|| LogReader::new(self.log.root(), checkpoint.size).node(8, index));
            let is_right = |leaves: &Vec<Sha256Hash>| match &above {
                Some(Ok(hash)) => Some(root_of(leaves) == *hash),
                Some(Err(_)) => None,
                None => {
                    let mut whole = state.clone();
                    leaves.iter().for_each(|leaf| whole.push_hash(*leaf, &mut Vec::new()));
                    Some(whole.root() == checkpoint.root)
                }
            };
            let [told_right, hashes_right] = [&told, &hashes].map(|it| it.leaves.as_ref().map(&is_right));
            let both = told.leaves.is_some() && hashes.leaves.is_some();
            // Without a word from above, one that can be read is believed, and two that differ are not.
            let believe = |right: Option<Option<bool>>| right.is_some_and(|right| right.unwrap_or(!both));
            for (it, right) in [(&told, told_right), (&hashes, hashes_right)] {
                if !believe(right) {
                    let name = it.tile.to_string();
                    self.find(if it.is_missing {
                        Finding::LogFileMissing { name }
                    } else {
                        Finding::LogFileChanged { name }
                    });
                }
            }
            believe(told_right)
        };
        if !is_sound {
            self.is_log_whole = false;
            return hashes.leaves.or(told.leaves);
        }
        // The tile of hashes is sound when it says the same.
        for it in [&told, &hashes].into_iter().filter(|it| it.leaves == told.leaves) {
            if let Ok(bytes) = read_tile(&self.log, it.tile) {
                self.superseded(it.tile, &bytes);
            }
        }
        for (number, entry) in (index * TILE_WIDTH..).zip(entries.unwrap_or_default()) {
            self.entry(number, entry);
        }
        told.leaves
    }

    /// Holds the partial tiles that were there before `tile`, which is sound and has these bytes, against it: each is
    /// its beginning. That one is missing is no finding: nothing was in it that is not in `tile`.
    fn superseded(&mut self, tile: Tile, bytes: &[u8]) {
        let dir = tile.partial_dir();
        let names = match self.log.list(&dir) {
            Ok(names) => names,
            Err(error) => return self.unreadable(&dir, &error),
        };
        let mut before: Vec<Tile> = names
            .iter()
            .filter_map(|name| Tile::parse(&format!("{dir}/{name}")))
            .filter(|it| it.width < tile.width)
            .collect();
        before.sort_unstable();
        for it in before {
            let name = it.to_string();
            match self.log.read(&name, BUNDLE_BYTES_MAX) {
                Ok(found) if begins_so(it, &found, bytes) => {}
                Ok(_) => self.find(Finding::LogFileChanged { name }),
                Err(error) => self.unreadable(&name, &error),
            }
        }
    }

    fn entry(&mut self, number: u64, entry: &[u8]) {
        self.summary.entries += 1;
        match LogEntry::parse(entry).map(|entry| entry.logged) {
            Ok(Logged::Manifest {
                incident,
                evidence,
                sequence,
                manifest,
            }) => {
                let name = format!("manifests/{incident}/{evidence}/{sequence:08}.json");
                self.logged_file(number, &name, manifest, MANIFEST_BYTES_MAX);
            }
            Ok(Logged::Collection {
                incident,
                evidence,
                record,
            }) => {
                let name = format!("records/{incident}/{evidence}/{record}.json");
                self.logged_file(number, &name, record, COLLECTION_BYTES_MAX);
            }
            Ok(Logged::Frames { first, last, chain }) => {
                let follows = self.frames.last().map_or(1, |(_, last, _)| last.saturating_add(1));
                if first != follows || last < first {
                    self.find(Finding::FramesOutOfOrder { number, first, last });
                }
                self.frames.push((number, last, chain));
            }
            Ok(Logged::Handling {
                incident,
                bytes,
                sha256,
            }) => {
                let head = Head { bytes, sha256, number };
                self.heads.entry(incident).or_default().push(head);
            }
            Err(error) => {
                let what = error.to_string();
                self.find(Finding::EntryUnreadable { number, what });
            }
        }
    }

    /// Holds a manifest or a record against what was logged of it.
    fn logged_file(&mut self, number: u64, name: &str, hash: Sha256Hash, max: u64) {
        self.logged.insert(hash);
        if self.reported.contains(name) {
            return;
        }
        let finding = match self.vault.read(name, max) {
            Ok(bytes) if Sha256Hash::of(&bytes) == hash => return,
            Ok(_) => Finding::Changed {
                name: name.to_owned(),
                number,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Finding::Removed {
                name: name.to_owned(),
                number,
            },
            Err(error) => return self.unreadable(name, &error),
        };
        self.find_at(name, finding);
    }
}
