//! The engine's time: begins at the machine's clock, and goes on whatever becomes of that.
//!
//! Every deadline, lease and settling time hangs on it. A clock that is set back must not hold them up, and one that is
//! set forward must not make a request that is still under way count as settled. The kernel counts down its own leases
//! in the same way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use staunch_model::{Span, Timestamp};
use staunch_ports::Clock;

/// How far the machine's clock may be from the engine's time before that is logged.
const DIFFERENCE_MAX: Span = Span::from_secs(5);

/// A clock for the engine: the machine's at the start, or the newest time of the journal when that is later, and from
/// there on what has passed by a clock that nobody can set. The next start goes by the machine's again.
pub(crate) struct SteadyClock {
    machine: Arc<dyn Clock>,
    base: Timestamp,
    /// What had passed at the start.
    before: Span,
    differs: AtomicBool,
}

impl SteadyClock {
    /// A clock that begins now, not before `newest`, the newest time of the journal.
    pub(crate) fn new(machine: Arc<dyn Clock>, newest: Timestamp) -> Self {
        Self {
            base: newest.max(machine.now()),
            before: machine.passed(),
            machine,
            differs: AtomicBool::new(false),
        }
    }

    /// Logs it once when the machine's clock has been set, and once when the two agree again. Returns whether they
    /// differ.
    pub(crate) fn compare(&self) -> bool {
        let (ours, machine) = (self.now(), self.machine.now());
        let (ahead, behind) = (ours.since(machine), machine.since(ours));
        let differs = ahead > DIFFERENCE_MAX || behind > DIFFERENCE_MAX;
        if self.differs.swap(differs, Ordering::Relaxed) != differs {
            if differs {
                tracing::warn!(%ahead, %behind, "the machine's clock was set; leases and deadlines go on as they were until the next start");
            } else {
                tracing::info!("the machine's clock and the engine's time agree again");
            }
        }
        differs
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let passed = self.machine.passed().as_micros();
        self.base + Span::from_micros(passed.saturating_sub(self.before.as_micros()))
    }

    fn passed(&self) -> Span {
        self.machine.passed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// What the machine's clock shows, and what has passed.
    struct Hands([AtomicU64; 2]);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0[0].load(Ordering::Relaxed))
        }

        fn passed(&self) -> Span {
            Span::from_micros(self.0[1].load(Ordering::Relaxed))
        }
    }

    impl Hands {
        fn set(&self, machine_us: u64, passed_us: u64) {
            self.0[0].store(machine_us, Ordering::Relaxed);
            self.0[1].store(passed_us, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_goes_on_whatever_becomes_of_the_machines_clock() {
        let hands = Arc::new(Hands([1_000_000.into(), 500.into()]));
        let clock = SteadyClock::new(hands.clone(), Timestamp::from_micros(400));
        assert_eq!(clock.now().as_micros(), 1_000_000);
        for (machine_us, passed_us, differs) in [
            (1_000_010, 10, false),
            (9_000_000_000, 20, true),
            (1_000_030, 30, false),
            (9_000_000_000, 40, true),
        ] {
            hands.set(machine_us, 500 + passed_us);
            assert_eq!(clock.now().as_micros(), 1_000_000 + passed_us);
            assert_eq!(clock.compare(), differs, "{machine_us}");
        }
    }

    #[test]
    fn it_begins_at_the_newest_time_of_the_journal_when_that_is_later() {
        let hands = Arc::new(Hands([50.into(), 7.into()]));
        let clock = SteadyClock::new(hands.clone(), Timestamp::from_micros(400));
        assert_eq!(clock.now().as_micros(), 400);
        hands.set(52, 9);
        assert_eq!(clock.now().as_micros(), 402);
    }
}
