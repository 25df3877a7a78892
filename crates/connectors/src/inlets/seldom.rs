//! Warnings about what anybody can cause: the first at once, further ones together.

use std::time::{Duration, Instant};

/// How often the same is told at the most: who sends rubbish must not fill the log.
const INTERVAL: Duration = Duration::from_secs(60);

/// Counts what is told from time to time.
#[derive(Debug, Default)]
pub struct Seldom {
    told_at: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// Counts `count` more. When it is time to tell, how many there are that were not told.
    pub fn add(&mut self, count: u64) -> Option<u64> {
        self.untold += count;
        if self.untold == 0 || self.told_at.is_some_and(|at| at.elapsed() < INTERVAL) {
            return None;
        }
        self.told_at = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }

    /// How many there are that were not told; they are told with this.
    pub fn rest(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.untold)).filter(|untold| *untold > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_others_together() {
        let mut seldom = Seldom::default();
        assert_eq!(seldom.add(0), None, "nothing has happened");
        assert_eq!(seldom.add(3), Some(3));
        assert_eq!(seldom.add(4), None);
        assert_eq!(seldom.add(5), None);
        seldom.told_at = Instant::now().checked_sub(INTERVAL);
        assert_eq!(seldom.add(1), Some(10));
        assert_eq!(seldom.rest(), None);
        assert_eq!(seldom.add(2), None);
        assert_eq!(seldom.rest(), Some(2));
    }
}
