//! The machine's own word on its processes.

use staunch_model::{ProcessFound, Timestamp};

/// Tells which process of this machine an event means.
///
/// An event gives a number, and numbers are given out again: what is found is the process that had the number when the event
/// happened, or why that cannot be told.
pub trait Processes: Send + Sync {
    /// The process that had the number `pid` on the machine `host` at `time`, by the clock of this machine. Reads a few files
    /// of the kernel, and changes nothing.
    fn find(&self, pid: u32, time: Option<Timestamp>, host: Option<&str>) -> ProcessFound;
}
