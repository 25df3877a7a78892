//! What feeds say of addresses.

use staunch_model::{Standing, Target, Timestamp};

/// Knows what feeds say of targets. Look-ups answer from memory; who reads the feeds does so on another thread.
pub trait Reputations: Send + Sync {
    /// The worst that feeds say of `target` and that counts at `now`; nothing when none names it; or why that is not known.
    fn standing(&self, target: Target, now: Timestamp) -> Standing;
}
