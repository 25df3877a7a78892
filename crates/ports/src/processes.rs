//! What this machine says of processes that events name.

use staunch_model::{Process, ProcessFound, Timestamp};

/// Tells the process that an event means from all others that had its number or will have it.
///
/// Answers in milliseconds, from what the machine says at that moment: the longer ago an event was, the less often its
/// process is still there.
pub trait Processes: Send + Sync {
    /// Finds the process that an event of `event_time` names by its number `pid`, seen on `host`. Never guesses: whenever it
    /// could be another one, the facts are the reason, for people.
    fn find(&self, pid: u32, event_time: Option<Timestamp>, host: Option<&str>) -> ProcessFound;

    /// What the machine says by now of `process`, which was found before: it may run another program, or have ended. Facts are
    /// the reason when it is not there any more.
    fn look_again(&self, process: Process) -> ProcessFound;
}
