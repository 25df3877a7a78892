//! A journal in memory that can be stopped in the middle of an append.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use staunch_engine::Engine;
use staunch_model::{Frame, Timestamp};
use staunch_ports::{
    AppendError, ChainHash, Durability, Epoch, Journal, Lsn, NewFrame, Purpose, ReadError, StoredFrame, Tail,
};

#[derive(Default)]
struct Inner {
    frames: Vec<StoredFrame>,
    appends: Vec<usize>,
    epoch: u32,
    snapshot: Option<(Lsn, Vec<u8>)>,
    closed: bool,
    waiting: bool,
    failing: bool,
    full: bool,
}

/// The longest payload that it takes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// The journal. Clones are handles on the same log.
#[derive(Clone, Default)]
pub(crate) struct GatedJournal(Arc<(Mutex<Inner>, Condvar)>);

/// A closed gate: appends wait in front of it.
pub(crate) struct Gate(GatedJournal);

impl Gate {
    /// Waits until a writer stands in front of the gate.
    pub(crate) fn wait_for_writer(&self, limit: Duration) {
        let (inner, changed) = &*self.0.0;
        let (_inner, timeout) = changed
            .wait_timeout_while(inner.lock().unwrap(), limit, |inner| !inner.waiting)
            .unwrap();
        assert!(!timeout.timed_out(), "nobody came to write");
    }

    pub(crate) fn open(self) {
        let (inner, changed) = &*self.0.0;
        inner.lock().unwrap().closed = false;
        changed.notify_all();
    }
}

impl GatedJournal {
    pub(crate) fn close(&self) -> Gate {
        self.0.0.lock().unwrap().closed = true;
        Gate(self.clone())
    }

    pub(crate) fn fail_next(&self) {
        self.0.0.lock().unwrap().failing = true;
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.0.0.lock().unwrap().full = full;
    }

    pub(crate) fn appends(&self) -> usize {
        self.0.0.lock().unwrap().appends.len()
    }

    pub(crate) fn frames_of_last_appends(&self, since: usize) -> Vec<usize> {
        self.0.0.lock().unwrap().appends[since..].to_vec()
    }

    pub(crate) fn forget_snapshots(&self) {
        self.0.0.lock().unwrap().snapshot = None;
    }

    /// Waits until there is a snapshot.
    pub(crate) fn wait_for_snapshot(&self, limit: Duration) {
        let (inner, changed) = &*self.0;
        let (_inner, timeout) = changed
            .wait_timeout_while(inner.lock().unwrap(), limit, |inner| inner.snapshot.is_none())
            .unwrap();
        assert!(!timeout.timed_out(), "there is no snapshot");
    }
}

impl Journal for GatedJournal {
    fn append(&mut self, epoch: Epoch, expected: Lsn, _: Purpose, frames: &[NewFrame<'_>]) -> Result<Lsn, AppendError> {
        let (inner, changed) = &*self.0;
        let mut inner = inner.lock().unwrap();
        if inner.failing {
            return Err(AppendError::Poisoned {
                reason: "the test says so".into(),
            });
        }
        if let Some(frame) = frames.iter().find(|it| it.payload.len() > PAYLOAD_BYTES_MAX) {
            let (bytes, max) = (frame.payload.len() as u64, PAYLOAD_BYTES_MAX as u64);
            return Err(AppendError::TooLarge { bytes, max });
        }
        inner.waiting = true;
        changed.notify_all();
        inner = changed.wait_while(inner, |inner| inner.closed).unwrap();
        inner.waiting = false;
        assert_eq!(Epoch(inner.epoch), epoch);
        assert_eq!(Lsn(inner.frames.len() as u64), expected);
        for frame in frames {
            let lsn = Lsn(inner.frames.len() as u64 + 1);
            inner.frames.push(StoredFrame {
                lsn,
                epoch,
                now_us: frame.now_us,
                prev: ChainHash::default(),
                hash: ChainHash::default(),
                payload: frame.payload.to_vec(),
            });
        }
        inner.appends.push(frames.len());
        Ok(Lsn(inner.frames.len() as u64))
    }

    fn read(&self, from: Lsn, visit: &mut dyn FnMut(StoredFrame)) -> Result<(), ReadError> {
        let frames = self.0.0.lock().unwrap().frames.clone();
        frames.into_iter().filter(|frame| frame.lsn >= from).for_each(visit);
        Ok(())
    }

    fn tail(&self) -> Tail {
        let inner = self.0.0.lock().unwrap();
        Tail {
            lsn: Lsn(inner.frames.len() as u64),
            epoch: Epoch(inner.epoch),
            hash: ChainHash::default(),
        }
    }

    fn open_epoch(&mut self) -> Result<Epoch, AppendError> {
        let mut inner = self.0.0.lock().unwrap();
        inner.epoch += 1;
        Ok(Epoch(inner.epoch))
    }

    fn payload_bytes_max(&self) -> usize {
        PAYLOAD_BYTES_MAX
    }

    fn batch_bytes_max(&self) -> u64 {
        4_096
    }

    fn has_room(&self, _: usize) -> bool {
        !self.0.0.lock().unwrap().full
    }

    /// Of a state that the frames up to `lsn` lead to, and no other.
    fn put_snapshot(&mut self, lsn: Lsn, state: &[u8]) -> Result<(), AppendError> {
        let mut inner = self.0.0.lock().unwrap();
        let mut engine = Engine::new();
        for stored in inner.frames.iter().take_while(|it| it.lsn <= lsn) {
            let frame: Frame = postcard::from_bytes(&stored.payload).unwrap();
            engine.replay(&frame, Timestamp::from_micros(stored.now_us)).unwrap();
        }
        assert!(engine.state().encode() == state, "a snapshot of what is not durable");
        inner.snapshot = Some((lsn, state.to_vec()));
        self.0.1.notify_all();
        Ok(())
    }

    fn newest_snapshot(&self) -> Result<Option<(Lsn, Vec<u8>)>, ReadError> {
        Ok(self.0.0.lock().unwrap().snapshot.clone())
    }

    fn durability(&self) -> Durability {
        Durability {
            fsync_before_ack: false,
            max_loss_ms: u32::MAX,
        }
    }
}
