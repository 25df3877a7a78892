//! The engine's time: follows the machine's clock forward, never goes back, and never stands still.
//!
//! Every deadline of the engine hangs on it. A clock that was set back by an hour must neither stop them for an hour nor
//! let them come twice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use staunch_model::{Span, Timestamp};
use staunch_ports::Clock;

/// A clock for the engine, on top of the machine's.
///
/// While the machine's clock is behind the last time that was given, time goes on from there by a clock that nobody can
/// set. The engine stays ahead until the next start with a machine's clock that has caught up.
pub(crate) struct SteadyClock {
    machine: Arc<dyn Clock>,
    /// Time that has passed since some moment, by a clock that nobody can set.
    passed: Box<dyn Fn() -> Span + Send + Sync>,
    last: Mutex<Last>,
}

/// The last time that was given.
struct Last {
    time: Timestamp,
    passed: Span,
}

impl SteadyClock {
    /// A clock that goes on from `time`, the newest in the journal.
    pub(crate) fn new(machine: Arc<dyn Clock>, time: Timestamp) -> Self {
        let begun = Instant::now();
        Self::with(machine, time, move || {
            Span::from_micros(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX))
        })
    }

    fn with(machine: Arc<dyn Clock>, time: Timestamp, passed: impl Fn() -> Span + Send + Sync + 'static) -> Self {
        let last = Last { time, passed: passed() };
        Self {
            machine,
            passed: Box::new(passed),
            last: Mutex::new(last),
        }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        // Under the lock, so that of two threads the later one is given the later time.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = (self.passed)();
        let machine = self.machine.now();
        let time = if machine >= last.time {
            machine
        } else {
            last.time + Span::from_micros(passed.as_micros().saturating_sub(last.passed.as_micros()))
        };
        *last = Last { time, passed };
        time
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Hands(Arc<AtomicU64>);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn it_follows_forward_and_goes_on_when_the_machine_is_set_back() {
        let machine = Arc::new(AtomicU64::new(1_000));
        let passed = Arc::new(AtomicU64::new(0));
        let clock = {
            let passed = passed.clone();
            SteadyClock::with(
                Arc::new(Hands(machine.clone())),
                Timestamp::from_micros(400),
                move || Span::from_micros(passed.load(Ordering::Relaxed)),
            )
        };
        let mut at = |machine_us: u64, passed_us: u64| {
            machine.store(machine_us, Ordering::Relaxed);
            passed.store(passed_us, Ordering::Relaxed);
            clock.now().as_micros()
        };
        assert_eq!(at(1_000, 0), 1_000);
        assert_eq!(at(1_010, 10), 1_010);
        assert_eq!(at(5_000, 20), 5_000, "set forward");
        assert_eq!(at(1_030, 30), 5_010, "set back: it goes on");
        assert_eq!(at(1_070, 70), 5_050);
        assert_eq!(at(5_049, 4_049), 9_029, "it stays ahead");
        assert_eq!(at(9_100, 4_050), 9_100, "and follows again");
    }

    #[test]
    fn it_goes_on_from_the_newest_time_of_the_journal() {
        let hands = Arc::new(Hands(Arc::new(AtomicU64::new(50))));
        let passed = Arc::new(AtomicU64::new(7));
        let clock = {
            let passed = passed.clone();
            SteadyClock::with(hands, Timestamp::from_micros(400), move || {
                Span::from_micros(passed.load(Ordering::Relaxed))
            })
        };
        assert_eq!(clock.now().as_micros(), 400);
        passed.store(9, Ordering::Relaxed);
        assert_eq!(clock.now().as_micros(), 402);
    }
}
