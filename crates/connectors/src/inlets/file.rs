//! Follows a file that somebody else appends lines to, through rotation, truncation and restarts.
//!
//! A line is handed on when its line feed has come, and its place is kept only after it was taken: after a crash, lines
//! are handed on again rather than lost. Whoever takes them must expect that.
//!
//! Never holds more than [`PIECE_BYTES_MAX`] of the file, and never looks at what the lines say.

mod place;
mod reader;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reader::Reader;
use serde::{Deserialize, Serialize};
use staunch_ports::InletTally;
use watch::Watch;

use super::thread::Stop;
use super::{InletThread, LINES_MAX, PIECE_BYTES_MAX, Sink, hand_on};

/// How long a line waits at the most when the kernel does not tell that the file has grown.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// With what is appended from now on.
    #[default]
    End,
    /// With its first line.
    Start,
}

/// Starts a thread that hands the lines of the file to `sink`.
///
/// # Errors
/// When there can be no thread. A file that is not there, or cannot be read, is waited for.
pub fn start(settings: FileSettings, tally: Arc<InletTally>, sink: Sink) -> io::Result<InletThread> {
    InletThread::start("file", move |stop| follow(settings, &tally, sink, &stop))
}

fn follow(settings: FileSettings, tally: &InletTally, mut sink: Sink, stop: &Stop) {
    let shown = settings.path.display().to_string();
    let path = settings.path.clone();
    let watch = Watch::of(&path);
    let mut reader = Reader::new(settings);
    let mut failing = false;
    while !stop.is_asked() {
        let piece = match reader.next() {
            Ok(piece) => {
                if failing {
                    tally.fails(None);
                }
                failing = false;
                piece
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, file = shown, "the file cannot be read; it is tried again");
                    tally.fails(Some(&error.to_string()));
                }
                failing = true;
                None
            }
        };
        let Some(lines) = piece else {
            tally.absent(matches!(path.try_exists(), Ok(false)));
            tally.dropped(reader.lost());
            reader.rest();
            watch.wait(LOOK_INTERVAL);
            continue;
        };
        if !hand_on(&mut sink, lines, stop) {
            return;
        }
        reader.taken();
        tally.absent(false);
        tally.dropped(reader.lost());
    }
    reader.rest();
}

#[cfg(test)]
mod tests;
