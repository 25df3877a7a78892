//! Whether a log was put back to an earlier state, as far as its own files tell.
//!
//! Never takes a log for put back that a process at work, or a full disk, has left as it is.

use std::path::Path;

use super::LogError;
use super::tile::{Shelf, TILE_WIDTH, Tile};
use crate::files::Files;

/// The largest size beyond `size` that the log in `dir` was signed at, as the names of its tiles tell; `None` when they
/// tell of none. What is in them is not looked at: whoever can write there can make any. They are looked at before the
/// checkpoint is: read that afterwards to hold it against what this returns.
///
/// A checkpoint is signed when the tiles of its tree are there, and nothing is written for the next one before. So all
/// such sizes but the last were signed.
///
/// # Errors
/// When the tiles cannot be looked for.
pub fn signed_beyond(dir: &Path, size: u64) -> Result<Option<u64>, LogError> {
    let files = Files::new(dir, None);
    let exists = |tile: Tile| {
        let path = files.path(&tile.to_string());
        path.try_exists()
            .map_err(|error| LogError::io("look for", &path, error))
    };
    let mut whole = Vec::new();
    for index in size / TILE_WIDTH..u64::MAX / TILE_WIDTH {
        let bundle = Tile {
            shelf: Shelf::Entries,
            index,
            width: TILE_WIDTH,
        };
        let partial = bundle.partial_dir();
        let listed = files.list(&partial);
        let widths = listed.map_err(|error| LogError::io("list", &files.path(&partial), error))?;
        let is_partial = |width: &u64| (1..TILE_WIDTH).contains(width);
        for width in widths.iter().filter_map(|it| it.parse::<u64>().ok()).filter(is_partial) {
            let at = index * TILE_WIDTH + width;
            let hashes = Tile {
                shelf: Shelf::Hashes(0),
                index,
                width,
            };
            if at > size && exists(hashes)? {
                whole.push(at);
            }
        }
        if !exists(bundle)? {
            break;
        }
    }
    whole.sort_unstable();
    whole.dedup();
    whole.pop();
    Ok(whole.pop())
}
