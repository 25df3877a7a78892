//! What the log is told of now and then only: anybody can cause it, and who does must not fill the log.

use std::sync::atomic::{AtomicU64, Ordering};

use staunch_model::{Span, Timestamp};

/// Between two lines in the log about the same.
const EVERY: Span = Span::from_mins(1);

/// When the log was last told of something, and how often it happened since.
#[derive(Debug, Default)]
pub(crate) struct Sometimes {
    /// In microseconds; 0 before the first time.
    told_at: AtomicU64,
    untold: AtomicU64,
}

impl Sometimes {
    /// Takes note that it happened at `now`. When the log is to be told, says how often it was not told before; that
    /// counts as told.
    pub(crate) fn happened(&self, now: Timestamp) -> Option<u64> {
        let now = now.as_micros();
        let tell = |before| (before == 0 || now.abs_diff(before) >= EVERY.as_micros()).then_some(now);
        let is_due = self
            .told_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, tell)
            .is_ok();
        if is_due {
            return Some(self.untold.swap(0, Ordering::Relaxed));
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        None
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
        let told = [0, 1, 59, 60, 61, 200].map(|secs| sometimes.happened(at(secs)));
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)]);
        // A clock that was set back does not silence it for long.
        assert_eq!(sometimes.happened(at(0)), Some(0));
    }
}
