//! One segment file: its name, its header block, and how it comes to be.
//!
//! Never reads or writes frames.
//!
//! A segment is a file of fixed size that holds zeros before it holds frames. Zeros are written, not merely allocated:
//! an append into allocated but unwritten space has to change the file system's own log too, which doubles the time of
//! its sync. The header block is 4096 bytes long and is synced before the file gets the name of a segment, so a segment
//! with a bad header is damage, never a torn write.
//!
//! ```text
//! magic 8 | version u32 | unused u32 | first_lsn u64 | bytes u64 | salt 8 | prev 16 | crc32c u32 | zeros
//! ```
//!
//! Numbers are little endian.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use staunch_ports::Lsn;
use staunch_ports::journal::ChainHash;

use super::disk::{Disk, read_up_to};
use super::error::OpenError;
use super::frame::{u32_at, u64_at};

/// Bytes of a segment before its first frame.
pub const SEGMENT_HEADER_BYTES: u64 = 4096;

const MAGIC: &[u8; 8] = b"staunchJ";
/// The format of header and frames.
const VERSION: u32 = 1;
const CRC_AT: usize = 56;
const HEADER_USED: usize = CRC_AT + 4;

/// The name of the file that is to become the next segment.
pub(super) const SPARE: &str = "spare";
/// Zeros are written and synced in pieces of this size, so that an append that syncs meanwhile waits for one piece
/// only.
const ZERO_CHUNK_BYTES: usize = 1 << 20;

/// What the header block of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The position of its first frame.
    pub(super) first_lsn: Lsn,
    /// The size it was made with.
    pub(super) bytes: u64,
    /// The chain value of the last frame of the segment before it.
    pub(super) prev: ChainHash,
    /// Random; goes into the checksum of every frame.
    pub(super) salt: [u8; 8],
}

impl Header {
    /// Makes a header with a fresh salt.
    pub(super) fn new(first_lsn: Lsn, bytes: u64, prev: ChainHash) -> io::Result<Self> {
        let mut salt = [0; 8];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        Ok(Self {
            first_lsn,
            bytes,
            prev,
            salt,
        })
    }

    /// Where the checksum of every frame of the segment starts from.
    pub(super) fn seed(&self) -> u32 {
        crc32c::crc32c(&self.salt)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(HEADER_USED);
        block.extend_from_slice(MAGIC);
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(&self.first_lsn.0.to_le_bytes());
        block.extend_from_slice(&self.bytes.to_le_bytes());
        block.extend_from_slice(&self.salt);
        block.extend_from_slice(&self.prev);
        block.extend_from_slice(&crc32c::crc32c(&block).to_le_bytes());
        block
    }

    fn decode(path: &Path, block: &[u8]) -> Result<Self, OpenError> {
        let corrupt = |offset, what: &str| OpenError::Corrupt {
            path: path.to_owned(),
            offset,
            what: what.to_owned(),
        };
        if block.len() < HEADER_USED {
            return Err(corrupt(0, "the file is too short for the header of a segment"));
        }
        if &block[..8] != MAGIC {
            return Err(corrupt(0, "this is not a journal segment"));
        }
        let found = u32_at(block, 8);
        if found > VERSION {
            return Err(OpenError::Version {
                path: path.to_owned(),
                found,
                supported: VERSION,
            });
        }
        if crc32c::crc32c(&block[..CRC_AT]) != u32_at(block, CRC_AT) {
            return Err(corrupt(0, "the checksum of the segment header does not match"));
        }
        Ok(Self {
            first_lsn: Lsn(u64_at(block, 16)),
            bytes: u64_at(block, 24),
            salt: *block[32..].first_chunk().expect("the length was checked"),
            prev: *block[40..].first_chunk().expect("the length was checked"),
        })
    }
}

/// A segment, open for reading.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) header: Header,
}

impl Segment {
    pub(super) fn open(path: PathBuf) -> Result<Self, OpenError> {
        // Without it, opening a pipe waits for somebody who writes; reads of regular files are the same with it.
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).expect("flags are few bits");
        let mut options = OpenOptions::new();
        let opened = options.read(true).custom_flags(nonblocking).open(&path);
        let file = opened.map_err(|error| OpenError::io("open the segment", &path, 0, error))?;
        let found = file
            .metadata()
            .map_err(|error| OpenError::io("look at the segment", &path, 0, error))?;
        if !found.is_file() {
            let what = if found.is_dir() {
                "a directory"
            } else {
                "no regular file"
            };
            let what = format!("in the place of a segment is {what}");
            return Err(OpenError::Corrupt { path, offset: 0, what });
        }
        Self::with_file(path, file)
    }

    pub(super) fn with_file(path: PathBuf, file: File) -> Result<Self, OpenError> {
        let mut block = [0; HEADER_USED];
        let read = read_up_to(&file, &mut block, 0)
            .map_err(|error| OpenError::io("read the header of the segment", &path, 0, error))?;
        let header = Header::decode(&path, &block[..read])?;
        if path.file_name().and_then(|name| name.to_str()) != Some(&file_name(header.first_lsn)) {
            let what = format!("the file is named wrongly, its first frame is {}", header.first_lsn);
            return Err(OpenError::Corrupt { path, offset: 0, what });
        }
        Ok(Self { path, file, header })
    }
}

/// The name of the segment that begins with `first_lsn`. Names sort like positions.
pub(super) fn file_name(first_lsn: Lsn) -> String {
    format!("{:020}.seg", first_lsn.0)
}

/// The paths of all segments in `dir`, oldest first.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let failed = |error| OpenError::io("list the journal", dir, 0, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Makes the file [`SPARE`]: `bytes` durable zeros under a durable name. Reuses what is there of an earlier attempt.
///
/// Stops early, with an error, when `stop` says so.
pub(super) fn prepare_spare(disk: &Disk, bytes: u64, stop: &dyn Fn() -> bool) -> io::Result<File> {
    let file = disk.open_or_create(SPARE)?;
    let len = file.metadata()?.len();
    if len > bytes {
        disk.set_len(&file, SPARE, bytes)?;
    }
    zero_fill(disk, &file, SPARE, 0, bytes, stop)?;
    disk.sync_dir()?;
    Ok(file)
}

/// Makes `from..to` of a file durable zeros. Pieces that are zeros are not written again, so that a spare left by an
/// earlier run costs a read only; their durability is the sync at the end.
pub(super) fn zero_fill(
    disk: &Disk,
    file: &File,
    name: &str,
    from: u64,
    to: u64,
    stop: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; ZERO_CHUNK_BYTES];
    let zeros = vec![0; ZERO_CHUNK_BYTES];
    let mut at = from;
    while at < to {
        if stop() {
            return Err(io::Error::other("stopped"));
        }
        let chunk = super::frame::index((to - at).min(ZERO_CHUNK_BYTES as u64));
        let read = read_up_to(file, &mut buffer[..chunk], at)?;
        if read < chunk || buffer[..chunk] != zeros[..chunk] {
            disk.write_at(file, name, &zeros[..chunk], at)?;
            disk.sync(file, name)?;
        }
        at += chunk as u64;
    }
    disk.sync(file, name)
}

/// Turns the spare into the segment that `header` describes. When this returns, both content and name are durable.
pub(super) fn install(disk: &Disk, spare: &File, header: &Header) -> io::Result<()> {
    disk.write_at(spare, SPARE, &header.encode(), 0)?;
    disk.sync(spare, SPARE)?;
    disk.rename(SPARE, &file_name(header.first_lsn))?;
    disk.sync_dir()
}
