//! Enrichers: facts about targets, with source and age.

use staunch_model::{Fact, Target, Timestamp, TrafficShare};

/// Knows how much traffic belongs to a target.
///
/// Look-ups answer from memory; `refresh` does the slow part and is called by the runtime on a thread of its own.
pub trait Enricher: Send + Sync {
    /// Its name, shown as the source of its facts.
    fn name(&self) -> &'static str;

    /// Reads the world anew. After a failure look-ups yield *unknown* with the reason until a reading succeeds.
    fn refresh(&self, now: Timestamp);

    /// The share of `target`, from the newest reading.
    fn traffic_share(&self, target: &Target, now: Timestamp) -> Fact<TrafficShare>;
}
