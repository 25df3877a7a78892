//! The journal: one append-only, hash-chained log of frames. The engine's state is its fold.
//!
//! A journal stores opaque payloads; what is in them is the engine's business.

use std::fmt;
use std::io::{Result as IoResult, Write};

use thiserror::Error;

/// The position of a frame in the log. The first frame has position 1; 0 means "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// The term of the writer. A journal accepts frames of its newest epoch only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// The chain value of a frame: the first 16 bytes of the BLAKE3 hash over its header fields and payload.
pub type ChainHash = [u8; 16];

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Lsn {
    /// The position after this one. After the last position there is none: it is its own.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// What an append is for. Space is kept back for lifting containment, so that a full disk can never trap one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// New work: refused with [`AppendError::Full`] when only reserved space is left.
    Intake,
    /// Finishing or undoing what is under way: may use the reserved space.
    Settle,
}

/// One frame as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFrame {
    /// Its position.
    pub lsn: Lsn,
    /// The writer's term.
    pub epoch: Epoch,
    /// The time the engine was given for this step, in microseconds since the Unix epoch, UTC.
    pub now_us: u64,
    /// The chain value of the frame before it; all zero for the first.
    pub prev: ChainHash,
    /// The chain value of this frame.
    pub hash: ChainHash,
    /// The encoded step.
    pub payload: Vec<u8>,
}

/// A frame of a log whose writer asks for it, in the journal's own memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayedFrame<'a> {
    /// Its position.
    pub lsn: Lsn,
    /// See [`StoredFrame::now_us`].
    pub now_us: u64,
    /// The encoded step.
    pub payload: &'a [u8],
}

/// A frame to be appended; position, epoch and chain are the journal's to fill in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewFrame<'a> {
    /// See [`StoredFrame::now_us`].
    pub now_us: u64,
    /// The encoded step.
    pub payload: &'a [u8],
}

/// The end of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The last frame's position.
    pub lsn: Lsn,
    /// The newest epoch seen.
    pub epoch: Epoch,
    /// The last frame's chain value.
    pub hash: ChainHash,
}

/// What a store promises about a frame that it has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability {
    /// The frame is on stable storage before `append` returns.
    pub fsync_before_ack: bool,
    /// The longest stretch of acknowledged frames that a crash may lose, in milliseconds.
    pub max_loss_ms: u32,
}

/// Why an append was not carried out.
#[derive(Debug, Error)]
pub enum AppendError {
    /// A newer writer has taken over.
    #[error("cannot append: epoch {current} has taken over")]
    Fenced {
        /// The epoch in force.
        current: Epoch,
    },
    /// The log does not end where the caller thought.
    #[error("cannot append: the journal ends at {tail}, not where the writer expected")]
    Conflict {
        /// The real end.
        tail: Lsn,
    },
    /// It is unknown whether the frames landed: re-read the tail and compare hashes.
    #[error("cannot tell whether the frames were written")]
    InDoubt,
    /// A frame or batch is larger than the journal ever takes. Nothing was written, and waiting does not help.
    #[error("cannot append {bytes} bytes at once; at most {max} are taken")]
    TooLarge {
        /// Bytes asked for.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A write or sync failed. Nothing more may be written; exit and recover from disk. On the call that failed first
    /// it is open whether the frames landed.
    #[error("the journal is poisoned by an earlier failure: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// There is no room for this purpose. Nothing was written.
    #[error("the journal is full: {free} bytes left, {needed} needed, {reserved} kept back for lifting containment")]
    Full {
        /// Bytes that could be written.
        free: u64,
        /// Bytes asked for.
        needed: u64,
        /// Bytes kept back for [`Purpose::Settle`].
        reserved: u64,
    },
}

/// Why the log could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A frame does not verify although a valid one follows it, or a sealed segment is damaged.
    #[error("the journal is corrupt at {file}, byte {offset}: {what}")]
    Corrupt {
        /// The file.
        file: String,
        /// The offset of the bad frame in it.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The store could not be reached.
    #[error("cannot read the journal: {what}")]
    Io {
        /// What was being read.
        what: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// The most bytes that a journal adds to each payload.
pub const FRAME_OVERHEAD_MAX: usize = 64;

/// Writes a whole state.
pub type StateWriter<'a> = &'a mut dyn FnMut(&mut dyn Write) -> IoResult<()>;

/// One log. Only one writer at a time holds its newest epoch.
pub trait Journal: Send {
    /// Appends all `frames` after `expected`, or none of them; they are durable when this returns `Ok`.
    ///
    /// Returns the position of the last frame written.
    ///
    /// # Errors
    /// See [`AppendError`]; only `InDoubt` leaves it open whether anything was written.
    fn append(
        &mut self,
        epoch: Epoch,
        expected: Lsn,
        purpose: Purpose,
        frames: &[NewFrame<'_>],
    ) -> Result<Lsn, AppendError>;

    /// Calls `visit` with every frame from `from` on, in order.
    ///
    /// # Errors
    /// [`ReadError`] when a frame does not verify; frames before it have been visited.
    fn read(&self, from: Lsn, visit: &mut dyn FnMut(StoredFrame)) -> Result<(), ReadError>;

    /// Calls `visit` with every frame from `from` on, in order, for a start that applies them. A store that proved its
    /// chain when it was opened need not prove it again, only that each frame is undamaged and at its place. Without an
    /// implementation of its own, this reads.
    ///
    /// # Errors
    /// As [`Journal::read`].
    fn replay(&self, from: Lsn, visit: &mut dyn FnMut(ReplayedFrame<'_>)) -> Result<(), ReadError> {
        self.read(from, &mut |stored| {
            visit(ReplayedFrame {
                lsn: stored.lsn,
                now_us: stored.now_us,
                payload: &stored.payload,
            });
        })
    }

    /// The end of the log.
    fn tail(&self) -> Tail;

    /// Opens a new epoch, one above the newest, and fences all earlier writers.
    ///
    /// # Errors
    /// As for `append`.
    fn open_epoch(&mut self) -> Result<Epoch, AppendError>;

    /// The longest payload of one frame, in bytes.
    fn payload_bytes_max(&self) -> usize;

    /// The most bytes that one append takes: the payloads, and [`FRAME_OVERHEAD_MAX`] for each frame.
    fn batch_bytes_max(&self) -> u64;

    /// True when frames of `bytes` payload bytes in all would be accepted for [`Purpose::Intake`], in as many appends
    /// as they need.
    fn has_room(&self, bytes: usize) -> bool;

    /// Stores a snapshot of the state after `lsn`.
    ///
    /// # Errors
    /// As for `append`: `Full` without room, `InDoubt` for any other failure. A failed snapshot never harms the log.
    fn put_snapshot(&mut self, lsn: Lsn, state: &[u8]) -> Result<(), AppendError>;

    /// Stores a snapshot as [`Journal::put_snapshot`] does, of a state that `write` writes piece by piece: it need not
    /// be in memory a second time. Without an implementation of its own, it is.
    ///
    /// # Errors
    /// As [`Journal::put_snapshot`].
    fn write_snapshot(&mut self, lsn: Lsn, write: StateWriter<'_>) -> Result<(), AppendError> {
        let mut state = Vec::new();
        write(&mut state).map_err(|_| AppendError::InDoubt)?;
        self.put_snapshot(lsn, &state)
    }

    /// The newest snapshot that verifies, if there is one.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the store cannot be read; a damaged snapshot is passed over for an older one.
    fn newest_snapshot(&self) -> Result<Option<(Lsn, Vec<u8>)>, ReadError>;

    /// Why nothing that is acknowledged would be found by the next start, although appends still work: the journal's
    /// files were deleted, replaced or moved away. `None` while they are where they should be.
    fn lost(&self) -> Option<String> {
        None
    }

    /// What this store promises.
    fn durability(&self) -> Durability;
}
