//! Recovery: the newest snapshot, then every frame after it. Recorded decisions are applied, never made again.
//!
//! One thread reads, proves and decodes, and another applies, so that a start with a long journal takes as long as the
//! slower of the two.

use std::mem;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, Receiver, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use staunch_engine::Engine;
use staunch_model::{Frame, Timestamp};
use staunch_ports::{Journal, Lsn, ReadError};
use thiserror::Error;

/// Frames that are handed over at once: few enough to stay in the cache of a core.
const BATCH_FRAMES: usize = 128;

/// Bytes of frames as the journal has them that are handed over at once, but for the last frame.
const BATCH_BYTES: usize = 1 << 20;

/// Batches that are read ahead, which bounds the memory that they take.
const BATCHES_MAX: usize = 4;

/// The engine as the journal left it.
#[derive(Debug)]
pub struct Recovered {
    /// The engine.
    pub engine: Engine,
    /// The snapshot that was used; position 0 when there was none.
    pub snapshot: Lsn,
    /// Frames applied after it.
    pub frames: u64,
    /// Frames that held something that does not fit this build.
    pub misfits: u64,
    /// How long it took.
    pub took: Duration,
}

/// Why the state could not be recovered.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// The journal cannot be read.
    #[error("cannot recover from the journal")]
    Read(#[from] ReadError),
    /// A frame verifies but is not of a form that this build knows.
    #[error("frame {lsn} is not of a form that this build knows: {what}")]
    Unknown {
        /// Its position.
        lsn: Lsn,
        /// What is wrong with it.
        what: String,
    },
}

/// Rebuilds the engine from `journal`.
///
/// # Errors
/// [`RecoverError`]. A snapshot that cannot be read costs time, never the state: the frames before it are used.
pub fn recover(journal: &dyn Journal) -> Result<Recovered, RecoverError> {
    let begun = Instant::now();
    let mut engine = Engine::new();
    let mut snapshot = Lsn(0);
    if let Some((lsn, bytes)) = journal.newest_snapshot()? {
        match Engine::from_snapshot(&bytes) {
            Ok(restored) => (engine, snapshot) = (restored, lsn),
            Err(error) => tracing::warn!(%lsn, %error, "snapshot is of another version, replaying all frames"),
        }
    }
    let mut unknown = None;
    let (read, applied) = thread::scope(|scope| {
        let (full, batches) = sync_channel(BATCHES_MAX);
        let (done, back) = channel();
        let applying = scope.spawn(move || apply(engine, &batches, &done));
        let mut ahead = Ahead {
            batch: Vec::new(),
            bytes: 0,
            full,
            back,
        };
        let read = journal.replay(snapshot.next(), &mut |stored| {
            if unknown.is_some() {
                return;
            }
            let lsn = stored.lsn;
            match postcard::from_bytes(stored.payload) {
                Ok(frame) => {
                    let now = Timestamp::from_micros(stored.now_us);
                    ahead.add((lsn, now, frame), stored.payload.len());
                }
                Err(error) => {
                    let what = error.to_string();
                    unknown = Some(RecoverError::Unknown { lsn, what });
                }
            }
        });
        ahead.send();
        // Ends the other thread when it has applied everything.
        drop(ahead);
        (read, applying.join())
    });
    let applied = applied.unwrap_or_else(|panicked| resume_unwind(panicked));
    read?;
    match unknown {
        Some(error) => Err(error),
        None => Ok(Recovered {
            engine: applied.engine,
            snapshot,
            frames: applied.frames,
            misfits: applied.misfits,
            took: begun.elapsed(),
        }),
    }
}

/// A frame, with its position and the time at which it was decided.
type Decoded = (Lsn, Timestamp, Frame);

/// Frames on their way from the thread that reads them to the one that applies them.
struct Ahead {
    batch: Vec<Decoded>,
    bytes: usize,
    full: SyncSender<Vec<Decoded>>,
    /// Comes back to be freed by the thread that made it: between threads, the allocator's lock costs more than that.
    back: Receiver<Vec<Decoded>>,
}

impl Ahead {
    fn add(&mut self, frame: Decoded, bytes: usize) {
        self.batch.push(frame);
        self.bytes += bytes;
        if self.batch.len() == BATCH_FRAMES || self.bytes >= BATCH_BYTES {
            self.send();
        }
    }

    fn send(&mut self) {
        self.bytes = 0;
        let mut next = self.back.try_recv().unwrap_or_default();
        next.clear();
        // Nobody receives it when applying has panicked, which the end of that thread tells.
        drop(self.full.send(mem::replace(&mut self.batch, next)));
    }
}

/// What has become of the engine.
struct Applied {
    engine: Engine,
    frames: u64,
    misfits: u64,
}

fn apply(engine: Engine, batches: &Receiver<Vec<Decoded>>, done: &mpsc::Sender<Vec<Decoded>>) -> Applied {
    let mut applied = Applied {
        engine,
        frames: 0,
        misfits: 0,
    };
    for batch in batches {
        for (lsn, now, frame) in &batch {
            applied.frames += 1;
            // The engine keeps going without what does not fit, and pages about it when it is started.
            if let Err(misfit) = applied.engine.replay(frame, *now) {
                tracing::error!(%lsn, %misfit, "a frame of the journal does not fit this build");
                applied.misfits += 1;
            }
        }
        // When everything has been read, nobody wants it back.
        drop(done.send(batch));
    }
    applied
}
