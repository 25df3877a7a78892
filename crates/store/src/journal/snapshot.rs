//! Snapshots of the state, so that a replay need not begin with the first frame.
//!
//! Never touches a segment: a snapshot that is lost or damaged costs time, not facts.
//!
//! ```text
//! magic 8 | version u32 | unused u32 | lsn u64 | bytes u64 | blake3 32 | state      little endian
//! ```
//! The hash is over `lsn`, `bytes` and the state.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use staunch_ports::Lsn;

use super::disk::{Disk, read_up_to};
use super::frame::{u32_at, u64_at};

const MAGIC: &[u8; 8] = b"staunchS";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const LSN_AT: usize = 16;
const HASH_AT: usize = 32;
const TEMPORARY: &str = "snapshot.tmp";
/// One to use, and one for the case that it is damaged.
const KEPT: usize = 2;

/// Writes a snapshot beside the others, gives it its name when it is durable, and removes all but the newest two.
pub(super) fn put(disk: &Disk, lsn: Lsn, state: &[u8]) -> io::Result<()> {
    if let Err(error) = write(disk, lsn, state) {
        // What is left of it only takes up room. When it cannot be removed, the next snapshot writes over it.
        drop(disk.remove(TEMPORARY));
        return Err(error);
    }
    for (old, _) in list(disk.dir())?.into_iter().skip(KEPT) {
        disk.remove(&name(old))?;
    }
    Ok(())
}

/// The newest snapshot in `dir` that verifies and is not of a position after `tail`.
pub(super) fn newest(dir: &Path, tail: Lsn) -> io::Result<Option<(Lsn, Vec<u8>)>> {
    for (lsn, path) in list(dir)? {
        if lsn > tail {
            tracing::warn!(%lsn, %tail, "passing over a snapshot of a position after the end of the journal");
            continue;
        }
        match decode(lsn, fs::read(&path)?) {
            Some(state) => return Ok(Some((lsn, state))),
            None => tracing::warn!(path = %path.display(), "passing over a damaged snapshot"),
        }
    }
    Ok(None)
}

/// The newest position of which there is a snapshot, with its file. The state is not read, only the header.
pub(super) fn newest_position(dir: &Path) -> io::Result<Option<(Lsn, PathBuf)>> {
    for (lsn, path) in list(dir)? {
        let mut header = [0; HEADER_BYTES];
        let read = read_up_to(&File::open(&path)?, &mut header, 0)?;
        if read == HEADER_BYTES && is_header_of(lsn, &header) {
            return Ok(Some((lsn, path)));
        }
    }
    Ok(None)
}

fn write(disk: &Disk, lsn: Lsn, state: &[u8]) -> io::Result<()> {
    let file = disk.open_or_create(TEMPORARY)?;
    disk.set_len(&file, TEMPORARY, 0)?;
    disk.write_at(&file, TEMPORARY, &header(lsn, state), 0)?;
    disk.write_at(&file, TEMPORARY, state, HEADER_BYTES as u64)?;
    disk.sync(&file, TEMPORARY)?;
    disk.rename(TEMPORARY, &name(lsn))?;
    disk.sync_dir()
}

fn name(lsn: Lsn) -> String {
    format!("snapshot-{:020}.bin", lsn.0)
}

/// All snapshots in `dir`, newest first.
fn list(dir: &Path) -> io::Result<Vec<(Lsn, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let file = entry.file_name();
        let digits = file
            .to_str()
            .and_then(|name| name.strip_prefix("snapshot-")?.strip_suffix(".bin"));
        if let Some(lsn) = digits.and_then(|digits| digits.parse().ok()) {
            found.push((Lsn(lsn), entry.path()));
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

fn header(lsn: Lsn, state: &[u8]) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&lsn.0.to_le_bytes());
    header.extend_from_slice(&(state.len() as u64).to_le_bytes());
    let hash = hash(&header[LSN_AT..HASH_AT], state);
    header.extend_from_slice(hash.as_bytes());
    header
}

fn is_header_of(lsn: Lsn, header: &[u8]) -> bool {
    &header[..8] == MAGIC && u32_at(header, 8) == VERSION && u64_at(header, LSN_AT) == lsn.0
}

fn decode(lsn: Lsn, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    if bytes.len() < HEADER_BYTES || !is_header_of(lsn, &bytes) {
        return None;
    }
    let (header, state) = bytes.split_at(HEADER_BYTES);
    let whole = u64_at(header, 24) == state.len() as u64
        && hash(&header[LSN_AT..HASH_AT], state).as_bytes()[..] == header[HASH_AT..];
    whole.then(|| {
        bytes.drain(..HEADER_BYTES);
        bytes
    })
}

fn hash(covered_header: &[u8], state: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(covered_header);
    hasher.update(state);
    hasher.finalize()
}
