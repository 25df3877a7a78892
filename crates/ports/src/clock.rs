//! The clock: the only source of time outside tests and simulation.

use staunch_model::Timestamp;

/// A source of the current time.
pub trait Clock: Send + Sync {
    /// The current time, UTC. May jump; the engine never goes back.
    fn now(&self) -> Timestamp;
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
}
