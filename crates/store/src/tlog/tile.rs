//! The files of a log, as <https://c2sp.org/tlog-tiles> lays them out: hash tiles and bundles of entries.
//!
//! Never reads or writes a file.

use std::fmt;

use staunch_model::Sha256Hash;

/// Hashes of a full tile, and entries of a full bundle.
pub const TILE_WIDTH: u64 = 256;

/// The most bytes of an entry: its length has 16 bits.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// Levels of tiles that a tree can have: 256 to the power of 8 entries are more than can be counted.
pub const LEVELS: u32 = 8;

/// The most bytes of a bundle of entries.
pub const BUNDLE_BYTES_MAX: u64 = TILE_WIDTH * (2 + ENTRY_BYTES_MAX as u64);

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shelf {
    /// Hashes of this level: of entries at 0, of whole tiles of the level below above.
    Hashes(u32),
    /// Entries.
    Entries,
}

/// One file of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// What it holds.
    pub shelf: Shelf,
    /// Which one it is.
    pub index: u64,
    /// How many hashes or entries it holds, 1 to 256.
    pub width: u64,
}

/// Why bytes are no tile or bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATile {
    /// They end too early, or go on after the end.
    #[error("it has {found} whole parts where {expected} should be, or bytes beside them")]
    Width {
        /// How many there should be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
}

impl Tile {
    /// The name of its directory when it is partial: that of the full tile with `.p`.
    #[must_use]
    pub fn partial_dir(&self) -> String {
        format!("{}.p", self.full())
    }

    fn full(&self) -> Tile {
        Self {
            width: TILE_WIDTH,
            ..*self
        }
    }

    /// What a name below the root of a log says; `None` when it is none of a tile.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (shelf, rest) = name.strip_prefix("tile/")?.split_once('/')?;
        let shelf = match shelf {
            "entries" => Shelf::Entries,
            level => Shelf::Hashes(level.parse().ok().filter(|level| *level < LEVELS)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (
                number,
                width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?,
            ),
            None => (rest, TILE_WIDTH),
        };
        let mut index: u64 = 0;
        for part in number.split('/') {
            let digits: u64 = part
                .strip_prefix('x')
                .unwrap_or(part)
                .parse()
                .ok()
                .filter(|it| *it < 1_000)?;
            index = index.checked_mul(1_000)?.checked_add(digits)?;
        }
        let tile = Self { shelf, index, width };
        // There is one way to write each.
        (tile.to_string() == name).then_some(tile)
    }

    /// The tiles that a tree of `size` entries has on `shelf`: so many full ones, and the width of a partial one.
    #[must_use]
    pub fn count(shelf: Shelf, size: u64) -> (u64, u64) {
        let parts = match shelf {
            Shelf::Entries => size,
            Shelf::Hashes(level) => size >> (8 * level),
        };
        (parts / TILE_WIDTH, parts % TILE_WIDTH)
    }
}

/// The name of the file, relative to the root of the log.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shelf {
            Shelf::Hashes(level) => write!(f, "tile/{level}/")?,
            Shelf::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = Vec::new();
        let mut rest = self.index;
        while rest >= 1_000 {
            groups.push(rest % 1_000);
            rest /= 1_000;
        }
        groups.push(rest);
        let last = groups.len() - 1;
        for (at, group) in groups.iter().rev().enumerate() {
            if at == last {
                write!(f, "{group:03}")?;
            } else {
                write!(f, "x{group:03}/")?;
            }
        }
        if self.width < TILE_WIDTH {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// The bytes of a hash tile.
#[must_use]
pub fn encode_hashes(hashes: &[Sha256Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile of `width` hashes.
///
/// # Errors
/// When it has another size.
pub fn decode_hashes(bytes: &[u8], width: u64) -> Result<Vec<Sha256Hash>, NotATile> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if hashes.len() as u64 != width || !rest.is_empty() {
        return Err(NotATile::Width {
            expected: width,
            found: hashes.len() as u64,
        });
    }
    Ok(hashes.iter().map(|hash| Sha256Hash(*hash)).collect())
}

/// Adds an entry, of at most [`ENTRY_BYTES_MAX`] bytes, to a bundle.
///
/// # Panics
/// When it is longer.
pub fn encode_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    let length = u16::try_from(entry.len()).expect("who appends an entry looks at its length");
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// The entries of a bundle of `width` entries.
///
/// # Errors
/// When it does not hold exactly so many.
pub fn decode_entries(bundle: &[u8], width: u64) -> Result<Vec<&[u8]>, NotATile> {
    let mut entries = Vec::new();
    let mut rest = bundle;
    while let Some((length, after)) = rest.split_first_chunk::<2>()
        && let Some((entry, after)) = after.split_at_checked(u16::from_be_bytes(*length).into())
        && (entries.len() as u64) < width
    {
        entries.push(entry);
        rest = after;
    }
    if entries.len() as u64 != width || !rest.is_empty() {
        return Err(NotATile::Width {
            expected: width,
            found: entries.len() as u64,
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_have_the_names_of_the_specification() {
        let tile = |shelf, index, width| Tile { shelf, index, width };
        for (name, tile) in [
            ("tile/0/x001/x234/067", tile(Shelf::Hashes(0), 1_234_067, 256)),
            ("tile/0/000", tile(Shelf::Hashes(0), 0, 256)),
            ("tile/1/999.p/17", tile(Shelf::Hashes(1), 999, 17)),
            ("tile/entries/x001/000.p/255", tile(Shelf::Entries, 1_000, 255)),
            (
                "tile/entries/x018/x446/x744/x073/x709/x551/615",
                tile(Shelf::Entries, u64::MAX, 256),
            ),
        ] {
            assert_eq!(tile.to_string(), name);
            assert_eq!(Tile::parse(name), Some(tile));
        }
        for name in [
            "tile/0/0",
            "tile/0/x000/001",
            "tile/00/000",
            "tile/8/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000/001",
            "tile/0/",
            "tile/entries",
            "tile/0/x001/x234/067/",
            "tile/0/+01",
            "tile/entries/x018/x446/x744/x073/x709/x551/616",
            "../tile/0/000",
            "tile/0/001.p/1/2",
        ] {
            assert_eq!(Tile::parse(name), None, "{name}");
        }
    }

    /// The example of the specification.
    #[test]
    fn a_tree_of_70_000_entries_has_these_tiles() {
        assert_eq!(Tile::count(Shelf::Entries, 70_000), (273, 112));
        assert_eq!(Tile::count(Shelf::Hashes(0), 70_000), (273, 112));
        assert_eq!(Tile::count(Shelf::Hashes(1), 70_000), (1, 17));
        assert_eq!(Tile::count(Shelf::Hashes(2), 70_000), (0, 1));
        assert_eq!(Tile::count(Shelf::Hashes(3), 70_000), (0, 0));
        assert_eq!(Tile::count(Shelf::Hashes(0), 256), (1, 0));
        assert_eq!(Tile::count(Shelf::Hashes(1), 256), (0, 1));
    }

    #[test]
    fn bundles_hold_what_was_put_in_and_nothing_beside() {
        let mut bundle = Vec::new();
        for entry in [&b"one"[..], b"", &[7; ENTRY_BYTES_MAX]] {
            encode_entry(&mut bundle, entry);
        }
        assert_eq!(bundle[..5], [0, 3, b'o', b'n', b'e']);
        let entries = decode_entries(&bundle, 3).expect("it is a bundle");
        assert_eq!(entries, [&b"one"[..], b"", &[7; ENTRY_BYTES_MAX]]);
        for width in [0, 2, 4] {
            assert!(decode_entries(&bundle, width).is_err());
        }
        for cut in 1..8 {
            assert!(decode_entries(&bundle[..bundle.len() - cut], 3).is_err());
        }
        assert!(decode_hashes(&[0; 64], 2).is_ok());
        assert!(decode_hashes(&[0; 64], 1).is_err());
        assert!(decode_hashes(&[0; 65], 2).is_err());
    }
}
