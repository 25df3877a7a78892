//! How far the transparency log is behind the journal, and for how long it has been.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How the transparency log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogReading {
    /// Durable frames that it has no entry for; `None` while nobody knows what the log or the journal has.
    pub behind_by: Option<u64>,
    /// How long the first of them has been durable, or how long nobody has known; zero when there is none.
    pub behind_for: Duration,
}

/// How far the journal is durable and the transparency log has it, as those tell it who write them.
#[derive(Debug)]
pub struct LogMeter(Mutex<Stand>);

#[derive(Debug)]
struct Stand {
    durable: Option<u64>,
    logged: Option<u64>,
    /// Since when a durable frame has not been in the log.
    behind_since: Option<Instant>,
    /// What was durable when the log was last asked to take frames.
    asked: u64,
    /// When the first frame behind those became durable.
    since_asked: Option<Instant>,
}

impl Default for LogMeter {
    /// Nobody knows yet, which is not the same as level.
    fn default() -> Self {
        Self(Mutex::new(Stand {
            durable: None,
            logged: None,
            behind_since: Some(Instant::now()),
            asked: 0,
            since_asked: None,
        }))
    }
}

impl LogMeter {
    /// Frames are durable up to this one.
    pub fn durable_up_to(&self, lsn: u64) {
        let mut stand = self.stand();
        let is_first = stand.durable.replace(lsn).is_none();
        if stand.logged.is_some_and(|logged| logged < lsn) {
            stand.behind_since.get_or_insert_with(Instant::now);
        } else if is_first && stand.is_level() {
            stand.behind_since = None;
        }
        if lsn > stand.asked {
            stand.since_asked.get_or_insert_with(Instant::now);
        }
    }

    /// The log is about to take what is durable: up to the frame that this returns, and 0 when none is known to be.
    pub fn ask(&self) -> u64 {
        let mut stand = self.stand();
        stand.asked = stand.durable.unwrap_or_default();
        stand.since_asked = None;
        stand.asked
    }

    /// The log has frames up to this one.
    pub fn logged_up_to(&self, lsn: u64) {
        let mut stand = self.stand();
        stand.logged = Some(lsn);
        if stand.is_level() {
            stand.behind_since = None;
        } else if stand.durable.is_some() && lsn >= stand.asked {
            stand.behind_since = stand.since_asked.or(stand.behind_since);
        }
    }

    /// The log could not take frames, so that it is not level, whatever the numbers say.
    pub fn failed(&self) {
        self.stand().behind_since.get_or_insert_with(Instant::now);
    }

    /// How it stands.
    #[must_use]
    pub fn reading(&self) -> LogReading {
        let stand = self.stand();
        LogReading {
            behind_by: stand
                .durable
                .zip(stand.logged)
                .map(|(durable, logged)| durable.saturating_sub(logged)),
            behind_for: stand.behind_since.map_or(Duration::ZERO, |it| it.elapsed()),
        }
    }

    fn stand(&self) -> MutexGuard<'_, Stand> {
        // A panic while it was held has left what was told before.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stand {
    fn is_level(&self) -> bool {
        self.durable
            .zip(self.logged)
            .is_some_and(|(durable, logged)| logged >= durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(meter: &LogMeter) -> Option<Instant> {
        meter.stand().behind_since
    }

    fn behind_by(meter: &LogMeter) -> Option<u64> {
        meter.reading().behind_by
    }

    #[test]
    fn what_nobody_knows_is_not_level() {
        let meter = LogMeter::default();
        let begun = since(&meter).expect("nobody knows");
        assert_eq!(behind_by(&meter), None);
        meter.logged_up_to(7);
        assert_eq!((behind_by(&meter), since(&meter)), (None, Some(begun)));
        meter.durable_up_to(9);
        assert_eq!((behind_by(&meter), since(&meter)), (Some(2), Some(begun)));
        assert_eq!(meter.ask(), 9);
        meter.logged_up_to(9);
        assert_eq!((behind_by(&meter), since(&meter)), (Some(0), None));
        assert_eq!(meter.reading().behind_for, Duration::ZERO);
    }

    #[test]
    fn a_log_that_stays_behind_has_been_since_the_first_frame_and_one_that_follows_since_the_next() {
        let meter = LogMeter::default();
        meter.logged_up_to(0);
        meter.durable_up_to(0);
        assert_eq!(since(&meter), None);
        meter.durable_up_to(1);
        let first = since(&meter).expect("a frame is not logged");
        meter.durable_up_to(2);
        assert_eq!((behind_by(&meter), since(&meter)), (Some(2), Some(first)));

        // What comes while the log takes the first two is what it is behind by afterwards.
        assert_eq!(meter.ask(), 2);
        meter.durable_up_to(3);
        let next = meter.stand().since_asked.expect("it has come");
        meter.durable_up_to(4);
        assert_eq!(since(&meter), Some(first), "it has not taken them yet");
        meter.logged_up_to(2);
        assert_eq!((behind_by(&meter), since(&meter)), (Some(2), Some(next)));
        assert!(next > first);
    }

    #[test]
    fn a_log_that_takes_less_than_it_was_asked_to_has_been_behind_as_long_as_before() {
        let meter = LogMeter::default();
        meter.logged_up_to(0);
        meter.durable_up_to(0);
        meter.durable_up_to(5);
        let first = since(&meter).expect("frames are not logged");
        assert_eq!(meter.ask(), 5);
        meter.durable_up_to(6);
        meter.logged_up_to(3);
        assert_eq!((behind_by(&meter), since(&meter)), (Some(3), Some(first)));
    }

    #[test]
    fn a_log_that_fails_is_not_level() {
        let meter = LogMeter::default();
        meter.logged_up_to(9);
        meter.durable_up_to(4);
        assert_eq!((behind_by(&meter), since(&meter)), (Some(0), None));
        meter.failed();
        let failing = since(&meter).expect("it fails");
        meter.failed();
        meter.durable_up_to(5);
        assert_eq!(since(&meter), Some(failing));
        meter.logged_up_to(9);
        assert_eq!(since(&meter), None);
    }
}
