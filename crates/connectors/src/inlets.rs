//! Inlets: ways in which events come to Staunch without being posted to it.
//!
//! An inlet moves bytes and never looks into them, but for what they are wrapped in; what they mean is a source's
//! business. Each has a thread of its own, and reads no further while what it has read cannot be taken.

pub mod file;
pub mod journald;
mod kept;
mod listener;
mod overlong;
mod pieces;
mod seldom;
pub mod socket;
pub mod stdin;
pub mod syslog;
#[cfg(test)]
mod testing;
mod thread;

use std::time::Duration;

use crate::json::{EVENT_BYTES_MAX, EVENTS_PER_BODY_MAX};

use overlong::Overlong;
pub use pieces::{Cut, Cutter, Framing};
pub use seldom::Seldom;
pub use thread::InletThread;
use thread::Stop;

/// Bytes that are handed on at once at the most: the longest line and a little more.
pub const PIECE_BYTES_MAX: usize = EVENT_BYTES_MAX + (256 << 10);

/// Lines that are handed on at once, well below what a decoder takes as one body.
const LINES_MAX: usize = EVENTS_PER_BODY_MAX / 2;

/// How long to wait before lines that were not taken are handed on again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

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

/// Hands `lines` on until they are taken. False when it is to stop before that.
fn hand_on(sink: &mut Sink, lines: &[u8], stop: &Stop) -> bool {
    while sink(lines) == Delivery::Again {
        if stop.within(RETRY_PAUSE) {
            return false;
        }
    }
    true
}

/// What became of a message that was to be added to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
enum Added {
    /// It is a line of them.
    Line,
    /// There is nothing in it, or nothing of it is wanted.
    Nothing,
    /// It is longer than any event, and was passed over.
    TooLong,
}

/// Lines that are handed on together.
#[derive(Debug, Default)]
struct Batch {
    text: Vec<u8>,
    lines: usize,
}

impl Batch {
    /// Adds `message` as one line: a line feed in it would make two of it, and between two values of JSON it means no
    /// more than a space. No decoder takes one that is longer than [`EVENT_BYTES_MAX`].
    fn add(&mut self, message: &[u8]) -> Added {
        let message = message.trim_ascii();
        if message.is_empty() {
            return Added::Nothing;
        }
        if message.len() > EVENT_BYTES_MAX {
            return Added::TooLong;
        }
        let start = self.text.len();
        self.text.extend_from_slice(message);
        for byte in &mut self.text[start..] {
            if *byte == b'\n' {
                *byte = b' ';
            }
        }
        self.text.push(b'\n');
        self.lines += 1;
        Added::Line
    }

    /// Whether it is to be handed on before there is more in it.
    fn is_full(&self) -> bool {
        self.lines >= LINES_MAX || self.text.len() >= PIECE_BYTES_MAX / 4
    }

    /// Hands it on, and begins anew. False when it is to stop before that.
    fn hand_on(&mut self, sink: &mut Sink, stop: &Stop) -> bool {
        let done = self.lines == 0 || hand_on(sink, &self.text, stop);
        self.text.clear();
        self.lines = 0;
        done
    }
}
