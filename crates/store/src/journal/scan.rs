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
//! "Of a later write" is what tells a torn write from damage. A write starts only after the one before it was synced,
//! so a frame of a later write proves that the bad frame was durable once. A whole frame of the *same* write proves
//! nothing, because the sectors of one write reach the disk in any order. See `frame.rs` for how the two are told
//! apart.
//!
//! What no log of this kind can tell apart is a torn last write and a last write that was acknowledged and damaged
//! afterwards; it is cut, and the cut is reported with its size. A snapshot of a later position unmasks the second
//! case.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use staunch_ports::{Epoch, Lsn, Tail};

use super::disk::read_up_to;
use super::error::OpenError;
use super::frame::{self, Defect, FRAME_HEADER_BYTES, FrameView, PAYLOAD_BYTES_MAX};
use super::segment::{Header, SEGMENT_HEADER_BYTES, Segment};

/// Read this much at once: large enough for the disk, small enough to be hashed while it is in the cache of the core.
const BLOCK_BYTES: usize = 256 << 10;

/// How much of a frame is proved before it is visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// That it is undamaged, at its place, and follows the history before it.
    Chain,
    /// That it is undamaged and at its place: enough for a log whose chain this process has proved or written.
    Place,
}

/// Where the frames of a segment end and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// The last good frame, or what the header says of the one before the first. Holds no chain value of a frame unless
    /// the chain was proved.
    pub(super) tail: Tail,
    /// The epoch of the first frame.
    pub(super) first_epoch: Option<Epoch>,
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

/// Calls `visit` with every good frame of `segment` in order, and the log's end as it was with that frame: see
/// [`End::tail`]. A visitor that returns false ends the scan.
pub(super) fn frames(
    segment: &Segment,
    proof: Proof,
    visit: &mut dyn FnMut(FrameView<'_>, &Tail) -> bool,
) -> io::Result<End> {
    let seed = segment.header.seed();
    let mut window = Window::new(&segment.file, SEGMENT_HEADER_BYTES);
    let before_first = Lsn(segment.header.first_lsn.0.saturating_sub(1));
    let mut tail = Tail {
        lsn: before_first,
        epoch: Epoch(0),
        hash: segment.header.prev,
    };
    let (mut frames, mut first_epoch) = (0, None);
    let defect = loop {
        let frame = match window.next_frame(seed)? {
            Ok(frame) => frame,
            Err(defect) => break defect,
        };
        // Counted back, because nothing follows the last position that there is.
        if frame.lsn.0.checked_sub(1) != Some(tail.lsn.0) {
            break Defect::Position { found: frame.lsn };
        }
        if proof == Proof::Chain && frame.prev != tail.hash {
            break Defect::Chain;
        }
        if frame.epoch < tail.epoch {
            break Defect::Epoch {
                found: frame.epoch,
                before: tail.epoch,
            };
        }
        tail = Tail {
            lsn: frame.lsn,
            epoch: frame.epoch,
            hash: match proof {
                Proof::Chain => frame.hash(),
                Proof::Place => tail.hash,
            },
        };
        frames += 1;
        first_epoch.get_or_insert(frame.epoch);
        let (len, go_on) = (frame.len(), visit(frame, &tail));
        window.advance(len);
        if !go_on {
            break Defect::End;
        }
    };
    Ok(End {
        tail,
        first_epoch,
        frames,
        offset: window.offset,
        defect,
    })
}

/// Judges what follows the last good frame of a segment, by the table at the top of this file.
pub(super) fn judge(segment: &Segment, end: &End, is_last: bool) -> Result<Rest, OpenError> {
    let failed = |error| OpenError::io("read the segment", &segment.path, 0, error);
    let corrupt = |what: String| OpenError::Corrupt {
        path: segment.path.clone(),
        offset: end.offset,
        what,
    };
    let Some(garbage_end) = last_byte_set(&segment.file, end.offset).map_err(failed)? else {
        return Ok(Rest::Clean);
    };
    if end.defect.is_whole_frame() {
        return Err(corrupt(end.defect.to_string()));
    }
    if !is_last {
        return Err(corrupt(format!("{}, and later segments exist", end.defect)));
    }
    let len = segment.file.metadata().map_err(failed)?.len();
    // A frame that begins before the zeros may end with some; all zeros behind it would be most of a segment.
    let searched = len.min(garbage_end + (FRAME_HEADER_BYTES + PAYLOAD_BYTES_MAX) as u64);
    let mut rest = vec![0; frame::index(searched - end.offset)];
    let garbage = &mut rest[..frame::index(garbage_end - end.offset)];
    read_up_to(&segment.file, garbage, end.offset).map_err(failed)?;
    match frame::find_later(&rest, segment.header.seed(), end.tail.lsn.next()) {
        Some((at, lsn)) => {
            let at = end.offset + at as u64;
            Err(corrupt(format!(
                "{}, and frame {lsn}, written after it, follows at byte {at}",
                end.defect
            )))
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
///
/// # Errors
/// The first damage in the order of the log, with what is good before it.
pub(super) fn log(paths: &[PathBuf]) -> Result<Log, Box<Damage>> {
    let mut log = Log {
        tail: Tail::default(),
        frames: 0,
        offset: 0,
        rest: Rest::Clean,
    };
    for (path, scanned) in paths.iter().zip(scan_all(paths)) {
        let damage = |log: &Log, error| {
            Box::new(Damage {
                tail: log.tail,
                frames: log.frames,
                error,
            })
        };
        let scanned = scanned.map_err(|error| damage(&log, error))?;
        if let Some(what) = seam(&log.tail, &scanned) {
            return Err(damage(
                &log,
                OpenError::Corrupt {
                    path: path.clone(),
                    offset: 0,
                    what,
                },
            ));
        }
        log.tail = Tail {
            epoch: log.tail.epoch.max(scanned.end.tail.epoch),
            ..scanned.end.tail
        };
        log.frames += scanned.end.frames;
        log.offset = scanned.end.offset;
        log.rest = scanned.rest.map_err(|error| damage(&log, error))?;
    }
    Ok(log)
}

/// One segment that could be opened.
struct Scanned {
    header: Header,
    end: End,
    rest: Result<Rest, OpenError>,
}

/// Why a segment does not continue a log that ends with `tail`, if so.
fn seam(tail: &Tail, next: &Scanned) -> Option<String> {
    if next.header.first_lsn != tail.lsn.next() {
        let first = next.header.first_lsn;
        return Some(format!(
            "the segment begins with frame {first}, but the frames before it end with {}",
            tail.lsn
        ));
    }
    if next.header.prev != tail.hash {
        return Some("the segment does not follow the one before it: the chain is broken".to_owned());
    }
    let found = next.end.first_epoch?;
    (found < tail.epoch).then(|| {
        Defect::Epoch {
            found,
            before: tail.epoch,
        }
        .to_string()
    })
}

fn scan_all(paths: &[PathBuf]) -> Vec<Result<Scanned, OpenError>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(paths.len());
    let is_last = |index| index + 1 == paths.len();
    if threads < 2 {
        return paths
            .iter()
            .enumerate()
            .map(|(index, path)| scan_one(path, is_last(index)))
            .collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(paths.len()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = paths.get(index) else { break };
                    let scanned = scan_one(path, is_last(index));
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((index, scanned));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, scanned)| scanned).collect()
}

fn scan_one(path: &Path, is_last: bool) -> Result<Scanned, OpenError> {
    let segment = Segment::open(path.to_owned())?;
    let end = frames(&segment, Proof::Chain, &mut |_, _| true)
        .map_err(|error| OpenError::io("read the segment", path, 0, error))?;
    let rest = judge(&segment, &end, is_last);
    Ok(Scanned {
        header: segment.header,
        end,
        rest,
    })
}

/// The offset after the last byte from `from` on that is not zero.
fn last_byte_set(file: &File, from: u64) -> io::Result<Option<u64>> {
    let zeros = vec![0; BLOCK_BYTES];
    let mut block = vec![0; BLOCK_BYTES];
    let (mut at, mut last) = (from, None);
    loop {
        let read = read_up_to(file, &mut block, at)?;
        if read == 0 {
            return Ok(last);
        }
        if block[..read] != zeros[..read] {
            last = block[..read]
                .iter()
                .rposition(|byte| *byte != 0)
                .map(|index| at + index as u64 + 1);
        }
        at += read as u64;
    }
}

/// A part of a file in memory that slides forward. Grows to the largest frame that it meets.
struct Window<'f> {
    file: &'f File,
    buffer: Vec<u8>,
    /// The unread bytes in `buffer`.
    start: usize,
    end: usize,
    /// The offset in the file of the first unread byte.
    offset: u64,
}

impl<'f> Window<'f> {
    fn new(file: &'f File, offset: u64) -> Self {
        Self {
            file,
            buffer: vec![0; BLOCK_BYTES],
            start: 0,
            end: 0,
            offset,
        }
    }

    fn next_frame(&mut self, seed: u32) -> io::Result<Result<FrameView<'_>, Defect>> {
        if !self.holds(FRAME_HEADER_BYTES)? {
            return Ok(Err(Defect::End));
        }
        let Some(len) = frame::length(&self.buffer[self.start..self.end]) else {
            return Ok(Err(Defect::Length));
        };
        if !self.holds(len)? {
            return Ok(Err(Defect::Length));
        }
        Ok(frame::decode(&self.buffer[self.start..self.start + len], seed))
    }

    fn advance(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Reads on until `bytes` unread bytes are in memory; false when the file ends before.
    fn holds(&mut self, bytes: usize) -> io::Result<bool> {
        if self.end - self.start < bytes {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() < bytes {
                self.buffer.resize(bytes, 0);
            }
            self.end += read_up_to(self.file, &mut self.buffer[self.end..], self.offset + self.end as u64)?;
        }
        Ok(self.end - self.start >= bytes)
    }
}
