//! A process's time: begins at its machine's clock or the newest time of the journal, whichever is later, and goes on
//! from there whatever becomes of the machine's clock.
//!
//! The same rule as the runtime's steady clock, on simulated time.

use staunch_model::{Span, Timestamp};

/// The clock of one process.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// How far the machine's clock is ahead of true time, or behind it.
    pub(crate) ahead_us: i64,
    /// It goes by the machine's clock as it is.
    raw: bool,
    base: Timestamp,
    base_true: Timestamp,
}

impl Clock {
    /// A clock for a machine's that is ahead by so much, which begins at the true time `now`, not before `newest`.
    pub(crate) fn new(ahead_us: i64, raw: bool, newest: Timestamp, now: Timestamp) -> Self {
        let mut clock = Self {
            ahead_us,
            raw,
            base: newest,
            base_true: now,
        };
        clock.base = newest.max(clock.machine(now));
        clock
    }

    /// The machine's time at the true time `now`.
    pub(crate) fn machine(&self, now: Timestamp) -> Timestamp {
        let span = Span::from_micros(self.ahead_us.unsigned_abs());
        if self.ahead_us >= 0 { now + span } else { now - span }
    }

    /// The time given to the engine at the true time `now`.
    pub(crate) fn read(&self, now: Timestamp) -> Timestamp {
        if self.raw {
            self.machine(now)
        } else {
            self.base + now.since(self.base_true)
        }
    }

    /// The first true time from `now` on at which it shows `time`.
    pub(crate) fn when(&self, time: Timestamp, now: Timestamp) -> Timestamp {
        let at = match (self.raw, self.ahead_us >= 0) {
            (false, _) => self.base_true + time.since(self.base),
            (true, true) => time - Span::from_micros(self.ahead_us.unsigned_abs()),
            (true, false) => time + Span::from_micros(self.ahead_us.unsigned_abs()),
        };
        at.max(now)
    }
}
