//! The vault of evidence, and the places that evidence and what proves it are brought to.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use staunch_model::Timestamp;
use staunch_runtime::telemetry::Telemetry;

use super::number;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnchorLabel {
    anchor: String,
}

/// The vault of evidence.
pub(super) fn vault(registry: &mut Registry, telemetry: &Telemetry) {
    let Some(meter) = telemetry.vault.get() else { return };
    let reading = meter.reading();
    let help = "1 while there is no vault, or it has not taken the last piece of evidence";
    registry.register("vault_failed", help, ConstGauge::new(i64::from(reading.is_failing())));
    let help = "Pieces of evidence that were missed because of the vault";
    registry.register("vault_missed", help, ConstCounter::new(reading.missed_total));
    drop(reading);
    let help = "Artefacts of evidence, by kind and by what became of them";
    registry.register("evidence_artefacts", help, meter.artefacts.clone());
}

/// The transparency log of evidence and journal.
pub(super) fn log(registry: &mut Registry, telemetry: &Telemetry) {
    let Some(meter) = telemetry.log.get() else { return };
    let reading = meter.reading();
    // What is not known is left out, and not told as none.
    if let Some(frames) = reading.behind_by {
        let help = "Durable frames of the journal that the transparency log does not have";
        registry.register("log_lag_frames", help, ConstGauge::new(number(frames)));
    }
    let help = "How long the transparency log has been behind the journal; 0 when it is level";
    let seconds = reading.behind_for.as_secs_f64();
    registry.register_with_unit("log_lag", help, Unit::Seconds, ConstGauge::new(seconds));
}

/// The places that evidence, and what proves it, is brought to.
pub(super) fn copies(registry: &mut Registry, telemetry: &Telemetry, now: Timestamp) {
    let Some(meter) = telemetry.copies.get() else { return };
    let seconds = |at: Timestamp| now.since(at).as_micros() as f64 / 1e6;
    let failed = Family::<AnchorLabel, Gauge>::default();
    let failures = Family::<AnchorLabel, Counter>::default();
    let age = Family::<AnchorLabel, Gauge<f64, AtomicU64>>::default();
    for (name, it) in meter.anchors().iter() {
        let label = AnchorLabel {
            anchor: name.to_string(),
        };
        failed.get_or_create(&label).set(i64::from(it.is_failing));
        failures.get_or_create(&label).inc_by(it.failures);
        if let Some(at) = it.at {
            age.get_or_create(&label).set(seconds(at));
        }
    }
    registry.register("anchor_failed", "1 while the last attempt to anchor has failed", failed);
    registry.register("anchor_failures", "Attempts to anchor that have failed", failures);
    let help = "How long ago a checkpoint was last brought to an anchor";
    registry.register_with_unit("anchor_age", help, Unit::Seconds, age);
    let Some(bucket) = *meter.bucket() else { return };
    // What is not known is left out, and not told as none.
    if let Some(waiting) = bucket.waiting {
        let help = "Artefacts, manifests and records that are not in the bucket of evidence";
        registry.register("bucket_waiting", help, ConstGauge::new(number(waiting)));
    }
    let help = "1 while the last attempt to send evidence to its bucket has failed";
    registry.register("bucket_failed", help, ConstGauge::new(i64::from(bucket.is_failing)));
    let help = "Attempts to send evidence to its bucket that have failed";
    registry.register("bucket_failures", help, ConstCounter::new(bucket.failures));
}
