//! A journal in memory, for tests and the simulator.
//!
//! Never durable: it survives the handle that writes to it, not the process. All handles that are clones of one another
//! share one log, like the processes that share a disk or a database; a handle that has been fenced is a zombie writer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use staunch_ports::journal::NewFrame;
use staunch_ports::{AppendError, Durability, Epoch, Journal, Lsn, Purpose, ReadError, StoredFrame, Tail};

use super::frame::{PAYLOAD_BYTES_MAX, chain_hash};
use super::{batch_bytes, frame_bytes};

const SNAPSHOTS_KEPT: usize = 2;

/// What the next append meets, in place of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// There is no room, whatever the purpose. Nothing is written.
    Full,
    /// The frames land, but the answer is lost.
    InDoubtLanded,
    /// The frames do not land, and the answer is lost.
    InDoubtLost,
    /// A write fails for good and the frames are not on disk after a restart.
    PoisonedLost,
    /// A sync fails, but the frames are on disk after a restart.
    PoisonedLanded,
    /// A sync fails, and only the first so many frames of the append are on disk after a restart.
    PoisonedTorn(usize),
}

/// A journal in memory. Clones share the log.
#[derive(Clone, Debug)]
pub struct MemoryJournal {
    shared: Arc<Mutex<Log>>,
}

#[derive(Debug)]
struct Log {
    frames: Vec<StoredFrame>,
    /// Frames of a poisoned append that a restart will find.
    landing: Vec<StoredFrame>,
    epoch: Epoch,
    snapshots: BTreeMap<Lsn, Vec<u8>>,
    bytes: u64,
    capacity_bytes: u64,
    reserve_bytes: u64,
    fault: Option<Fault>,
    poisoned: bool,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::with_capacity(u64::MAX, 0)
    }
}

impl MemoryJournal {
    /// An empty journal without a limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty journal for `capacity_bytes` of frames, headers included, of which `reserve_bytes` are for
    /// [`Purpose::Settle`] only.
    #[must_use]
    pub fn with_capacity(capacity_bytes: u64, reserve_bytes: u64) -> Self {
        let log = Log {
            frames: Vec::new(),
            landing: Vec::new(),
            epoch: Epoch(0),
            snapshots: BTreeMap::new(),
            bytes: 0,
            capacity_bytes,
            reserve_bytes,
            fault: None,
            poisoned: false,
        };
        Self {
            shared: Arc::new(Mutex::new(log)),
        }
    }

    /// Makes the next append of frames, through whichever handle, meet `fault`.
    pub fn fail_next(&self, fault: Fault) {
        self.log().fault = Some(fault);
    }

    /// Changes how much fits, as when a disk is cleaned up or filled by others.
    pub fn set_capacity(&self, capacity_bytes: u64) {
        self.log().capacity_bytes = capacity_bytes;
    }

    /// What a process finds that starts after a crash: a poisoned log is usable again, with whatever has landed.
    #[must_use]
    pub fn restart(&self) -> Self {
        let mut log = self.log();
        let landing = std::mem::take(&mut log.landing);
        log.add(landing);
        log.poisoned = false;
        log.fault = None;
        drop(log);
        self.clone()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn tail(&self) -> Tail {
        let last = self.frames.last();
        Tail {
            lsn: last.map_or(Lsn(0), |it| it.lsn),
            epoch: self.epoch,
            hash: last.map_or([0; 16], |it| it.hash),
        }
    }

    fn add(&mut self, frames: Vec<StoredFrame>) {
        self.bytes += frames.iter().map(|frame| frame_bytes(frame.payload.len())).sum::<u64>();
        self.frames.extend(frames);
    }

    fn full(&self, needed: u64) -> AppendError {
        let free = self.capacity_bytes.saturating_sub(self.bytes);
        AppendError::Full {
            free,
            needed,
            reserved: self.reserve_bytes,
        }
    }

    fn has_room(&self, bytes: u64, purpose: Purpose) -> bool {
        let kept = match purpose {
            Purpose::Intake => self.reserve_bytes,
            Purpose::Settle => 0,
        };
        self.bytes.saturating_add(bytes).saturating_add(kept) <= self.capacity_bytes
    }

    fn check(&self, epoch: Epoch, expected: Lsn) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(poisoned());
        }
        if epoch != self.epoch {
            return Err(AppendError::Fenced { current: self.epoch });
        }
        let tail = self.tail().lsn;
        if expected == tail {
            Ok(())
        } else {
            Err(AppendError::Conflict { tail })
        }
    }

    fn chain(&self, frames: &[NewFrame<'_>]) -> Vec<StoredFrame> {
        let mut tail = self.tail();
        let mut stored = Vec::with_capacity(frames.len());
        for new in frames {
            let (lsn, prev) = (tail.lsn.next(), tail.hash);
            let hash = chain_hash(lsn, self.epoch, new.now_us, &prev, new.payload);
            let payload = new.payload.to_vec();
            stored.push(StoredFrame {
                lsn,
                epoch: self.epoch,
                now_us: new.now_us,
                prev,
                hash,
                payload,
            });
            tail = Tail {
                lsn,
                epoch: self.epoch,
                hash,
            };
        }
        stored
    }

    fn fail(&mut self, fault: Fault, mut frames: Vec<StoredFrame>, needed: u64) -> AppendError {
        match fault {
            Fault::Full => return self.full(needed),
            Fault::InDoubtLost => return AppendError::InDoubt,
            Fault::InDoubtLanded => {
                self.add(frames);
                return AppendError::InDoubt;
            }
            Fault::PoisonedLost => frames.clear(),
            Fault::PoisonedLanded => {}
            Fault::PoisonedTorn(landed) => frames.truncate(landed),
        }
        self.landing = frames;
        self.poisoned = true;
        poisoned()
    }
}

impl Journal for MemoryJournal {
    fn append(
        &mut self,
        epoch: Epoch,
        expected: Lsn,
        purpose: Purpose,
        frames: &[NewFrame<'_>],
    ) -> Result<Lsn, AppendError> {
        let mut log = self.log();
        log.check(epoch, expected)?;
        let bytes = batch_bytes(frames, PAYLOAD_BYTES_MAX)?;
        if frames.is_empty() {
            return Ok(expected);
        }
        if !log.has_room(bytes, purpose) {
            return Err(log.full(bytes));
        }
        let stored = log.chain(frames);
        if let Some(fault) = log.fault.take() {
            return Err(log.fail(fault, stored, bytes));
        }
        log.add(stored);
        Ok(log.tail().lsn)
    }

    fn read(&self, from: Lsn, visit: &mut dyn FnMut(StoredFrame)) -> Result<(), ReadError> {
        let log = self.log();
        let start = log.frames.partition_point(|frame| frame.lsn < from);
        let frames = log.frames[start..].to_vec();
        // The visitor may ask the journal something.
        drop(log);
        frames.into_iter().for_each(visit);
        Ok(())
    }

    fn tail(&self) -> Tail {
        self.log().tail()
    }

    fn open_epoch(&mut self) -> Result<Epoch, AppendError> {
        let mut log = self.log();
        if log.poisoned {
            return Err(poisoned());
        }
        log.epoch = Epoch(log.epoch.0 + 1);
        Ok(log.epoch)
    }

    fn payload_bytes_max(&self) -> usize {
        PAYLOAD_BYTES_MAX
    }

    fn batch_bytes_max(&self) -> u64 {
        u64::MAX
    }

    fn has_room(&self, bytes: usize) -> bool {
        let log = self.log();
        !log.poisoned && log.has_room(frame_bytes(bytes), Purpose::Intake)
    }

    fn put_snapshot(&mut self, lsn: Lsn, state: &[u8]) -> Result<(), AppendError> {
        let mut log = self.log();
        log.check(log.epoch, log.tail().lsn)?;
        if lsn > log.tail().lsn {
            return Err(AppendError::Conflict { tail: log.tail().lsn });
        }
        log.snapshots.insert(lsn, state.to_vec());
        while log.snapshots.len() > SNAPSHOTS_KEPT {
            log.snapshots.pop_first();
        }
        Ok(())
    }

    fn newest_snapshot(&self) -> Result<Option<(Lsn, Vec<u8>)>, ReadError> {
        Ok(self
            .log()
            .snapshots
            .last_key_value()
            .map(|(lsn, state)| (*lsn, state.clone())))
    }

    /// Claims what a local disk claims, so that a simulated engine does not refuse to enforce.
    fn durability(&self) -> Durability {
        Durability {
            fsync_before_ack: true,
            max_loss_ms: 0,
        }
    }
}

fn poisoned() -> AppendError {
    AppendError::Poisoned {
        reason: "a fault was injected".to_owned(),
    }
}
