//! Snapshots of the state, so that a replay need not begin with the first frame.
//!
//! Never touches a segment: a snapshot that is lost or damaged costs time, not facts.
//!
//! ```text
//! magic 8 | version u32 | unused u32 | lsn u64 | bytes u64 | blake3 32 | state      little endian
//! ```
//! The hash is over the state, `lsn` and `bytes`, in this order: the state is written in pieces, and its length is
//! known when all of it has been.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use staunch_ports::{Lsn, StateWriter};

use super::disk::{Disk, read_up_to};
use super::frame::{u32_at, u64_at};

const MAGIC: &[u8; 8] = b"staunchS";
const VERSION: u32 = 7;
const HEADER_BYTES: usize = 64;
const LSN_AT: usize = 16;
const HASH_AT: usize = 32;
const TEMPORARY: &str = "snapshot.tmp";
/// Bytes of the state that are written at once.
const PIECE_BYTES: usize = 256 * 1024;
/// One to use, and one for the case that it is damaged.
const KEPT: usize = 2;

/// Writes a snapshot beside the others, gives it its name when it is durable, and removes all but the newest two.
/// `needed` is set to the bytes of the state that there have been.
pub(super) fn put(disk: &Disk, lsn: Lsn, state: StateWriter<'_>, needed: &mut u64) -> io::Result<()> {
    if let Err(error) = write(disk, lsn, state, needed) {
        // What is left of it only takes up room. When it cannot be removed, the next snapshot writes over it.
        drop(disk.remove(TEMPORARY));
        return Err(error);
    }
    for (old, _) in list(disk.dir())?.into_iter().skip(KEPT) {
        disk.remove(&name(old))?;
    }
    Ok(())
}

/// The newest snapshot in `dir` that can be read, verifies and is not of a position after `tail`.
pub(super) fn newest(dir: &Path, tail: Lsn) -> io::Result<Option<(Lsn, Vec<u8>)>> {
    for (lsn, path) in list(dir)? {
        if lsn > tail {
            tracing::warn!(%lsn, %tail, "passing over a snapshot of a position after the end of the journal");
            continue;
        }
        match fs::read(&path).map(|bytes| decode(lsn, bytes)) {
            Ok(Some(state)) => return Ok(Some((lsn, state))),
            Ok(None) => tracing::warn!(path = %path.display(), "passing over a damaged snapshot"),
            Err(error) => pass_over_unread(&path, &error),
        }
    }
    Ok(None)
}

/// The newest position of which there is a snapshot that can be read, with its file. The state is not read, only the
/// header.
pub(super) fn newest_position(dir: &Path) -> io::Result<Option<(Lsn, PathBuf)>> {
    for (lsn, path) in list(dir)? {
        let mut header = [0; HEADER_BYTES];
        match File::open(&path).and_then(|file| read_up_to(&file, &mut header, 0)) {
            Ok(HEADER_BYTES) if is_header_of(lsn, &header) => return Ok(Some((lsn, path))),
            Ok(_) => {}
            Err(error) => pass_over_unread(&path, &error),
        }
    }
    Ok(None)
}

fn pass_over_unread(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), %error, "passing over a snapshot that cannot be read");
}

/// Why a log that ends with `tail` is not whole, if the snapshot `newest` is of a later position: a snapshot is made of
/// acknowledged frames only.
pub(super) fn what_is_missing(newest: Option<(Lsn, PathBuf)>, tail: Lsn) -> Option<(PathBuf, String)> {
    let (lsn, path) = newest.filter(|(lsn, _)| *lsn > tail)?;
    let what = format!("this is the state after frame {lsn}, but the journal ends with {tail}: frames are missing");
    Some((path, what))
}

fn write(disk: &Disk, lsn: Lsn, state: StateWriter<'_>, needed: &mut u64) -> io::Result<()> {
    let file = disk.open_or_create(TEMPORARY)?;
    disk.set_len(&file, TEMPORARY, 0)?;
    let mut pieces = Pieces {
        disk,
        file: &file,
        hasher: blake3::Hasher::new(),
        waiting: Vec::with_capacity(PIECE_BYTES),
        bytes: 0,
        failed: None,
    };
    let written = state(&mut pieces).and_then(|()| pieces.flush());
    *needed = pieces.bytes;
    // What the disk said, when that is what ended it: who writes the state may have put it in words of its own.
    written.map_err(|error| pieces.failed.take().unwrap_or(error))?;
    let header = header(lsn, pieces.bytes, pieces.hasher);
    disk.write_at(&file, TEMPORARY, &header, 0)?;
    disk.sync(&file, TEMPORARY)?;
    disk.rename(TEMPORARY, &name(lsn))?;
    disk.sync_dir()
}

/// A state on its way into the file, behind the header.
struct Pieces<'a> {
    disk: &'a Disk,
    file: &'a File,
    hasher: blake3::Hasher,
    /// What has not been written yet.
    waiting: Vec<u8>,
    /// Bytes so far, those that wait included.
    bytes: u64,
    failed: Option<io::Error>,
}

impl io::Write for Pieces<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(PIECE_BYTES - self.waiting.len());
        self.waiting.extend_from_slice(&data[..taken]);
        self.bytes += taken as u64;
        if self.waiting.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        let offset = HEADER_BYTES as u64 + self.bytes - self.waiting.len() as u64;
        self.hasher.update(&self.waiting);
        let written = self.disk.write_at(self.file, TEMPORARY, &self.waiting, offset);
        self.waiting.clear();
        written.map_err(|error| {
            let kind = error.kind();
            self.failed.get_or_insert(error);
            kind.into()
        })
    }
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

fn header(lsn: Lsn, bytes: u64, state: blake3::Hasher) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&lsn.0.to_le_bytes());
    header.extend_from_slice(&bytes.to_le_bytes());
    let hash = hash(state, &header[LSN_AT..HASH_AT]);
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
        && hash(of_state(state), &header[LSN_AT..HASH_AT]).as_bytes()[..] == header[HASH_AT..];
    whole.then(|| {
        bytes.drain(..HEADER_BYTES);
        bytes
    })
}

fn of_state(state: &[u8]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(state);
    hasher
}

fn hash(mut state: blake3::Hasher, covered_header: &[u8]) -> blake3::Hash {
    state.update(covered_header);
    state.finalize()
}
