//! The format of a journal on disk, written down a second time from its description.
//!
//! Never shares code with the store: it is what the store's reader is compared with.

use std::fs;
use std::path::{Path, PathBuf};

use staunch_ports::journal::ChainHash;
use staunch_ports::{Epoch, Lsn, StoredFrame};
use staunch_store::JournalOptions;
use staunch_store::journal::{FRAME_HEADER_BYTES, PAYLOAD_BYTES_MAX, SEGMENT_HEADER_BYTES};

/// Bytes of a segment in these journals: small, so that several are written thousands of times a second.
pub const SEGMENT_BYTES: usize = 16 << 10;

const HEADER_BYTES: usize = 4096;
const _: () = assert!(HEADER_BYTES as u64 == SEGMENT_HEADER_BYTES);

/// The options that go with [`SEGMENT_BYTES`].
#[must_use]
pub fn options() -> JournalOptions {
    JournalOptions {
        segment_bytes: SEGMENT_BYTES as u64,
        reserve_bytes: 2 << 10,
        payload_bytes_max: 4 << 10,
        ..JournalOptions::default()
    }
}

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// The format.
    pub version: u32,
    /// The position of its first frame.
    pub first_lsn: u64,
    /// The size it was made with.
    pub bytes: u64,
    /// Goes into the checksum of every frame.
    pub salt: [u8; 8],
    /// The chain value before its first frame.
    pub prev: ChainHash,
}

impl SegmentHead {
    /// A header of a first segment.
    #[must_use]
    pub fn first() -> Self {
        Self {
            version: 1,
            first_lsn: 1,
            bytes: SEGMENT_BYTES as u64,
            salt: *b"saltsalt",
            prev: [0; 16],
        }
    }

    /// The header block.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut block = b"staunchJ".to_vec();
        block.extend(self.version.to_le_bytes());
        block.extend([0; 4]);
        block.extend(self.first_lsn.to_le_bytes());
        block.extend(self.bytes.to_le_bytes());
        block.extend(self.salt);
        block.extend(self.prev);
        block.extend(crc32c::crc32c(&block).to_le_bytes());
        block.resize(HEADER_BYTES, 0);
        block
    }

    /// The header at the start of `file`, when it is a valid one of this version.
    #[must_use]
    pub fn decode(file: &[u8]) -> Option<Self> {
        let block = file.get(..60)?;
        let head = Self {
            version: u32_at(block, 8),
            first_lsn: u64_at(block, 16),
            bytes: u64_at(block, 24),
            salt: block[32..40].try_into().ok()?,
            prev: block[40..56].try_into().ok()?,
        };
        let whole = &block[..8] == b"staunchJ" && crc32c::crc32c(&block[..56]) == u32_at(block, 56);
        (whole && head.version <= 1).then_some(head)
    }

    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{:020}.seg", self.first_lsn)
    }
}

/// Adds a frame to `file`, as the `batch`-th of its write.
pub fn add_frame(file: &mut Vec<u8>, head: &SegmentHead, batch: u32, frame: &StoredFrame) {
    let start = file.len();
    let len = u32::try_from(frame.payload.len()).expect("payloads of these journals are short");
    file.extend(len.to_le_bytes());
    file.extend([0; 4]);
    file.extend(batch.to_le_bytes());
    file.extend(frame.lsn.0.to_le_bytes());
    file.extend(frame.epoch.0.to_le_bytes());
    file.extend(frame.now_us.to_le_bytes());
    file.extend(frame.prev);
    file.extend(&frame.payload);
    let crc = checksum(head, &file[start..]);
    file[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// The chain value of a frame.
#[must_use]
pub fn chain(frame: &StoredFrame) -> ChainHash {
    let mut covered = frame.lsn.0.to_le_bytes().to_vec();
    covered.extend(frame.epoch.0.to_le_bytes());
    covered.extend(frame.now_us.to_le_bytes());
    covered.extend(frame.prev);
    covered.extend(&frame.payload);
    blake3::hash(&covered).as_bytes()[..16]
        .try_into()
        .expect("a hash is longer")
}

/// The frames of `file` from the first on, each the next one of the one before it and whole.
#[must_use]
pub fn frames(file: &[u8]) -> Vec<StoredFrame> {
    let Some(head) = SegmentHead::decode(file) else {
        return Vec::new();
    };
    let mut found: Vec<StoredFrame> = Vec::new();
    let mut at = HEADER_BYTES;
    let (mut lsn, mut epoch, mut prev) = (u128::from(head.first_lsn.max(1)), 0, head.prev);
    while let Some(frame) = file.get(at..).and_then(|rest| frame_at(&head, rest)) {
        if u128::from(frame.lsn.0) != lsn || frame.prev != prev || frame.epoch.0 < epoch {
            break;
        }
        at += FRAME_HEADER_BYTES + frame.payload.len();
        (lsn, epoch, prev) = (lsn + 1, frame.epoch.0, frame.hash);
        found.push(frame);
    }
    found
}

/// Gives the frame that begins at `at` the checksum that fits what is there; false when there is none.
pub fn mend_checksum(file: &mut [u8], at: usize) -> bool {
    let Some(head) = SegmentHead::decode(file) else {
        return false;
    };
    let Some(len) = file
        .get(at..at + FRAME_HEADER_BYTES)
        .map(|frame| u32_at(frame, 0) as usize)
    else {
        return false;
    };
    let Some(frame) = file
        .get_mut(at..)
        .and_then(|rest| rest.get_mut(..FRAME_HEADER_BYTES + len))
    else {
        return false;
    };
    let crc = checksum(&head, frame);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    true
}

/// The segment files of a journal, oldest first.
#[must_use]
pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the directory is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "seg"));
    paths.sort();
    paths
}

fn frame_at(head: &SegmentHead, rest: &[u8]) -> Option<StoredFrame> {
    let len = u32_at(rest.get(..FRAME_HEADER_BYTES)?, 0) as usize;
    let bytes = rest.get(..FRAME_HEADER_BYTES + len)?;
    if len > PAYLOAD_BYTES_MAX || checksum(head, bytes) != u32_at(bytes, 4) {
        return None;
    }
    let mut frame = StoredFrame {
        lsn: Lsn(u64_at(bytes, 12)),
        epoch: Epoch(u32_at(bytes, 20)),
        now_us: u64_at(bytes, 24),
        prev: bytes[32..48].try_into().ok()?,
        hash: ChainHash::default(),
        payload: bytes[FRAME_HEADER_BYTES..].to_vec(),
    };
    frame.hash = chain(&frame);
    Some(frame)
}

fn checksum(head: &SegmentHead, frame: &[u8]) -> u32 {
    let mut covered = head.salt.to_vec();
    covered.extend(&frame[..4]);
    covered.extend(&frame[8..]);
    crc32c::crc32c(&covered)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
