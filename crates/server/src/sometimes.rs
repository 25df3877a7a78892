//! What the log is told of now and then only: anybody can cause it, and who does must not fill the log.

use std::sync::atomic::{AtomicU64, Ordering};

use staunch_model::{Span, Timestamp};

/// Between two lines in the log about the same.
const EVERY: Span = Span::from_mins(1);

/// When the log was last told of something; never, at first.
#[derive(Debug, Default)]
pub(crate) struct Sometimes(AtomicU64);

impl Sometimes {
    /// Whether the log is to be told at `now`. A yes counts as told.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let now = now.as_micros();
        let tell = |before| (before == 0 || now.abs_diff(before) >= EVERY.as_micros()).then_some(now);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, tell).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_others_a_minute_later() {
        let sometimes = Sometimes::default();
        let start = Timestamp::from_micros(1_700_000_000_000_000);
        let at = |secs| start + Span::from_secs(secs);
        let told: Vec<_> = [0, 1, 59, 60, 61, 200].map(|secs| sometimes.is_due(at(secs))).into();
        assert_eq!(told, [true, false, false, true, false, true]);
        // A clock that was set back does not silence it for long.
        assert!(sometimes.is_due(at(0)));
    }
}
