//! The journal on local disk: segments of chained frames, synced before they are acknowledged.
//!
//! Never looks into a payload, and never cuts a damaged log: only the write that a crash interrupted is cut.
//!
//! # Expected flow
//! `open` locks the directory, proves every frame, cuts a torn tail. `open_epoch` fences earlier writers. Each `append`
//! is one write into zeros that are already there and one `fdatasync`. A thread keeps the next segment ready.
//!
//! # Guarantees
//! - `Ok` from `append` means that all frames of the call are on stable storage.
//! - After a crash the log is what was acknowledged, followed by a prefix (none, some or all) of the frames of the one
//!   append that was under way. Every frame is a step of its own, so a prefix is a history that could have happened;
//!   the writer had no answer, so it has let nothing out that depends on a lost frame.
//! - After the first failed write or sync every call answers `Poisoned`: the kernel may have marked pages that never
//!   reached the disk as clean, so only the disk can tell what is true. `open` therefore drops the cached pages of the
//!   last segment before it reads it.
//! - Bytes after the end of the log are zeros before anything is appended, so what a cut leaves behind cannot become
//!   part of the log later. Even if it could stay, it would have to be at the right offset, with the next position and
//!   the chain value of a frame that was written anew.
//! - A restart, `open_epoch` and a settling append need no allocation once segment and spare exist, so containment can
//!   be lifted on a full disk.
//!
//! # Assumptions
//! `fdatasync` tells the truth, and the file system overwrites in place. On a copy-on-write file system (btrfs, ZFS)
//! written zeros reserve nothing: a full disk then shows as a failed write, which poisons the journal.
//!
//! # Caveats
//! Nothing removes old segments. An append is never split over two segments, so the end of a segment may stay unused,
//! and [`Journal::batch_bytes_max`] limits one call.

mod disk;
mod epoch;
mod error;
mod frame;
mod lock;
pub mod memory;
mod options;
mod reader;
mod recovery;
mod scan;
mod segment;
mod snapshot;
mod spare;

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use staunch_ports::journal::NewFrame;
use staunch_ports::{
    AppendError, Durability, Epoch, FRAME_OVERHEAD_MAX, Journal, Lsn, Purpose, ReadError, ReplayedFrame, StateWriter,
    StoredFrame, Tail,
};

pub use disk::{DiskHook, DiskOp};
pub use error::OpenError;
pub use frame::{FRAME_HEADER_BYTES, PAYLOAD_BYTES_MAX};
pub use lock::Free;
pub use memory::MemoryJournal;
pub use options::JournalOptions;
pub use reader::{Corruption, ReadOnlyJournal, VerifyReport, verify};
pub use recovery::Recovered;
pub use segment::SEGMENT_HEADER_BYTES;

use disk::Disk;
use epoch::EpochFile;
use frame::FrameHead;
use lock::Lock;
use scan::Proof;
use segment::Header;
use spare::{Backoff, Outlook, Preparer};

/// An append buffer that has grown beyond this is given back after use.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// A journal in a directory of the local disk. See the module for what it guarantees.
#[derive(Debug)]
pub struct SegmentJournal {
    tail: Tail,
    active: Active,
    buffer: Vec<u8>,
    poisoned: Option<String>,
    recovered: Recovered,
    /// The segments before the active one, by name.
    sealed: Vec<String>,
    options: JournalOptions,
    epoch_file: EpochFile,
    disk: Disk,
    // The thread must have ended before the lock goes, and fields are dropped in this order.
    preparer: Preparer,
    lock: Lock,
}

/// The segment that is written to.
#[derive(Debug)]
struct Active {
    file: File,
    name: String,
    seed: u32,
    /// Where the next frame goes.
    offset: u64,
    /// The end of the zeros.
    end: u64,
}

/// Where a batch can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    InActive,
    InSpare,
    /// The next segment is being prepared: not known yet.
    Pending,
    Nowhere,
}

impl SegmentJournal {
    /// Whether no other process has the journal in `dir`, if there is one. None takes it while what this returns lives;
    /// the moment after one may.
    ///
    /// # Errors
    /// [`OpenError::Locked`], and what the disk says.
    pub fn check_free(dir: &Path) -> Result<Free, OpenError> {
        Lock::look(dir)
    }

    /// Opens the journal in `dir`, or makes an empty one. Waits for the disk, and half a second for
    /// the lock.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing is changed when the journal is locked, damaged or of a newer format.
    pub fn open(dir: &Path, options: JournalOptions) -> Result<Self, OpenError> {
        options.check()?;
        let disk = Disk::new(dir, options.hook.clone());
        let found = recovery::recover(&disk, &options)?;
        let backoff = Backoff {
            first: options.retry_first,
            max: options.retry_max,
        };
        let preparer = Preparer::start(disk.clone(), options.segment_bytes, backoff)
            .map_err(|error| OpenError::io("start a thread for", dir, 0, error))?;
        let active = &found.active.name;
        let sealed = segment::list(dir)?
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .filter(|name| name != active)
            .collect();
        Ok(Self {
            sealed,
            tail: found.tail,
            active: found.active,
            buffer: Vec::new(),
            poisoned: None,
            recovered: found.recovered,
            options,
            epoch_file: found.epoch_file,
            disk,
            preparer,
            lock: found.lock,
        })
    }

    /// What `open` found.
    #[must_use]
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// Tries to allocate the next segment at once, for an operator who has just made room, and waits for the outcome.
    ///
    /// Returns true when there is a next segment.
    #[must_use]
    pub fn allocate_now(&self) -> bool {
        self.preparer.try_now()
    }

    fn check_writer(&self, epoch: Epoch, expected: Lsn) -> Result<(), AppendError> {
        if let Some(reason) = &self.poisoned {
            return Err(AppendError::Poisoned { reason: reason.clone() });
        }
        if epoch != self.tail.epoch {
            return Err(AppendError::Fenced {
                current: self.tail.epoch,
            });
        }
        if expected != self.tail.lsn {
            return Err(AppendError::Conflict { tail: self.tail.lsn });
        }
        Ok(())
    }

    /// Where `bytes` can go. The reserve lies in the active segment while there is no spare, and in the spare
    /// otherwise.
    fn room(&self, bytes: u64, purpose: Purpose, outlook: Outlook) -> Room {
        let left = self.active.end.saturating_sub(self.active.offset);
        let kept = match purpose {
            Purpose::Intake => self.options.reserve_bytes,
            Purpose::Settle => 0,
        };
        let with_kept = bytes.saturating_add(kept);
        match outlook {
            _ if with_kept <= left => Room::InActive,
            _ if with_kept > self.options.fresh_bytes() && bytes > left => Room::Nowhere,
            Outlook::Ready if bytes <= left => Room::InActive,
            Outlook::Ready => Room::InSpare,
            Outlook::Preparing => Room::Pending,
            Outlook::Failed => Room::Nowhere,
        }
    }

    /// Sees to it that `bytes` fit into the active segment.
    fn make_room(&mut self, bytes: u64, purpose: Purpose) -> Result<(), AppendError> {
        let mut room = self.room(bytes, purpose, self.preparer.outlook());
        if room == Room::Pending {
            let outlook = if self.preparer.wait() {
                Outlook::Ready
            } else {
                Outlook::Failed
            };
            room = self.room(bytes, purpose, outlook);
        }
        match room {
            Room::InActive => Ok(()),
            Room::InSpare => self.move_on(),
            Room::Pending | Room::Nowhere => Err(self.full(bytes)),
        }
    }

    /// Makes the spare the active segment.
    fn move_on(&mut self) -> Result<(), AppendError> {
        let Some(file) = self.preparer.take() else {
            return Err(self.full(self.options.segment_bytes));
        };
        let installed = Header::new(self.tail.lsn.next(), self.options.segment_bytes, self.tail.hash)
            .and_then(|header| segment::install(&self.disk, &file, &header).map(|()| header));
        match installed {
            Ok(header) => {
                self.sealed.push(std::mem::take(&mut self.active.name));
                self.active = Active {
                    file,
                    name: segment::file_name(header.first_lsn),
                    seed: header.seed(),
                    offset: SEGMENT_HEADER_BYTES,
                    end: header.bytes,
                };
                self.preparer.prepare_next();
                Ok(())
            }
            Err(error) => Err(self.poison("cannot begin a segment", &error)),
        }
    }

    fn full(&self, needed: u64) -> AppendError {
        let spare = if self.preparer.outlook() == Outlook::Ready {
            self.options.fresh_bytes()
        } else {
            0
        };
        let free = self.active.end.saturating_sub(self.active.offset) + spare;
        AppendError::Full {
            free,
            needed,
            reserved: self.options.reserve_bytes,
        }
    }

    /// Encodes `frames` into the buffer and returns the end of the log with them.
    fn encode(&mut self, frames: &[NewFrame<'_>]) -> Tail {
        let mut tail = self.tail;
        self.buffer.clear();
        for (batch, new) in (0..).zip(frames) {
            let lsn = tail.lsn.next();
            let head = FrameHead {
                batch,
                lsn,
                epoch: tail.epoch,
                now_us: new.now_us,
                prev: tail.hash,
            };
            let hash = frame::encode(&mut self.buffer, self.active.seed, head, new.payload);
            tail = Tail {
                lsn,
                epoch: tail.epoch,
                hash,
            };
        }
        tail
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        let active = &mut self.active;
        self.disk
            .write_at(&active.file, &active.name, &self.buffer, active.offset)?;
        self.disk.sync(&active.file, &active.name)?;
        active.offset += self.buffer.len() as u64;
        Ok(())
    }

    fn poison(&mut self, what: &str, error: &io::Error) -> AppendError {
        let reason = format!("{what}: {error}");
        tracing::error!(%reason, segment = self.active.name, "the journal is poisoned: exit and recover from disk");
        self.poisoned = Some(reason.clone());
        AppendError::Poisoned { reason }
    }
}

impl Journal for SegmentJournal {
    /// Frames longer than [`JournalOptions::payload_bytes_max`] and calls of more than
    /// [`Journal::batch_bytes_max`] are refused with `Full`, whose numbers then are the limit and the size.
    ///
    /// Waits for the next segment only when it is being prepared for the first time, never while the disk is full.
    fn append(
        &mut self,
        epoch: Epoch,
        expected: Lsn,
        purpose: Purpose,
        frames: &[NewFrame<'_>],
    ) -> Result<Lsn, AppendError> {
        self.check_writer(epoch, expected)?;
        let bytes = batch_bytes(frames, self.options.payload_bytes_max)?;
        if frames.is_empty() {
            return Ok(self.tail.lsn);
        }
        self.make_room(bytes, purpose)?;
        let tail = self.encode(frames);
        if let Err(error) = self.write_buffer() {
            return Err(self.poison("cannot write frames", &error));
        }
        if self.buffer.capacity() > BUFFER_KEPT_BYTES {
            self.buffer = Vec::new();
        }
        self.tail = tail;
        Ok(tail.lsn)
    }

    fn read(&self, from: Lsn, visit: &mut dyn FnMut(StoredFrame)) -> Result<(), ReadError> {
        let last = Some(self.tail.lsn);
        reader::read(self.disk.dir(), from, last, Proof::Chain, &mut |frame, tail| {
            visit(frame.to_stored(tail.hash));
            ControlFlow::Continue(())
        })
    }

    /// The chain was proved when the journal was opened, and this process holds the lock since.
    fn replay(&self, from: Lsn, visit: &mut dyn FnMut(ReplayedFrame<'_>)) -> Result<(), ReadError> {
        let last = Some(self.tail.lsn);
        reader::read(self.disk.dir(), from, last, Proof::Place, &mut |frame, _| {
            visit(ReplayedFrame {
                lsn: frame.lsn,
                now_us: frame.now_us,
                payload: frame.payload,
            });
            ControlFlow::Continue(())
        })
    }

    fn tail(&self) -> Tail {
        self.tail
    }

    fn open_epoch(&mut self) -> Result<Epoch, AppendError> {
        self.check_writer(self.tail.epoch, self.tail.lsn)?;
        let epoch = Epoch(
            self.tail
                .epoch
                .0
                .checked_add(1)
                .expect("nobody restarts four billion times"),
        );
        if let Err(error) = self.epoch_file.store(&self.disk, epoch) {
            return Err(self.poison("cannot store the epoch", &error));
        }
        self.tail.epoch = epoch;
        Ok(epoch)
    }

    fn payload_bytes_max(&self) -> usize {
        self.options.payload_bytes_max
    }

    fn batch_bytes_max(&self) -> u64 {
        self.options.fresh_bytes() - self.options.reserve_bytes
    }

    /// More than one append takes is asked for as one append at its largest: the next one waits for the next segment.
    fn has_room(&self, bytes: usize) -> bool {
        let bytes = bytes.min(usize::try_from(self.batch_bytes_max()).unwrap_or(usize::MAX) - FRAME_OVERHEAD_MAX);
        let room = || self.room(frame_bytes(bytes), Purpose::Intake, self.preparer.outlook());
        // A segment that is being prepared is no room: what is promised for it would come out of the reserve if it
        // fails.
        let settled = |room| match room {
            Room::Pending => self.preparer.wait() || self.preparer.outlook() == Outlook::Failed,
            _ => true,
        };
        self.poisoned.is_none() && settled(room()) && !matches!(room(), Room::Nowhere | Room::Pending)
    }

    /// A disk that answers with an error is reported as `InDoubt`: the snapshot may or may not be there. The log is
    /// whole.
    fn put_snapshot(&mut self, lsn: Lsn, state: &[u8]) -> Result<(), AppendError> {
        self.write_snapshot(lsn, &mut |out| out.write_all(state))
    }

    fn write_snapshot(&mut self, lsn: Lsn, write: StateWriter<'_>) -> Result<(), AppendError> {
        self.check_writer(self.tail.epoch, self.tail.lsn)?;
        if lsn > self.tail.lsn {
            return Err(AppendError::Conflict { tail: self.tail.lsn });
        }
        let mut needed = 0;
        snapshot::put(&self.disk, lsn, write, &mut needed).map_err(|error| {
            tracing::warn!(%error, %lsn, "cannot store a snapshot");
            match disk::is_no_space(&error) {
                true => AppendError::Full {
                    free: 0,
                    needed,
                    reserved: self.options.reserve_bytes,
                },
                false => AppendError::InDoubt,
            }
        })
    }

    fn newest_snapshot(&self) -> Result<Option<(Lsn, Vec<u8>)>, ReadError> {
        snapshot::newest(self.disk.dir(), self.tail.lsn).map_err(|source| ReadError::Io {
            what: "the newest snapshot".to_owned(),
            source,
        })
    }

    fn lost(&self) -> Option<String> {
        let same = |name: &str, file: &File| -> io::Result<bool> {
            let (there, here) = (self.disk.dir().join(name).metadata()?, file.metadata()?);
            Ok((there.dev(), there.ino()) == (here.dev(), here.ino()))
        };
        for (name, file) in [(lock::NAME, self.lock.file()), (&*self.active.name, &self.active.file)] {
            match same(name, file) {
                Ok(true) => {}
                Ok(false) => return Some(format!("{name} was replaced by another file")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(format!("{name} is gone")),
                // Not to know is not to have lost it.
                Err(error) => tracing::warn!(%error, name, "cannot look after the journal"),
            }
        }
        let gone = |name: &&String| {
            let found = self.disk.dir().join(name).symlink_metadata();
            found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        self.sealed.iter().find(gone).map(|name| format!("{name} is gone"))
    }

    fn durability(&self) -> Durability {
        Durability {
            fsync_before_ack: true,
            max_loss_ms: 0,
        }
    }
}

/// The bytes that `frames` take up, unless one of them is too long.
fn batch_bytes(frames: &[NewFrame<'_>], payload_bytes_max: usize) -> Result<u64, AppendError> {
    let mut bytes = 0;
    for frame in frames {
        if frame.payload.len() > payload_bytes_max {
            let (bytes, max) = (frame.payload.len() as u64, payload_bytes_max as u64);
            return Err(AppendError::TooLarge { bytes, max });
        }
        bytes += frame_bytes(frame.payload.len());
    }
    Ok(bytes)
}

fn frame_bytes(payload: usize) -> u64 {
    (FRAME_HEADER_BYTES + payload) as u64
}
