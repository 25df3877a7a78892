//! Reads and proves a journal without touching it: for audits, `journal cat`, and beside a running writer.
//!
//! Takes no lock, writes nothing and cuts nothing.
//!
//! A writer may be in the middle of an append. What looks like damage then can be a frame that was half written when it
//! was read, with the next write already behind it. Such a verdict is believed only when a second look finds the same.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use staunch_ports::{Lsn, ReadError, StoredFrame, Tail};

use super::error::OpenError;
use super::frame::FrameView;
use super::scan::{self, Proof, Rest};
use super::segment::{self, Segment};
use super::snapshot;

/// How often a reader looks again while a writer keeps moving the end of the log.
const LOOKS_MAX: u32 = 8;

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segment files.
    pub segments: usize,
    /// Frames that verify, from the first on without a gap.
    pub frames: u64,
    /// The position of the first frame.
    pub first: Option<Lsn>,
    /// The last frame that verifies: position, epoch, chain value.
    pub tail: Tail,
    /// Bytes of a write that was not finished, or is under way. Opening the journal cuts them.
    pub torn_bytes: u64,
    /// What stopped the proof.
    pub corruption: Option<Corruption>,
}

/// Damage, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The file.
    pub file: PathBuf,
    /// The offset in it.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// Proves every frame of the journal in `dir`, and that it does not end before its newest snapshot.
///
/// # Errors
/// When the journal cannot be read. Damage is not an error but part of the report.
pub fn verify(dir: &Path) -> Result<VerifyReport, OpenError> {
    let mut before = None;
    for _ in 0..LOOKS_MAX {
        // Looked at first: beside a writer, the log may only have grown when it is read.
        let snapshot =
            snapshot::newest_position(dir).map_err(|error| OpenError::io("list the snapshots in", dir, 0, error))?;
        let paths = segment::list(dir)?;
        let report = |frames: u64, tail, torn_bytes, corruption| VerifyReport {
            segments: paths.len(),
            frames,
            first: (frames > 0).then_some(Lsn(1)),
            tail,
            torn_bytes,
            corruption,
        };
        match scan::log(&paths) {
            Ok(log) => {
                let torn_bytes = if let Rest::Torn(bytes) = log.rest { bytes } else { 0 };
                let missing = snapshot::what_is_missing(snapshot, log.tail.lsn);
                let corruption = missing.map(|(file, what)| Corruption { file, offset: 0, what });
                return Ok(report(log.frames, log.tail, torn_bytes, corruption));
            }
            Err(damage) => {
                let OpenError::Corrupt { path, offset, what } = damage.error else {
                    return Err(damage.error);
                };
                let corruption = Corruption {
                    file: path,
                    offset,
                    what,
                };
                let found = report(damage.frames, damage.tail, 0, Some(corruption));
                if before.as_ref() == Some(&found) {
                    return Ok(found);
                }
                before = Some(found);
            }
        }
    }
    before.ok_or_else(|| OpenError::Io {
        what: "find the end of the journal in",
        path: dir.to_owned(),
        source: io::ErrorKind::WouldBlock.into(),
    })
}

/// A journal that somebody else may be writing to.
#[derive(Clone, Debug)]
pub struct ReadOnlyJournal {
    dir: PathBuf,
}

impl ReadOnlyJournal {
    /// Opens the journal in `dir`. Reads nothing yet but the names of the segments.
    ///
    /// # Errors
    /// When the directory cannot be listed or holds no journal.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        if segment::list(dir)?.is_empty() {
            let source = io::Error::new(io::ErrorKind::NotFound, "there is no segment in it");
            return Err(OpenError::Io {
                what: "find a journal in",
                path: dir.to_owned(),
                source,
            });
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Calls `visit` with every frame from `from` on, in order, until it breaks or the log ends.
    ///
    /// # Errors
    /// [`ReadError`] when a frame does not verify; frames before it have been visited.
    pub fn read(&self, from: Lsn, visit: &mut dyn FnMut(StoredFrame) -> ControlFlow<()>) -> Result<(), ReadError> {
        read(&self.dir, from, None, Proof::Chain, &mut |frame, tail| {
            visit(frame.to_stored(tail.hash))
        })
    }

    /// Calls `visit` with every frame, in order, until it breaks; and sees that the log did not end before its newest
    /// snapshot.
    ///
    /// # Errors
    /// [`ReadError`] when a frame does not verify, or frames are missing at the end; those before have been visited.
    pub fn read_all(&self, visit: &mut dyn FnMut(StoredFrame) -> ControlFlow<()>) -> Result<(), ReadError> {
        // Looked at first: beside a writer, the log may only have grown when it is read.
        let snapshot = snapshot::newest_position(&self.dir).map_err(|source| ReadError::Io {
            what: "the newest snapshot".to_owned(),
            source,
        })?;
        let mut tail = Lsn(0);
        let mut is_broken_off = false;
        self.read(Lsn(1), &mut |stored| {
            tail = stored.lsn;
            let flow = visit(stored);
            is_broken_off = flow.is_break();
            flow
        })?;
        match snapshot::what_is_missing(snapshot, tail) {
            Some((path, what)) if !is_broken_off => Err(ReadError::Corrupt {
                file: path.display().to_string(),
                offset: 0,
                what,
            }),
            _ => Ok(()),
        }
    }

    /// The newest snapshot that verifies, if there is one.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the directory cannot be read.
    pub fn newest_snapshot(&self) -> Result<Option<(Lsn, Vec<u8>)>, ReadError> {
        snapshot::newest(&self.dir, Lsn(u64::MAX)).map_err(|source| ReadError::Io {
            what: "the newest snapshot".to_owned(),
            source,
        })
    }
}

/// What looks at a frame, and at the end of the log as it was with that frame; see [`scan::End::tail`].
type Visit<'v> = &'v mut dyn FnMut(FrameView<'_>, &Tail) -> ControlFlow<()>;

/// Visits the frames from `from` on: to the end of the log, or up to `last` when the caller knows where the log ends.
pub(super) fn read(dir: &Path, from: Lsn, last: Option<Lsn>, proof: Proof, visit: Visit<'_>) -> Result<(), ReadError> {
    let from = from.max(Lsn(1));
    if last.is_some_and(|last| last < from) {
        return Ok(());
    }
    let paths = segment::list(dir)?;
    // Names are as wide as the widest position, so they compare like positions.
    let start = paths.partition_point(|path| path.file_name() <= Some(segment::file_name(from).as_ref()));
    let paths = &paths[start.saturating_sub(1)..];
    let mut reader = Reader {
        wanted: from,
        last,
        proof,
        done: false,
        visit,
    };
    let mut before: Option<Tail> = None;
    for (index, path) in paths.iter().enumerate() {
        let segment = Segment::open(path.clone())?;
        if let Some(before) = before
            && (segment.header.first_lsn != before.lsn.next()
                || (proof == Proof::Chain && segment.header.prev != before.hash))
        {
            let what = format!("the segment does not follow frame {}", before.lsn);
            return Err(OpenError::Corrupt {
                path: path.clone(),
                offset: 0,
                what,
            }
            .into());
        }
        if index == 0 {
            check_first(&segment, from)?;
        }
        before = Some(reader.segment(&segment, index + 1 == paths.len())?);
        if reader.done {
            return Ok(());
        }
    }
    Ok(())
}

/// Refuses a first segment that begins after `from`: frames of the log are missing, and what follows proves nothing
/// about them.
fn check_first(segment: &Segment, from: Lsn) -> Result<(), OpenError> {
    let header = &segment.header;
    let begins_log = header.first_lsn == Lsn(1) && header.prev == Tail::default().hash;
    if begins_log || (header.first_lsn > Lsn(1) && header.first_lsn <= from) {
        return Ok(());
    }
    let what = format!(
        "the segment begins with frame {}, and frames before it are missing",
        header.first_lsn
    );
    Err(OpenError::Corrupt {
        path: segment.path.clone(),
        offset: 0,
        what,
    })
}

struct Reader<'v> {
    /// The next position to visit.
    wanted: Lsn,
    last: Option<Lsn>,
    proof: Proof,
    done: bool,
    visit: Visit<'v>,
}

impl Reader<'_> {
    fn segment(&mut self, segment: &Segment, is_last: bool) -> Result<Tail, OpenError> {
        let mut seen = None;
        loop {
            let end = scan::frames(segment, self.proof, &mut |frame, tail| {
                if frame.lsn >= self.wanted {
                    self.wanted = frame.lsn.next();
                    let broke = (self.visit)(frame, tail).is_break();
                    self.done = broke || self.last == Some(frame.lsn);
                }
                !self.done
            })
            .map_err(|error| OpenError::io("read the segment", &segment.path, 0, error))?;
            if self.done {
                return Ok(end.tail);
            }
            match scan::judge(segment, &end, is_last) {
                // The writer knows that there are more frames: not even a torn end is one.
                Ok(_) if is_last && self.last.is_some() => {
                    let what = format!("{}, although it was durable once", end.defect);
                    return Err(OpenError::Corrupt {
                        path: segment.path.clone(),
                        offset: end.offset,
                        what,
                    });
                }
                Ok(_) => return Ok(end.tail),
                Err(verdict) if seen == Some(end.offset) => return Err(verdict),
                Err(_) => seen = Some(end.offset),
            }
        }
    }
}
