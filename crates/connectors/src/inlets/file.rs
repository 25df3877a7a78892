//! Follows a file that somebody else appends lines to, through rotation, truncation and restarts.
//!
//! A line is handed on when its line feed has come, and its place is kept only after it was taken: after a crash, lines are
//! handed on again rather than lost. Whoever takes them must expect that.
//!
//! Never holds more than [`PIECE_BYTES_MAX`] of the file, and never looks at what the lines say.

mod place;
mod reader;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use reader::Reader;
use serde::Deserialize;
use watch::Watch;

use crate::json::{EVENT_BYTES_MAX, EVENTS_PER_BODY_MAX};

/// Bytes of the file that are in memory, and that are handed on at once: the longest line and a little more.
pub const PIECE_BYTES_MAX: usize = EVENT_BYTES_MAX + (256 << 10);

/// Lines that are handed on at once, well below what a decoder takes as one body.
const LINES_MAX: usize = EVENTS_PER_BODY_MAX / 2;

/// How long a line waits at the most when the kernel does not tell that the file has grown.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How long to wait before lines that were not taken are handed on again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Which file, and where to begin.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// The file. It need not be there yet.
    pub path: PathBuf,
    /// The file that keeps the place up to which it was read. Its directory is made when it is not there.
    pub place: PathBuf,
    /// Where to begin when no place was kept.
    pub begin: Begin,
}

/// Where to begin with a file of which no place was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// With what is appended from now on.
    #[default]
    End,
    /// With its first line.
    Start,
}

/// What became of lines that were handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// They need not be handed on again.
    Taken,
    /// They could not be taken at present; the same ones are handed on again after a while.
    Again,
}

/// Takes whole lines.
pub type Sink = Box<dyn FnMut(&[u8]) -> Delivery + Send>;

/// A file that is being followed.
#[derive(Debug)]
pub struct FileInlet {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl FileInlet {
    /// Starts a thread that hands the lines of the file to `sink`.
    ///
    /// # Errors
    /// When there can be no thread. A file that is not there, or cannot be read, is waited for.
    pub fn start(settings: FileSettings, sink: Sink) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("file".into())
            .spawn(move || follow(settings, sink, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Ends it, and waits for that. Lines that are being taken are waited for.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("the thread that follows a file has panicked");
        }
    }
}

fn follow(settings: FileSettings, mut sink: Sink, stop: &AtomicBool) {
    let shown = settings.path.display().to_string();
    let watch = Watch::of(&settings.path);
    let mut reader = Reader::new(settings);
    let mut failing = false;
    while !stop.load(Ordering::Relaxed) {
        let piece = match reader.next() {
            Ok(piece) => {
                failing = false;
                piece
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, file = shown, "the file cannot be read; it is tried again");
                }
                failing = true;
                None
            }
        };
        let Some(lines) = piece else {
            reader.rest();
            watch.wait(LOOK_INTERVAL);
            continue;
        };
        while sink(lines) == Delivery::Again {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            watch.pause(RETRY_PAUSE);
        }
        reader.taken();
    }
    reader.rest();
}

#[cfg(test)]
mod tests;
