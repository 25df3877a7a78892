//! Recovery: the newest snapshot, then every frame after it. Recorded decisions are applied, never made again.

use std::time::{Duration, Instant};

use staunch_engine::Engine;
use staunch_model::{Frame, Timestamp};
use staunch_ports::{Journal, Lsn, ReadError};
use thiserror::Error;

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
    let mut frames = 0;
    let mut misfits = 0;
    let mut failed = None;
    journal.read(snapshot.next(), &mut |stored| {
        if failed.is_some() {
            return;
        }
        let lsn = stored.lsn;
        match postcard::from_bytes::<Frame>(&stored.payload) {
            Ok(frame) => {
                frames += 1;
                // The engine keeps going without what does not fit, and pages about it when it is started.
                if let Err(misfit) = engine.replay(&frame, Timestamp::from_micros(stored.now_us)) {
                    tracing::error!(%lsn, %misfit, "a frame of the journal does not fit this build");
                    misfits += 1;
                }
            }
            Err(error) => {
                failed = Some(RecoverError::Unknown {
                    lsn,
                    what: error.to_string(),
                });
            }
        }
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(Recovered {
            engine,
            snapshot,
            frames,
            misfits,
            took: begun.elapsed(),
        }),
    }
}
