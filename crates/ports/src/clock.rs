//! The clock: the only source of time outside tests and simulation.

use std::sync::LazyLock;
use std::time::Instant;

use staunch_model::{Span, Timestamp};

/// A source of the current time.
pub trait Clock: Send + Sync {
    /// The current time, UTC. May jump.
    fn now(&self) -> Timestamp;

    /// Time that has passed since some moment before the first call, by a clock that nobody can set.
    fn passed(&self) -> Span;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    fn passed(&self) -> Span {
        static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
        Span::from_micros(u64::try_from(BEGUN.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
