//! How far long work has come, on stderr.

use std::time::{Duration, Instant};

use crate::output::say;

/// What takes less time than this is not commented on.
const QUIET: Duration = Duration::from_secs(2);

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Says from time to time how far something has come.
#[derive(Debug)]
pub(crate) struct Progress {
    begun: Instant,
    said: Instant,
}

impl Progress {
    /// Work that begins at this moment.
    pub(crate) fn start() -> Self {
        let begun = Instant::now();
        Self {
            begun,
            said: begun + (QUIET - PAUSE),
        }
    }

    /// Says `what`, unless the work is young or something was said a moment ago.
    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = Instant::now();
        if now.saturating_duration_since(self.said) >= PAUSE {
            self.said = now;
            say(&format!("{} s: {}", (now - self.begun).as_secs(), what()));
        }
    }
}
