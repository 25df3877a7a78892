//! The ways in which events come without being posted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use staunch_ports::InletReading;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InletLabel {
    kind: String,
    inlet: String,
    source: String,
}

/// What has come of the ways in which events come without being posted. Those of the same words are told together.
pub(super) fn inlets(registry: &mut Registry, readings: Vec<InletReading>) {
    type Count = fn(&InletReading) -> u64;
    type Trouble = fn(&InletReading) -> Option<&str>;
    let labels: Vec<(InletLabel, InletReading)> = readings
        .into_iter()
        .map(|it| {
            let label = InletLabel {
                kind: it.kind.clone(),
                inlet: it.follows.clone(),
                source: it.source.clone(),
            };
            (label, it)
        })
        .collect();
    let counters: [(&str, &str, Count); 5] = [
        ("inlet_lines", "Lines of a followed source that were taken", |it| {
            it.lines
        }),
        (
            "inlet_malformed",
            "What came of a followed source and could not be read",
            |it| it.malformed,
        ),
        (
            "inlet_lost",
            "What was lost of a followed source: too fast, too long, gone before it was read, or from somebody who may not send",
            |it| it.dropped,
        ),
        (
            "inlet_passed_over",
            "What came of a followed source and is left out because the configuration says so",
            |it| it.passed_over,
        ),
        (
            "inlet_failures",
            "How often a followed source could not be read any more",
            |it| it.failures,
        ),
    ];
    for (name, help, count) in counters {
        let family = Family::<InletLabel, Counter>::default();
        for (label, reading) in &labels {
            family.get_or_create(label).inc_by(count(reading));
        }
        registry.register(name, help, family);
    }
    let gauges: [(&str, &str, Trouble); 2] = [
        ("inlet_failing", "1 while a followed source cannot be read", |it| {
            it.failing.as_deref()
        }),
        (
            "inlet_waiting",
            "1 while what was read of a followed source cannot be taken",
            |it| it.waiting.as_deref(),
        ),
    ];
    for (name, help, trouble) in gauges {
        let family = Family::<InletLabel, Gauge>::default();
        for (label, reading) in &labels {
            let gauge = family.get_or_create(label);
            gauge.set(gauge.get().max(i64::from(trouble(reading).is_some())));
        }
        registry.register(name, help, family);
    }
}
