//! Reads segments from front to back, proves every frame, and judges how the log ends.
//!
//! Never writes: what is to be cut is reported, and `recovery` cuts it.
//!
//! # How the log ends
//!
//! A segment ends where the next frame does not verify. What that means is decided by one rule per line, first match:
//!
//! | the rest of the segment | in a sealed segment | in the last segment |
//! |---|---|---|
//! | zeros only | end | end |
//! | a whole frame, but the wrong one (position, chain, epoch) | corrupt | corrupt |
//! | a bad frame, and after it a frame of a later write | corrupt | corrupt |
//! | a bad frame, and nothing of a later write | corrupt | torn tail |
//!
//! "Of a later write" is what tells a torn write from damage. A write starts only after the one before it was synced, so
//! a frame of a later write proves that the bad frame was durable once. A whole frame of the *same* write proves nothing,
//! because the sectors of one write reach the disk in any order. See `frame.rs` for how the two are told apart.
//!
//! What no log of this kind can tell apart is a torn last write and a last write that was acknowledged and damaged
//! afterwards; it is cut, and the cut is reported with its size. A snapshot of a later position unmasks the second case.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use staunch_ports::{Epoch, Lsn, Tail};

use super::disk::read_up_to;
use super::error::OpenError;
use super::frame::{self, Defect, FRAME_HEADER_BYTES, FrameView};
use super::segment::{SEGMENT_HEADER_BYTES, Segment};

/// Read this much at once: large enough for the disk, small enough to be hashed while it is in the cache of the core.
const BLOCK_BYTES: usize = 256 << 10;

/// Where the frames of a segment end and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// The last good frame, or what the header says of the one before the first.
    pub(super) tail: Tail,
    /// Good frames in this segment.
    pub(super) frames: u64,
    /// The first byte after the last good frame.
    pub(super) offset: u64,
    /// Why the next one is not good.
    pub(super) defect: Defect,
}

/// What a segment holds after its last good frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Zeros.
    Clean,
    /// A write that was not finished: this many bytes, from the end on, are to be cut.
    Torn(u64),
}

/// Calls `visit` with every good frame of `segment` in order. A visitor that returns false ends the scan.
pub(super) fn frames(segment: &Segment, visit: &mut dyn FnMut(FrameView<'_>) -> bool) -> io::Result<End> {
    let seed = segment.header.seed();
    let mut window = Window::new(&segment.file, SEGMENT_HEADER_BYTES)?;
    let before_first = Lsn(segment.header.first_lsn.0.saturating_sub(1));
    let mut tail = Tail { lsn: before_first, epoch: Epoch(0), hash: segment.header.prev };
    let mut frames = 0;
    let defect = loop {
        let frame = match window.next_frame(seed)? {
            Ok(frame) => frame,
            Err(defect) => break defect,
        };
        if frame.lsn != tail.lsn.next() {
            break Defect::Position { found: frame.lsn };
        }
        if frame.prev != tail.hash {
            break Defect::Chain;
        }
        if frame.epoch < tail.epoch {
            break Defect::Epoch { found: frame.epoch, before: tail.epoch };
        }
        tail = Tail { lsn: frame.lsn, epoch: frame.epoch, hash: frame.hash };
        frames += 1;
        let (len, go_on) = (frame.len(), visit(frame));
        window.advance(len);
        if !go_on {
            break Defect::End;
        }
    };
    Ok(End { tail, frames, offset: window.offset(), defect })
}

/// Judges what follows the last good frame of a segment, by the table at the top of this file.
pub(super) fn judge(segment: &Segment, end: &End, is_last: bool) -> Result<Rest, OpenError> {
    let failed = |error| OpenError::io("read the segment", &segment.path, 0, error);
    let corrupt = |what: String| OpenError::Corrupt { path: segment.path.clone(), offset: end.offset, what };
    let Some(garbage_end) = last_byte_set(&segment.file, end.offset).map_err(failed)? else { return Ok(Rest::Clean) };
    if end.defect.is_whole_frame() {
        return Err(corrupt(end.defect.to_string()));
    }
    if !is_last {
        return Err(corrupt(format!("{}, and later segments exist", end.defect)));
    }
    let len = segment.file.metadata().map_err(failed)?.len();
    let mut rest = vec![0; frame::index(len - end.offset)];
    let read = read_up_to(&segment.file, &mut rest, end.offset).map_err(failed)?;
    match frame::find_later(&rest[..read], segment.header.seed(), end.tail.lsn.next()) {
        Some((at, lsn)) => {
            let at = end.offset + at as u64;
            Err(corrupt(format!("{}, and frame {lsn}, written after it, follows at byte {at}", end.defect)))
        }
        None => Ok(Rest::Torn(garbage_end - end.offset)),
    }
}

/// A whole log that was read and proved.
#[derive(Debug)]
pub(super) struct Log {
    /// The end of the log.
    pub(super) tail: Tail,
    /// Good frames.
    pub(super) frames: u64,
    /// The first byte after the last good frame in the last segment.
    pub(super) offset: u64,
    /// What follows there.
    pub(super) rest: Rest,
}

/// A log that could be proved up to some point only.
#[derive(Debug)]
pub(super) struct Damage {
    /// The last good frame.
    pub(super) tail: Tail,
    /// Good frames before the damage.
    pub(super) frames: u64,
    /// What and where.
    pub(super) error: OpenError,
}

/// Proves every frame of every segment. Segments are read side by side, as every header holds the chain value that its
/// segment starts from; the seams between them are compared afterwards.
///
/// `paths` are all segments of a log, oldest first.
pub(super) fn log(paths: &[PathBuf]) -> Result<Log, Box<Damage>> {
    let mut log = Log { tail: Tail::default(), frames: 0, offset: 0, rest: Rest::Clean };
    for (path, (outcome, good)) in paths.iter().zip(scan_all(paths)) {
        let seam = |what: String| OpenError::Corrupt { path: path.clone(), offset: 0, what };
        let problem = match &outcome {
            Ok((header, _, _)) if header.first_lsn != log.tail.lsn.next() => Some(seam(format!(
                "the segment begins with frame {}, but the frames before it end with {}: a segment is missing",
                header.first_lsn, log.tail.lsn
            ))),
            Ok((header, _, _)) if header.prev != log.tail.hash => {
                Some(seam("the segment does not follow the one before it: the chain is broken".to_owned()))
            }
            Ok((_, end, _)) if end.frames > 0 && end.first_epoch < log.tail.epoch => {
                Some(seam(Defect::Epoch { found: end.first_epoch, before: log.tail.epoch }.to_string()))
            }
            _ => None,
        };
        if let Some(error) = problem {
            return Err(Box::new(Damage { tail: log.tail, frames: log.frames, error }));
        }
        let epoch_before = log.tail.epoch;
        if let Some(end) = good {
            log.tail = Tail { epoch: end.tail.epoch.max(epoch_before), ..end.tail };
            log.frames += end.frames;
            log.offset = end.offset;
        }
        match outcome {
            Ok((_, _, rest)) => log.rest = rest,
            Err(error) => return Err(Box::new(Damage { tail: log.tail, frames: log.frames, error })),
        }
    }
    Ok(log)
}
