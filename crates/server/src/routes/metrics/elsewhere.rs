//! What others know of addresses: feeds that are fetched, and services that are asked.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use staunch_model::Timestamp;
use staunch_runtime::telemetry::Telemetry;

use super::number;
use crate::view;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FeedLabel {
    feed: String,
}

/// How the feeds stand.
pub(super) fn feeds(registry: &mut Registry, telemetry: &Telemetry, now: Timestamp) {
    let networks = Family::<FeedLabel, Gauge>::default();
    let failed = Family::<FeedLabel, Gauge>::default();
    let stale = Family::<FeedLabel, Gauge>::default();
    let age = Family::<FeedLabel, Gauge<f64, AtomicU64>>::default();
    for it in view::feeds(telemetry) {
        let label = FeedLabel { feed: it.name };
        networks.get_or_create(&label).set(number(it.networks));
        failed.get_or_create(&label).set(i64::from(it.failed.is_some()));
        let is_stale = it.expires.is_none_or(|expires| now >= expires);
        stale.get_or_create(&label).set(i64::from(is_stale));
        if let Some(as_of) = it.as_of {
            let seconds = now.since(as_of).as_micros() as f64 / 1e6;
            age.get_or_create(&label).set(seconds);
        }
    }
    registry.register("feed_networks", "Networks that a feed names", networks);
    let help = "1 while the feed as it is now cannot be used";
    registry.register("feed_failed", help, failed);
    let help = "1 when what was read last is too old to count, or nothing was read";
    registry.register("feed_stale", help, stale);
    let help = "How long ago what counts of a feed was made or fetched";
    registry.register_with_unit("feed_age", help, Unit::Seconds, age);
}

/// What services answer about addresses.
pub(super) fn lookups(registry: &mut Registry, telemetry: &Telemetry) {
    let Some(meter) = telemetry.lookups.get() else { return };
    let help = "Questions to services about addresses, by what became of them";
    registry.register("lookups", help, meter.results.clone());
    let help = "Questions whose answers were in the cache";
    registry.register("lookup_cache_hits", help, meter.hits.clone());
    let help = "Questions whose answers were not";
    registry.register("lookup_cache_misses", help, meter.misses.clone());
    let help = "Time that services take to answer";
    registry.register_with_unit("lookup", help, Unit::Seconds, meter.seconds.clone());
    let help =
        "Time until it was known what all look-ups say of the addresses of a body, those in the cache among them";
    registry.register_with_unit("lookup_wait", help, Unit::Seconds, meter.waits.clone());
}
