//! What feeds and services say of addresses.

use staunch_model::{Standing, Target, Timestamp};

/// Knows what others say of targets. Feeds answer from memory: who reads them does so on another thread. What also asks
/// services says so, and is asked off the ways that nobody may hold up.
pub trait Reputations: Send + Sync {
    /// The worst that is said of `target` and that counts at `now`; nothing when none names it; or why that is not
    /// known.
    fn standing(&self, target: &Target, now: Timestamp) -> Standing;

    /// The same of several, in their order. Who waits for services waits for all together.
    fn standings(&self, targets: &[Target], now: Timestamp) -> Vec<Standing> {
        targets.iter().map(|target| self.standing(target, now)).collect()
    }

    /// Whether an answer may take longer than a look into memory. It takes a bounded time in any case.
    fn may_wait(&self) -> bool {
        false
    }
}
