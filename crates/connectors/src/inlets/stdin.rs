//! Takes lines from what is piped into this process, until that ends.
//!
//! Never reads further while lines cannot be taken: whoever writes waits.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use staunch_ports::InletTally;

use super::thread::Stop;
use super::{Added, Batch, Cut, Cutter, Framing, InletThread, Overlong, Sink};
use crate::json::EVENT_BYTES_MAX;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Called when the input has ended and all of it was taken, or with the reason why the rest of it cannot be read.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Starts a thread that hands the lines of `input` to `sink`. `done` is not called when it is stopped before the end.
///
/// # Errors
/// When there can be no thread.
pub fn start(input: OwnedFd, tally: Arc<InletTally>, sink: Sink, done: Done) -> io::Result<InletThread> {
    InletThread::start("stdin", move |stop| {
        if let Some(end) = read(input.into(), &tally, sink, &stop) {
            done(end);
        }
    })
}

/// Reads until the end; `None` when it was stopped before.
fn read(mut input: File, tally: &InletTally, mut sink: Sink, stop: &Stop) -> Option<io::Result<()>> {
    let mut cutter = Cutter::new(Framing::Lines, EVENT_BYTES_MAX);
    let mut batch = Batch::default();
    let mut overlong = Overlong::new(EVENT_BYTES_MAX);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if !is_ready(&input, stop) {
            return None;
        }
        let read = match input.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => continue,
            Err(error) => {
                tracing::warn!(%error, inlet = tally.follows(), "the input cannot be read any further");
                tally.fails(Some(&error.to_string()));
                return Some(Err(error));
            }
        };
        cutter.push(&buffer[..read]);
        while let Some(cut) = cutter.next() {
            match cut {
                // An empty line is none.
                Cut::Message(line) => {
                    if batch.add(line) == Added::TooLong {
                        overlong.add(tally);
                    }
                }
                Cut::TooLong => overlong.add(tally),
            }
            if batch.is_full() && !batch.hand_on(&mut sink, stop) {
                return None;
            }
        }
        // The last line needs no line feed.
        if read == 0
            && let Some(last) = cutter.last()
            && batch.add(last) == Added::TooLong
        {
            overlong.add(tally);
        }
        if !batch.hand_on(&mut sink, stop) {
            return None;
        }
        if read == 0 {
            return Some(Ok(()));
        }
    }
}

/// Waits until there is something to read. False when it is to stop.
fn is_ready(input: &File, stop: &Stop) -> bool {
    let mut wanted = [
        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        PollFd::new(input.as_fd(), PollFlags::POLLIN),
    ];
    loop {
        // When it is interrupted, nothing is ready.
        let _ = poll(&mut wanted, PollTimeout::NONE);
        if wanted[0].any().unwrap_or(false) {
            return false;
        }
        if wanted[1].any().unwrap_or(false) {
            return true;
        }
    }
}

#[cfg(test)]
mod tests;
