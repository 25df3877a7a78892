//! A process's time: follows its machine's clock forward, never goes back, never stands still.
//!
//! The same rule as the runtime's steady clock, on simulated time.

use staunch_model::{Span, Timestamp};

/// The clock of one process.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// How far the machine's clock is ahead of true time, or behind it.
    pub(crate) ahead_us: i64,
    last: Timestamp,
    last_true: Timestamp,
}

impl Clock {
    /// A clock that goes on from `time`, the newest in the journal, at the true time `now`.
    #[must_use]
    pub(crate) const fn new(ahead_us: i64, time: Timestamp, now: Timestamp) -> Self {
        Self {
            ahead_us,
            last: time,
            last_true: now,
        }
    }

    /// The machine's time at the true time `now`.
    #[must_use]
    pub(crate) fn machine(&self, now: Timestamp) -> Timestamp {
        let span = Span::from_micros(self.ahead_us.unsigned_abs());
        if self.ahead_us >= 0 { now + span } else { now - span }
    }

    /// The time given to the engine at the true time `now`.
    pub(crate) fn read(&mut self, now: Timestamp) -> Timestamp {
        let machine = self.machine(now);
        self.last = if machine >= self.last {
            machine
        } else {
            self.last + now.since(self.last_true)
        };
        self.last_true = now;
        self.last
    }

    /// The first true time from `now` on at which it shows `time`.
    #[must_use]
    pub(crate) fn when(&self, time: Timestamp, now: Timestamp) -> Timestamp {
        let at = if self.machine(now) >= self.last {
            let span = Span::from_micros(self.ahead_us.unsigned_abs());
            if self.ahead_us >= 0 { time - span } else { time + span }
        } else {
            self.last_true + time.since(self.last)
        };
        at.max(now)
    }
}
