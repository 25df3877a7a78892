//! How one frame lies on disk, and what is wrong with bytes that are not one.
//!
//! Never touches a file.
//!
//! ```text
//! len u32 | crc32c u32 | batch u32 | lsn u64 | epoch u32 | now_us u64 | prev 16 | payload     little endian
//! ```
//!
//! - `len` counts the payload only.
//! - `crc32c` covers `len`, everything after `crc32c`, and the salt of the segment. The salt is random, so that a
//!   payload which holds the bytes of a frame (an event from an attacker, a journal kept as evidence) is not taken for
//!   one.
//! - `batch` counts the frames of the same write that lie before this one. Sectors of one write reach the disk in any
//!   order, so a power cut can leave the third frame of a write whole and the first one torn. `lsn - batch` tells that
//!   harmless case from real damage: everything before it was synced before this frame was written.
//! - The chain value is over `lsn` to the end of `payload`. `batch` is left out, because how frames were grouped is not
//!   part of what happened: two journals with the same frames have the same chain.

use std::fmt;

use staunch_ports::journal::ChainHash;
use staunch_ports::{Epoch, Lsn, StoredFrame};

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 48;

/// The longest payload that the format allows. It bounds what a damaged length can make recovery read.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

const CRC_AT: usize = 4;
const BATCH_AT: usize = 8;
const LSN_AT: usize = 12;
const EPOCH_AT: usize = 20;
const NOW_AT: usize = 24;
const PREV_AT: usize = 32;
const _: () = assert!(PREV_AT + size_of::<ChainHash>() == FRAME_HEADER_BYTES);
const _: () = assert!(size_of::<usize>() >= size_of::<u64>(), "offsets are held in usize");

/// A frame in somebody's buffer, its checksum proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameView<'b> {
    pub(super) batch: u32,
    pub(super) lsn: Lsn,
    pub(super) epoch: Epoch,
    pub(super) now_us: u64,
    pub(super) prev: ChainHash,
    pub(super) payload: &'b [u8],
    /// All of it, as it lies on disk.
    bytes: &'b [u8],
}

impl FrameView<'_> {
    /// Bytes of the whole frame.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Its chain value, which is computed anew each time.
    pub(super) fn hash(&self) -> ChainHash {
        chain_of(self.bytes)
    }

    /// Copies the frame out of the buffer. `hash` is its chain value.
    pub(super) fn to_stored(self, hash: ChainHash) -> StoredFrame {
        StoredFrame {
            lsn: self.lsn,
            epoch: self.epoch,
            now_us: self.now_us,
            prev: self.prev,
            hash,
            payload: self.payload.to_vec(),
        }
    }
}

/// Why the bytes at the expected end of the log are not the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// The segment has no more bytes for a frame.
    End,
    /// The length goes past the segment, or past what a frame may have.
    Length,
    /// The checksum does not match.
    Checksum,
    /// A whole frame, but not the next one.
    Position { found: Lsn },
    /// A whole frame that follows another history.
    Chain,
    /// A whole frame of an older writer than the frame before it.
    Epoch { found: Epoch, before: Epoch },
}

impl Defect {
    /// True when the checksum fits, so that a torn write cannot be the cause.
    pub(super) fn is_whole_frame(self) -> bool {
        match self {
            Self::End | Self::Length | Self::Checksum => false,
            Self::Position { .. } | Self::Chain | Self::Epoch { .. } => true,
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("the segment ends inside a frame"),
            Self::Length => f.write_str("the length of a frame is impossible"),
            Self::Checksum => f.write_str("the checksum of a frame does not match"),
            Self::Position { found } => write!(f, "frame {found} is out of place"),
            Self::Chain => f.write_str("the chain is broken: a frame does not follow the one before it"),
            Self::Epoch { found, before } => write!(f, "a frame of epoch {found} follows one of epoch {before}"),
        }
    }
}

/// What is written of a frame, apart from its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHead {
    pub(super) batch: u32,
    pub(super) lsn: Lsn,
    pub(super) epoch: Epoch,
    pub(super) now_us: u64,
    pub(super) prev: ChainHash,
}

/// Adds one frame to `out` and returns its chain value. `seed` is the checksum of the segment's salt.
pub(super) fn encode(out: &mut Vec<u8>, seed: u32, head: FrameHead, payload: &[u8]) -> ChainHash {
    let start = out.len();
    let len = u32::try_from(payload.len()).expect("payloads are checked against PAYLOAD_BYTES_MAX");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&head.batch.to_le_bytes());
    out.extend_from_slice(&head.lsn.0.to_le_bytes());
    out.extend_from_slice(&head.epoch.0.to_le_bytes());
    out.extend_from_slice(&head.now_us.to_le_bytes());
    out.extend_from_slice(&head.prev);
    out.extend_from_slice(payload);
    let frame = &mut out[start..];
    let crc = checksum(frame, seed);
    frame[CRC_AT..BATCH_AT].copy_from_slice(&crc.to_le_bytes());
    chain_of(frame)
}

/// The number of bytes of the frame that starts with `head`, if that length is possible at all.
pub(super) fn length(head: &[u8]) -> Option<usize> {
    let payload = u32_at(head, 0) as usize;
    (payload <= PAYLOAD_BYTES_MAX).then_some(FRAME_HEADER_BYTES + payload)
}

/// Reads the frame that fills `bytes`, which are as many as [`length`] said.
pub(super) fn decode(bytes: &[u8], seed: u32) -> Result<FrameView<'_>, Defect> {
    if checksum(bytes, seed) != u32_at(bytes, CRC_AT) {
        return Err(Defect::Checksum);
    }
    Ok(FrameView {
        batch: u32_at(bytes, BATCH_AT),
        lsn: Lsn(u64_at(bytes, LSN_AT)),
        epoch: Epoch(u32_at(bytes, EPOCH_AT)),
        now_us: u64_at(bytes, NOW_AT),
        prev: bytes[PREV_AT..FRAME_HEADER_BYTES]
            .try_into()
            .expect("the range has the size of a chain value"),
        payload: &bytes[FRAME_HEADER_BYTES..],
        bytes,
    })
}

/// The first frame in `bytes` after its first byte that was written when frame `bad` had long been durable: the offset
/// in `bytes` and the position of the frame.
///
/// Tries every byte, because the length of a damaged frame says nothing about where the next one begins.
pub(super) fn find_later(bytes: &[u8], seed: u32, bad: Lsn) -> Option<(usize, Lsn)> {
    let last = bytes.len().checked_sub(FRAME_HEADER_BYTES)?;
    let lsn_max = bad.0.saturating_add((bytes.len() / FRAME_HEADER_BYTES) as u64 + 1);
    for at in 1..=last {
        let lsn = u64_at(bytes, at + LSN_AT);
        if lsn <= bad.0 || lsn > lsn_max || lsn - bad.0 <= u64::from(u32_at(bytes, at + BATCH_AT)) {
            continue;
        }
        let Some(frame) = length(&bytes[at..]).and_then(|len| bytes.get(at..at + len)) else {
            continue;
        };
        if checksum(frame, seed) == u32_at(frame, CRC_AT) {
            return Some((at, Lsn(lsn)));
        }
    }
    None
}

/// The chain value of a frame from its parts, for stores that keep frames in another form.
pub(super) fn chain_hash(lsn: Lsn, epoch: Epoch, now_us: u64, prev: &ChainHash, payload: &[u8]) -> ChainHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&lsn.0.to_le_bytes());
    hasher.update(&epoch.0.to_le_bytes());
    hasher.update(&now_us.to_le_bytes());
    hasher.update(prev);
    hasher.update(payload);
    shorten(&hasher.finalize())
}

fn chain_of(frame: &[u8]) -> ChainHash {
    shorten(&blake3::hash(&frame[LSN_AT..]))
}

fn shorten(hash: &blake3::Hash) -> ChainHash {
    *hash.as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes")
}

fn checksum(frame: &[u8], seed: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &frame[..CRC_AT]), &frame[BATCH_AT..])
}

/// An offset as an index.
pub(super) fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("usize is as wide as u64, asserted at compile time")
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the caller has checked the length"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the caller has checked the length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lsn: u64, batch: u32) -> FrameHead {
        FrameHead {
            batch,
            lsn: Lsn(lsn),
            epoch: Epoch(3),
            now_us: 1_000_001,
            prev: [7; 16],
        }
    }

    #[test]
    fn a_frame_survives_the_round_trip_and_has_the_same_chain_value_by_parts() {
        let mut bytes = Vec::new();
        let hash = encode(&mut bytes, 5, head(9, 2), b"payload");
        let frame = decode(&bytes, 5).expect("just encoded");
        assert_eq!(length(&bytes), Some(bytes.len()));
        assert_eq!(
            (frame.lsn, frame.batch, frame.epoch, frame.now_us),
            (Lsn(9), 2, Epoch(3), 1_000_001)
        );
        assert_eq!(
            (frame.prev, frame.payload, frame.hash()),
            ([7; 16], b"payload".as_slice(), hash)
        );
        assert_eq!(chain_hash(Lsn(9), Epoch(3), 1_000_001, &[7; 16], b"payload"), hash);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 5, head(9, 0), b"payload");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes, 5), Err(Defect::Checksum), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn zeros_are_not_a_frame() {
        assert_eq!(
            decode(&[0; FRAME_HEADER_BYTES], crc32c::crc32c(&[0; 8])),
            Err(Defect::Checksum)
        );
    }

    #[test]
    fn a_later_frame_counts_only_when_it_is_of_a_later_write() {
        let check = |lsn: u64, batch: u32, seed: u32, expect: Option<(usize, Lsn)>| {
            let mut bytes = vec![0xAA; 77];
            encode(&mut bytes, seed, head(lsn, batch), b"later");
            bytes.extend_from_slice(&[0; 100]);
            assert_eq!(
                find_later(&bytes, 5, Lsn(10)),
                expect,
                "frame {lsn}, {batch} in its write, seed {seed}"
            );
        };
        check(11, 0, 5, Some((77, Lsn(11))));
        check(11, 1, 5, None); // same write as the bad frame 10
        check(12, 1, 5, Some((77, Lsn(12))));
        check(12, 2, 5, None);
        check(10, 0, 5, None);
        check(11, 0, 6, None); // another segment's salt: a copy of a frame inside a payload
        check(1_000, 0, 5, None); // further away than this segment could hold
    }
}
